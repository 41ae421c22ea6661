"""Any shape, stride and value through every public transform: what a plain calculation gives, or an error of ours that names it.

Parameters are drawn by their names, so that a new transform joins by standing in ``infomri_monai.transforms.__all__``; one with a
parameter of a new name fails until ``PARAMETERS`` says what to draw.
"""

import inspect
import math
import warnings

import numpy as np
import pytest
import torch
from fuzzing import SEED, judge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

import infomri_monai.transforms as transforms
from infomri_monai.acquisition import ComplexGaussianNoise
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom

#: inputs of each transform
EACH = 100
KINDS = ("float32", "float64", "complex64", "complex128", "bool", "uint8", "int64", "float16")
CALLABLES = {
    name: value
    for name, value in vars(transforms).items()
    if name in transforms.__all__ and callable(value) and not hasattr(value, "_fields")
}
DIFFERENT = sorted({id(value): name for name, value in sorted(CALLABLES.items(), reverse=True)}.values())
SEVERAL = [0, 1, 2, 3, 5, 8, 9, 17]
ODD = [None, "", "x", -1, 0, 1, 2, math.nan, math.inf, 1e9, 0.5, [], [1, 2], (3, math.nan)]


def laid_out(values, layout):
    """The same values with other strides."""
    if layout == "transposed":
        return values.transpose(-1, 0).contiguous().transpose(-1, 0) if values.ndim > 1 else values
    if layout == "sparse":  # neighbours lie far apart
        wide = torch.zeros(*values.shape, 4097, dtype=values.dtype)[..., 1:2].squeeze(-1)
        return wide.copy_(values)
    if layout == "repeated" and values.numel():
        return values.flatten()[:1].expand(values.shape) if values.ndim else values
    return values


@st.composite
def arrays(draw):
    """A tensor, MetaTensor or array of any shape, strides, type and values; seldom no array."""
    if draw(st.booleans()):  # mostly nothing is wrong
        kind = draw(st.sampled_from([torch.complex64, torch.float32, torch.int64]))
        values = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(draw(st.integers(0, 9))))
        return (values if kind != torch.int64 else (values > 0.5)).to(kind)
    shape = draw(st.lists(st.sampled_from(SEVERAL), max_size=5).filter(lambda s: math.prod(s) < 20_000))
    if draw(st.booleans()):
        shape = [1, draw(st.sampled_from([5, 8, 17])), draw(st.sampled_from([6, 8, 9])), *shape[:1]]
    kind = getattr(torch, draw(st.sampled_from(KINDS)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    values = torch.rand(shape, generator=generator) * draw(st.sampled_from([1, 3, 1e-30, 1e30]))
    if draw(st.integers(0, 3)) == 0 and values.numel():
        values.flatten()[int(values.numel() // 2)] = draw(st.sampled_from([math.nan, math.inf, -math.inf, 3e38, -1]))
    if not (kind.is_floating_point or kind.is_complex):
        values = values.nan_to_num(0, 1, 0).clamp(-1, 3)
    values = laid_out(values.to(kind), draw(st.sampled_from(["plain", "transposed", "sparse", "repeated"])))
    as_kind = draw(st.sampled_from(["tensor", "meta", "array", "reversed", "swapped", "list"]))
    if as_kind == "tensor":
        return values
    if as_kind == "meta":
        return MetaTensor(values)
    array = values.numpy()
    if as_kind == "reversed":
        return array[..., ::-1] if array.ndim else array
    if as_kind == "swapped":
        return array.astype(array.dtype.newbyteorder())
    return array.tolist() if as_kind == "list" else array


def mostly(good, bad=ODD):
    """Mostly a good value, so that most calls come to the calculation."""
    return st.integers(0, 7).flatmap(lambda n: st.sampled_from(bad if n == 0 else good))


POLICIES = [UniformRandom(), PatternGenerationNetwork((8, 8)), PatternGenerationNetwork((17, 9)), "nowhere.pt"]
LABELS = st.lists(arrays() | st.none(), max_size=3) | arrays()
MASKS = arrays() | st.sampled_from(
    [np.eye(8)[None], torch.arange(8).remainder(2).bool()[None, None], np.ones((1, 1, 1))]
)
PARAMETERS = {
    "spatial_dims": mostly([2, 2, 2, 1, 3]),
    "roi_size": mostly([4, 5, -1, (3, 4), (2, -1), (2, 3, 4), np.int64(3)]),
    "domain": mostly(["kspace", "image"]),
    "policy": mostly(POLICIES),
    "ratio": mostly([0.25, 0.5, 1.0, (0.2, 0.4), np.float32(0.3), torch.tensor(0.25)]),
    "noise_std": mostly([None, 0.0, 0.01]),
    "noise": mostly([None, None, ComplexGaussianNoise(0.1), ComplexGaussianNoise(0.1, reference="absolute")]),
    "prob": mostly([0, 0.5, 1.0]),
    "channels": st.booleans(),
    "raters": mostly([1, 2, 6]),
    "bias": mostly([0.0, 0.2]),
    "amplitude": mostly([0.0, 0.25]),
    "wavelength": mostly([1.0, 2.0, 16.0]),
    "num_classes": mostly([2, 3, 5]),
    "multi_label": st.booleans(),
    "overwrite": st.booleans(),
    "allow_missing": st.booleans(),
    "seed": mostly([0, 7]),
    "index": mostly([0, 3, "a", ("a", 3)]),
    "index_keys": st.just("subject"),
    "keys": st.sampled_from(["image", ("image", "second")]),
    "img": arrays(),
    "label": arrays(),
    "labels": LABELS,
    "mask": MASKS | st.none(),
    "data": st.fixed_dictionaries(
        {"image": arrays(), "second": arrays(), "mask": MASKS, "subject": mostly([0, 3, "a"])}
    ),
    "shape": mostly([(8, 6), (1, 1), (17, 9)]),
    "fields": mostly([(), (2,), (2, 3)]),
    "draw": st.builds(lambda: np.random.default_rng(SEED)),
}
#: stay as they are
DEFAULT = {"allow_missing_keys", "randomize", "generator", "name", "kwargs"}
#: what errors name
NAMES = {*PARAMETERS, "image", "k-space", "grid", "rater", "index", "policy", "file", "subject", "peak", "second"}


def drawn(draw, function):
    """Keyword arguments for a callable."""
    found = {}
    for name in inspect.signature(function).parameters:
        if name not in DEFAULT and not name.endswith("_key") and name != "self":
            assert name in PARAMETERS, f"say in PARAMETERS what to draw for {name!r} of {function}"
            found[name] = draw(PARAMETERS[name])
    return found


def expected(name, made, given):
    """A plain calculation in double precision, of the transforms that have one."""
    axes = tuple(range(1, 1 + getattr(made, "spatial_dims", 2)))
    there = {"ImageToKSpace": np.fft.fftn, "KSpaceToImage": np.fft.ifftn}.get(name)
    values = given.get("img")
    values = np.asarray(values.numpy() if isinstance(values, torch.Tensor) else values)
    if there is not None:
        return np.fft.fftshift(
            there(np.fft.ifftshift(values.astype(complex), axes=axes), axes=axes, norm="ortho"), axes=axes
        )
    if name == "Undersample":
        mask = given["mask"]
        return values.astype(complex) * np.asarray(mask.numpy() if isinstance(mask, torch.Tensor) else mask)
    return None


def parts(result, given):
    """The tensors of a result, without those that were handed on."""
    if isinstance(result, dict):
        result = [part for part in result.values() if not any(part is old for old in given["data"].values())]
    for part in result if isinstance(result, (list, tuple)) else [result]:
        if isinstance(part, (torch.Tensor, np.ndarray)):
            yield part


@pytest.mark.slow
@pytest.mark.parametrize("name", DIFFERENT)
def test_any_values_through_every_transform(name):
    function, complaints, done, right = CALLABLES[name], [], 0, 0

    @settings(
        max_examples=EACH, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data())
    def run(data):
        nonlocal done
        done += 1
        options = drawn(data.draw, function)
        given = drawn(data.draw, function.__call__) if inspect.isclass(function) else {}

        def call():
            nonlocal right
            made = function(**options)
            if not inspect.isclass(function):
                return list(parts(made, options))
            if hasattr(made, "set_random_state"):
                made.set_random_state(SEED)
            result = list(parts(made(**given), given))
            plain = expected(name, made, given)
            if plain is not None:
                np.testing.assert_allclose(np.asarray(result[0]), plain, rtol=1e-3, atol=1e-4 * np.abs(plain).max())
            right += 1
            return result

        judge(call, (), complaints, f"{options}"[:300], NAMES)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
    assert done >= EACH
    assert not complaints, f"{len(complaints)} of {done}: " + "\n".join(complaints[:40])
    assert right or not inspect.isclass(function)


def test_the_run_is_large_enough():
    assert EACH * len(DIFFERENT) >= 2000
