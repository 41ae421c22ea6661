"""What is not finite does not disappear: the value is NaN or an error, and what is left out is told."""

from __future__ import annotations

import json
import math

import pytest
import torch
from helper import refuses
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler
from monai.utils import CommonKeys
from test_cumulative import ALL, RATIO, VOLUME

from infomri_monai.handlers import RatioSweepHandler
from infomri_monai.metrics import (
    PerImageMetric,
    RateDistortion,
    SubjectBootstrap,
    VolumePSNR,
    VolumeSSIM,
    class_accuracy,
    class_auroc,
    class_brier_score,
    dice_to_raters,
    energy_distance,
    interval_coverage,
    magnitude_coverage,
    psnr,
    sample_diversity,
    ssim,
    volume_coverage,
    volume_interval,
)
from infomri_monai.metrics.auroc import weighted_auroc
from infomri_monai.metrics.bootstrap import mean_estimate
from infomri_monai.systems import ReconstructionResult

NAN, IMAGES = math.nan, torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.1
ONE_EMPTY = IMAGES * torch.tensor([1.0, 0, 1, 1]).reshape(-1, 1, 1, 1)
REFUSED = ("accuracy", "bins", "class_bins", "auroc", "auroc_of_labels", "energy_distance")


def spoiled(prediction, value, count=3):
    bad = prediction.clone() if prediction.is_floating_point() or prediction.is_complex() else prediction.float()
    bad[:count].flatten(1)[:, 5 % bad[0].numel()] = value
    return bad


@pytest.mark.parametrize("value", [NAN, math.inf])
@pytest.mark.parametrize("case", ALL)
def test_no_metric_passes_over_a_prediction_that_is_not_finite(case, value):
    """Alone, by ratio, and through MONAI's handler; the ratio without one keeps its value."""
    make, prediction, target = ALL[case]
    bad = spoiled(prediction, value, 1)
    metric, whole = make(), make()
    if case in REFUSED:
        with pytest.raises(ValueError, match=r"got|0 and 1 only"):
            metric(bad, target, ratio=RATIO, volume=VOLUME)
        return
    metric(bad, target, ratio=RATIO, volume=torch.arange(len(bad)))
    whole(prediction, target, ratio=RATIO, volume=torch.arange(len(bad)))
    assert math.isnan(metric.aggregate())
    found, expected = metric.by_ratio(), whole.by_ratio()
    assert math.isnan(found[0.1])
    assert found[0.25] == pytest.approx(expected[0.25])
    assert metric.told() == {0.1: "of 1 of 3 images the prediction is not finite: no value"}
    engine = Engine(lambda _, batch: batch)
    IgniteMetricHandler(metric_fn=make(), output_transform=lambda out: out).attach(engine, "value")
    assert math.isnan(engine.run([(bad, target)]).metrics["value"])


def test_three_diverged_images_of_four():
    metric = PerImageMetric(psnr, "dB", "PSNR")
    metric(spoiled(0.9 * IMAGES, NAN), IMAGES, ratio=0.25)
    assert math.isnan(metric.aggregate())
    assert metric.by_image().isnan().tolist() == [True, True, True, False]
    assert math.isnan(metric.estimates(SubjectBootstrap())[0.25].lower)


def result(mean):
    zero = torch.zeros(len(mean), 1, 16, 16)
    return ReconstructionResult(mean, zero, IMAGES, zero, zero + 1, zero, zero[:, 0, 0, 0], zero)


@pytest.mark.parametrize(("mean", "target", "words"), [
    (spoiled(IMAGES, NAN), IMAGES, "at ratio 0.25 of 3 of 4 images the prediction is not finite: no value"),
    (0.9 * IMAGES, ONE_EMPTY, "at ratio 0.25 1 of 4 images without a value left out"),
])  # fmt: skip
def test_table_files_and_log_tell_it(tmp_path, caplog, mean, target, words):
    """And what goes to a tracking server: a ratio that diverged is in the mean over ratios."""
    handler, engine = RatioSweepHandler(RateDistortion("demo"), [0.25, 0.5], tmp_path), Engine(lambda _, b: b)
    good = result(0.9 * IMAGES)
    both = ReconstructionResult(*(torch.cat(pair) for pair in zip(result(mean), good, strict=True)))
    handler.attach(engine)
    engine.run([{CommonKeys.PRED: both, CommonKeys.LABEL: torch.cat([target, IMAGES])}])
    broken = "not finite" in words
    text = (tmp_path / "rate_distortion.md").read_text()
    assert words in text
    assert ("nan" in text) == broken
    assert words in json.loads((tmp_path / "rate_distortion.json").read_text())["told"]["psnr"]
    assert words in caplog.text
    assert math.isnan(engine.state.metrics["psnr"]) == broken
    assert math.isnan(engine.state.metrics["psnr_at_0.2500"]) == broken
    assert math.isfinite(engine.state.metrics["psnr_at_0.5000"])


@pytest.mark.parametrize("value", [NAN, math.inf])
@pytest.mark.parametrize("metric", [psnr, ssim, VolumePSNR(), VolumeSSIM()])
def test_a_target_that_is_not_finite_is_refused(metric, value):
    """It would be taken for an empty one and left out in silence."""
    refuses(
        ValueError, "target must be finite, got NaN or Inf in 1 of 4 images", metric, IMAGES, spoiled(IMAGES, value, 1)
    )


def test_functions_of_a_batch():
    """The image that is not finite has NaN, the others keep their value."""
    bad, log_variance = spoiled(0.9 * IMAGES, NAN), torch.zeros_like(IMAGES)
    for values in (psnr(bad, IMAGES), ssim(bad, IMAGES), interval_coverage(IMAGES, bad, log_variance),
                   interval_coverage(IMAGES, IMAGES, spoiled(log_variance, NAN)),
                   magnitude_coverage(IMAGES, bad, log_variance)):  # fmt: skip
        assert values.isnan().tolist() == [True, True, True, False]
    estimate = mean_estimate(torch.tensor([1.0, NAN, 1.0, 2.0]), torch.arange(4.0), SubjectBootstrap())
    assert all(map(math.isnan, estimate))


def test_masks_and_scores_that_are_not_finite_are_refused():
    raters = (IMAGES > 0.5).float().unsqueeze(1).repeat(1, 3, 1, 1, 1)
    samples = raters.clone()
    samples[0, 1] = NAN
    present = "samples must be present, got NaN"
    scores, targets = torch.tensor([[0.1], [NAN], [0.4]]), torch.tensor([[0], [1], [1]])
    probabilities = torch.tensor([[0.5, 0.5], [NAN, NAN]])
    refuses(ValueError, present, energy_distance, samples, raters)
    refuses(ValueError, present, dice_to_raters, samples, raters)
    refuses(ValueError, present, volume_coverage, samples, raters)
    refuses(ValueError, present, sample_diversity, samples)
    refuses(ValueError, present, volume_interval, samples)
    refuses(ValueError, "scores must be finite, got 1 of 3", class_auroc, scores, targets)
    numbers = scores[:, 0].double().numpy(), targets[:, 0].bool().numpy(), torch.ones(1, 3).double().numpy()
    refuses(ValueError, "scores must be finite", weighted_auroc, *numbers)
    labels = torch.tensor([0, 1])
    refuses(ValueError, "got nan", class_accuracy, probabilities, labels)
    refuses(ValueError, "got nan", class_brier_score, probabilities, labels)
