"""Volumes of samples: against NumPy's percentiles and loops over raters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from raters import present, sample_and_rater_masks

from infomri_monai.metrics import mask_pixels, volume_coverage, volume_interval, volume_quantiles


@settings(deadline=None, max_examples=40)
@given(sample_and_rater_masks(), st.sampled_from([0.5, 0.9]))
def test_is_numpys_percentiles(masks, level):
    samples, raters = masks
    interval, coverage = volume_interval(samples, 0.25, level), volume_coverage(samples, raters, level)
    for b in range(samples.shape[0]):
        volumes = samples[b].flatten(2).sum(-1).numpy() / 4
        expected = np.percentile(volumes, [50, 50 - 50 * level, 50 + 50 * level], axis=0)
        np.testing.assert_allclose(torch.stack([part[b] for part in interval]).numpy(), expected)
        for s in range(samples.shape[2]):
            inside = [expected[1, s] <= r[s].sum().item() / 4 <= expected[2, s] for r in present(raters[b])]
            share = sum(inside) / len(inside) if inside else math.nan
            assert coverage[b, s].item() == pytest.approx(share, abs=1e-6, nan_ok=True)


def test_one_volume_of_a_pixel_per_image():
    samples = torch.ones(2, 3, 1, 4, 5)
    assert volume_interval(samples, torch.tensor([1.0, 0.5])).median.tolist() == [[20], [10]]


@settings(deadline=None, max_examples=40)
@given(sample_and_rater_masks(), st.sampled_from([0.5, 0.9]))
def test_counted_volumes_have_the_same_quantiles(masks, level):
    """Of the same type, and of integers; of one sample the median alone is known."""
    pixels, expected = mask_pixels(masks[0]), volume_interval(masks[0], level=level)
    for volumes in (pixels, pixels.to(torch.int64)):
        interval = volume_quantiles(volumes, level)
        assert torch.equal(interval.median, expected.median)
        for end, known in zip(interval[1:], expected[1:], strict=True):
            assert end.dtype == torch.float64
            assert bool(end.isnan().all()) if pixels.shape[1] == 1 else torch.equal(end, known)


@pytest.mark.parametrize("shape", [(3, 2), (1, 0, 2), (1, 3, 2, 4)])
def test_refuses_shapes_of_volumes(shape):
    with pytest.raises(
        ValueError, match=r"volumes must have shape \(batch, sample, structure\) and at least one sample"
    ):
        volume_quantiles(torch.ones(shape))


def test_raters_drawn_like_the_samples_are_covered(generator):
    """Nine in ten for many samples; of K samples the interpolated interval holds 0.9 (K - 1) / (K + 1)."""
    masks = torch.rand(60, 150, 1, 400, generator=generator) < torch.rand(60, 150, 1, 1, generator=generator)
    coverage = volume_coverage(masks[:, :100], masks[:, 100:].float())
    assert coverage.mean().item() == pytest.approx(0.9 * 99 / 101, abs=0.01)


@pytest.mark.parametrize("level", [0.0, 1.0, math.nan])
def test_refuses_levels(level):
    masks = torch.ones(1, 2, 1, 3)
    for call in (
        lambda: volume_interval(masks, level=level),
        lambda: volume_quantiles(masks[..., 0], level),
        lambda: volume_coverage(masks, masks, level),
    ):
        refuses(ValueError, "level must lie in", call)


@pytest.mark.parametrize("volume", [0.0, -1.0, math.nan, torch.ones(3)])
def test_refuses_volumes_of_a_pixel(volume):
    with pytest.raises(ValueError, match="pixel_volume must be positive, 1 or 2 numbers"):
        volume_interval(torch.ones(2, 2, 1, 3), volume)
