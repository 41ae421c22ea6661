"""Raters' labels: one drawn, several joined, missing ones, and the check of label values.

Simulated raters: exact without shift, deterministic, the requested spread on straight and round borders, bad input.
Smooth random fields: unit variance, their wavelength, independent fields.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from helper import refuses, refuses_each
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kspace_transforms import ARRAY_TYPES, as_meta
from monai.data import DataLoader, Dataset, MetaTensor, list_data_collate
from monai.transforms import Compose, EnsureTyped

from infomri_monai.transforms import (
    MISSING_RATER,
    RandRater,
    RandRaterd,
    SimulateRaters,
    SimulateRatersd,
    StackRaters,
    StackRatersd,
    check_label,
    present_raters,
    smooth_field,
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


def test_one_rater_for_all_keys_among_those_present_in_all():
    first, second = numbered(5, 2, 2, missing=[0, 1]), numbered(5, 2, 2, missing=[4])
    draw = RandRaterd(("a", "b")).set_random_state(0)
    pairs = {(int(d["a"].max()), int(d["b"].max())) for d in (draw({"a": first, "b": second}) for _ in range(40))}
    assert pairs == {(2, 2), (3, 3)}
    apart = {"a": numbered(2, 2, 2, missing=[0]), "b": numbered(2, 2, 2, missing=[1])}
    refuses(ValueError, "all 2 raters are missing", draw, apart)
    refuses(ValueError, r"one number of raters, got \[2, 3\]", draw, {"a": numbered(2, 2, 2), "b": numbered(3, 2, 2)})
    refuses(ValueError, "all 3 raters are missing", RandRater(), numbered(3, 2, 2, missing=[0, 1, 2]))
    partly = numbered(2, 2, 2)
    partly[0, 0, 0] = MISSING_RATER
    refuses(ValueError, "-1 everywhere", RandRater(), partly)
    refuses(ValueError, "real", RandRater(), torch.ones(2, 4, 4, dtype=torch.complex64))
    assert RandRater()(numbered(3, 2, 4, 5)).shape == (1, 2, 4, 5)  # (rater, structure, height, width)
    assert RandRater(spatial_dims=3)(numbered(3, 2, 4, 5, 6)).shape == (1, 2, 4, 5, 6)


SIGNED = {torch.bool: torch.int8, torch.uint8: torch.int16, torch.uint16: torch.int32, torch.int64: torch.int64}
SIGNED |= {torch.int8: torch.int8, torch.int16: torch.int16}


@pytest.mark.parametrize(("dtype", "signed"), SIGNED.items())
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
    refuses(KeyError, "b", StackRatersd(("a", "b")), {"a": channels[:1]})
    refuses(ValueError, "allow_missing", StackRatersd(("a", "b")), {"a": channels[:1], "b": None})


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
    refuses(ValueError, named, StackRaters(**options), labels)


@pytest.mark.parametrize(
    ("label", "classes", "options", "named"),
    [
        (torch.tensor([0, 4]), 4, {}, r"values in \[0, 3\], got values from 0 to 4"),
        (torch.tensor([-1, 1]), 4, {}, r"values in \[0, 3\], got values from -1 to 1"),
        (torch.tensor([-2, 1]), 2, {"allow_missing": True, "name": "mask"}, r"mask must hold values in \[-1, 1\]"),
        (torch.tensor([0.0, 1.0]), 2, {}, "integer type or bool, got torch.float32"),
        (np.array([1j]), 2, {}, "integer type"),
        (torch.zeros(1, 0).int(), 2, {}, "empty"),
        ("label.nii.gz", 2, {}, "array or a tensor, got str"),
        (torch.tensor([0]), 1, {}, "num_classes must be at least 2"),
    ],
)
def test_bad_labels_are_named(label, classes, options, named):
    refuses(ValueError, named, check_label, label, classes, **options)
    assert check_label(torch.tensor([-1, 1]), 2, allow_missing=True).tolist() == [-1, 1]


def disc(size=64, radius=20.0, centre=(32, 32)):
    y, x = np.ogrid[:size, :size]
    return (np.hypot(y - centre[0], x - centre[1]) < radius).astype(np.uint8)[None]


def rings(size=64):
    """Four classes, each inside the one before."""
    return sum(disc(size, radius) for radius in (28, 20, 10))


maps = hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3))


@given(maps)
@settings(deadline=None)
def test_without_shift_every_rater_is_the_expert(label):
    raters = SimulateRaters(3, bias=0, amplitude=0, num_classes=4)(label[None])
    np.testing.assert_array_equal(raters, np.repeat(label[None], 3, 0))
    channels = np.stack([label == 1, label > 1])
    structures = SimulateRaters(3, bias=0, amplitude=0, multi_label=True)(channels)
    np.testing.assert_array_equal(structures, np.repeat(channels[None], 3, 0))


@given(maps, st.floats(0, 5), st.integers(0, 5))
@settings(deadline=None)
def test_no_class_appears_and_none_vanishes(label, size, seed):
    raters = SimulateRaters(4, bias=size, amplitude=size, num_classes=4, seed=seed)(label[None], index=seed)
    for rater in np.asarray(raters):
        assert set(np.unique(rater)) == set(np.unique(label))
    structure = np.minimum(label[None], 1)
    binary = np.asarray(SimulateRaters(4, bias=size, amplitude=size, seed=seed)(structure, index=seed))
    assert (binary.any((1, 2)) == structure.any()).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_the_border_moves_by_the_requested_number_of_pixels(classes):
    """Straight borders of a half plane (and of three stripes): the mean squared move is the variance, plus rounding to pixels."""
    stripes = np.broadcast_to(np.minimum(np.arange(160) // 40, classes - 1), (1, 64, 160)).astype(np.uint8)
    moves = []
    for index in range(30):
        raters = SimulateRaters(6, bias=2.0, amplitude=1.5, num_classes=classes, wavelength=20)(stripes, index)
        moves.append(np.stack([(np.asarray(raters) < c).sum(-1) - 40 * c for c in range(1, classes)]))
    moves = np.stack(moves)
    assert np.sqrt((moves**2).mean()) == pytest.approx(np.sqrt(2.0**2 + 1.5**2 + 1 / 12), rel=0.1)
    assert abs(moves.mean()) < 0.3
    between = moves.mean((0, 3))  # the raters' biases, the same in all images
    assert np.sqrt((between**2).mean()) == pytest.approx(2.0, rel=0.25 if classes > 2 else 0.1)


def test_biases_belong_to_the_rater_and_fields_to_the_image():
    model = SimulateRaters(6, bias=3.0, amplitude=0)
    first, second = (np.asarray(model(disc(), index)) for index in (0, 1))
    # but for where within a pixel the border lies
    np.testing.assert_allclose(first.sum((1, 2)), second.sum((1, 2)), rtol=0.05)
    assert first.sum((1, 2)).std() / first.sum((1, 2)).mean() > 0.2
    model = SimulateRaters(6, bias=0, amplitude=2.0)
    assert not np.array_equal(model(disc(), 0), model(disc(), 1))


def test_a_small_shift_moves_its_share_of_the_border():
    """Moving by 0.2 pixels moves a fifth of the pixels at the border by one, not none: areas grow as with real outlines."""
    model = SimulateRaters(2, bias=0.2, amplitude=0)  # two raters: one 0.2 pixels larger, one as much smaller
    areas = np.array([np.asarray(model(disc(), i)).sum((1, 2), dtype=int) - disc().sum(dtype=int) for i in range(40)])
    assert np.abs(areas.mean(0)) == pytest.approx(2 * np.pi * 20 * 0.2, rel=0.15)
    assert areas.mean(0).prod() < 0


def test_the_shift_varies_along_the_border_over_the_wavelength():
    def roughness(wavelength):
        half = np.zeros((1, 256, 64), np.uint8)
        half[..., 32:] = 1
        border = np.asarray(SimulateRaters(6, 0, 4.0, wavelength)(half)).sum(-1).astype(float)
        return np.abs(np.diff(border, axis=1)).mean() / border.std()

    assert roughness(8) > 1.5 * roughness(16) > 2 * roughness(48)


@pytest.mark.parametrize("index", [3, (3, 0), ("subject", 3), np.int64(3), torch.tensor(3), [torch.tensor(3), "a"]])
def test_the_same_seed_and_index_give_the_same_raters(index):
    label, options = rings(), {"num_classes": 4, "amplitude": 1.5}
    once, again = (SimulateRaters(seed=5, **options)(label, index) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    for other in (SimulateRaters(seed=6, **options)(label, index), SimulateRaters(seed=5, **options)(label, 4)):
        assert not np.array_equal(once, other)


def test_indices_that_differ_by_zeros_or_texts_give_other_raters():
    model = SimulateRaters(amplitude=2.0)
    indices = [0, 3, (3, 0), (0, 3), (3, 0, 0), "a", "b", ("a", 0), 2**40]
    results = {np.asarray(model(disc(), index)).tobytes() for index in indices}
    assert len(results) == len(indices)


@pytest.mark.parametrize("array_type", ARRAY_TYPES)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int64])
@pytest.mark.parametrize("multi_label", [False, True])
def test_array_types_give_the_same_raters_and_keep_type_and_metadata(array_type, dtype, multi_label):
    label = torch.from_numpy(disc()).to(dtype)
    label = torch.cat([label, label.roll(5, 1)]) if multi_label else label
    model = SimulateRaters(3, bias=1.0, multi_label=multi_label)
    result = model(array_type(label), 2)
    assert isinstance(result, MetaTensor)
    assert (result.dtype, result.shape) == (dtype, (3, 2, 64, 64) if multi_label else (3, 64, 64))
    np.testing.assert_array_equal(result, model(label.numpy().copy(), 2))
    if array_type is as_meta:
        assert result.meta["filename_or_obj"] == "subject.nii"
    if multi_label:  # one structure is the same as two classes
        one = SimulateRaters(3, bias=1.0, multi_label=True)(label[:1], 2)
        np.testing.assert_array_equal(one[:, 0], SimulateRaters(3, bias=1.0)(label[:1], 2))


def test_dictionary_version_takes_its_index_from_the_keys():
    data = {"label": disc(), "subject": 4, "slice": torch.tensor(2), "other": 1}
    transform = SimulateRatersd("label", ("subject", "slice"), raters=3, amplitude=1.5, seed=2)
    result = transform(data)
    np.testing.assert_array_equal(result["label"], SimulateRaters(3, amplitude=1.5, seed=2)(disc(), (4, 2)))
    assert result["simulated_raters"] is True
    assert set(data) == set(result) - {"simulated_raters"}
    assert data["label"].shape == (1, 64, 64)
    refuses(KeyError, "'slice'", transform, {"label": disc(), "subject": 4})


def test_worker_processes_see_the_same_raters():
    steps = Compose([EnsureTyped("label"), SimulateRatersd("label", "index", amplitude=2.0)])
    entries = [{"label": disc(), "index": i} for i in range(6)]
    dataset = Dataset(entries, steps)
    workers = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context="fork")
    own = list_data_collate([dataset[i] for i in range(6)])["label"]
    np.testing.assert_array_equal(torch.cat([batch["label"].as_tensor() for batch in workers]), own)
    copied = pickle.loads(pickle.dumps(steps.transforms[1]))
    np.testing.assert_array_equal(copied(entries[1])["label"], own[1])


def test_bad_arguments_and_labels_of_simulated_raters_are_named():
    bad = {"raters": [0, 2.5], "bias": [-1, float("inf")], "amplitude": [float("nan")], "wavelength": [0]}
    bad |= {"num_classes": [1], "seed": [-1]}
    refuses_each(SimulateRaters, {}, **bad)
    refuses_each(SimulateRatersd, {"keys": "label", "index_keys": "index"}, **bad)
    refuses(ValueError, "index", SimulateRaters(), disc(), index=-1)
    for label, named in (
        (rings(), r"values in \[0, 1\], got values from 0 to 3"),
        (disc()[0], r"shape \(1, height, width\)"),
        (np.concatenate([disc(), disc()]), "shape"),
        (disc()[..., None], "shape"),
        (disc().astype(np.float32), "integer type"),
        ("label.nii", "array"),
        (disc()[:, :0], "empty"),
    ):
        refuses(ValueError, named, SimulateRaters(), label)
    refuses(ValueError, "values in", SimulateRaters(multi_label=True), rings())


@pytest.mark.parametrize("wavelength", [1.5, 4.0, 40.0])
def test_random_fields_have_unit_variance_and_their_wavelength(wavelength):
    draw = np.random.default_rng(0)
    fields = np.stack([smooth_field((40, 61), wavelength, draw) for _ in range(400)])
    assert fields.shape == (400, 40, 61)
    assert np.allclose(fields.var(0), 1, atol=0.4)
    assert fields.var() == pytest.approx(1, abs=0.1)
    neighbours = (fields[:, :-1] * fields[:, 1:]).mean()
    assert (neighbours > 0.9) == (wavelength == 40.0)
    assert (abs(neighbours) < 0.05) == (wavelength == 1.5)


def test_several_fields_are_independent_and_one_is_what_it_was():
    fields = smooth_field((30, 20), 9.0, np.random.default_rng(0), (40, 3))
    assert fields.shape == (40, 3, 30, 20)
    assert abs((fields[:, 0] * fields[:, 1]).mean()) < 0.2
    first = smooth_field((30, 20), 9.0, np.random.default_rng(0))
    np.testing.assert_allclose(fields[0, 0], first, atol=1e-5)


@pytest.mark.parametrize("array_type", ARRAY_TYPES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int64, torch.float32, torch.bool])
def test_the_drawn_rater_is_a_copy_that_keeps_type_and_metadata(array_type, dtype):
    label = (numbered(4, 3, 5) % 2).to(dtype)
    assert present_raters(label).all()
    result = RandRater().set_random_state(1)(array_type(label))
    assert isinstance(result, MetaTensor)
    assert (result.dtype, result.shape) == (dtype, (1, 3, 5))
    assert result.as_tensor().tolist()[0] in label.tolist()
    if array_type is as_meta:
        assert result.meta["filename_or_obj"] == "subject.nii"
    before = label.clone()
    result.fill_(9)
    assert torch.equal(label, before)


@given(st.lists(hnp.arrays(np.uint8, (1, 3, 4), elements=st.integers(0, 3)), min_size=1, max_size=5))
def test_stacking_is_concatenation(labels):
    result = StackRaters()(labels)
    assert result.dtype == torch.uint8
    np.testing.assert_array_equal(result.as_tensor().numpy(), np.concatenate(labels))
