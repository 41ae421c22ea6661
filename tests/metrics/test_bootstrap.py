"""Intervals over subjects: against a loop, closed forms, and the coverage that they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import refusals
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from infomri_monai.metrics import SubjectBootstrap
from infomri_monai.metrics.auroc import auroc_estimates
from infomri_monai.metrics.bootstrap import mean_estimate, number_subjects


def naive_interval(values, subjects, resamples, seed, level=0.95):
    """Subjects drawn one resample at a time, their images put together, the mean taken."""
    generator, count = np.random.default_rng(seed), max(subjects) + 1
    means = []
    for _ in range(resamples):
        images = [i for s in generator.integers(count, size=count) for i in np.flatnonzero(subjects == s)]
        means.append(np.mean(values[images]))
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2])


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(0, 3), st.sampled_from([1, 2, 4]))
def test_is_the_loop_over_resamples(images, seed, several):
    values = np.random.default_rng(99).random(images)
    volume = np.arange(images) // several
    found = mean_estimate(torch.tensor(values), torch.tensor(volume), SubjectBootstrap(50, seed))
    assert found.value == pytest.approx(values.mean())
    if volume.max() == 0:
        assert found[1:] == pytest.approx((math.nan, math.nan), nan_ok=True)
    else:
        assert found[1:] == pytest.approx(naive_interval(values, volume, 50, seed))


def test_blocks_do_not_change_the_draws(monkeypatch):
    subjects, bootstrap = np.arange(31) // 3, SubjectBootstrap(100, 5)
    whole = np.concatenate(list(bootstrap.weights(subjects)))
    monkeypatch.setattr("infomri_monai.metrics.bootstrap._BLOCK", 31 * 7)
    parts = list(bootstrap.weights(subjects))
    assert [len(part) for part in parts] == [7] * 14 + [2]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole[:, ::3][:, :10] == whole[:, 1::3]).all()  # all images of a subject or none
    assert whole.shape == (100, 31)


def test_subjects_are_numbered_alike_in_any_order(generator):
    volume = torch.tensor([5, 2, -1, 5, -1, 9, -1]).double()
    values = torch.tensor([0.1, 0.2, 0.7, 0.4, 0.5, 0.6, 0.5])
    assert number_subjects(volume.numpy(), values.numpy()).tolist() == [1, 0, 5, 1, 3, 2, 4]
    expected = mean_estimate(values, volume, SubjectBootstrap(100))
    for _ in range(5):
        order = torch.randperm(7, generator=generator)
        assert mean_estimate(values[order], volume[order], SubjectBootstrap(100)) == pytest.approx(expected)


def test_repeated_images_of_a_subject_tell_nothing_new(generator):
    """Three copies of every image: the same interval if subjects are drawn, a narrower one if images are."""
    values, volume = torch.rand(30, generator=generator), torch.arange(30).double()
    bootstrap = SubjectBootstrap(300)
    once = mean_estimate(values, volume, bootstrap)
    assert mean_estimate(values.repeat(3), volume.repeat(3), bootstrap) == pytest.approx(once)
    images = mean_estimate(values.repeat(3), torch.full((90,), -1.0), bootstrap)
    assert images.upper - images.lower == pytest.approx((once.upper - once.lower) / math.sqrt(3), rel=0.2)


def test_interval_of_a_mean_is_the_normal_one(generator):
    right = (torch.rand(2000, generator=generator) < 0.8).float()
    found, p = mean_estimate(right, torch.full((2000,), -1.0), SubjectBootstrap(2000, level=0.9)), right.mean().item()
    error = math.sqrt(p * (1 - p) / 2000)
    assert found.lower == pytest.approx(p - 1.645 * error, abs=0.1 * error)
    assert found.upper == pytest.approx(p + 1.645 * error, abs=0.1 * error)


def test_covers_the_area_of_two_normal_distributions():
    """Known area Phi(d / sqrt 2); the interval of every of 200 studies holds it in about 95 % of them."""
    d, generator = 1.2, torch.Generator().manual_seed(3)
    truth, inside, bootstrap = norm.cdf(d / math.sqrt(2)), 0, SubjectBootstrap(300)
    targets = (torch.arange(120) % 3 == 0).float().unsqueeze(1)
    for _ in range(200):
        scores = torch.randn(120, 1, generator=generator) + d * targets
        (area, _) = auroc_estimates(scores, targets, torch.full((120,), -1.0), bootstrap)
        inside += area.lower <= truth <= area.upper
    assert 0.9 <= inside / 200 <= 0.985


def test_no_interval_without_resamples_or_of_one_subject():
    values, bootstrap = torch.rand(4), SubjectBootstrap(0)
    assert mean_estimate(values, torch.arange(4.0), bootstrap)[1:] == pytest.approx((math.nan,) * 2, nan_ok=True)
    assert bootstrap.convention == ""
    assert mean_estimate(values, torch.zeros(4), SubjectBootstrap())[1:] == pytest.approx((math.nan,) * 2, nan_ok=True)


test_refuses = refusals(
    (lambda: SubjectBootstrap(resamples=-1), "bootstrap .resamples. and seed must be at least 0, got -1"),
    (lambda: SubjectBootstrap(seed=-2), "got 1000 and -2"),
    (lambda: SubjectBootstrap(level=1.0), "level must lie in"),
    (lambda: SubjectBootstrap(level=0), "level must lie in"),
)
