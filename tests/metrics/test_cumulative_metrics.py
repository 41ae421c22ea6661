"""The cumulative metrics: any batching gives one value, by ratio, by volume, and through MONAI's Ignite handler."""

from __future__ import annotations

import pytest
import torch
from helper import random_tensor
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler

from infomri_monai.metrics import (
    PSNR,
    SSIM,
    IntervalCoverage,
    PooledCorrelation,
    StandardizedSquaredError,
    UncertaintyErrorCorrelation,
    VolumePSNR,
    VolumeSSIM,
    interval_coverage,
    psnr,
    split_posterior,
    ssim,
    stack_posterior,
    standardized_squared_error,
    uncertainty_error_correlation,
)

N, GRID = 6, (16, 17)
TARGET = random_tensor((N, 1, *GRID), torch.complex64, 1) * torch.arange(1, N + 1).reshape(-1, 1, 1, 1)
MEAN = TARGET + 0.1 * random_tensor((N, 1, *GRID), torch.complex64, 2)
LOG_VARIANCE = random_tensor((N, 1, *GRID), torch.float32, 3) - 4
POSTERIOR = stack_posterior(MEAN, LOG_VARIANCE)
RATIO = torch.tensor([0.1, 0.25] * 3)
VOLUME = torch.tensor([0, 0, 1, 1, 1, 0])

PER_IMAGE = [
    (PSNR, MEAN, psnr(MEAN, TARGET)),
    (SSIM, MEAN, ssim(MEAN, TARGET)),
    (StandardizedSquaredError, POSTERIOR, standardized_squared_error(TARGET, MEAN, LOG_VARIANCE)),
    (UncertaintyErrorCorrelation, POSTERIOR, uncertainty_error_correlation(TARGET, MEAN, LOG_VARIANCE)),
    (IntervalCoverage, POSTERIOR, interval_coverage(TARGET, MEAN, LOG_VARIANCE)),
]
ALL = [(m, p) for m, p, _ in PER_IMAGE] + [(PooledCorrelation, POSTERIOR), (VolumePSNR, MEAN), (VolumeSSIM, MEAN)]


@pytest.mark.parametrize(("metric_class", "prediction", "values"), PER_IMAGE)
def test_is_the_mean_of_the_pure_function(metric_class, prediction, values):
    metric = metric_class()
    metric(prediction, TARGET, ratio=RATIO)
    torch.testing.assert_close(metric.aggregate(), values.mean())
    assert metric.by_ratio() == pytest.approx(
        {0.1: values[0::2].mean().item(), 0.25: values[1::2].mean().item()}, rel=1e-5
    )
    assert metric.images_by_ratio() == {0.1: 3, 0.25: 3}


@pytest.mark.parametrize(("metric_class", "prediction"), ALL)
def test_batching_and_order_do_not_matter(metric_class, prediction):
    whole, parts, lists = metric_class(), metric_class(), metric_class()
    whole(prediction, TARGET, ratio=RATIO, volume=VOLUME)
    for i in torch.randperm(N).tolist():
        one = slice(i, i + 1)
        parts(prediction[one], TARGET[one], ratio=RATIO[one], volume=VOLUME[one])
    lists(list(prediction), list(TARGET), volume=3)  # decollated, as MONAI's evaluator gives them
    torch.testing.assert_close(parts.aggregate(), whole.aggregate())
    assert parts.by_ratio() == pytest.approx(whole.by_ratio(), rel=1e-5)
    if not metric_class.__name__.startswith("Volume"):
        torch.testing.assert_close(lists.aggregate(), whole.aggregate())


@pytest.mark.parametrize(("metric_class", "prediction"), ALL)
def test_runs_in_monais_ignite_handler(metric_class, prediction):
    batches = [(prediction[i : i + 2], TARGET[i : i + 2]) for i in range(0, N, 2)]
    engine = Engine(lambda _, batch: batch)
    IgniteMetricHandler(metric_fn=metric_class(), output_transform=lambda out: out).attach(engine, "value")
    metric = metric_class()
    metric(prediction, TARGET)
    assert engine.run(batches).metrics["value"] == pytest.approx(metric.aggregate().item(), rel=1e-5)


def test_volume_metrics_are_the_pure_functions_of_volumes():
    order = [torch.where(v == VOLUME)[0] for v in (0, 1)]
    for metric_class, function in ((VolumePSNR, psnr), (VolumeSSIM, ssim)):
        metric = metric_class()
        for i in range(0, N, 2):
            metric(MEAN[i : i + 2], TARGET[i : i + 2], volume=VOLUME[i : i + 2])
        expected = [function(MEAN[at].squeeze(1)[None], TARGET[at].squeeze(1)[None]) for at in order]
        torch.testing.assert_close(metric.aggregate(), torch.cat(expected).mean())
        whole = metric_class()
        whole(MEAN[order[0]].squeeze(1)[None], TARGET[order[0]].squeeze(1)[None])
        torch.testing.assert_close(whole.aggregate(), expected[0][0])


def test_pooled_correlation_is_the_pure_function():
    metric = PooledCorrelation()
    metric(POSTERIOR, TARGET)
    expected = uncertainty_error_correlation(TARGET, MEAN, LOG_VARIANCE, pooled=True)
    torch.testing.assert_close(metric.aggregate(), expected)
    metric.reset()
    metric(stack_posterior(MEAN, torch.zeros_like(LOG_VARIANCE)), TARGET)
    assert metric.aggregate().isnan()


def test_all_zero_images_are_left_out():
    target = torch.cat([TARGET[:1], torch.zeros(1, 1, *GRID)])
    for metric, function in ((PSNR(), psnr), (SSIM(), ssim)):
        metric(MEAN[:2], target)
        torch.testing.assert_close(metric.aggregate(), function(MEAN[:1], TARGET[:1])[0])


def test_posterior_survives_stacking():
    for mean in (MEAN, MEAN.real):
        stacked, log_variance = split_posterior(stack_posterior(mean, LOG_VARIANCE))
        assert torch.equal(stacked, mean)
        assert torch.equal(log_variance, LOG_VARIANCE)


@pytest.mark.parametrize(("metric_class", "prediction"), ALL)
def test_every_metric_names_its_convention(metric_class, prediction):
    assert metric_class.unit
    assert len(metric_class.convention) > 20


def test_refuses():
    metric = PSNR()
    with pytest.raises(ValueError, match="no images yet"):
        metric.aggregate()
    with pytest.raises(ValueError, match="needs a target y"):
        metric(MEAN)
    with pytest.raises(ValueError, match="ratio must have 1 or 6 entries"):
        metric(MEAN, TARGET, ratio=torch.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match="volume must have 1 or 6 entries"):
        metric(MEAN, TARGET, volume=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="two channels"):
        IntervalCoverage()(MEAN, TARGET)
    with pytest.raises(ValueError, match="mean and log_variance must both"):
        stack_posterior(MEAN, LOG_VARIANCE[:1])
