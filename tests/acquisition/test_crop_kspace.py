"""The k-space crop: DC stays at n // 2, intensities scale as documented, TorchScript compiles it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_monai.acquisition import crop_kspace, image_to_kspace, kspace_to_image


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


@pytest.mark.parametrize("size", [[6, 4], [0, 4], [4], [4, 4, 4]])
def test_a_size_that_does_not_fit_is_named(size):
    with pytest.raises(ValueError, match="size"):
        crop_kspace(torch.zeros(1, 5, 5), size)
