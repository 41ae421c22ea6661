"""Property checks written once and joined by every operator, network and metric (adjoint, linear, gradient, batch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]

#: odd, even and non-square grids of 1, 2 and 3 axes
GRIDS_1D = [(7,), (8,)]
GRIDS_2D = [(5, 5), (6, 6), (5, 6), (6, 9)]
GRIDS_3D = [(3, 4, 5), (4, 4, 2)]


def random_tensor(shape: Sequence[int], dtype: torch.dtype = torch.complex128, seed: int = 0) -> Tensor:
    """Standard normal deviates of a real or complex type."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(seed: int = 0) -> torch.Generator:
    """A generator with this seed."""
    return torch.Generator().manual_seed(seed)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> = sum conj(a) b."""
    return (a.conj() * b).sum()


def assert_adjoint(
    forward: Operator,
    adjoint: Operator,
    domain: Sequence[int],
    codomain: Sequence[int],
    dtype: torch.dtype = torch.complex128,
) -> None:
    """Dot-product test: <A x, y> = <x, A^H y> for random x and y."""
    x, y = random_tensor(domain, dtype, 1), random_tensor(codomain, dtype, 2)
    ax, ahy = forward(x), adjoint(y)
    assert ax.shape == y.shape
    assert ahy.shape == x.shape
    torch.testing.assert_close(inner(ax, y), inner(x, ahy), rtol=1e-9, atol=1e-9)


def assert_linear(operator: Operator, domain: Sequence[int], dtype: torch.dtype = torch.complex128) -> None:
    """A(a x + b y) = a A x + b A y, and A 0 = 0."""
    x, y = random_tensor(domain, dtype, 3), random_tensor(domain, dtype, 4)
    a, b = (2.5, -1.25) if not dtype.is_complex else (2.5 - 1j, 0.5 + 2j)
    torch.testing.assert_close(operator(a * x + b * y), a * operator(x) + b * operator(y), rtol=1e-9, atol=1e-9)
    assert operator(torch.zeros_like(x)).abs().max() == 0


def assert_gradient(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Analytic against numerical gradient, in double precision."""
    doubles = [x.detach().to(torch.complex128 if x.is_complex() else torch.float64).requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(function, doubles)


def assert_batch_equals_elements(
    function: Callable[..., Tensor], *batched: Tensor, rtol: float = 1e-5, atol: float = 1e-6
) -> None:
    """The result of a batch is the results of its elements."""
    elements = [function(*(x[i : i + 1] for x in batched)) for i in range(batched[0].shape[0])]
    torch.testing.assert_close(function(*batched), torch.cat(elements), rtol=rtol, atol=atol, equal_nan=True)


def dft_matrix(n: int) -> Tensor:
    """Centred orthonormal DFT as an explicit matrix: position x - n//2, frequency k - n//2."""
    index = torch.arange(n, dtype=torch.float64) - n // 2
    angle = -2 * torch.pi * torch.outer(index, index) / n
    return torch.polar(torch.full_like(angle, n**-0.5), angle)


def explicit_transform(image: Tensor, spatial_dims: int) -> Tensor:
    """Transform the trailing axes by their explicit matrices, one axis after the other."""
    result = image.to(torch.complex128)
    for axis in range(-spatial_dims, 0):
        matrix = dft_matrix(image.shape[axis])
        result = torch.tensordot(result.movedim(axis, -1), matrix, dims=([-1], [1])).movedim(-1, axis)
    return result


def refuses(
    error: type[BaseException] | tuple[type[BaseException], ...],
    match: str,
    call: Callable[..., object],
    /,
    *args: object,
    **options: object,
) -> None:
    """``call`` raises ``error``, and its message matches: one line for what ``with pytest.raises`` says in two."""
    with pytest.raises(error, match=match):
        call(*args, **options)


def refusals(*rows: tuple[Callable[[], object], str] | tuple[Callable[[], object], str, type[Exception]]) -> Any:
    """A test with a row for every bad input: a call, what its message matches, and the error if it is no ``ValueError``."""

    @pytest.mark.parametrize("row", rows, ids=[row[1] for row in rows])
    def test(row: tuple[Any, ...]) -> None:
        call, match, *error = row
        refuses(error[0] if error else ValueError, match, call)

    return test


def refuses_each(call: Callable[..., object], good: Mapping[str, object], /, **bad: Sequence[object]) -> None:
    """Each of the values of each argument of ``bad``, beside the good arguments, raises a ValueError that names the argument."""
    for name, values in bad.items():
        for value in values:
            refuses(ValueError, name, call, **{**good, name: value})
