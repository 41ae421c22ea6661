"""Figures of classifications: curves, bars, histograms and panels show the numbers they are given."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from monai.metrics import compute_roc_auc

from infomri_monai.figures import (
    classification_by_acceleration_figure,
    classified_image_figure,
    predictive_entropy_figure,
    reliability_figure,
    roc_figure,
    save_figure,
)
from infomri_monai.figures.calibration import roc_curve
from infomri_monai.figures.style import PALETTE
from infomri_monai.metrics.bootstrap import Estimate
from infomri_monai.metrics.probability import ReliabilityDiagram
from infomri_monai.systems import ClassificationPosterior

GRID = (16, 12)
NAN = math.nan


def test_bars_are_intervals():
    curve = {8: Estimate(0.9, 0.85, 0.92), 4: Estimate(0.95, 0.9, 0.97)}
    other = {4: Estimate(0.8), 8: Estimate(NAN)}
    figure = classification_by_acceleration_figure({"accuracy": {"a": curve, "b": other}, "AUROC": {"a": curve}})
    axes = figure.axes[0]
    line, _, (bars,) = axes.containers[0]
    np.testing.assert_allclose(line.get_xydata()[:, 1], [0.95, 0.9])
    np.testing.assert_allclose(np.array(bars.get_segments())[..., 1], [[0.9, 0.97], [0.85, 0.92]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert figure.axes[1].get_legend() is None
    np.testing.assert_allclose(
        figure.axes[1].containers[0][0].get_xydata()[:, 0], [4, 8]
    )  # a single curve is not shifted
    assert figure.get_supxlabel() == "bars: 95 % interval"


@pytest.mark.parametrize("curves", [1, 3, 10])
@pytest.mark.parametrize("accelerations", [(8,), (2, 4, 8, 16)])
def test_curves_of_a_panel_keep_their_order_around_the_acceleration(curves, accelerations, tmp_path):
    values = {f"class {i}": {a: Estimate(0.9, 0.8, 0.95) for a in accelerations} for i in range(curves)}
    figure = classification_by_acceleration_figure({"AUROC": values})
    save_figure(figure, tmp_path / "curves.png")
    x = np.array([bars[0].get_xdata() for bars in figure.axes[0].containers], dtype=float)
    assert (np.diff(x, axis=0) > 0).all()
    np.testing.assert_allclose(np.log2(x).mean(0), np.log2(accelerations))
    assert np.abs(np.log2(x) - np.log2(accelerations)).max() < 0.25  # never nearer to another one


def test_without_intervals_there_is_no_note():
    figure = classification_by_acceleration_figure({"accuracy": {"a": {4: Estimate(0.9)}}})
    assert not figure.get_supxlabel()


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({}, "metrics is empty"),
        ({"accuracy": {}}, "at least one curve"),
        ({"accuracy": {"a": {}}}, "at least one acceleration"),
        ({"accuracy": {"a": {0.5: (0.9, 0.8, 1.0)}}}, "acceleration must be finite and at least 1"),
        ({"accuracy": {"a": {4: (math.inf, 0.8, 1.0)}}}, "must not be infinite"),
        ({"accuracy": {"a": {4: (0.9, 0.95, 1.0)}}}, "must lie in its interval"),
    ],
)
def test_curves_refuse(metrics, message):
    refuses(ValueError, message, classification_by_acceleration_figure, metrics)


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


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
@pytest.mark.parametrize("names", [["8×"], ["2×", "4×", "8×", "16×", "32×"]])
def test_roc_panels(classes, names, tmp_path):
    generator = torch.Generator().manual_seed(0)
    answers = {
        name: (torch.rand(40, classes, generator=generator), torch.arange(40)[:, None].expand(40, classes) % 2)
        for name in names
    }
    figure = roc_figure(answers, [f"class {c}" for c in range(classes)], title="ROC")
    for c in range(classes):
        axes = figure.axes[c]
        assert axes.get_title() == f"class {c}"
        for line, text, (name, (scores, targets)) in zip(
            axes.lines[1:], axes.get_legend().get_texts(), answers.items(), strict=True
        ):
            curve = roc_curve(scores[:, c], targets[:, c])
            np.testing.assert_allclose(line.get_xydata(), torch.stack(list(curve), 1))
            assert text.get_text() == f"{name}: {compute_roc_auc(scores[:, c], targets[:, c]):.3f}"
    save_figure(figure, tmp_path / "roc.png")


def test_roc_of_an_absent_class_says_so():
    scores, targets = torch.rand(4, 2), torch.tensor([[0, 0], [0, 1], [0, 1], [0, 0]])
    figure = roc_figure({"8×": (scores, targets)}, ["absent", "there"])
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "8×: one class only"
    assert len(figure.axes[0].lines[1].get_xdata()) == 0


def test_roc_refuses():
    both = torch.rand(4, 2), torch.zeros(4, 2)
    refuses(ValueError, "must not be empty", roc_figure, {}, ["a", "b"])
    refuses(ValueError, "must not be empty", roc_figure, {"8×": both}, [])
    refuses(ValueError, r"must be scores and targets of shape \(n, 3\)", roc_figure, {"8×": both}, ["a", "b", "c"])
    refuses(ValueError, "with positive and negative targets", roc_curve, torch.rand(4), torch.zeros(4))


def test_histograms_of_entropy():
    entropy = torch.tensor([0.05, 0.05, 0.15, 0.45, 0.65])
    right = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    figure = predictive_entropy_figure({"8×": (entropy, right)}, highest=0.7, bins=7)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["3 right", "2 wrong"]
    for patch, first, share in ((axes.patches[0], 0, [200 / 3, 100 / 3]), (axes.patches[1], 4, [50, 0, 50])):
        corners = patch.get_path().vertices
        assert corners[:, 1].max() == pytest.approx(max(share))
        inside = corners[corners[:, 1] > 0, 0]
        assert inside.min() == pytest.approx(0.1 * first, abs=1e-6)
        assert inside.max() == pytest.approx(0.1 * (first + len(share)), abs=1e-6)
    assert axes.get_title() == "8×: finds errors, AUROC 1.00"
    assert axes.get_xlim() == (0, pytest.approx(0.7))


@pytest.mark.parametrize("number", [1, 2, 6])
@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_can_be_drawn(number, right, tmp_path):
    answers = {f"{i}×": (torch.zeros(5), torch.full((5,), right)) for i in range(number)}
    figure = predictive_entropy_figure(answers)
    assert figure.axes[0].get_title() == "0×"
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [f"5 {'right' if right else 'wrong'}"]
    save_figure(figure, tmp_path / "entropy.png")


def test_histograms_refuse():
    one = torch.zeros(3), torch.zeros(3)
    refuses(ValueError, "at least one answer", predictive_entropy_figure, {})
    refuses(ValueError, "at least one bin", predictive_entropy_figure, {"8×": one}, bins=0)
    refuses(ValueError, r"two tensors of shape \(n,\)", predictive_entropy_figure, {"8×": (one[0], one[1][1:])})
    for entropy in (-torch.ones(3), torch.full((3,), NAN)):
        refuses(ValueError, "must be finite and at least 0", predictive_entropy_figure, {"8×": (entropy, one[1])})


def make_posterior(classes=2, members=1, multi_label=False, lines=False, batch=3):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, members, classes, generator=generator)
    every = logits.sigmoid() if multi_label else logits.softmax(-1)
    mask = (torch.rand(batch, 1, 1 if lines else GRID[0], GRID[1], generator=generator) < 0.4).float()
    entropy, ratio = torch.linspace(0.1, 0.5, batch), mask.flatten(1).mean(1)
    posterior = ClassificationPosterior(every.mean(1), entropy, 0.1 * entropy, every, mask, ratio, entropy)
    image = torch.rand(batch, 1, *GRID, generator=generator)
    return posterior, image


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("members", [1, 4])
@pytest.mark.parametrize("lines", [False, True])
def test_panels_of_classified_images(classes, members, lines, tmp_path):
    posterior, image = make_posterior(classes, members, lines=lines)
    label, zero_filled = torch.tensor([0, 1, 1]), 0.5j * image
    figure = classified_image_figure(posterior, image, label, (2, 0), zero_filled=zero_filled, title="some")
    for row, i in enumerate((2, 0)):
        truth, mask, seen, bars = figure.axes[4 * row : 4 * row + 4]
        np.testing.assert_allclose(truth.images[0].get_array(), image[i, 0], rtol=1e-6)
        np.testing.assert_array_equal(mask.images[0].get_array(), posterior.mask[i, 0].expand(GRID))
        np.testing.assert_allclose(seen.images[0].get_array(), 0.5 * image[i, 0], rtol=1e-6)
        np.testing.assert_allclose([bar.get_width() for bar in bars.patches], posterior.probabilities[i], rtol=1e-6)
        filled = [to_hex(bar.get_facecolor()).upper() == PALETTE[0] for bar in bars.patches]
        assert filled == [c == int(label[i]) for c in range(classes)]
        right = int(posterior.probabilities[i].argmax()) == int(label[i])
        entropy = f"entropy {float(posterior.entropy[i]):.2f} nats"
        assert bars.get_title() == f"{'right' if right else 'wrong'}, {entropy}"
        assert truth.get_title() == f"true: class_{int(label[i])}"
        whiskers = [line.get_segments() for line in bars.collections]
        assert len(whiskers) == (members > 1)
        if members > 1:
            ends = np.array(whiskers[0])[..., 0]
            np.testing.assert_allclose(ends[:, 0], posterior.member_probabilities[i].amin(0), rtol=1e-6)
            np.testing.assert_allclose(ends[:, 1], posterior.member_probabilities[i].amax(0), rtol=1e-6)
    assert figure.get_suptitle() == "some"
    save_figure(figure, tmp_path / "images.png")


def test_independent_labels():
    posterior, image = make_posterior(3, multi_label=True)
    p = torch.tensor([[0.9, 0.2, 0.6], [0.9, 0.2, 0.6], [0.1, 0.1, 0.1]])
    label = torch.tensor([[1.0, 0, 1], [0, 0, 1], [0, 0, 0]])
    names = ["ACL sprain", "meniscus tear", "abnormal"]
    figure = classified_image_figure(
        posterior._replace(probabilities=p), image, label, (0, 1, 2), classes=names, multi_label=True
    )
    rows = [figure.axes[3 * row : 3 * row + 3] for row in range(3)]
    assert [row[0].get_title() for row in rows] == ["true: ACL sprain, +1", "true: abnormal", "true: no label"]
    assert [row[2].get_title().split(",")[0] for row in rows] == ["right", "2 of 3 right", "right"]
    assert [text.get_text() for text in rows[0][2].get_yticklabels()] == names


def test_classified_images_refuse():
    posterior, image = make_posterior()
    label = torch.tensor([0, 1, 1])
    for indices in ((), (3,), (-4,)):
        with pytest.raises(ValueError, match="indices must name images of the batch of 3"):
            classified_image_figure(posterior, image, label, indices)
    refuses(ValueError, r"image must be \(batch, 1, H, W\)", classified_image_figure, posterior, image[0], label)
    with pytest.raises(ValueError, match=r"zero_filled must be \(batch, 1, H, W\)"):
        classified_image_figure(posterior, image, label, zero_filled=image[1:])
    refuses(ValueError, "labels must be", classified_image_figure, posterior, image, torch.tensor([0, 1, 2]))
    refuses(ValueError, "label must be of the batch of 3", classified_image_figure, posterior, image, label[1:])
    refuses(ValueError, "one for each of 2", classified_image_figure, posterior, image, label, classes=["a", "b", "c"])


def test_reliability_of_answers_says_what_is_counted():
    diagram = ReliabilityDiagram(*torch.tensor([[0.6, 0.9], [0.5, 1.0], [0.25, 0.75]]))
    words = {"frequency": "share of right answers", "probability": "confidence", "counted": "images"}
    upper, lower = reliability_figure({"8×": diagram}, **words).axes
    assert (upper.get_ylabel(), lower.get_xlabel(), lower.get_ylabel()) == (
        words["frequency"],
        "confidence",
        "images [%]",
    )
    assert upper.get_legend().get_texts()[1].get_text() == "8×: ECE 0.1000"
