"""Raters' labels: one drawn, several joined, missing ones, and the check of label values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kspace_transforms import ARRAY_TYPES, as_meta
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, RandFlipd

from infomri_monai.transforms import (
    MISSING_RATER,
    RandRater,
    RandRaterd,
    StackRaters,
    StackRatersd,
    check_label,
    present_raters,
)


def numbered(raters, *shape, missing=(), dtype=torch.int16):
    """Rater r draws the value r everywhere, unless missing."""
    label = torch.arange(raters, dtype=dtype).reshape(raters, *[1] * len(shape)).repeat(1, *shape)
    label[list(missing)] = MISSING_RATER
    return label


@given(st.integers(1, 7), st.data())
@settings(deadline=None, max_examples=15)
def test_a_missing_rater_is_never_drawn_and_the_others_equally_often(raters, data):
    missing = data.draw(st.sets(st.integers(0, raters - 1), max_size=raters - 1))
    label = numbered(raters, 2, 3, missing=missing)
    draw = RandRater().set_random_state(data.draw(st.integers(0, 100)))
    counts = np.bincount([int(draw(label)[0, 0, 0]) for _ in range(300)], minlength=raters)
    present = np.delete(counts, list(missing))
    assert present.sum() == 300
    assert abs(present - 300 / len(present)).max() < 6 * np.sqrt(300 / len(present))  # six standard deviations


@pytest.mark.parametrize("array_type", ARRAY_TYPES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int64, torch.float32, torch.bool])
def test_the_drawn_rater_keeps_type_and_metadata(array_type, dtype):
    label = (numbered(4, 3, 5) % 2).to(dtype)
    result = RandRater().set_random_state(1)(array_type(label))
    assert isinstance(result, MetaTensor)
    assert result.dtype == dtype
    assert result.shape == (1, 3, 5)
    assert result.as_tensor().tolist()[0] in label.tolist()
    if array_type is as_meta:
        assert result.meta["filename_or_obj"] == "subject.nii"


def test_the_drawn_rater_is_a_copy():
    label = numbered(2, 3, 3)
    RandRater().set_random_state(0)(label).fill_(9)
    assert label.max() == 1


def test_multi_label_and_volumes():
    assert RandRater()(numbered(3, 2, 4, 5)).shape == (1, 2, 4, 5)  # (rater, structure, height, width)
    assert RandRater(spatial_dims=3)(numbered(3, 2, 4, 5, 6)).shape == (1, 2, 4, 5, 6)


def test_one_rater_for_all_keys_among_those_present_in_all():
    first, second = numbered(5, 2, 2, missing=[0, 1]), numbered(5, 2, 2, missing=[4])
    draw = RandRaterd(("a", "b")).set_random_state(0)
    pairs = {(int(d["a"].max()), int(d["b"].max())) for d in (draw({"a": first, "b": second}) for _ in range(40))}
    assert pairs == {(2, 2), (3, 3)}
    with pytest.raises(ValueError, match="all 2 raters are missing"):
        draw({"a": numbered(2, 2, 2, missing=[0]), "b": numbered(2, 2, 2, missing=[1])})
    with pytest.raises(ValueError, match=r"one number of raters, got \[2, 3\]"):
        draw({"a": numbered(2, 2, 2), "b": numbered(3, 2, 2)})


def test_nobody_to_draw():
    with pytest.raises(ValueError, match="all 3 raters are missing"):
        RandRater()(numbered(3, 2, 2, missing=[0, 1, 2]))
    partly = numbered(2, 2, 2)
    partly[0, 0, 0] = MISSING_RATER
    with pytest.raises(ValueError, match="-1 everywhere"):
        RandRater()(partly)
    with pytest.raises(ValueError, match="real"):
        RandRater()(torch.ones(2, 4, 4, dtype=torch.complex64))


@pytest.mark.parametrize("label", [numbered(3, 2, 2, dtype=torch.uint8), numbered(2, 4), numbered(2, 1, 1, 1).bool()])
def test_without_a_missing_slot_all_are_present(label):
    assert present_raters(label).all()


def test_worker_processes_draw_different_raters_reproducibly():
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        steps = Compose([RandFlipd("label", prob=0.5), RandRaterd("label")]).set_random_state(0)
        data = Dataset([{"label": numbered(6, 2, 2)} for _ in range(24)], steps)
        loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context="fork")
        runs.append(torch.cat([batch["label"].as_tensor() for batch in loader])[:, 0, 0, 0].tolist())
    assert runs[0] == runs[1]
    assert len(set(runs[0])) >= 4


@given(st.lists(hnp.arrays(np.uint8, (1, 3, 4), elements=st.integers(0, 3)), min_size=1, max_size=5))
def test_stacking_is_concatenation(labels):
    result = StackRaters()(labels)
    assert result.dtype == torch.uint8
    np.testing.assert_array_equal(result.as_tensor().numpy(), np.concatenate(labels))


@pytest.mark.parametrize(
    ("dtype", "signed"),
    [
        (torch.bool, torch.int8),
        (torch.uint8, torch.int16),
        (torch.uint16, torch.int32),
        (torch.int8, torch.int8),
        (torch.int16, torch.int16),
        (torch.int64, torch.int64),
    ],
)
def test_the_type_does_not_depend_on_who_is_missing(dtype, signed):
    one = torch.ones(1, 3, 4).to(dtype)
    for labels in ([one, None, one], [None, None, one], [one, one, one]):
        result = StackRaters(allow_missing=True)(labels)
        assert result.dtype == signed
        assert present_raters(result).tolist() == [label is not None for label in labels]
        assert set(result.as_tensor()[present_raters(result)].flatten().tolist()) == {1}


@pytest.mark.parametrize("array_type", ARRAY_TYPES)
def test_stacking_structures_keeps_metadata_and_keys(array_type):
    channels = torch.ones(2, 3, 4, dtype=torch.int16)
    stack = StackRatersd(("a", "b", "c"), name="all", allow_missing=True, multi_label=True)
    result = stack({"a": None, "c": array_type(channels)})
    assert set(result) == {"a", "c", "all"}
    assert result["all"].shape == (3, 2, 3, 4)
    assert result["all"][:, 0, 0, 0].tolist() == [-1, -1, 1]
    assert isinstance(result["all"], MetaTensor)
    if array_type is as_meta:
        assert result["all"].meta["filename_or_obj"] == "subject.nii"


@pytest.mark.parametrize(
    ("labels", "options", "named"),
    [
        ([None, None], {"allow_missing": True}, "all 2 raters are missing"),
        ([torch.ones(1, 2, 2).int(), None], {}, "allow_missing=True"),
        ([torch.ones(1, 2, 2).int(), torch.ones(1, 2, 3).int()], {}, "share a type and the shape"),
        ([torch.ones(1, 2, 2).int(), torch.ones(1, 2, 2).short()], {}, "share a type"),
        ([torch.ones(2, 2, 2).int()], {}, r"\(1, \*spatial\)"),
        ([torch.full((2, 2, 2), 2)], {"multi_label": True}, r"label 0 must hold values in \[0, 1\]"),
        ([torch.full((1, 2, 2), -1)], {}, "label 0 must hold values"),
        ([torch.ones(1, 2, 2)], {}, "label 0 must be of an integer type"),
        (["label.nii"], {}, "label 0 must be a numpy array or a tensor"),
    ],
)
def test_labels_that_cannot_be_joined(labels, options, named):
    with pytest.raises(ValueError, match=named):
        StackRaters(**options)(labels)


def test_a_missing_key_is_an_error_unless_allowed():
    with pytest.raises(KeyError, match="b"):
        StackRatersd(("a", "b"))({"a": torch.ones(1, 2, 2).int()})
    with pytest.raises(ValueError, match="allow_missing"):
        StackRatersd(("a", "b"))({"a": torch.ones(1, 2, 2).int(), "b": None})


@pytest.mark.parametrize("array_type", ARRAY_TYPES)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int64])
def test_a_good_label_passes_with_its_type(array_type, dtype):
    label = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    checked = check_label(array_type(label), 2)
    assert checked.dtype == dtype
    assert torch.equal(torch.as_tensor(checked), label)


@pytest.mark.parametrize(
    ("label", "classes", "named"),
    [
        (torch.tensor([0, 4]), 4, r"values in \[0, 3\], got values from 0 to 4"),
        (torch.tensor([-1, 1]), 4, r"values in \[0, 3\], got values from -1 to 1"),
        (torch.tensor([0.0, 1.0]), 2, "integer type or bool, got torch.float32"),
        (np.array([1j]), 2, "integer type"),
        (torch.zeros(1, 0).int(), 2, "empty"),
        ("label.nii.gz", 2, "array or a tensor, got str"),
        (torch.tensor([0]), 1, "num_classes must be at least 2"),
    ],
)
def test_bad_labels_are_named(label, classes, named):
    with pytest.raises(ValueError, match=named):
        check_label(label, classes)


def test_missing_raters_are_accepted_where_asked():
    assert check_label(torch.tensor([-1, 1]), 2, allow_missing=True).tolist() == [-1, 1]
    with pytest.raises(ValueError, match=r"mask must hold values in \[-1, 1\]"):
        check_label(torch.tensor([-2, 1]), 2, allow_missing=True, name="mask")
