"""Figures of segmentations: outlines lie around the masks, panels and curves show the numbers given, and say what they are."""

from __future__ import annotations

import math
from itertools import pairwise

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
    samples = torch.stack(
        [
            torch.stack(
                [
                    torch.stack([box(3 + b + i, 9 + b + i, 2 + 8 * s, 7 + 8 * s) for s in range(structures)])
                    for i in range(k)
                ]
            )
            for b in range(batch)
        ]
    )
    p = samples.float().mean(1)
    classes = p if multi_label else torch.cat([1 - p.sum(1, keepdim=True), p], 1)
    entropy = -(classes.clamp(min=1e-9).log() * classes).sum(1, keepdim=True)
    image = torch.rand(batch, 1, *GRID).to(torch.complex64) * 1j
    mask = (torch.rand(batch, 1, 1 if lines else GRID[0], GRID[1]) < 0.3).float()
    ratio = mask.flatten(1).mean(1)
    result = SegmentationPosterior(
        samples, (p > 0.5).byte(), classes, entropy, 0.5 * entropy, image, entropy, 0.5 * image, mask, ratio
    )
    return result, image


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


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("lines", [False, True])
def test_panels_of_a_case(multi_label, lines):
    result, image = posterior(multi_label=multi_label, lines=lines)
    labels = rater_labels(multi_label)
    figure = segmentation_figure(result, image, labels, indices=(1, 0), simulated_raters=True, title="two cases")
    acceleration = 1 / float(result.mask[0].mean())
    raters = torch.stack([torch.stack([labels[0, r] == s for s in (1, 2)]) for r in range(2)])
    raters = labels[0, :2] if multi_label else raters
    dice = float(dice_to_raters(result.majority[:1], raters[None].float()).mean())
    row = panels(figure, 8, row=1)  # case 0 is drawn second
    assert list(row) == [
        f"mask, {acceleration:.3g}×",
        "2 simulated raters",
        f"majority, Dice {dice:.2f}",
        *("sample 1", "sample 2", "sample 3", "entropy"),
        f"mutual inf., 0 to {top_entropy(result.mutual_information, (0, 1)):.2g}",
    ]
    axes = list(row.values())
    np.testing.assert_array_equal(axes[0].images[0].get_array(), result.mask[0, 0].expand(GRID))
    for panel in axes[1:6]:
        np.testing.assert_allclose(panel.images[0].get_array(), image[0, 0].abs(), rtol=1e-6)
    assert outlines(axes[1]) == [line for r in raters for line in expected_outlines(r)]
    assert outlines(axes[2]) == expected_outlines(result.majority[0])
    for k in range(3):
        assert outlines(axes[3 + k]) == expected_outlines(result.samples[0, k])
    for panel, values in zip(axes[6:], (result.entropy, result.mutual_information), strict=True):
        np.testing.assert_allclose(panel.images[0].get_array(), values[0, 0], rtol=1e-6)
    assert f"agreement {float(sample_agreement(result.samples[:1])):.2f}" == axes[0].get_ylabel()
    assert figure.get_suptitle() == "two cases"
    other = panels(figure, 8)
    assert list(other)[1:3] == ["no simulated rater", "majority"]
    for column, shown in ((6, result.entropy), (7, result.mutual_information)):  # one scale for all rows
        for panel in (axes[column], list(other.values())[column]):
            assert panel.images[0].get_clim() == pytest.approx((0, top_entropy(shown, (0, 1))))
    assert figure.axes[16].get_ylabel() == "entropy, nats"


@pytest.mark.parametrize("k", [1, 2])
def test_inference_has_no_raters_and_perhaps_no_mask(k, tmp_path):
    result, image = posterior(k=k)
    figure = segmentation_figure(TaskPosterior(*result[:5]), image, structures=["liver", "spleen"])
    samples = [f"sample {i + 1}" for i in range(k)]
    titles = [axes.get_title() for axes in figure.axes[:-1]]
    assert titles[:-1] == ["majority", *samples, "entropy"]
    assert titles[-1].startswith("mutual inf., 0 to ")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["liver", "spleen"]
    assert [to_hex(line.get_color()).upper() for line in figure.legends[0].get_lines()] == list(STRUCTURE_COLOURS[:2])
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
    other = {"learned": {4: (0.9, 0.0)}}
    figure = curves_by_acceleration_figure({"squared GED": CURVES, "Dice": other}, title="against acceleration")
    axes, second = figure.axes
    learned, fixed = axes.lines
    np.testing.assert_allclose(learned.get_xydata(), [[4, 0.2], [8, 0.3], [32, 0.5]])
    np.testing.assert_allclose(fixed.get_xydata(), [[4, 0.4], [8, 0.6]])
    (band,) = axes.collections  # none for a single seed
    vertices = band.get_paths()[0].vertices
    np.testing.assert_allclose(vertices[vertices[:, 0] == 32, 1].min(), 0.3)
    np.testing.assert_allclose(vertices[vertices[:, 0] == 32, 1].max(), 0.7)
    np.testing.assert_allclose(vertices[vertices[:, 0] == 4, 1], 0.2)
    assert (axes.get_ylabel(), second.get_ylabel()) == ("squared GED", "Dice")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4×", "8×", "32×"]
    steps = axes.transData.transform([(x, 0.3) for x in (4, 8, 16, 32)])[:, 0]
    assert len({round(b - a, 6) for a, b in pairwise(steps)}) == 1  # doublings are equal steps
    assert learned.get_color() == second.lines[0].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["learned", "fixed"]
    save_figure(figure, tmp_path / "curves.png")


@pytest.mark.parametrize("metrics", [1, 4, 5, 7])
def test_any_number_of_metrics_has_panels(metrics):
    figure = curves_by_acceleration_figure({f"metric {i}": {"learned": {4: (0.5, 0.0)}} for i in range(metrics)})
    assert [a.get_ylabel() for a in figure.axes if a.axison] == [f"metric {i}" for i in range(metrics)]
    assert not figure.legends


def test_energy_distance_by_samples():
    curves = {"8×": {k: (0.2 + 0.2 / k, 0.01) for k in (1, 2, 4, 8, 16)}}
    axes = ged_by_samples_figure(curves, title="samples").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[k, 0.2 + 0.2 / k] for k in (1, 2, 4, 8, 16)])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4", "8", "16"]
    assert axes.get_ylabel() == "squared GED (V-statistic)"


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


def test_risk_coverage():
    curve = risk_coverage([0.9, 0.5, 0.7, 0.1], [1.0, 0.5, 0.9, 0.7])
    figure = risk_coverage_figure({"8×": curve}, reviewed=0.25)
    axes = figure.axes[0]
    drawn, perfect, _, mark = axes.lines
    np.testing.assert_allclose(drawn.get_xydata()[:, 0], [25, 50, 75, 100])
    np.testing.assert_allclose(drawn.get_xydata()[:, 1], [0, 0.05, 0.2, 0.225], atol=1e-12)
    np.testing.assert_allclose(perfect.get_xydata()[:, 1], [0, 0.05, 0.4 / 3, 0.225], atol=1e-12)
    assert list(mark.get_xdata()) == [75, 75]
    assert [text.get_text() for text in axes.texts] == ["25 % reviewed"]
    assert figure.legends[0].get_texts()[0].get_text() == "8×: AURC 0.119 (random 0.225)"
    assert len(risk_coverage_figure({"8×": curve}, reviewed=None).axes[0].lines) == 3


@pytest.mark.parametrize("draw", [segmentation_figure, sweep_figure])
def test_figures_of_cases_refuse(draw):
    result, image = posterior()
    labels = rater_labels()
    for indices in ((2,), (-3,), ()):
        refuses(ValueError, "indices must name cases of the batch of 2", draw, result, image, labels, indices)
    for other in (image[..., 1:], image[:1], image[:, 0]):
        refuses(ValueError, r"image must be \(batch, 1, H, W\) on the samples' grid", draw, result, other, labels)
    for other in (labels[:1], labels[..., 1:]):
        refuses(ValueError, "labels must be of the batch of 2 and on its grid", draw, result, image, other)
    refuses(ValueError, r"labels must be class numbers \(batch, R, H, W\) or masks", draw, result, image, labels[:, 0])
    refuses(ValueError, "label must lie in -1", draw, result, image, labels + 3)
    with pytest.raises(ValueError, match="structures must be different names, one for each of 2, got 'ab'"):
        draw(result, image, labels, structures="ab")
    with pytest.raises(ValueError, match="structures must be different names, one for each of 2"):
        draw(result, image, labels, structures=["a"])


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
    with pytest.raises(ValueError, match="has no bin with a pixel"):
        reliability_figure({"a": diagram([math.nan], [math.nan], [math.nan])})
    refuses(ValueError, "curves is empty", risk_coverage_figure, {})
    for reviewed in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"reviewed must lie in \(0, 1\)"):
            risk_coverage_figure({"a": risk_coverage([0.5], [0.5])}, reviewed=reviewed)
