"""Figures of classifications: curves, bars, histograms and panels show the numbers they are given."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import refuses
from matplotlib.colors import to_hex
from monai.metrics import compute_roc_auc

from infomri_monai.figures import (
    classification_by_acceleration_figure,
    classified_image_figure,
    predictive_entropy_figure,
    roc_figure,
    save_figure,
)
from infomri_monai.figures.style import PALETTE
from infomri_monai.metrics.auroc import roc_curve
from infomri_monai.metrics.bootstrap import Estimate
from infomri_monai.systems import ClassificationPosterior

GRID = (16, 12)
NAN = math.nan


def test_bars_are_intervals():
    """Without intervals there is no note."""
    curve = {8: Estimate(0.9, 0.85, 0.92), 4: Estimate(0.95, 0.9, 0.97)}
    other = {4: Estimate(0.8), 8: Estimate(NAN)}
    figure = classification_by_acceleration_figure({"accuracy": {"a": curve, "b": other}, "AUROC": {"a": curve}})
    axes, single = figure.axes
    line, _, (bars,) = axes.containers[0]
    np.testing.assert_allclose(line.get_xydata()[:, 1], [0.95, 0.9])
    np.testing.assert_allclose(np.array(bars.get_segments())[..., 1], [[0.9, 0.97], [0.85, 0.92]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert single.get_legend() is None
    np.testing.assert_allclose(single.containers[0][0].get_xydata()[:, 0], [4, 8])  # a single curve is not shifted
    assert figure.get_supxlabel() == "bars: 95 % interval"
    assert not classification_by_acceleration_figure({"accuracy": {"a": {4: Estimate(0.9)}}}).get_supxlabel()


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


@pytest.mark.parametrize("classes", [1, 2, 10])
@pytest.mark.parametrize("names", [["8×"], ["2×", "4×", "8×", "16×", "32×"]])
def test_roc_panels(classes, names, tmp_path, generator):
    targets = torch.arange(40)[:, None].expand(40, classes) % 2
    answers = {name: (torch.rand(40, classes, generator=generator), targets) for name in names}
    figure = roc_figure(answers, [f"class {c}" for c in range(classes)], title="ROC")
    for c, axes in enumerate(figure.axes[:classes]):
        assert axes.get_title() == f"class {c}"
        legend = axes.get_legend().get_texts()
        for line, text, (name, (scores, _)) in zip(axes.lines[1:], legend, answers.items(), strict=True):
            curve = roc_curve(scores[:, c], targets[:, c])
            np.testing.assert_allclose(line.get_xydata(), torch.stack(list(curve), 1))
            assert text.get_text() == f"{name}: {compute_roc_auc(scores[:, c], targets[:, c]):.3f}"
    save_figure(figure, tmp_path / "roc.png")


BOTH, ONE = (torch.rand(4, 2), torch.zeros(4, 2)), (torch.zeros(3), torch.zeros(3))


@pytest.mark.parametrize(
    ("draw", "arguments", "message"),
    [
        (roc_figure, ({}, ["a", "b"]), "must not be empty"),
        (roc_figure, ({"8×": BOTH}, []), "must not be empty"),
        (roc_figure, ({"8×": BOTH}, ["a", "b", "c"]), r"must be scores and targets of shape \(n, 3\)"),
        (predictive_entropy_figure, ({},), "at least one answer"),
        (predictive_entropy_figure, ({"8×": ONE}, None, 0), "at least one bin"),
        (predictive_entropy_figure, ({"8×": (ONE[0], ONE[1][1:])},), r"two tensors of shape \(n,\)"),
        (predictive_entropy_figure, ({"8×": (-torch.ones(3), ONE[1])},), "must be finite and at least 0"),
        (predictive_entropy_figure, ({"8×": (torch.full((3,), NAN), ONE[1])},), "must be finite and at least 0"),
    ],
)
def test_roc_and_histograms_refuse(draw, arguments, message):
    refuses(ValueError, message, draw, *arguments)


def test_histograms_of_entropy():
    entropy, right = torch.tensor([0.05, 0.05, 0.15, 0.45, 0.65]), torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    axes = predictive_entropy_figure({"8×": (entropy, right)}, highest=0.7, bins=7).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["3 right", "2 wrong"]
    for patch, first, share in ((axes.patches[0], 0, [200 / 3, 100 / 3]), (axes.patches[1], 4, [50, 0, 50])):
        corners = patch.get_path().vertices
        inside = corners[corners[:, 1] > 0, 0]
        found = (corners[:, 1].max(), inside.min(), inside.max())
        assert found == pytest.approx((max(share), 0.1 * first, 0.1 * (first + len(share))), abs=1e-6)
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


def make_posterior(classes=2, members=1, multi_label=False, lines=False, batch=3):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, members, classes, generator=generator)
    every = logits.sigmoid() if multi_label else logits.softmax(-1)
    mask = (torch.rand(batch, 1, 1 if lines else GRID[0], GRID[1], generator=generator) < 0.4).float()
    entropy, ratio = torch.linspace(0.1, 0.5, batch), mask.flatten(1).mean(1)
    posterior = ClassificationPosterior(every.mean(1), entropy, 0.1 * entropy, every, mask, ratio, entropy)
    image = torch.rand(batch, 1, *GRID, generator=generator)
    return posterior, image


@pytest.mark.parametrize(("classes", "members", "lines"), [(2, 1, False), (2, 4, True), (10, 1, True), (10, 4, False)])
def test_panels_of_classified_images(classes, members, lines, tmp_path):
    posterior, image = make_posterior(classes, members, lines=lines)
    label, p = torch.tensor([0, 1, 1]), posterior.probabilities
    figure = classified_image_figure(posterior, image, label, (2, 0), zero_filled=0.5j * image, title="some")
    for row, i in enumerate((2, 0)):
        truth, mask, seen, bars = figure.axes[4 * row : 4 * row + 4]
        np.testing.assert_allclose(truth.images[0].get_array(), image[i, 0], rtol=1e-6)
        np.testing.assert_array_equal(mask.images[0].get_array(), posterior.mask[i, 0].expand(GRID))
        np.testing.assert_allclose(seen.images[0].get_array(), 0.5 * image[i, 0], rtol=1e-6)
        np.testing.assert_allclose([bar.get_width() for bar in bars.patches], p[i], rtol=1e-6)
        filled = [to_hex(bar.get_facecolor()).upper() == PALETTE[0] for bar in bars.patches]
        assert filled == [c == int(label[i]) for c in range(classes)]
        right = "right" if int(p[i].argmax()) == int(label[i]) else "wrong"
        assert bars.get_title() == f"{right}, entropy {float(posterior.entropy[i]):.2f} nats"
        assert truth.get_title() == f"true: class_{int(label[i])}"
        whiskers = [np.array(line.get_segments())[..., 0] for line in bars.collections]
        assert len(whiskers) == (members > 1)
        each = posterior.member_probabilities[i]
        for ends in whiskers:
            np.testing.assert_allclose(ends, torch.stack([each.amin(0), each.amax(0)], 1), rtol=1e-6)
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
        message = "indices must name images of the batch of 3"
        refuses(ValueError, message, classified_image_figure, posterior, image, label, indices)
    for message, options in (
        (r"image must be \(batch, 1, H, W\)", {"image": image[0]}),
        (r"zero_filled must be \(batch, 1, H, W\)", {"zero_filled": image[1:]}),
        ("labels must be", {"label": torch.tensor([0, 1, 2])}),
        ("label must be of the batch of 3", {"label": label[1:]}),
        ("one for each of 2", {"classes": ["a", "b", "c"]}),
    ):
        refuses(ValueError, message, classified_image_figure, posterior, **{"image": image, "label": label} | options)
