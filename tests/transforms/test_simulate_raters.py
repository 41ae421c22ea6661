"""Simulated raters: exact without shift, deterministic, the requested spread on straight and round borders, bad input."""

import pickle
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kspace_transforms import ARRAY_TYPES, as_meta
from monai.data import DataLoader, Dataset, MetaTensor, list_data_collate
from monai.transforms import Compose, EnsureTyped

from infomri_monai.transforms import RandRaterd, SimulateRaters, SimulateRatersd


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
    stripes = np.zeros((1, 64, 160), np.uint8)
    for c in range(1, classes):
        stripes[..., 40 * c :] = c
    moves = []
    for index in range(30):
        raters = SimulateRaters(6, bias=2.0, amplitude=1.5, num_classes=classes, wavelength=20)(stripes, index)
        borders = [(np.asarray(raters) < c).sum(-1) - 40 * c for c in range(1, classes)]
        moves.append(np.stack(borders))
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


def test_a_larger_bias_widens_the_spread_of_areas_and_lowers_agreement():
    spread, agreement = [], []
    for bias in (0.0, 0.7, 1.5, 3.0):
        raters = np.asarray(SimulateRaters(6, bias=bias, amplitude=0.3)(disc()))
        spread.append(raters.sum((1, 2)).std())
        dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in combinations(raters, 2)]
        agreement.append(np.mean(dice))
    assert (np.diff(spread) > 0).all()
    assert (np.diff(agreement) < 0).all()
    # a disc's area changes by 2 pi r per pixel
    assert spread[-1] == pytest.approx(2 * np.pi * 20 * 3.0, rel=0.15)


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
    assert result.dtype == dtype
    assert result.shape == ((3, 2, 64, 64) if multi_label else (3, 64, 64))
    np.testing.assert_array_equal(result, model(label.numpy().copy(), 2))
    if array_type is as_meta:
        assert result.meta["filename_or_obj"] == "subject.nii"


def test_a_binary_structure_is_the_same_as_one_channel():
    one = SimulateRaters(4, bias=1.0, amplitude=1.0)(disc(), 7)
    channel = SimulateRaters(4, bias=1.0, amplitude=1.0, multi_label=True)(disc(), 7)
    np.testing.assert_array_equal(one, channel[:, 0])


def test_dictionary_version_takes_its_index_from_the_keys():
    data = {"label": disc(), "subject": 4, "slice": torch.tensor(2), "other": 1}
    transform = SimulateRatersd("label", ("subject", "slice"), raters=3, amplitude=1.5, seed=2)
    result = transform(data)
    np.testing.assert_array_equal(result["label"], SimulateRaters(3, amplitude=1.5, seed=2)(disc(), (4, 2)))
    assert result["simulated_raters"] is True
    assert set(data) == set(result) - {"simulated_raters"}
    assert data["label"].shape == (1, 64, 64)
    with pytest.raises(KeyError, match="'slice'"):
        transform({"label": disc(), "subject": 4})


def test_worker_processes_see_the_same_raters():
    steps = Compose(
        [
            EnsureTyped("label"),
            SimulateRatersd("label", "index", amplitude=2.0),
            RandRaterd("label", allow_missing_keys=True),
        ]
    )
    entries = [{"label": disc(), "index": i} for i in range(6)]
    only_simulated = Dataset(entries, Compose(steps.transforms[:2]))
    workers = DataLoader(only_simulated, batch_size=2, num_workers=2, multiprocessing_context="fork")
    own = list_data_collate([only_simulated[i] for i in range(6)])["label"]
    np.testing.assert_array_equal(torch.cat([batch["label"].as_tensor() for batch in workers]), own)
    drawn = next(iter(DataLoader(Dataset(entries, steps), batch_size=3, num_workers=1)))
    assert drawn["label"].shape == (3, 1, 64, 64)
    copied = pickle.loads(pickle.dumps(steps.transforms[1]))
    np.testing.assert_array_equal(copied(entries[1])["label"], own[1])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"raters": 0}, "raters"),
        ({"raters": 2.5}, "raters"),
        ({"bias": -1}, "bias"),
        ({"bias": float("inf")}, "bias"),
        ({"amplitude": float("nan")}, "amplitude"),
        ({"wavelength": 0}, "wavelength"),
        ({"num_classes": 1}, "num_classes"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        SimulateRaters(**options)
    with pytest.raises(ValueError, match=named):
        SimulateRatersd("label", "index", **options)


@pytest.mark.parametrize(
    ("label", "options", "named"),
    [
        (rings(), {}, r"values in \[0, 1\], got values from 0 to 3"),
        (disc()[0], {}, r"shape \(1, height, width\)"),
        (np.concatenate([disc(), disc()]), {}, "shape"),
        (disc()[..., None], {}, "shape"),
        (rings(), {"multi_label": True}, "values in"),
        (disc().astype(np.float32), {}, "integer type"),
        ("label.nii", {}, "array"),
        (disc()[:, :0], {}, "empty"),
    ],
)
def test_bad_labels_are_named(label, options, named):
    with pytest.raises(ValueError, match=named):
        SimulateRaters(**options)(label)


def test_a_negative_index_is_refused():
    with pytest.raises(ValueError, match="index"):
        SimulateRaters()(disc(), index=-1)
