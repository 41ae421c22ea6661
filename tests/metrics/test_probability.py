"""Calibration error, Brier score and reliability diagram: against loops over pixels, MONAI and closed forms."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from helper import refusals
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import CalibrationErrorMetric, calibration_binning
from raters import present, sample_and_rater_masks

from infomri_monai.metrics import (
    BinnedCalibration,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    reliability_diagram,
)


def naive_error(pixels, bins):
    """Equation 46 of (probability, target) pairs; bins (lower, upper], 0 in the first."""
    members = [[] for _ in range(bins)]
    for p, t in pixels:
        members[max(math.ceil(p * bins), 1) - 1].append((p, t))
    gaps = [abs(sum(t for _, t in m) - sum(p for p, _ in m)) for m in members]
    return sum(gaps) / len(pixels) if pixels else math.nan


def pixels_of(probabilities, raters):
    """Pairs of one image; none if it has no rater."""
    there = present(raters)
    target = torch.stack(there).double().mean(0) if there else None
    return [] if target is None else list(zip(probabilities.flatten().tolist(), target.flatten().tolist(), strict=True))


@settings(deadline=None, max_examples=40)
@given(sample_and_rater_masks(), st.sampled_from([1, 3, 7, 10]))
def test_is_the_loop_over_pixels(masks, bins):
    samples, raters = masks
    probabilities = (0.97 * samples.float().mean(1) + 0.0123).double()  # no probability on a bin's edge
    pixels = [pixels_of(p, r) for p, r in zip(probabilities, raters, strict=True)]
    expected = [naive_error(p, bins) for p in pixels]
    assert expected_calibration_error(probabilities, raters, bins).tolist() == pytest.approx(
        expected, abs=1e-5, nan_ok=True
    )
    together = naive_error([pair for image in pixels for pair in image], bins)
    pooled = expected_calibration_error(probabilities, raters, bins, pooled=True).item()
    assert pooled == pytest.approx(together, abs=1e-5, nan_ok=True)
    diagram = reliability_diagram(probabilities, raters, bins)
    gap = ((diagram.confidence - diagram.frequency).abs() * diagram.share).nansum().item()
    assert math.isnan(together) or gap == pytest.approx(together, abs=1e-5)
    metric = BinnedCalibration(partial(calibration_bins, bins=bins), "expected calibration error (46)")
    for p, r in zip(probabilities.split(1), raters.split(1), strict=True):
        metric(p, r, ratio=0.25)
    assert metric.aggregate().item() == pytest.approx(pooled, abs=1e-6, nan_ok=True)
    for theirs in (metric.diagram(), metric.diagrams_by_ratio()[0.25]):
        torch.testing.assert_close(tuple(theirs), tuple(diagram), equal_nan=True)


@settings(deadline=None, max_examples=30)
@given(sample_and_rater_masks())
def test_brier_score_is_the_loop_over_raters(masks):
    samples, raters = masks
    probabilities = samples.float().mean(1)
    for p, r, value in zip(probabilities, raters, brier_score(probabilities, raters), strict=True):
        scores = [((p - t.float()) ** 2).mean().item() for t in present(r)]
        expected = sum(scores) / len(scores) if scores else math.nan
        assert value.item() == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_is_monais_metric_for_one_structure_and_one_rater(generator):
    probabilities = torch.rand(5, 1, 16, 17, generator=generator)
    label = (torch.rand(5, 1, 16, 17, generator=generator) < probabilities**2).float()
    theirs = CalibrationErrorMetric(num_bins=10)
    theirs(probabilities, label)
    ours = expected_calibration_error(probabilities, label.unsqueeze(1))
    assert ours.mean().item() == pytest.approx(theirs.aggregate().item(), abs=1e-6)


def test_bins_are_monais(generator):
    """Edges included: probabilities of ten equal steps."""
    probabilities = torch.randint(0, 11, (3, 1, 16, 17), generator=generator) / 10
    label = (torch.rand(3, 1, 16, 17, generator=generator) < 0.5).float()
    confidence, frequency, count = (part[:, 0] for part in calibration_binning(probabilities, label, num_bins=10))
    ours = calibration_bins(probabilities, label.unsqueeze(1)).float()
    torch.testing.assert_close(ours[..., 0], count)
    torch.testing.assert_close(ours[..., 1:], torch.stack([confidence, frequency], -1) * count.unsqueeze(-1))


def test_error_rate_of_predictions_without_doubt(generator):
    """Paper's check of (46) and (47): 0/1 predictions have both equal to the error rate."""
    prediction = (torch.rand(3, 1, 20, 21, generator=generator) < 0.3).float()
    rater = (torch.rand(3, 1, 1, 20, 21, generator=generator) < 0.3).float()
    rate = (prediction != rater[:, 0]).float().flatten(1).mean(1)
    torch.testing.assert_close(expected_calibration_error(prediction, rater), rate)
    torch.testing.assert_close(brier_score(prediction, rater), rate)


def test_raters_drawn_from_the_probabilities_are_calibrated(generator):
    probabilities = torch.rand(1, 1, 256, 256, generator=generator)
    raters = (torch.rand(1, 8, 1, 256, 256, generator=generator) < probabilities.unsqueeze(1)).float()
    assert expected_calibration_error(probabilities, raters) < 0.005
    expected = (probabilities * (1 - probabilities)).mean().item()
    assert brier_score(probabilities, raters).item() == pytest.approx(expected, rel=0.01)
    diagram = reliability_diagram(probabilities, raters)
    torch.testing.assert_close(diagram.frequency, diagram.confidence, atol=0.01, rtol=0)
    torch.testing.assert_close(diagram.share.sum(), torch.tensor(1.0).double())


P, Y = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 2, 1, 2, 2)


test_refuses = refusals(
    (lambda: calibration_bins(P + 1, Y), r"probabilities must lie in \[0, 1\], got 1.5"),
    (lambda: calibration_bins(P * torch.nan, Y), "probabilities must lie in"),
    (lambda: calibration_bins(P, Y, 0), "bins must be at least 1"),
    (lambda: calibration_bins(P, Y[:, 0]), "raters .batch, rater, structure"),
    (lambda: brier_score(P, Y[..., :1]), "probabilities must have shape"),
)
