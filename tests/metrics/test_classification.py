"""Accuracy, Brier score, likelihood and calibration of class probabilities: against scikit-learn and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from classified import labels_of, posterior_of
from helper import refusals
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from infomri_monai.information import bernoulli_entropy, categorical_entropy
from infomri_monai.metrics import (
    class_accuracy,
    class_brier_score,
    class_calibration_bins,
    class_negative_log_likelihood,
    exact_match,
)
from infomri_monai.metrics.classification import class_names, class_targets
from infomri_monai.metrics.probability import diagram_of_bins, error_of_bins


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(1, 12), st.integers(0, 99))
def test_of_classes_is_scikit_learns(classes, images, seed):
    label = labels_of(images, classes, seed=seed)
    p, names = posterior_of(label, classes, seed).probabilities, list(range(classes))
    assert class_accuracy(p, label).mean().item() == pytest.approx(accuracy_score(label, p.argmax(1)))
    exact = p.double() / p.double().sum(1, keepdim=True)
    brier = brier_score_loss(label, exact, labels=names, scale_by_half=False)
    assert class_brier_score(p, label).mean().item() == pytest.approx(brier, abs=1e-6)
    nll = log_loss(label, exact, labels=names)
    assert class_negative_log_likelihood(p, label).mean().item() == pytest.approx(nll, rel=1e-5, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 99))
def test_of_labels_is_scikit_learns_label_by_label(labels, images, seed):
    label = labels_of(images, labels, True, seed)
    p = posterior_of(label, labels, seed).probabilities
    each = [(t.numpy(), q.double().numpy()) for t, q in zip(label.T, p.T, strict=True)]
    accuracy = np.mean([accuracy_score(t, q > 0.5) for t, q in each])
    assert class_accuracy(p, label, True).mean().item() == pytest.approx(accuracy)
    assert exact_match(p, label).mean().item() == pytest.approx(accuracy_score(label, p > 0.5))
    brier = np.mean([brier_score_loss(t, q, labels=[0, 1]) for t, q in each])
    assert class_brier_score(p, label, True).mean().item() == pytest.approx(brier, abs=1e-6)
    nll = sum(log_loss(t, q, labels=[0, 1]) for t, q in each)
    assert class_negative_log_likelihood(p, label, True).mean().item() == pytest.approx(nll, rel=1e-5)


def naive_bins(predictions, bins):
    """Pairs of (confidence, target) by bin (lower, upper], 0 in the first."""
    members = [[] for _ in range(bins)]
    for confidence, target in predictions:
        members[max(math.ceil(confidence * bins), 1) - 1].append((confidence, target))
    return [[len(m), sum(c for c, _ in m), sum(t for _, t in m)] for m in members]


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("bins", [1, 3, 10])
def test_bins_are_the_loop_over_predictions(multi_label, bins):
    label = labels_of(40, 3, multi_label)
    p = posterior_of(label, 3).probabilities
    found = class_calibration_bins(p, label, multi_label, bins).sum(0)
    if multi_label:
        predictions = list(zip(p.flatten().tolist(), label.flatten().tolist(), strict=True))
    else:
        predictions = [(max(q), float(np.argmax(q) == t)) for q, t in zip(p.tolist(), label.tolist(), strict=True)]
    assert found.tolist() == [pytest.approx(row, abs=1e-5) for row in naive_bins(predictions, bins)]
    gaps = sum(abs(c - t) for _, c, t in naive_bins(predictions, bins)) / len(predictions)
    assert error_of_bins(found).item() == pytest.approx(gaps, abs=1e-6)
    assert found[:, 0].sum() == len(predictions)


@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_drawn_from_the_probabilities_are_calibrated(multi_label, generator):
    """Then the likelihood is the entropy, the Brier score the variance, and the diagram is the diagonal."""
    n = 40_000
    logits = 2 * torch.randn(n, 3, generator=generator)
    p = logits.sigmoid() if multi_label else logits.softmax(1)
    drawn = (torch.rand(n, 3, generator=generator) < p).float()
    label = drawn if multi_label else torch.multinomial(p, 1, generator=generator)[:, 0]
    entropy = bernoulli_entropy(p).sum(1) if multi_label else categorical_entropy(p)
    assert class_negative_log_likelihood(p, label, multi_label).mean() == pytest.approx(entropy.mean().item(), rel=0.02)
    variance = (p * (1 - p)).mean() if multi_label else (p * (1 - p)).sum(1).mean()
    assert class_brier_score(p, label, multi_label).mean() == pytest.approx(variance.item(), rel=0.02)
    bins = class_calibration_bins(p, label, multi_label).sum(0)
    assert error_of_bins(bins) < 0.01
    diagram = diagram_of_bins(bins)
    filled = diagram.share > 0.01
    torch.testing.assert_close(diagram.frequency[filled], diagram.confidence[filled], atol=0.03, rtol=0)


def test_certain_predictions():
    """0-1 probabilities: all of accuracy, Brier score and calibration are the error rate, and likelihoods stay finite."""
    p, label = torch.eye(3)[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 1])
    assert class_accuracy(p, label).tolist() == [1, 1, 1, 0]
    assert class_brier_score(p, label).tolist() == [0, 0, 0, 2]
    assert class_negative_log_likelihood(p, label).tolist() == pytest.approx([0, 0, 0, 87.3365], abs=1e-3)
    assert error_of_bins(class_calibration_bins(p, label).sum(0)) == 0.25
    both = class_negative_log_likelihood(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), True)
    assert both.item() == pytest.approx(2 * 87.3365, abs=1e-3)


def test_a_tie_is_the_first_class_and_one_half_is_no():
    assert class_accuracy(torch.full((2, 2), 0.5), torch.tensor([0, 1])).tolist() == [1, 0]
    assert class_accuracy(torch.full((1, 2), 0.5), torch.tensor([[0, 1]]), True).tolist() == [0.5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision(dtype):
    label = labels_of(12, 10)
    p = posterior_of(label, 10).probabilities
    found = class_brier_score(p.to(dtype), label)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, class_brier_score(p, label), atol=0.02, rtol=0)


def test_kinds_of_labels():
    expected = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    for dtype in (torch.int64, torch.int8, torch.uint8, torch.float32):
        assert torch.equal(class_targets(torch.tensor([1, 0], dtype=dtype), 2), expected)
        assert torch.equal(class_targets(expected.to(dtype), 2, True), expected)
    assert torch.equal(class_targets(expected.bool(), 2, True), expected)


P = torch.full((2, 2), 0.5)


test_refuses = refusals(
    (lambda: class_accuracy(P * 3, torch.zeros(2)), r"probabilities must lie in \[0, 1\], got 1.5"),
    (lambda: class_accuracy(P * torch.nan, torch.zeros(2)), "probabilities must lie in"),
    (lambda: class_accuracy(P * 1.2, torch.zeros(2)), "must add up to 1, got sums that are off by up to 0.2"),
    (lambda: class_accuracy(P[0], torch.zeros(2)), "probabilities must have shape"),
    (lambda: class_accuracy(P, torch.zeros(3)), "labels as many rows"),
    (lambda: class_accuracy(P, torch.tensor([0, 2])), r"class numbers 0 to 1, got \[2\]"),
    (lambda: class_accuracy(P, torch.tensor([0, -1])), r"got \[-1\]"),
    (lambda: class_accuracy(P, torch.tensor([0, torch.nan])), r"got \[nan\]"),
    (lambda: class_accuracy(P, torch.zeros(2, 2)), r"got shape \(2, 2\)"),
    (lambda: exact_match(P, torch.zeros(2)), r"zeros and ones, C = 2, got shape \(2,\)"),
    (lambda: exact_match(P, torch.full((2, 2), 0.5)), r"zeros and ones, got \[0.5\]"),
    (lambda: exact_match(P, torch.zeros(2, 3)), "zeros and ones, C = 2"),
    (lambda: class_names(None, 1), "num_classes must be at least 2"),
    (lambda: class_names(None, 0, True), "num_classes must be"),
    (lambda: class_names("ab", 2), "labels must be different names, one for each of 2"),
    (lambda: class_names(["a"], 2), "one for each of 2"),
    (lambda: class_names(["a b", "A-b"], 2), "labels must be different names"),
    (lambda: class_names(["a", ""], 2), "labels must be different names"),
    (lambda: class_names(["a", "lower"], 2), "like an interval's end"),
    (lambda: class_names(["a", "a upper"], 2), "like an interval's end, got 'a_upper'"),
)
