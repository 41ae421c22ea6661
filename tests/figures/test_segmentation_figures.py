"""Figures of segmentations: outlines lie around the masks, panels and curves show the numbers given, and say what they are."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from infomri_monai.figures import (
    curves_by_acceleration_figure,
    ged_by_samples_figure,
    reliability_figure,
    risk_coverage_figure,
    save_figure,
    segmentation_figure,
    sweep_figure,
)
from infomri_monai.figures.segmentations import STRUCTURE_COLOURS, draw_outlines, top_entropy, window
from infomri_monai.figures.style import styled
from infomri_monai.metrics import dice_to_raters
from infomri_monai.metrics.probability import ReliabilityDiagram
from infomri_monai.networks import TaskPosterior
from infomri_monai.systems import SegmentationPosterior
from infomri_monai.triage import risk_coverage, sample_agreement

GRID = (24, 20)


def box(top, bottom, left, right):
    """A mask of rows top to bottom and columns left to right, both included."""
    mask = torch.zeros(GRID, dtype=torch.uint8)
    mask[top : bottom + 1, left : right + 1] = 1
    return mask


def posterior(batch=2, k=4, structures=2, multi_label=False, lines=False):
    """Sample k of case b has structure s in the box that starts at row 3 + b + k, column 2 + 8 s."""
    samples = torch.zeros(batch, k, structures, *GRID, dtype=torch.uint8)
    for b, i, s in product(range(batch), range(k), range(structures)):
        samples[b, i, s] = box(3 + b + i, 9 + b + i, 2 + 8 * s, 7 + 8 * s)
    p = samples.float().mean(1)
    classes = p if multi_label else torch.cat([1 - p.sum(1, keepdim=True), p], 1)
    entropy = -(classes.clamp(min=1e-9).log() * classes).sum(1, keepdim=True)
    image = torch.rand(batch, 1, *GRID).to(torch.complex64) * 1j
    mask = (torch.rand(batch, 1, 1 if lines else GRID[0], GRID[1]) < 0.3).float()
    task = (samples, (p > 0.5).byte(), classes, entropy, 0.5 * entropy)
    return SegmentationPosterior(*task, image, entropy, 0.5 * image, mask, mask.flatten(1).mean(1)), image


def rater_labels(multi_label=False):
    """Three raters of two structures; of case 0 the last is missing, of case 1 all are."""
    masks = torch.stack([torch.stack([box(2 + r, 9, 2, 7), box(2 + r, 9, 10, 15)]) for r in range(3)])
    labels = masks if multi_label else masks[:, 0] + 2 * masks[:, 1]
    labels = labels.to(torch.int8).repeat(2, *[1] * labels.ndim)
    labels[0, 2] = labels[1] = -1
    return labels


def outlines(axes):
    """(colour, left, right, top, bottom) of every outline of a panel."""
    found = []
    for lines in axes.collections:
        points = np.concatenate([path.vertices for path in lines.get_paths()])
        (left, top), (right, bottom) = points.min(0), points.max(0)
        found.append((to_hex(lines.get_edgecolor()[0]).upper(), left, right, top, bottom))
    return found


def expected_outlines(masks):
    """Half a pixel around every box of (S, H, W)."""
    found = []
    for s, mask in enumerate(masks):
        rows, columns = np.nonzero(mask.numpy())
        if len(rows):
            edges = (columns.min() - 0.5, columns.max() + 0.5, rows.min() - 0.5, rows.max() + 0.5)
            found.append((STRUCTURE_COLOURS[s], *edges))
    return found


def panels(figure, columns, row=0):
    """The titles and axes of one row."""
    row = figure.axes[row * columns : (row + 1) * columns]
    return {axes.get_title(): axes for axes in row}


@pytest.mark.parametrize(("multi_label", "lines"), [(False, True), (True, False)])
def test_panels_of_a_case(multi_label, lines):
    result, image = posterior(multi_label=multi_label, lines=lines)
    labels = rater_labels(multi_label)
    figure = segmentation_figure(result, image, labels, indices=(1, 0), simulated_raters=True, title="two cases")
    raters = labels[0, :2] if multi_label else torch.stack([labels[0, :2] == s for s in (1, 2)], 1)
    dice = float(dice_to_raters(result.majority[:1], raters[None].float()).mean())
    row, other = panels(figure, 8, row=1), panels(figure, 8)  # case 0 is drawn second
    assert list(row)[:4] == [
        f"mask, {1 / float(result.mask[0].mean()):.3g}×",
        "2 simulated raters",
        f"majority, Dice {dice:.2f}",
        "sample 1",
    ]
    top = top_entropy(result.mutual_information, (0, 1))
    assert list(row)[4:] == ["sample 2", "sample 3", "entropy", f"mutual inf., 0 to {top:.2g}"]
    assert list(other)[1:3] == ["no simulated rater", "majority"]
    axes = list(row.values())
    np.testing.assert_array_equal(axes[0].images[0].get_array(), result.mask[0, 0].expand(GRID))
    for panel in axes[1:6]:
        np.testing.assert_allclose(panel.images[0].get_array(), image[0, 0].abs(), rtol=1e-6)
    assert outlines(axes[1]) == [line for r in raters for line in expected_outlines(r)]
    shown = [result.majority[0], *result.samples[0, :3]]
    assert [outlines(panel) for panel in axes[2:6]] == [expected_outlines(masks) for masks in shown]
    for column, values in ((6, result.entropy), (7, result.mutual_information)):
        np.testing.assert_allclose(axes[column].images[0].get_array(), values[0, 0], rtol=1e-6)
        for panel in (axes[column], list(other.values())[column]):  # one scale for all rows
            assert panel.images[0].get_clim() == pytest.approx((0, top_entropy(values, (0, 1))))
    assert f"agreement {float(sample_agreement(result.samples[:1])):.2f}" == axes[0].get_ylabel()
    assert figure.get_suptitle() == "two cases"
    assert figure.axes[16].get_ylabel() == "entropy, nats"


@pytest.mark.parametrize("k", [1, 2])
def test_inference_has_no_raters_and_perhaps_no_mask(k, tmp_path):
    result, image = posterior(k=k)
    figure = segmentation_figure(TaskPosterior(*result[:5]), image, structures=["liver", "spleen"])
    titles = [axes.get_title() for axes in figure.axes[:-1]]
    assert titles[:-1] == ["majority", *(f"sample {i + 1}" for i in range(k)), "entropy"]
    assert titles[-1].startswith("mutual inf., 0 to ")
    (legend,) = figure.legends
    lines = zip(legend.get_texts(), legend.get_lines(), strict=True)
    named = {text.get_text(): to_hex(line.get_color()).upper() for text, line in lines}
    assert named == dict(zip(("liver", "spleen"), STRUCTURE_COLOURS[:2], strict=True))
    assert figure.axes[0].get_ylabel().startswith("agreement") == (k > 1)
    masked = segmentation_figure(TaskPosterior(*result[:5]), image, mask=torch.ones(2, 1, *GRID))
    assert masked.axes[0].get_title() == "mask, 1×"
    save_figure(figure, tmp_path / "case.png")


def test_masks_of_evaluators_are_labels_too():
    """NaN for a missing rater instead of -1, and masks instead of class numbers, give the same picture."""
    result, image = posterior()
    numbers, masks = rater_labels(), rater_labels(multi_label=True).float()
    masks[masks == -1] = torch.nan
    drawn = [panels(segmentation_figure(result, image, labels), 8) for labels in (numbers, masks)]
    assert list(drawn[0]) == list(drawn[1])
    assert outlines(drawn[0]["2 raters"]) == outlines(drawn[1]["2 raters"])


def test_empty_masks_and_images_can_be_drawn(tmp_path):
    result, image = posterior(structures=1)
    empty = TaskPosterior(*(0 * field for field in result[:5]))
    figure = segmentation_figure(empty, 0 * image, torch.zeros(2, 1, *GRID, dtype=torch.int8))
    row = panels(figure, 7)
    assert list(row)[:2] == ["1 rater", "majority, Dice 1.00"]
    assert all(outlines(axes) == [] for axes in row.values())
    assert all(axes.get_xlim() == (-0.5, GRID[1] - 0.5) for axes in row.values())
    assert not figure.legends  # nothing to name
    save_figure(figure, tmp_path / "empty.png")


def test_outlines_close_at_the_edge_and_keep_the_axes_limits():
    mask = torch.zeros(1, *GRID)
    mask[0, :5] = 1
    with styled(1, 1, 2, 2) as (_, grid):
        axes = grid[0, 0]
        axes.set(xlim=(3, 9), ylim=(8, 2))
        draw_outlines(axes, mask.numpy(), colors="white")
        assert (axes.get_xlim(), axes.get_ylim()) == ((3, 9), (8, 2))
        assert outlines(axes) == [("#FFFFFF", -0.5, GRID[1] - 0.5, -0.5, 4.5)]
        (path,) = axes.collections[0].get_paths()
    np.testing.assert_array_equal(path.vertices[0], path.vertices[-1])


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_window_holds_all_structures_and_lies_in_the_image(height, width, data):
    mask = np.zeros((2, height, width))
    points = st.tuples(st.integers(0, 1), st.integers(0, height - 1), st.integers(0, width - 1))
    for point in data.draw(st.lists(points, max_size=5)):
        mask[point] = 1
    rows, columns = window(mask)
    assert mask[:, rows, columns].sum() == mask.sum()
    assert 0 <= rows.start < rows.stop <= height
    assert 0 <= columns.start < columns.stop <= width
    if not mask.any():
        assert (rows, columns) == (slice(0, height), slice(0, width))
    shares = [(part.stop - part.start) / n for part, n in ((rows, height), (columns, width))]
    assert abs(shares[0] - shares[1]) <= 0.5 / height + 0.5 / width + 1e-9  # the image's aspect but for whole pixels


@pytest.mark.parametrize("multi_label", [False, True])
def test_sweep_has_a_column_per_acceleration(multi_label, tmp_path):
    result, image = posterior(batch=3, k=5, multi_label=multi_label)
    labels = rater_labels(multi_label)[[0, 0, 0]]
    figure = sweep_figure(result, image, labels, (2, 0), structures=["a", "b"], simulated_raters=True, title="sweep")
    grid = np.array(figure.axes[:10]).reshape(5, 2)
    names = [axes.get_ylabel() for axes in grid[:, 0]]
    assert names == ["mask", "zero-filled", "majority,\n2 simulated raters (white)", "5 samples", "entropy"]
    for column, i in zip(grid.T, (2, 0), strict=True):
        agreement = float(sample_agreement(result.samples[i : i + 1]))
        assert column[0].get_title() == f"{1 / float(result.mask[i].mean()):.3g}×, agreement {agreement:.2f}"
        np.testing.assert_allclose(column[1].images[0].get_array(), result.zero_filled[i, 0].abs(), rtol=1e-6)
        white, coloured = outlines(column[2])[:4], outlines(column[2])[4:]
        assert {colour for colour, *_ in white} == {"#FFFFFF"}
        assert coloured == expected_outlines(result.majority[i])
        assert outlines(column[3]) == [line for sample in result.samples[i] for line in expected_outlines(sample)]
        np.testing.assert_allclose(column[4].images[0].get_array(), result.entropy[i, 0], rtol=1e-6)
        assert column[4].get_xlabel() == f"mean {float(result.entropy[i].mean()):.3g} nats"
    assert len({axes.get_xlim() + axes.get_ylim() for axes in grid[1:].flat}) == 1
    assert len({axes.images[0].get_clim() for axes in grid[4]}) == 1
    save_figure(figure, tmp_path / "sweep.png")
    bare = sweep_figure(result, image, indices=(0,))
    assert bare.axes[2].get_ylabel() == "majority"
    assert outlines(bare.axes[2]) == expected_outlines(result.majority[0])


CURVES = {"learned": {8: (0.3, 0.1), 4.0: (0.2, math.nan), 32: (0.5, 0.2)}, "fixed": {4: (0.4, 0.0), 8: (0.6, 0.0)}}


def test_curves_by_acceleration(tmp_path):
    """Doublings are equal steps; a single seed has no band."""
    other = {"learned": {4: (0.9, 0.0)}}
    metrics = {"squared GED": CURVES, **{f"metric {i}": other for i in range(4)}}
    figure = curves_by_acceleration_figure(metrics, title="against acceleration")
    axes, second = figure.axes[:2]
    learned, fixed = axes.lines
    np.testing.assert_allclose(learned.get_xydata(), [[4, 0.2], [8, 0.3], [32, 0.5]])
    np.testing.assert_allclose(fixed.get_xydata(), [[4, 0.4], [8, 0.6]])
    (band,) = axes.collections
    vertices = band.get_paths()[0].vertices
    ends = vertices[vertices[:, 0] == 32, 1]
    np.testing.assert_allclose((ends.min(), ends.max()), (0.3, 0.7))
    np.testing.assert_allclose(vertices[vertices[:, 0] == 4, 1], 0.2)
    assert [a.get_ylabel() for a in figure.axes if a.axison] == list(metrics)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4×", "8×", "32×"]
    steps = axes.transData.transform([(x, 0.3) for x in (4, 8, 16, 32)])[:, 0]
    np.testing.assert_allclose(np.diff(steps, n=2), 0, atol=1e-6)
    assert learned.get_color() == second.lines[0].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["learned", "fixed"]
    save_figure(figure, tmp_path / "curves.png")
    axes = ged_by_samples_figure({"8×": {k: (0.2 + 0.2 / k, 0.01) for k in (1, 2, 16)}}, title="samples").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[k, 0.2 + 0.2 / k] for k in (1, 2, 16)])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "16"]


def diagram(confidence, frequency, share):
    return ReliabilityDiagram(*(torch.tensor(v, dtype=torch.float64) for v in (confidence, frequency, share)))


@pytest.mark.parametrize("simulated", [False, True])
def test_reliability(simulated, tmp_path):
    given = diagram([0.1, math.nan, 0.9], [0.2, math.nan, 0.7], [0.75, 0.0, 0.25])
    figure = reliability_figure({"8×": given}, "title", simulated_raters=simulated)
    upper, lower = figure.axes
    diagonal, curve = upper.lines
    np.testing.assert_allclose(*diagonal.get_data())
    np.testing.assert_allclose(curve.get_xydata(), [[0.1, 0.2], [0.9, 0.7]])
    np.testing.assert_allclose(lower.lines[0].get_xydata(), [[0.1, 75], [0.9, 25]])
    assert upper.get_legend().get_texts()[1].get_text() == "8×: ECE 0.1250"  # 0.75 * 0.1 + 0.25 * 0.2
    assert ("simulated raters" in upper.get_ylabel()) == simulated
    save_figure(figure, tmp_path / "reliability.png")
    words = {"frequency": "share of right answers", "probability": "confidence", "counted": "images"}
    upper, lower = reliability_figure({"8×": given}, **words).axes
    said = (upper.get_ylabel(), lower.get_xlabel(), lower.get_ylabel())
    assert said == ("share of right answers", "confidence", "images [%]")


def test_risk_coverage():
    curve = risk_coverage([0.9, 0.5, 0.7, 0.1], [1.0, 0.5, 0.9, 0.7])
    figure = risk_coverage_figure({"8×": curve}, reviewed=0.25)
    axes = figure.axes[0]
    drawn, perfect, _, mark = axes.lines
    expected = [[25, 0], [50, 0.05], [75, 0.2], [100, 0.225]]
    np.testing.assert_allclose(drawn.get_xydata(), expected, atol=1e-12)
    np.testing.assert_allclose(perfect.get_xydata()[:, 1], [0, 0.05, 0.4 / 3, 0.225], atol=1e-12)
    assert list(mark.get_xdata()) == [75, 75]
    assert [text.get_text() for text in axes.texts] == ["25 % reviewed"]
    assert figure.legends[0].get_texts()[0].get_text() == "8×: AURC 0.119 (random 0.225)"
    assert len(risk_coverage_figure({"8×": curve}, reviewed=None).axes[0].lines) == 3


@pytest.mark.parametrize("draw", [segmentation_figure, sweep_figure])
def test_figures_of_cases_refuse(draw):
    result, image = posterior()
    labels = rater_labels()
    names, on_grid = "structures must be different names, one for each of 2", "labels must be of the batch of 2 and on"
    of_grid, numbers = r"image must be \(batch, 1, H, W\) on the samples' grid", r"labels must be class numbers \(batch"
    for message, options in (
        *(("indices must name cases of the batch of 2", {"indices": i}) for i in ((2,), (-3,), ())),
        *((of_grid, {"image": other}) for other in (image[..., 1:], image[:1], image[:, 0])),
        *((on_grid, {"labels": other}) for other in (labels[:1], labels[..., 1:])),
        (numbers, {"labels": labels[:, 0]}),
        ("label must lie in -1", {"labels": labels + 3}),
        *((names, {"structures": other}) for other in ("ab", ["a"])),
    ):
        refuses(ValueError, message, draw, result, **{"image": image, "labels": labels} | options)


def test_others_refuse():
    result, image = posterior()
    refuses(ValueError, "shown_samples must be at least 1", segmentation_figure, result, image, shown_samples=0)
    refuses(ValueError, "metrics is empty", curves_by_acceleration_figure, {})
    for curves, message in (
        ({}, "give at least one method"),
        ({"a": {}}, "give at least one"),
        ({"a": {0.5: (1.0, 0.0)}}, "at least 1, got 0.5"),
        ({"a": {math.inf: (1.0, 0.0)}}, "must be finite"),
        ({"a": {4: (math.inf, 0.0)}}, "finite mean"),
        ({"a": {4: (1.0, -1.0)}}, "standard deviation >= 0"),
    ):
        refuses(ValueError, message, curves_by_acceleration_figure, {"GED": curves})
        refuses(ValueError, message, ged_by_samples_figure, curves)
    refuses(ValueError, "diagrams is empty", reliability_figure, {})
    empty, curves = {"a": diagram(*[[math.nan]] * 3)}, {"a": risk_coverage([0.5], [0.5])}
    refuses(ValueError, "has no bin with a pixel", reliability_figure, empty)
    refuses(ValueError, "curves is empty", risk_coverage_figure, {})
    for reviewed in (0.0, 1.0):
        refuses(ValueError, r"reviewed must lie in \(0, 1\)", risk_coverage_figure, curves, reviewed=reviewed)
