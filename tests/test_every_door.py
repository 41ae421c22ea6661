"""Every public function and transform, every dtype, byte order, stride and scalar kind: right, or an error that names it."""

from __future__ import annotations

import importlib
import re
import traceback
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from doors import EXCEPTIONS, ROOMS, Door, listing
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import Tensor

DOORS = listing()
NUMPY = [*"?bBhHiIqQefdg", *"FDG"]
TORCH = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.float16,
]
TORCH += [torch.bfloat16, torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128]
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "reversed": lambda a: a[(slice(None, None, -1),) * a.ndim].copy()[(slice(None, None, -1),) * a.ndim],
    "every second": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "masked array": np.ma.asarray,
}
OF_TENSORS = {
    "plain": lambda t: t,
    "transposed": lambda t: t.movedim(-1, 0).contiguous().movedim(0, -1),
    "every second": lambda t: torch.stack([t, t], -1)[..., 0],
    "lazy conjugate": lambda t: t.conj().resolve_conj().conj() if t.is_complex() and t.dtype != torch.complex32 else t,
    "gradient": lambda t: t.requires_grad_() if t.is_floating_point() or t.is_complex() else t,
    "metadata": MetaTensor,
}
NUMBERS = [np.float16, np.float32, np.float64, np.longdouble, np.array, torch.tensor, ">f4"]
WHOLES = [
    np.int8,
    np.uint8,
    np.int16,
    np.uint16,
    np.int32,
    np.uint32,
    np.int64,
    np.uint64,
    np.array,
    torch.tensor,
    ">i2",
]


def wide(array: np.ndarray, label: bool) -> Tensor:
    """What an array stands for: native, dense, in the precision that docs/conventions.md names."""
    if array.dtype.kind == "c":
        return torch.from_numpy(np.array(array, np.complex64 if array.dtype.itemsize == 8 else np.complex128))
    if label:
        return torch.from_numpy(np.array(array, np.int64))
    double = array.dtype.kind == "f" and array.dtype.itemsize >= 8
    return torch.from_numpy(np.array(array, np.float64 if double else np.float32))


def arrays(value: np.ndarray) -> list[tuple[str, Callable[[], tuple[Any, Tensor | None]]]]:
    """Makers of arrays of any kind with the tensor that each stands for, None where it stands for nothing; and their names."""

    def numpy(code: str, layout: str) -> tuple[Any, Tensor | None]:
        array = value.astype(code)
        return LAYOUTS[layout](array), wide(array, label)

    def tensor(dtype: torch.dtype, layout: str) -> tuple[Any, Tensor | None]:
        given = torch.from_numpy(value).clone().to(dtype)
        single = {torch.complex32: torch.complex64, torch.bfloat16: torch.float32}.get(dtype, dtype)
        return OF_TENSORS[layout](given), wide(given.detach().to(single).numpy(), label)

    label = value.dtype.kind == "i"
    bad: dict[str, Callable[[], Any]] = {
        "objects": lambda: value.astype(object),
        "texts": lambda: value.astype(str),
        "sparse": lambda: torch.from_numpy(value).to_sparse(),
        "masked values": lambda: np.ma.array(value, mask=True),
        "dates": lambda: np.zeros(value.shape, "M8[s]"),
        "text": lambda: "text",
        "mapping": lambda: {"a": value},
    }
    made = [(f"numpy {c} {k}", partial(numpy, c, k)) for c in NUMPY for k in LAYOUTS]
    made += [(f"{t} {k}", partial(tensor, t, k)) for t in TORCH for k in OF_TENSORS]
    return made + [(name, lambda make=make: (make(), None)) for name, make in bad.items()]


def scalars(value: float) -> list[tuple[str, Callable[[], tuple[Any, float | None]]]]:
    """As :func:`arrays`, of numbers and the Python number that each stands for."""
    whole = isinstance(value, int)
    good = [np.array(value, kind) if isinstance(kind, str) else kind(value) for kind in (WHOLES if whole else NUMBERS)]
    if not whole:
        good += [torch.tensor(value, dtype=dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)]
    bad = [
        str(value),
        complex(value, 1),
        np.complex64(value + 1j),
        *([value + 0.5, np.float32(value + 0.5)] if whole else []),
    ]
    pairs = [*((one, value) for one in good), *((one, None) for one in bad)]
    return [(f"{type(one).__name__} {one!r}", lambda pair=(one, standard): pair) for one, standard in pairs]


def flat(result: Any) -> list[Any]:
    """Tensors and numbers of a result, in their order."""
    if isinstance(result, Mapping):
        return [leaf for value in result.values() for leaf in flat(value)]
    if isinstance(result, (list, tuple)):
        return [leaf for value in result for leaf in flat(value)]
    return [torch.as_tensor(result).detach() if isinstance(result, (Tensor, np.ndarray, float, int)) else result]


def outcome(door: Door, arguments: Mapping[str, Any]) -> Any:
    """The result, or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return door.call(arguments["sets"], arguments["sets"]) if "sets" in arguments else door.call(**arguments)
        except Exception as error:
            return error


def names(error: Exception, name: str, also: str) -> bool:
    """Whether an error is ours and names the argument."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    said = re.search(f"{name.replace('kspace', 'k-?space')}|{also}", str(error))
    return (
        isinstance(error, (ValueError, TypeError))
        and bool(re.search("infomri_monai/|/transforms/", last))
        and bool(said)
    )


def check(door: Door, name: str, variant: Any, standard: Any) -> None:
    """Right, or an error that names the argument."""
    got = outcome(door, {**door.arguments, name: variant})
    if isinstance(got, Exception):
        assert names(got, name, door.also), f"{name}={variant!r}: {got!r}"
        return
    assert standard is not None, f"{name}={variant!r} was taken"
    if door.draws:
        return
    wanted = outcome(door, {**door.arguments, name: standard})
    assert not isinstance(wanted, Exception), f"{name}={variant!r} was taken, {standard!r} was refused: {wanted}"
    for one, other in zip(flat(got), flat(wanted), strict=True):
        if isinstance(one, Tensor):
            close = {"rtol": 1e-3, "atol": 1e-4, "equal_nan": True, "check_dtype": False, "check_stride": False}
            torch.testing.assert_close(one.as_subclass(Tensor), other.as_subclass(Tensor), **close)
        else:
            assert one == other or type(one) is type(other)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("door", DOORS)
def test_right_or_an_error_that_names_the_argument(door):
    made = DOORS[door]

    @settings(
        max_examples=6 if made.draws else 20 * len(made.arguments), deadline=None, derandomize=True, database=None
    )
    @given(st.data())
    def run(data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(made.arguments)))
        value = made.arguments[name]
        kinds = arrays(value) if isinstance(value, np.ndarray) else scalars(value)
        _, make = data.draw(st.sampled_from(kinds))
        check(made, name, *make())

    run()


@pytest.mark.parametrize("door", DOORS)
def test_native_single_and_double_precision_and_every_layout_are_taken(door):
    made = DOORS[door]
    for name, value in made.arguments.items():
        if isinstance(value, np.ndarray) and not made.draws:
            for layout in LAYOUTS.values():
                got = outcome(made, {**made.arguments, name: layout(value)})
                assert not isinstance(got, Exception), (name, layout, got)


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_listed_or_an_exception_with_its_reason(room):
    module = importlib.import_module(f"infomri_monai.{room}")
    exempt = {name for names in EXCEPTIONS.values() for name in names.split()}
    known = {
        getattr(importlib.import_module(f"infomri_monai.{r}"), n, None)
        for r, n in (x.split(".") for x in {*DOORS, *exempt})
    }
    for name in module.__all__:
        public = getattr(module, name)
        record = isinstance(public, type) and issubclass(public, tuple)
        assert not callable(public) or record or public in known, f"list {room}.{name} in tests/doors.py"
