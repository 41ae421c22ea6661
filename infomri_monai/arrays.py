"""Arrays and numbers at the door: what a user hands in becomes a tensor to compute with, or an error names the argument."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_label", "as_mask", "as_number", "as_numbers", "as_tensor", "as_values", "as_whole", "takes"]

#: types that torch can hardly compute with -> the next that holds their values
_WIDER = {
    torch.uint16: torch.int32,
    torch.uint32: torch.int64,
    torch.uint64: torch.int64,
    torch.complex32: torch.complex64,
}
_WIDER |= {kind: torch.float32 for name, kind in vars(torch).items() if name.startswith("float8")}
_COMPUTABLE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def as_tensor(data: Any, name: str) -> Tensor:
    """A tensor as it is, or one of a numpy array or number of any byte order, strides or flags.

    Args:
        data: tensor, MetaTensor, numpy array or number.
        name: the argument's name, for the error.

    Returns:
        A dense tensor of a type that torch computes with: unsigned integers of 16 bits and more become wider signed ones, halves of
        complex numbers and long doubles the next that is common. It shares memory with an array where it can.

    Raises:
        ValueError: if ``data`` is no array of numbers, has masked values, or is too large for its type.

    Example:
        >>> as_tensor(np.array([1, 2], ">u2")[::-1], "image")
        tensor([2, 1], dtype=torch.int32)
    """
    if isinstance(data, Tensor):
        if data.layout != torch.strided or data.is_quantized:
            what = "a quantized one; dequantize()" if data.is_quantized else f"layout {data.layout}; to_dense()"
            raise ValueError(f"{name} must be a dense tensor of plain numbers, got {what} makes it one.")
        if data.is_conj() or data.is_neg():  # numpy() and view_as_real know neither
            data = data.resolve_conj().resolve_neg()
    else:
        array = np.asarray(data) if isinstance(data, (bool, int, float, complex, np.generic, np.ndarray)) else None
        if array is None or array.dtype.kind not in "biufc":
            what = type(data).__name__ if array is None else f"an array of {array.dtype}"
            raise ValueError(f"{name} must be a numpy array or a tensor, got {what}.")
        if np.ma.is_masked(data):
            raise ValueError(f"{name} has masked values; fill them (numpy.ma.filled) first.")
        # by kind and size, for "long long" is no type that torch knows, whatever its size; long doubles end at doubles
        native = np.dtype(f"{array.dtype.kind}{min(array.dtype.itemsize, 16 if array.dtype.kind == 'c' else 8)}")
        dense = np.require(array, native, ["C", "W"]).view(native)
        # an axis of one position may keep a negative stride, which torch refuses
        data = torch.from_numpy(dense if min(dense.strides, default=0) >= 0 else dense.copy())
    if data.dtype not in _WIDER:
        return data
    if data.dtype == torch.uint64 and bool((data.view(torch.int64) < 0).any()):
        raise ValueError(f"{name} holds values above 2^63 - 1.")
    return data.to(_WIDER[data.dtype])


def as_numbers(data: Any, name: str, kind: str = "number") -> Tensor:
    """:func:`as_tensor` in single or double precision: integers, booleans and half precision become single.

    Args:
        data: tensor, MetaTensor, numpy array or number.
        name: the argument's name, for the error.
        kind: ``"number"``, or ``"real"`` or ``"complex"`` where it must be.

    Raises:
        ValueError: as :func:`as_tensor`, or if the data is not of this kind.

    Example:
        >>> as_numbers(np.ones((2, 8, 8)), "kspace", "complex")
        Traceback (most recent call last):
        ValueError: kspace must be complex, got torch.float64 of shape (2, 8, 8); two real channels: real and imaginary?
        torch.complex makes one complex channel of them.
    """
    tensor = as_tensor(data, name)
    if kind == "real" and tensor.is_complex():
        raise ValueError(f"{name} must be real, got {tensor.dtype} of shape {tuple(tensor.shape)}.")
    if kind == "complex" and not tensor.is_complex():
        raise ValueError(
            f"{name} must be complex, got {tensor.dtype} of shape {tuple(tensor.shape)}; two real channels: real and imaginary? "
            "torch.complex makes one complex channel of them."
        )
    if tensor.dtype not in _COMPUTABLE:
        tensor = tensor.to(torch.complex64 if tensor.is_complex() else torch.float32)
    return tensor


def as_values(values: Any, name: str) -> Tensor:
    """:func:`as_numbers` of real numbers, which may also come as a list.

    Example:
        >>> as_values([1, np.float32(0.5), torch.tensor(2)], "ratio")
        tensor([1.0000, 0.5000, 2.0000], dtype=torch.float64)
    """
    if isinstance(values, Sequence) and not isinstance(values, str):
        numbers = [as_number(value, name) for value in values]
        return torch.tensor(numbers, dtype=torch.float64)
    return as_numbers(values, name, "real")


def as_label(data: Any, name: str) -> Tensor:
    """:func:`as_tensor` of real numbers, which keep their type: labels and raters' masks, whose values their reader checks.

    Raises:
        ValueError: as :func:`as_tensor`, or if the data is complex.

    Example:
        >>> as_label(np.array([0, 1], ">i2"), "label")
        tensor([0, 1], dtype=torch.int16)
    """
    tensor = as_tensor(data, name)
    if tensor.is_complex():
        raise ValueError(f"{name} must be real, got {tensor.dtype} of shape {tuple(tensor.shape)}.")
    return tensor


def as_mask(mask: Any, name: str = "mask") -> Tensor:
    """A mask in single or double precision, after the check that it holds 0 and 1 only.

    A mask that requires a gradient is a policy's own and is passed on as it is, so that training pays nothing.

    Args:
        mask: booleans, integers or floats, any shape.
        name: the argument's name, for the error.

    Raises:
        ValueError: as :func:`as_tensor`, if the mask is complex, or holds another value; the message says which.

    Example:
        >>> as_mask(torch.tensor([0, 255]))
        Traceback (most recent call last):
        ValueError: mask must hold 0 and 1 only, got 0, 255; divide by 255, and see that its axes are those of k-space: an image of
        a mask may have been read with its axes exchanged.
    """
    values = as_numbers(mask, name, "real")
    if values.requires_grad or getattr(mask, "dtype", None) in (torch.bool, np.dtype(bool)):
        return values
    plain = values.as_subclass(Tensor)
    if bool(((plain == 0) | (plain == 1)).all()):
        return values
    # of NaN, unique gives every one
    found = torch.cat([plain[~plain.isnan()].unique(), plain[plain.isnan()][:1]])
    advice = (
        "; divide by 255, and see that its axes are those of k-space: an image of a mask may have been read with its axes exchanged"
        if found.tolist() in ([0, 255], [255])
        else "; threshold it first"
    )
    shown = ", ".join(f"{value:g}" for value in found[:4].tolist()) + ", ..." * (len(found) > 4)
    raise ValueError(f"{name} must hold 0 and 1 only, got {shown}{advice}.")


def as_number(value: Any, name: str) -> float:
    """A real number of Python, numpy or a tensor with one value.

    Raises:
        ValueError: if it is none; a bool and a text are none.

    Example:
        >>> as_number(np.float32(0.25), "ratio"), as_number(torch.tensor(2), "ratio")
        (0.25, 2.0)
    """
    single = isinstance(value, (Tensor, np.ndarray, np.generic)) and math.prod(value.shape) == 1
    number = value.item() if single else value
    if isinstance(number, np.longdouble):
        number = float(number)
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ValueError(f"{name} must be a number, got {value!r}.")
    return float(number)


def as_whole(value: Any, name: str, lowest: int | None = None) -> int:
    """A whole number of Python, numpy or a tensor with one value, of at least ``lowest`` where that is given.

    Raises:
        ValueError: if it is none; a bool, a float and a text are none.

    Example:
        >>> as_whole(np.int64(2), "spatial_dims")
        2
    """
    wanted = "a whole number" if lowest is None else f"a whole number >= {lowest}"
    try:
        if getattr(value, "dtype", type(value)) in (bool, torch.bool):
            raise TypeError
        index: Any = value.item() if isinstance(value, (np.ndarray, Tensor)) else value
        number = operator.index(index)
    except (TypeError, RuntimeError, ValueError):
        raise ValueError(f"{name} must be {wanted}, got {value!r}.") from None
    if lowest is not None and number < lowest:
        raise ValueError(f"{name} must be {wanted}, got {value!r}.")
    return number


P = ParamSpec("P")
R = TypeVar("R")


def _converters() -> dict[str, Callable[[Any, str], Any]]:
    numbers = {
        kind: lambda data, name, kind=kind: as_numbers(data, name, kind) for kind in ("number", "real", "complex")
    }
    return {**numbers, "tensor": as_tensor, "label": as_label, "mask": as_mask, "scalar": as_number, "whole": as_whole}


_CONVERTERS = _converters()


def takes(**kinds: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that the arguments named come in as tensors or numbers, whatever the caller has.

    Args:
        kinds: by the arguments' names: ``"tensor"`` (:func:`as_tensor`), ``"number"``, ``"real"``, ``"complex"``
            (:func:`as_numbers`), ``"label"`` (:func:`as_label`), ``"mask"`` (:func:`as_mask`), ``"scalar"`` (:func:`as_number`),
            ``"whole"`` (:func:`as_whole`). None is passed on; of ``*arguments`` each is converted.

    Example:
        >>> @takes(image="real")
        ... def peak(image):
        ...     return image.max()
        >>> peak(np.array([[1, 3]], ">i2"))
        tensor(3.)
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters
        order = list(parameters)
        doors = [(order.index(name), name, _CONVERTERS[kind]) for name, kind in kinds.items()]
        several = {name for name in kinds if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL}

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given: list[Any] = list(args)
            for place, name, convert in doors:
                if name in several:
                    given[place:] = [convert(one, name) for one in given[place:]]
                elif place < len(given):
                    given[place] = None if given[place] is None else convert(given[place], name)
                elif kwargs.get(name) is not None:
                    kwargs[name] = convert(kwargs[name], name)
            return function(*given, **kwargs)

        return call

    return decorate
