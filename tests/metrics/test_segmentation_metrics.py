"""The segmentation metrics are cumulative: any batching gives one value, by ratio, by image, in MONAI's Ignite handler."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler

from infomri_monai.metrics import (
    BrierScore,
    ExpectedCalibrationError,
    GeneralizedEnergyDistance,
    MeanEntropy,
    PerImageMetric,
    PooledCalibrationError,
    RaterDice,
    SampleDiversity,
    VolumeCoverage,
    brier_score,
    dice_to_raters,
    energy_distance,
    expected_calibration_error,
    sample_diversity,
    volume_coverage,
)

N, S, GRID = 6, 2, (11, 9)
GENERATOR = torch.Generator().manual_seed(0)
LEVEL = torch.rand(N, 1, S, *GRID, generator=GENERATOR)
SAMPLES = (torch.rand(N, 4, S, *GRID, generator=GENERATOR) < LEVEL).to(torch.uint8)
RATERS = (torch.rand(N, 3, S, *GRID, generator=GENERATOR) < LEVEL).float()
RATERS[2, 1] = torch.nan
PROBABILITIES = SAMPLES.float().mean(1)
MAJORITY = (PROBABILITIES > 0.5).to(torch.uint8)
ENTROPY = torch.rand(N, 1, *GRID, generator=GENERATOR)
RATIO = torch.tensor([0.1, 0.25] * 3)

#: metric, prediction, target, values of the images
CASES = {
    "ged": (GeneralizedEnergyDistance, SAMPLES, RATERS, energy_distance(SAMPLES, RATERS)),
    "ged_unbiased": (
        lambda: GeneralizedEnergyDistance(unbiased=True),
        SAMPLES,
        RATERS,
        energy_distance(SAMPLES, RATERS, True),
    ),
    "dice": (RaterDice, MAJORITY, RATERS, dice_to_raters(MAJORITY, RATERS).mean(1)),
    "dice_samples": (lambda: RaterDice("samples"), SAMPLES, RATERS, dice_to_raters(SAMPLES, RATERS).mean(1)),
    "dice_1": (lambda: RaterDice("majority", 1), MAJORITY, RATERS, dice_to_raters(MAJORITY, RATERS)[:, 1]),
    "samples_1": (lambda: RaterDice("samples", 1), SAMPLES, RATERS, dice_to_raters(SAMPLES, RATERS)[:, 1]),
    "ece": (ExpectedCalibrationError, PROBABILITIES, RATERS, expected_calibration_error(PROBABILITIES, RATERS)),
    "brier": (BrierScore, PROBABILITIES, RATERS, brier_score(PROBABILITIES, RATERS)),
    "diversity": (SampleDiversity, SAMPLES, SAMPLES, sample_diversity(SAMPLES)),
    "entropy": (MeanEntropy, ENTROPY, ENTROPY, ENTROPY.mean((1, 2, 3))),
    "coverage": (VolumeCoverage, SAMPLES, RATERS, volume_coverage(SAMPLES, RATERS).mean(1)),
    "ece_pooled": (PooledCalibrationError, PROBABILITIES, RATERS, None),
}


@pytest.mark.parametrize("case", CASES)
def test_is_the_pure_function(case):
    make, prediction, target, values = CASES[case]
    metric = make()
    metric(prediction, target, ratio=RATIO, volume=torch.arange(N))
    if values is None:
        pure = [expected_calibration_error(p, y, pooled=True) for p, y in _parts(prediction, target)]
        assert [metric.aggregate(), *metric.by_ratio().values()] == pytest.approx([float(v) for v in pure], abs=1e-6)
        return
    assert isinstance(metric, PerImageMetric)
    torch.testing.assert_close(metric.by_image(), values)
    torch.testing.assert_close(metric.aggregate(), values.mean())
    assert list(metric.by_ratio().values()) == pytest.approx([values[i::2].mean().item() for i in (0, 1)], abs=1e-6)
    assert metric.image_labels()[1].tolist() == list(range(N))


def _parts(prediction, target):
    return [(prediction[i::n], target[i::n]) for i, n in ((0, 1), (0, 2), (1, 2))]


@pytest.mark.parametrize("case", CASES)
def test_batching_does_not_matter_in_monais_ignite_handler(case):
    make, prediction, target, _ = CASES[case]
    whole, lists = make(), make()
    whole(prediction, target)
    lists(list(prediction), list(target))  # decollated, as MONAI's evaluator gives them
    batches = [(prediction[i : i + 2], target[i : i + 2]) for i in range(0, N, 2)]
    engine = Engine(lambda _, batch: batch)
    IgniteMetricHandler(metric_fn=make(), output_transform=lambda out: out).attach(engine, "value")
    torch.testing.assert_close(lists.aggregate(), whole.aggregate())
    assert engine.run(batches).metrics["value"] == pytest.approx(whole.aggregate().item(), abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_names_its_convention(case):
    metric = CASES[case][0]()
    assert metric.unit
    assert len(metric.convention) > 20


def test_images_without_a_rater_are_left_out():
    raters = RATERS.clone()
    raters[0] = torch.nan
    for case in ("ged", "ged_unbiased", "dice", "dice_samples", "dice_1", "ece", "brier", "coverage", "ece_pooled"):
        make, prediction, _, _ = CASES[case]
        with_missing, without = make(), make()
        with_missing(prediction, raters)
        without(prediction[1:], raters[1:])
        torch.testing.assert_close(with_missing.aggregate(), without.aggregate())


def test_refuses():
    with pytest.raises(ValueError, match="prediction must be 'majority' or 'samples', got 'mean'"):
        RaterDice("mean")
    with pytest.raises(ValueError, match="y_pred must have 4 axes, majority"):
        RaterDice()(SAMPLES, RATERS)
    with pytest.raises(ValueError, match="y_pred must have 5 axes, samples"):
        RaterDice("samples")(MAJORITY, RATERS)
    with pytest.raises(ValueError, match="threshold probabilities first"):
        RaterDice()(PROBABILITIES, RATERS)
    with pytest.raises(ValueError, match="no images yet"):
        GeneralizedEnergyDistance().by_image()
