"""The pictures that an evaluation of segmentations leaves show the evaluation's numbers; they are caught before being saved."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import refuses
from monai.utils import CommonKeys
from small_engines import replay
from tiny_runs import GRID, RATIOS

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.handlers import RatioSweepHandler, SegmentationFigures
from infomri_monai.metrics import SegmentationQuality, dice_to_raters, reliability_diagram
from infomri_monai.metrics.structures import structure_masks
from infomri_monai.networks import LatentSegmenter
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom
from infomri_monai.systems import SegmentationSystem
from infomri_monai.triage import risk_coverage, sample_agreement, share_removed

#: of the whole sweep, in an order of its own
SWEEP = (RATIOS[1], RATIOS[2], RATIOS[0])
NAMES = ("left", "right")
TIMES = ["2.22×", "3.33×", "5×"]


@pytest.fixture(scope="module")
def system():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LatentSegmenter(num_classes=3, channels=(8, 8))
    return SegmentationSystem(PatternGenerationNetwork(GRID), FourierMeasurement(), network).eval()


def make_outputs(system, samples=4):
    """Two batches of two images; the second image of the first batch has the larger labels, and an absent rater."""
    generator, batches = torch.Generator().manual_seed(0), []
    ratio = torch.tensor(SWEEP).repeat_interleave(2)
    for _ in range(2):
        image = torch.rand(2, 1, *GRID, generator=generator).repeat(3, 1, 1, 1)
        label = torch.zeros(2, 3, *GRID, dtype=torch.int8)
        label[0, :, 5:9, 4:8], label[1, :, 3:12, 3:8], label[1, :, 3:12, 9:14] = 1, 1, 2
        label[:, 1] = label[:, 1].roll(1, -1)
        label[1, 2] = -1
        with torch.no_grad():
            posterior = system.infer(image, ratio, samples, generator)
        values = {CommonKeys.IMAGE: image, CommonKeys.LABEL: label.repeat(3, 1, 1, 1), CommonKeys.PRED: posterior}
        batches.append(values)
    return batches


@pytest.fixture(scope="module")
def outputs(system):
    return make_outputs(system)


def run(outputs, folder, **options):
    quality = RatioSweepHandler(SegmentationQuality("tiny", 3, NAMES), SWEEP)
    replay(outputs, quality, SegmentationFigures(quality, folder, structures=NAMES, **options))
    return quality


def joined(outputs, key, field=None):
    return torch.cat([output[key] if field is None else getattr(output[key], field) for output in outputs])


def test_all_pictures_are_saved_and_are_pictures(outputs, system, tmp_path):
    run(outputs, tmp_path / "new", policy=system.policy)
    found = sorted((tmp_path / "new").iterdir())
    names = ["masks", "reliability", "risk_coverage", "segmentation_by_acceleration", "segmentations", "sweep"]
    assert [path.name for path in found] == [f"{name}.png" for name in names]
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in found)


def test_cases_with_most_labels_come_first(outputs, caught, tmp_path):
    run(outputs, tmp_path, simulated_raters=True)
    figure, posterior = caught["segmentations"], outputs[0][CommonKeys.PRED]
    assert figure.get_suptitle() == "Segmentations at 3.33× (simulated raters)"
    # the middle ratio is the first of the sweep; image 1 has more pixels labelled than image 0
    for row, place in enumerate((1, 0)):
        axes = figure.axes[8 * row : 8 * row + 8]
        np.testing.assert_array_equal(axes[0].images[0].get_array(), posterior.mask[place, 0].expand(GRID))
        np.testing.assert_allclose(axes[2].images[0].get_array(), outputs[0][CommonKeys.IMAGE][place, 0], rtol=1e-6)
        np.testing.assert_allclose(axes[6].images[0].get_array(), posterior.entropy[place, 0], rtol=1e-6)
        assert axes[1].get_title() == ("2 simulated raters", "3 simulated raters")[row]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(NAMES)


def test_sweep_goes_from_the_lowest_acceleration_to_the_highest(outputs, caught, tmp_path):
    run(outputs, tmp_path, cases=1)
    figure, posterior = caught["sweep"], outputs[0][CommonKeys.PRED]
    assert figure.get_suptitle() == "One case, less and less measured"
    for axes, place in zip(figure.axes[:3], (3, 1, 5), strict=True):  # image 1 at ratios 0.45, 0.3 and 0.2
        np.testing.assert_array_equal(axes.images[0].get_array(), posterior.mask[place, 0].expand(GRID))
    assert figure.axes[6].get_ylabel() == "majority,\n2 raters (white)"
    assert len(caught["segmentations"].axes) == 9  # of one case: eight panels and a colour bar
    refuses(ValueError, "cases must be at least 1", run, outputs, tmp_path, cases=0)


def test_curves_are_the_tables(outputs, caught, tmp_path):
    quality = run(outputs, tmp_path)
    axes = {a.get_ylabel(): a for a in caught["segmentation_by_acceleration"].axes}
    for label, name in (("squared GED (V-statistic)", "ged"), ("Dice of the majority", "dice"), ("ECE, pooled", "ece")):
        expected = sorted((row.acceleration, getattr(row, name)) for row in quality.table.rows)
        np.testing.assert_allclose(axes[label].lines[0].get_xydata(), expected)
    assert caught["segmentation_by_acceleration"].get_suptitle() == "tiny"


def test_reliability_and_risk_coverage_are_of_every_ratio(outputs, caught, tmp_path):
    run(outputs, tmp_path, simulated_raters=True)
    upper, figure = caught["reliability"].axes[0], caught["risk_coverage"]
    probabilities = joined(outputs, CommonKeys.PRED, "class_probabilities")[:, -2:]
    raters = structure_masks(joined(outputs, CommonKeys.LABEL), 3)
    agreement = sample_agreement(joined(outputs, CommonKeys.PRED, "samples"))
    dice = dice_to_raters(joined(outputs, CommonKeys.PRED, "majority"), raters).mean(1)
    ratio, curves, risks = torch.tensor(SWEEP).repeat_interleave(2).repeat(2), upper.lines[1:], figure.axes[0].lines
    assert [line.get_label().split(":")[0] for line in (*curves, *risks[0:6:2])] == TIMES * 2
    for i, s in enumerate(sorted(SWEEP, reverse=True)):
        diagram = reliability_diagram(probabilities[ratio == s], raters[ratio == s])
        expected = torch.stack([diagram.confidence, diagram.frequency], 1)[diagram.share > 0]
        np.testing.assert_allclose(curves[i].get_xydata(), expected, atol=1e-6)
        expected = risk_coverage(agreement[ratio == s], dice[ratio == s])
        np.testing.assert_allclose(risks[2 * i].get_ydata(), expected.risk, atol=1e-6)
    assert "simulated raters" in upper.get_ylabel()
    shares = [share_removed(agreement[ratio == s], dice[ratio == s]) for s in SWEEP]
    assert f"{100 * sum(shares) / 3:.0f} % of its worst tenth" in figure.get_suptitle()


def test_images_without_any_rater_leave_no_hole(outputs, caught, tmp_path):
    undrawn = [output | {CommonKeys.LABEL: torch.full_like(output[CommonKeys.LABEL], -1)} for output in outputs]
    run([outputs[0], undrawn[1]], tmp_path)
    assert [len(line.get_ydata()) for line in caught["risk_coverage"].axes[0].lines[0:6:2]] == [2, 2, 2]
    assert all(math.isfinite(y) for line in caught["reliability"].axes[0].lines for y in line.get_ydata())
    caught.clear()
    run(undrawn, tmp_path)
    assert sorted(caught) == ["segmentation_by_acceleration", "segmentations", "sweep"]


def test_a_single_sample_has_no_agreement_to_sort_by(system, caught, tmp_path):
    run(make_outputs(system, samples=1), tmp_path, policy=UniformRandom())
    assert sorted(caught) == ["masks", "reliability", "segmentation_by_acceleration", "segmentations", "sweep"]
    assert caught["sweep"].axes[0].get_title() == TIMES[0]
