"""Area under the ROC curve: against scikit-learn, MONAI and a loop over pairs, with ties and absent classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_roc_auc
from sklearn.metrics import roc_auc_score

from infomri_monai.metrics import SubjectBootstrap, class_auroc
from infomri_monai.metrics.auroc import auroc_estimates, roc_curve, weighted_auroc
from infomri_monai.metrics.bootstrap import number_subjects


def pairs(scores, positive, weights):
    """Share of pairs of a positive and a negative image, each counted so often, that are in order."""
    wins = total = 0.0
    for s, p, w in zip(scores, positive, weights, strict=True):
        for s2, p2, w2 in zip(scores, positive, weights, strict=True):
            if p and not p2:
                total += w * w2
                wins += w * w2 * (1 if s > s2 else 0.5 if s == s2 else 0)
    return wins / total if total else math.nan


CASES = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=100)
@given(CASES)
def test_weighted_is_the_loop_over_pairs_and_scikit_learns(cases):
    scores, positive, weights = (np.array(column) for column in zip(*cases, strict=True))
    found = weighted_auroc(scores / 5, positive, np.stack([weights, np.ones(len(weights))]).astype(float))
    for value, w in zip(found, (weights, np.ones(len(weights))), strict=True):
        expected = pairs(scores, positive, w)
        assert value == pytest.approx(expected, nan_ok=True)
        if not math.isnan(expected):
            assert value == pytest.approx(roc_auc_score(positive, scores, sample_weight=w))
    if 0 < positive.sum() < len(positive):
        monai = compute_roc_auc(torch.tensor(scores), torch.tensor(positive).long())
        assert found[1] == pytest.approx(monai)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 30), st.integers(2, 4), st.integers(0, 99))
def test_of_several_classes_is_scikit_learns(images, classes, seed):
    generator = np.random.default_rng(seed)
    scores, targets = generator.integers(0, 8, (images, classes)) / 8, generator.integers(0, 2, (images, classes))
    areas = class_auroc(torch.tensor(scores), torch.tensor(targets))
    for area, s, t in zip(areas.tolist(), scores.T, targets.T, strict=True):
        assert area == pytest.approx(roc_auc_score(t, s) if 0 < t.sum() < images else math.nan, nan_ok=True)


@pytest.mark.parametrize("several", [1, 3])
def test_intervals_are_the_loop_over_resamples(several, generator):
    """The same seed gives the same interval: images put together and handed to scikit-learn."""
    n, resamples = 36, 60
    scores = (torch.rand(n, 2, generator=generator) * 6).round() / 6
    targets = (torch.rand(n, 2, generator=generator) < 0.4).float()
    volume = (torch.arange(n) // several).double()
    subjects = number_subjects(volume.numpy(), scores.numpy())
    drawn, areas = np.random.default_rng(7), []
    for _ in range(resamples):
        chosen = drawn.integers(n // several, size=n // several)
        images = np.concatenate([np.flatnonzero(subjects == s) for s in chosen])
        areas.append([roc_auc_score(targets[images, c], scores[images, c]) for c in range(2)])
    areas = np.column_stack([areas, np.mean(areas, 1)])
    found = auroc_estimates(scores, targets, volume, SubjectBootstrap(resamples, 7))
    for estimate, column in zip(found, areas.T, strict=True):
        assert estimate[1:] == pytest.approx(np.quantile(column, [0.025, 0.975]))


def test_resamples_without_the_class_are_left_out():
    """One positive of eight: a third of the resamples lack it. One of two: half do, and then hardly any number is left."""
    scores, targets = torch.linspace(1, 0, 8).unsqueeze(1), (torch.arange(8) == 0).float().unsqueeze(1)
    area = auroc_estimates(scores, targets, torch.arange(8.0), SubjectBootstrap(500))[0]
    assert area == (1, 1, 1)
    few = auroc_estimates(scores[:2], targets[:2], torch.arange(2.0), SubjectBootstrap(501, 1))[0]
    assert few.value == 1
    defined = sum((w.min(1) > 0).sum() for w in SubjectBootstrap(501, 1).weights(np.arange(2)))
    assert math.isnan(few.lower) == (2 * defined < 501)


scored = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30).filter(
    lambda pairs: len({positive for _, positive in pairs}) == 2
)


@given(scored)
def test_roc_is_what_thresholds_give(pairs):
    scores, positive = (np.array(part) for part in zip(*pairs, strict=True))
    curve = roc_curve(torch.tensor(scores), torch.tensor(positive))
    expected = [(0.0, 0.0)]
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        expected.append((called[~positive].mean(), called[positive].mean()))
    np.testing.assert_allclose(torch.stack(list(curve), 1), expected)
    area = compute_roc_auc(torch.tensor(scores, dtype=torch.float64), torch.tensor(positive).long())
    np.testing.assert_allclose(float(torch.trapezoid(curve.true_positive, curve.false_positive)), area)


@pytest.mark.parametrize(
    ("scores", "message"),
    [(torch.rand(4), "with positive and negative"), (torch.full((4,), math.nan), "must be finite")],
)
def test_roc_refuses(scores, message):
    targets = torch.zeros(4) if bool(scores.isfinite().all()) else torch.tensor([0, 1, 0, 1])
    refuses(ValueError, message, roc_curve, scores, targets)
