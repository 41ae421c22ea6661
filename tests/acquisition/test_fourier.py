"""The Fourier transform against its explicit matrix and MONAI's, on odd, even and non-square grids.

The k-space crop: DC stays at n // 2, intensities scale as documented, TorchScript compiles it.
"""

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
    assert_linear,
    explicit_transform,
    random_tensor,
    refuses,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.fft_utils import fftn_centered, ifftn_centered

from infomri_monai.acquisition import crop_kspace, image_to_kspace, kspace_to_image

GRIDS = GRIDS_1D + GRIDS_2D + GRIDS_3D


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


def test_a_transform_does_not_import_the_onnx_exporter():
    """It takes a quarter of a second, at the first slice of every process."""
    code = (
        "import sys, torch; from infomri_monai.acquisition.fourier import image_to_kspace; "
        "image_to_kspace(torch.ones(1, 4, 4)); sys.exit('torch.onnx' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3))
@settings(deadline=None, max_examples=60)
def test_dc_lands_on_the_middle_for_odd_and_even_lengths(pairs):
    full = [max(pair) for pair in pairs]
    small = [min(pair) for pair in pairs]
    kspace = torch.zeros(2, *full)
    kspace[(slice(None), *(n // 2 for n in full))] = 1
    crop = crop_kspace(kspace, small, spatial_dims=len(pairs))
    assert crop.shape == (2, *small)
    assert torch.equal(crop[(slice(None), *(n // 2 for n in small))], torch.ones(2))


@pytest.mark.parametrize(("full", "small"), [((8, 8), (4, 4)), ((9, 8), (5, 3)), ((7, 10), (4, 6))])
def test_a_band_limited_image_is_resampled_at_the_coarser_positions(full, small):
    """An image of low frequencies only is the same continuous function on both grids."""

    def wave(shape):
        y, x = torch.meshgrid(*((torch.arange(n) - n // 2) / n for n in shape), indexing="ij")
        return 1 + 0.5 * torch.cos(2 * torch.pi * (x + y) + 0.3) + 0.2 * torch.sin(2 * torch.pi * x)

    crop = kspace_to_image(crop_kspace(image_to_kspace(wave(full)), list(small)))
    scale = (small[0] * small[1] / (full[0] * full[1])) ** 0.5
    assert torch.allclose(crop.real * scale, wave(small), atol=1e-5)
    assert crop.imag.abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_full_size_is_the_identity_and_torchscript_agrees():
    kspace = torch.randn(2, 1, 5, 6, dtype=torch.complex64)
    assert torch.equal(crop_kspace(kspace, [5, 6]), kspace)
    assert torch.equal(torch.jit.script(crop_kspace)(kspace, [3, 4]), crop_kspace(kspace, [3, 4]))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_is_the_explicit_matrix_and_monais_transform(grid, dtype):
    image, dims = random_tensor((2, 3, *grid), dtype), len(grid)
    torch.testing.assert_close(image_to_kspace(image, dims), explicit_transform(image, dims))
    parts = torch.view_as_real(image.to(torch.complex64))
    for ours, monais in ((image_to_kspace, fftn_centered), (kspace_to_image, ifftn_centered)):
        expected = torch.view_as_complex(monais(parts, dims, is_complex=True).contiguous())
        torch.testing.assert_close(ours(image.to(torch.complex64), dims), expected)


def test_bad_dimensions_and_sizes_are_named():
    for dims in (0, 4):
        refuses(ValueError, "spatial_dims must be 1, 2 or 3", image_to_kspace, torch.ones(1, 1, 4, 4, 4, 4), dims)
    refuses(ValueError, "fewer than spatial_dims=2", kspace_to_image, torch.ones(4, dtype=torch.complex64), 2)
    for size in ([6, 4], [0, 4], [4], [4, 4, 4]):
        refuses(ValueError, "size", crop_kspace, torch.zeros(1, 5, 5), size)
