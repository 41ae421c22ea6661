"""PSNR and SSIM against scikit-image and MONAI, per slice and per volume."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from helper import assert_batch_equals_elements, random_tensor, refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.metrics import PSNRMetric, SSIMMetric
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from infomri_monai import metrics as m
from infomri_monai.figures import reconstruction_figure
from infomri_monai.metrics import psnr, ssim
from infomri_monai.metrics.image_quality import is_signed
from infomri_monai.systems import ReconstructionResult
from infomri_monai.transforms import CropKSpace

SHAPES = [(3, 1, 16, 16), (2, 1, 17, 23), (2, 4, 15, 12), (2, 1, 3, 14, 13)]


def pair(shape, dtype=torch.complex64):
    """A target whose elements have very different ranges, and a noisy prediction."""
    scale = 10.0 ** torch.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    target = random_tensor(shape, dtype, 1) * scale
    return target + 0.2 * scale * random_tensor(shape, dtype, 2), target


def skimage_ssim(x, y, data_range):
    return structural_similarity(
        x, y, data_range=data_range, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


@pytest.mark.filterwarnings("ignore:a real target holds negative")  # normal deviates, compared by magnitude
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_are_scikit_images_of_every_element(shape, dtype):
    prediction, target = pair(shape, dtype)
    for i in range(shape[0]):
        x, y = (np.abs(t[i].numpy()).astype(np.float64) for t in (prediction, target))
        expected = peak_signal_noise_ratio(y, x, data_range=y.max())
        assert psnr(prediction, target)[i].item() == pytest.approx(expected, abs=1e-4)
        slices = zip(x.reshape(-1, *shape[-2:]), y.reshape(-1, *shape[-2:]), strict=True)
        expected = np.mean([skimage_ssim(a, b, y.max()) for a, b in slices])
        assert ssim(prediction, target)[i].item() == pytest.approx(expected, abs=1e-5)


def test_are_monais_where_all_have_one_range():
    prediction, target = (torch.rand(3, 1, 16, 20) for _ in range(2))
    torch.testing.assert_close(psnr(prediction, target, 1.0), PSNRMetric(1.0, "none")(prediction, target)[:, 0])
    torch.testing.assert_close(
        ssim(prediction, target, 1.0), SSIMMetric(2, 1.0, reduction="none")(prediction, target)[:, 0]
    )


def test_perfect_and_all_zero_elements():
    target = torch.rand(2, 1, 16, 16)
    target[1] = 0
    assert psnr(target, target)[0] == float("inf")
    assert ssim(target, target)[0].item() == pytest.approx(1)
    assert psnr(target + 1, target)[1].isnan()
    assert ssim(target + 1, target)[1].isnan()


@settings(deadline=None, max_examples=20)
@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_units_and_phase_do_not_matter(factor, seed):
    target = random_tensor((1, 1, 12, 13), torch.complex64, seed)
    prediction = target + 0.3 * random_tensor((1, 1, 12, 13), torch.complex64, seed + 1)
    for metric in (psnr, ssim):
        expected = metric(prediction, target)
        torch.testing.assert_close(metric(factor * prediction, factor * target), expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(metric(1j * prediction, -1 * target), expected, rtol=1e-4, atol=1e-4)


def test_batch_is_its_elements_and_metadata_is_dropped():
    prediction, target = pair((3, 1, 16, 17))
    for metric in (psnr, ssim):
        assert_batch_equals_elements(metric, prediction, target)
        assert type(metric(MetaTensor(prediction.abs()), MetaTensor(target.abs()))) is torch.Tensor


def test_refuses():
    image = torch.rand(2, 1, 16, 16)
    refuses(ValueError, "must have one shape", psnr, image, image[:1])
    refuses(ValueError, r"shape \(batch, ..., H, W\)", psnr, image[0, 0], image[0, 0])
    refuses(ValueError, "at least 11 x 11", ssim, image[..., :10], image[..., :10])
    for bad in (0.0, -1.0, float("nan"), torch.ones(3)):
        refuses(ValueError, "data_range must be positive", psnr, image, image, bad)


def signed(seed=0):
    """A head-like image after NormalizeIntensity: zero mean, dark where it is most negative."""
    y, x = np.mgrid[-1:1:24j, -1:1:20j]
    image = torch.from_numpy(np.exp(-3 * (x**2 + y**2))).float().expand(2, 1, 24, 20)
    return (image - image.mean()) / image.std()


def posterior(image):
    zeros, n = torch.zeros(image.shape), torch.tensor([0.5])
    return ReconstructionResult(image, zeros, image, zeros, zeros, zeros, n, zeros)


SIGNED = {
    "psnr": psnr,
    "ssim": ssim,
    "VolumePSNR": m.VolumePSNR(),
    "VolumeSSIM": m.VolumeSSIM(),
    "inside_object": lambda _, y: m.inside_object(y),
    "magnitude_coverage": lambda x, y: m.magnitude_coverage(y, x, torch.zeros(x.shape)),
    "IntervalScale": lambda x, y: m.IntervalScale()(m.stack_posterior(x, torch.zeros(x.shape)), y),
    "RateDistortion": lambda x, y: m.RateDistortion().update(posterior(x), y, 0.5),
    "RateDistortion of a complex mean": lambda x, y: m.RateDistortion().update(posterior(x + 0j), y, 0.5),
    "reconstruction_figure": lambda x, y: reconstruction_figure(posterior(x), y),
}


@pytest.mark.parametrize("call", SIGNED.values(), ids=SIGNED)
def test_a_target_that_is_no_magnitude_is_said(call):
    """Another image, with the dark parts bright, has the same magnitude: it would pass for perfect."""
    target = signed()
    with pytest.warns(UserWarning, match="a real target holds negative values, and magnitudes are compared"):
        call(target.abs(), target)
    shifted = target - target.min()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(shifted, shifted)
        call(shifted * 1j, shifted.to(torch.complex64))


def test_ringing_below_zero_is_no_sign_and_every_element_counts():
    square = torch.zeros(1, 1, 64, 64)
    square[..., 16:48, 20:44] = 1
    low = CropKSpace(24, domain="image")(square[0]).as_tensor()[None]
    assert low.min() < -0.05
    assert not is_signed(low)
    assert is_signed(torch.cat([low, low - low.mean()]))
    assert not is_signed(torch.zeros(2, 1, 4, 4))


def test_slices_at_the_end_are_said():
    volume = torch.rand(1, 1, 64, 60, 12)
    with pytest.warns(UserWarning, match=r"are slices last\? movedim\(-1, 1\)"):
        ssim(volume, volume)
    ssim(volume.movedim(-1, 1), volume.movedim(-1, 1))
    psnr(volume, volume)  # one MSE of all pixels, in whatever order


def test_data_ranges_that_are_none():
    target = torch.rand(2, 1, 16, 16)
    for bad in (0.0, -1.0, float("nan"), float("inf"), [1.0, 0.0]):
        for metric in (psnr, ssim):
            refuses(ValueError, "data_range must be positive and finite", metric, target, target, torch.tensor(bad))
