"""MONAI's rules, checked once for every transform: array types, metadata, device, dtype, seeding, keys, bad input."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from helper import refuses
from kspace_transforms import AFFINE, ARRAY_TYPES, DETERMINISTIC, DICTIONARY, RANDOM, as_meta, numbers, real_image
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose, InvertibleTransform, MapTransform, Randomizable, Transform
from monai.utils import set_determinism

import infomri_monai.transforms as package

ARRAY_NAMES = [name for name in package.__all__ if name + "d" in package.__all__]
EVERY = [*DETERMINISTIC, *((make(), data) for make, _, data in RANDOM)]


def given(data, *shape, **kwargs):
    """A dictionary for the DICTIONARY list."""
    return {"x": data(*shape, **kwargs), "given": real_image(1, *shape[1:]).round(), "index": 3}


@pytest.mark.parametrize("name", ARRAY_NAMES)
def test_classes_come_in_pairs_with_aliases(name):
    array, dictionary = getattr(package, name), getattr(package, name + "d")
    assert getattr(package, name + "D") is getattr(package, name + "Dict") is dictionary
    assert issubclass(array, Transform)
    assert issubclass(dictionary, MapTransform)
    assert array.backend == dictionary.backend != []
    assert issubclass(array, Randomizable) == issubclass(dictionary, Randomizable)
    assert not issubclass(array, InvertibleTransform)
    assert not issubclass(dictionary, InvertibleTransform)


@pytest.mark.parametrize("array_type", ARRAY_TYPES)
@pytest.mark.parametrize(("transform", "data"), EVERY)
def test_array_types_give_the_same_numbers(transform, data, array_type):
    x = data(2, 6, 5)
    given = array_type(x)
    before = copy.deepcopy(given)
    seed = transform.set_random_state if isinstance(transform, Randomizable) else lambda _: None
    seed(3)
    result = transform(given)
    seed(3)
    assert all(isinstance(part, MetaTensor) for part in (result if isinstance(result, tuple) else [result])[:1])
    np.testing.assert_array_equal(numbers(result), numbers(transform(x)))
    np.testing.assert_array_equal(numbers(given), numbers(before))  # the input is left alone


@pytest.mark.parametrize(("transform", "data", "added"), DICTIONARY)
def test_metadata_is_kept(transform, data, added):
    d = given(data, 1, 6, 6)
    result = transform({**d, "x": as_meta(d["x"])})
    for key in added - {"ratio", "simulated_raters"} or {"x"}:
        assert result[key].meta["filename_or_obj"] == "subject.nii"
        if "Crop" not in type(transform).__name__:
            assert torch.equal(result[key].affine, AFFINE)
    if added:
        assert not isinstance(result.get("ratio"), MetaTensor)


@pytest.mark.parametrize(("transform", "data", "added"), DICTIONARY)
def test_no_metadata_where_monai_tracks_none(transform, data, added):
    set_track_meta(False)
    try:
        result = transform(given(data, 1, 6, 6))
    finally:
        set_track_meta(True)
    assert not any(isinstance(value, MetaTensor) for value in result.values())


@pytest.mark.parametrize(("transform", "data", "added"), DICTIONARY)
def test_dictionary_adds_its_keys_and_copies_the_dictionary(transform, data, added):
    d = given(data, 1, 6, 6)
    d["other"] = "kept"
    result = transform(d)
    assert set(result) == {"x", "given", "index", "other"} | added
    assert set(d) == {"x", "given", "index", "other"}
    refuses(KeyError, "x", transform, {"other": 1})
    lenient = copy.deepcopy(transform)
    lenient.allow_missing_keys = True
    assert lenient({"other": 1}) == {"other": 1}


@pytest.mark.parametrize(("transform", "data"), DETERMINISTIC)
@pytest.mark.parametrize(("real", "complex_"), [(torch.float32, torch.complex64), (torch.float64, torch.complex128)])
def test_precision_is_kept(transform, data, real, complex_):
    x = data(1, 6, 5, dtype=real if data is real_image else complex_)
    result = transform(x)
    assert result.dtype in (real, complex_)
    assert result.device == x.device


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.bool])
def test_other_types_become_single_precision(dtype):
    x, simulate = (real_image(1, 6, 5) * 2).to(dtype), package.SimulateAcquisition(RANDOM[1][0]().policy, 0.5)
    assert package.ImageToKSpace()(x).dtype == torch.complex64
    assert simulate(x).zero_filled.dtype == torch.float32
    double = simulate(x.double())
    assert [part.dtype for part in double[:2]] == [torch.complex128, torch.float32]
    assert double.zero_filled.dtype == torch.float64


@pytest.mark.parametrize(("transform", "data"), DETERMINISTIC)
def test_channels_and_slices_are_independent(transform, data):
    x = data(3, 6, 5)
    one_by_one = torch.cat([transform(channel[None]) for channel in x])
    torch.testing.assert_close(transform(x).as_tensor(), one_by_one.as_tensor())
    volume = data(2, 6, 5, 3)
    one_by_one = torch.stack([transform(volume[..., i]).as_tensor() for i in range(3)], dim=-1)
    torch.testing.assert_close(transform(volume).as_tensor(), one_by_one)


@pytest.mark.parametrize(("transform", "data"), DETERMINISTIC)
def test_gradients_flow(transform, data):
    dtype = torch.float64 if data is real_image else torch.complex128
    x = data(1, 6, 5, dtype=dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: transform(v).as_tensor(), x)


@pytest.mark.parametrize(("make", "make_d", "data"), RANDOM)
def test_seeding(make, make_d, data):
    x = data(1, 6, 5)
    refuses(RuntimeError, "randomize", make(), x, randomize=False)
    first, second = make().set_random_state(1), make().set_random_state(1)
    runs = [(numbers(first(x)), numbers(second(x))) for _ in range(3)]
    for a, b in runs:
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(numbers(first(x, randomize=False)), runs[-1][0])  # the last draw again
    assert not np.array_equal(runs[0][0], runs[1][0])
    assert not np.array_equal(runs[0][0], numbers(make().set_random_state(2)(x)))


@pytest.mark.parametrize(("transform", "data"), EVERY)
def test_what_is_no_finite_array_of_the_right_axes_is_refused(transform, data):
    for bad in (float("nan"), float("inf"), -float("inf")):
        x = data(1, 6, 5)
        x[0, 2, 3] = bad
        refuses(ValueError, "NaN or Inf", transform, x)
    for shape in ((6, 5), (1, 6, 5, 2, 2), (6,)):
        refuses(ValueError, "shape", transform, data(*shape))
    refuses(ValueError, "array", transform, "image.nii")
    refuses(ValueError, "empty", transform, data(1, 0, 4))


@pytest.mark.parametrize(("make", "make_d", "data"), RANDOM)
def test_only_the_own_random_state_is_used(make, make_d, data):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    make_d("x").set_random_state(5)({"x": data(1, 6, 5)})
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(("make", "make_d", "data"), RANDOM)
def test_compose_and_set_determinism_seed_the_dictionary_version(make, make_d, data):
    d = {"x": data(1, 6, 5)}
    runs = [numbers(Compose([make_d("x")]).set_random_state(seed)(d)) for seed in (4, 4, 5)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    again = []
    for _ in range(2):
        set_determinism(7)
        again.append(numbers(Compose([make_d("x")])(d)))
    set_determinism(None)
    np.testing.assert_array_equal(*again)


@pytest.mark.parametrize(("make", "make_d", "data"), RANDOM)
def test_dictionary_version_draws_what_the_array_version_draws(make, make_d, data):
    x = data(1, 6, 5)
    result = make_d("x").set_random_state(9)({"x": x})
    array = make().set_random_state(9)(x)
    expected = array._asdict() if isinstance(array, tuple) else {"x": array}
    for key in expected.keys() & result.keys():
        np.testing.assert_array_equal(numbers(result[key]), numbers(expected[key]))


def test_import_is_light():
    code = (
        "import sys, monai.transforms, monai.data\n"
        "before = set(sys.modules)\n"
        "import infomri_monai.transforms\n"
        "new = set(sys.modules) - before\n"
        "ours = {m.split('.')[1] for m in new if m.startswith('infomri_monai.')}\n"
        "assert ours == {'acquisition', 'arrays', 'files', 'sampling', 'transforms'}, ours\n"
        "heavy = {'mlflow', 'ignite', 'matplotlib', 'itk', 'nibabel', 'pandas'} & {m.split('.')[0] for m in new}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
