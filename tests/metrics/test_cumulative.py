"""The cumulative metrics: any batching gives one value, by ratio, by volume, and through MONAI's Ignite handler."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from classified import labels_of, posterior_of
from helper import random_tensor, refusals
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler
from sklearn.metrics import roc_auc_score

from infomri_monai.metrics import (
    BinnedCalibration,
    ClassAUROC,
    PerImageMetric,
    PooledCorrelation,
    VolumePSNR,
    VolumeSSIM,
    calibration_bins,
    class_accuracy,
    class_calibration_bins,
    energy_distance,
    psnr,
    split_posterior,
    ssim,
    stack_posterior,
    uncertainty_error_correlation,
)

N, GRID, C = 6, (16, 17), 3
TARGET = random_tensor((N, 1, *GRID), torch.complex64, 1) * torch.arange(1, N + 1).reshape(-1, 1, 1, 1)
MEAN = TARGET + 0.1 * random_tensor((N, 1, *GRID), torch.complex64, 2)
LOG_VARIANCE = random_tensor((N, 1, *GRID), torch.float32, 3) - 4
POSTERIOR = stack_posterior(MEAN, LOG_VARIANCE)
GENERATOR = torch.Generator().manual_seed(0)
LEVEL = torch.rand(N, 1, 2, *GRID, generator=GENERATOR)
SAMPLES = (torch.rand(N, 4, 2, *GRID, generator=GENERATOR) < LEVEL).to(torch.uint8)
RATERS = (torch.rand(N, 3, 2, *GRID, generator=GENERATOR) < LEVEL).float()
RATERS[2, 1] = torch.nan
PROBABILITIES = SAMPLES.float().mean(1)
LABEL, LABELS = torch.arange(N) % C, labels_of(N, C, True)
LABELS[:2] = torch.eye(2, C)
P, Q = posterior_of(LABEL, C).probabilities, posterior_of(LABELS, C).probabilities
RATIO = torch.tensor([0.1, 0.25] * 3)
VOLUME = torch.tensor([0, 0, 1, 1, 1, 0])


def per_image(function):
    return PerImageMetric(function, "dB", "values of the images, mean over images")


#: metric, prediction, target
ALL = {
    "per_image": (lambda: per_image(psnr), MEAN, TARGET),
    "energy_distance": (lambda: per_image(energy_distance), SAMPLES, RATERS),
    "accuracy": (lambda: per_image(class_accuracy), P, LABEL),
    "pooled_correlation": (PooledCorrelation, POSTERIOR, TARGET),
    "volume_psnr": (VolumePSNR, MEAN, TARGET),
    "volume_ssim": (VolumeSSIM, MEAN, TARGET),
    "bins": (lambda: BinnedCalibration(calibration_bins, "expected calibration error (46)"), PROBABILITIES, RATERS),
    "class_bins": (lambda: BinnedCalibration(class_calibration_bins, "expected calibration error"), P, LABEL),
    "auroc": (lambda: ClassAUROC(C), P, LABEL),
    "auroc_of_labels": (lambda: ClassAUROC(C, multi_label=True), Q, LABELS),
}


@pytest.mark.parametrize("case", ALL)
def test_batching_order_and_monais_ignite_handler_do_not_matter(case):
    make, prediction, target = ALL[case]
    whole, parts, lists, alone = (make() for _ in range(4))
    whole(prediction, target, ratio=RATIO, volume=VOLUME)
    for i in torch.randperm(N, generator=torch.Generator().manual_seed(0)).split(2):
        parts(prediction[i], target[i], ratio=RATIO[i], volume=VOLUME[i])
    torch.testing.assert_close(parts.aggregate(), whole.aggregate(), equal_nan=True)
    assert parts.by_ratio() == pytest.approx(whole.by_ratio(), rel=1e-5, nan_ok=True)
    assert whole.images_by_ratio() == {0.1: 3, 0.25: 3}
    lists(list(prediction), list(target))  # decollated, as MONAI's evaluator gives them
    alone(prediction, target)
    batches = [(prediction[i : i + 2], target[i : i + 2]) for i in range(0, N, 2)]
    engine = Engine(lambda _, batch: batch)
    IgniteMetricHandler(metric_fn=make(), output_transform=lambda out: out).attach(engine, "value")
    found = engine.run(batches).metrics["value"]
    assert [float(lists.aggregate()), found] == pytest.approx([float(alone.aggregate())] * 2, rel=1e-5)
    assert whole.unit
    assert len(whole.convention) > 20


@pytest.mark.parametrize("case", ["per_image", "energy_distance", "accuracy"])
def test_is_the_mean_of_the_function(case):
    make, prediction, target = ALL[case]
    metric = make()
    metric(prediction, target, ratio=RATIO, volume=torch.arange(N))
    values = metric.function(prediction, target)
    torch.testing.assert_close(metric.by_image(), values)
    torch.testing.assert_close(metric.aggregate(), values.mean())
    assert list(metric.by_ratio().values()) == pytest.approx([values[i::2].mean().item() for i in (0, 1)], rel=1e-5)
    assert metric.image_labels()[1].tolist() == list(range(N))


def test_images_without_a_value_are_left_out():
    target = torch.cat([TARGET[:1], torch.zeros(1, 1, *GRID)])
    for function in (psnr, ssim):
        metric = per_image(function)
        metric(MEAN[:2], target)
        torch.testing.assert_close(metric.aggregate(), function(MEAN[:1], TARGET[:1])[0])
    raters = RATERS.clone()
    raters[0] = torch.nan
    for case in ("energy_distance", "bins"):
        make, prediction, _ = ALL[case]
        with_missing, without = make(), make()
        with_missing(prediction, raters)
        without(prediction[1:], raters[1:])
        torch.testing.assert_close(with_missing.aggregate(), without.aggregate())


def test_volume_metrics_are_the_pure_functions_of_volumes():
    order = [torch.where(v == VOLUME)[0] for v in (0, 1)]
    for metric_class, function in ((VolumePSNR, psnr), (VolumeSSIM, ssim)):
        metric = metric_class()
        for i in range(0, N, 2):
            metric(MEAN[i : i + 2], TARGET[i : i + 2], volume=VOLUME[i : i + 2])
        expected = [function(MEAN[at].squeeze(1)[None], TARGET[at].squeeze(1)[None]) for at in order]
        torch.testing.assert_close(metric.aggregate(), torch.cat(expected).mean())


def test_pooled_values_are_the_pure_functions():
    metric = PooledCorrelation()
    metric(POSTERIOR, TARGET)
    expected = uncertainty_error_correlation(TARGET, MEAN, LOG_VARIANCE, pooled=True)
    torch.testing.assert_close(metric.aggregate(), expected)
    metric.reset()
    metric(stack_posterior(MEAN, torch.zeros_like(LOG_VARIANCE)), TARGET)
    assert metric.aggregate().isnan()


def test_posterior_survives_stacking():
    for mean in (MEAN, MEAN.real):
        stacked, log_variance = split_posterior(stack_posterior(mean, LOG_VARIANCE))
        assert torch.equal(stacked, mean)
        assert torch.equal(log_variance, LOG_VARIANCE)


MANY = 24
CLASS, OTHER = labels_of(MANY, C), labels_of(MANY, C, True)
MANY_RATIO = torch.tensor([0.1, 0.25, 0.1]).repeat(MANY // 3)


def test_area_is_scikit_learns_one_against_the_rest():
    p = posterior_of(CLASS, C).probabilities
    metric = ClassAUROC(C, ["a", "b", "c"])
    metric(p, CLASS, ratio=MANY_RATIO)
    exact = p.double() / p.double().sum(1, keepdim=True)
    for s, found in metric.estimates().items():
        at = s == MANY_RATIO
        expected = roc_auc_score(CLASS[at], exact[at], multi_class="ovr", average=None)
        assert list(found) == ["a", "b", "c", ""]
        assert [e.value for e in found.values()] == pytest.approx([*expected, expected.mean()])
        assert all(e.lower <= e.value <= e.upper for e in found.values())
        assert metric.by_ratio()[s] == pytest.approx(expected.mean())


def test_area_of_two_classes_is_that_of_the_second():
    label, metric = labels_of(MANY, 2), ClassAUROC(2, ["no lesion", "lesion"])
    p = posterior_of(label, 2).probabilities
    metric(p, label, ratio=0.5)
    found = metric.estimates()[0.5]
    assert list(found) == ["lesion", ""]
    assert found["lesion"] == found[""]
    assert found[""].value == pytest.approx(roc_auc_score(label, p[:, 1]))
    assert "of lesion" in metric.convention


def test_an_absent_class_is_nan_and_the_log_names_it(caplog):
    label = labels_of(MANY, 2)
    metric = ClassAUROC(3, ["a", "b", "tumour"])
    with caplog.at_level(logging.WARNING):
        metric(posterior_of(label, 3).probabilities, label, ratio=MANY_RATIO)
        estimates = metric.estimates()
    assert caplog.messages == ["AUROC is not defined: 24 images all have or all lack tumour"]
    for found in estimates.values():
        assert [math.isnan(e.value) for e in found.values()] == [False, False, True, True]
        assert all(math.isnan(found[name].lower) for name in ("tumour", ""))
    assert metric.aggregate().isnan()


def test_subjects_are_counted():
    metric, p = per_image(class_accuracy), posterior_of(CLASS, C).probabilities
    metric(p, CLASS, ratio=MANY_RATIO, volume=torch.arange(MANY) // 4)
    assert metric.subjects_by_ratio() == {0.1: 6, 0.25: 6}
    metric(p[:1], CLASS[:1], ratio=0.25)
    assert metric.subjects_by_ratio() == {0.1: 6}


test_refuses = refusals(
    (lambda: per_image(psnr).aggregate(), "no images yet"),
    (lambda: per_image(psnr).by_image(), "no images yet"),
    (lambda: ClassAUROC(2).estimates(), "no images yet"),
    (lambda: per_image(psnr)(MEAN), "needs a target y"),
    (lambda: per_image(psnr)(MEAN, TARGET, ratio=torch.tensor([0.1, 0.2])), "ratio must have 1 or 6 entries"),
    (lambda: per_image(psnr)(MEAN, TARGET, volume=torch.tensor([0, 1])), "volume must have 1 or 6 entries"),
    (lambda: PooledCorrelation()(MEAN, TARGET), "two channels"),
    (lambda: stack_posterior(MEAN, LOG_VARIANCE[:1]), "mean and log_variance must both"),
    (lambda: ClassAUROC(4)(P, LABEL), "must be of 4 classes or labels, got 3"),
    (lambda: ClassAUROC(1), "num_classes must be at least 2"),
    (lambda: ClassAUROC(3, ["a"]), "one for each of 3"),
)
