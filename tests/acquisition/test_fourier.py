"""The Fourier transform against its explicit matrix and MONAI's, on odd, even and non-square grids."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from helper import (
    GRIDS_1D,
    GRIDS_2D,
    GRIDS_3D,
    assert_adjoint,
    assert_batch_equals_elements,
    assert_gradient,
    assert_linear,
    explicit_transform,
    random_tensor,
)
from monai.data.fft_utils import fftn_centered, ifftn_centered

from infomri_monai.acquisition import image_to_kspace, kspace_to_image

GRIDS = GRIDS_1D + GRIDS_2D + GRIDS_3D


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_is_the_explicit_matrix(grid, dtype):
    image = random_tensor((2, 3, *grid), dtype)
    torch.testing.assert_close(image_to_kspace(image, len(grid)), explicit_transform(image, len(grid)))


@pytest.mark.parametrize("grid", GRIDS)
def test_is_monais_transform(grid):
    data = random_tensor((2, 1, *grid), torch.complex64)
    dims = len(grid)
    for ours, monais in ((image_to_kspace, fftn_centered), (kspace_to_image, ifftn_centered)):
        parts = monais(torch.view_as_real(data), dims, is_complex=True)
        torch.testing.assert_close(ours(data, dims), torch.view_as_complex(parts.contiguous()))


@pytest.mark.parametrize("grid", GRIDS)
def test_is_unitary_and_linear(grid):
    dims, shape = len(grid), (2, 1, *grid)
    assert_adjoint(lambda x: image_to_kspace(x, dims), lambda y: kspace_to_image(y, dims), shape, shape)
    assert_linear(lambda x: image_to_kspace(x, dims), shape)
    x = random_tensor(shape)
    torch.testing.assert_close(kspace_to_image(image_to_kspace(x, dims), dims), x)
    torch.testing.assert_close(torch.linalg.vector_norm(image_to_kspace(x, dims)), torch.linalg.vector_norm(x))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_what_onnx_gets_is_the_same_transform(grid, dtype, monkeypatch):
    data, dims = random_tensor((2, 1, *grid), dtype), len(grid)
    expected = image_to_kspace(data, dims), kspace_to_image(data, dims)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    monkeypatch.setattr(torch.fft, "fftn", None)  # so that only the matrices can give the answer
    monkeypatch.setattr(torch.fft, "ifftn", None)
    torch.testing.assert_close((image_to_kspace(data, dims), kspace_to_image(data, dims)), expected)


@pytest.mark.parametrize("grid", GRIDS)
def test_dc_is_in_the_middle(grid):
    kspace = image_to_kspace(torch.ones(grid, dtype=torch.float64), len(grid))
    centre = tuple(n // 2 for n in grid)
    expected = torch.zeros(grid, dtype=torch.complex128)
    expected[centre] = float(torch.tensor(grid).prod()) ** 0.5
    torch.testing.assert_close(kspace, expected)


def test_gradient_and_batch():
    image = random_tensor((2, 1, 3, 4))
    assert_gradient(lambda x: image_to_kspace(x, 2), image)
    assert_gradient(lambda x: kspace_to_image(x, 2), image)
    assert_batch_equals_elements(lambda x: image_to_kspace(x, 2), image)


@pytest.mark.parametrize("dims", [0, 4])
def test_refuses_spatial_dims(dims):
    with pytest.raises(ValueError, match="spatial_dims must be 1, 2 or 3"):
        image_to_kspace(torch.ones(1, 1, 4, 4, 4, 4), dims)


def test_refuses_too_few_axes():
    with pytest.raises(ValueError, match="fewer than spatial_dims=2"):
        kspace_to_image(torch.ones(4, dtype=torch.complex64), 2)


def test_a_transform_does_not_import_the_onnx_exporter():
    """It takes a quarter of a second, at the first slice of every process."""
    code = (
        "import sys, torch; from infomri_monai.acquisition.fourier import image_to_kspace; "
        "image_to_kspace(torch.ones(1, 4, 4)); sys.exit('torch.onnx' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
