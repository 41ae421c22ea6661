"""The cumulative metrics of classes: any batching gives one value, by ratio, by subject, and through MONAI's Ignite handler."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from classified import labels_of, posterior_of
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler
from sklearn.metrics import roc_auc_score

from infomri_monai.metrics import (
    ClassAccuracy,
    ClassAUROC,
    ClassBrierScore,
    ClassCalibrationError,
    ClassLikelihood,
    ExactMatch,
    ImageMean,
    SubjectBootstrap,
    class_accuracy,
    class_brier_score,
    class_calibration_bins,
    class_negative_log_likelihood,
)
from infomri_monai.metrics.probability import error_of_bins

N, C = 24, 3
RATIO = torch.tensor([0.1, 0.25, 0.1]).repeat(N // 3)
VOLUME = torch.arange(N) // 4
CLASS, LABEL = labels_of(N, C), labels_of(N, C, True)
P = posterior_of(CLASS, C).probabilities
Q = posterior_of(LABEL, C).probabilities

ALL = [
    (lambda: ClassAccuracy(), P, CLASS),
    (lambda: ClassAccuracy(True), Q, LABEL),
    (ExactMatch, Q, LABEL),
    (lambda: ClassBrierScore(), P, CLASS),
    (lambda: ClassBrierScore(True), Q, LABEL),
    (lambda: ClassLikelihood(), P, CLASS),
    (lambda: ClassLikelihood(True), Q, LABEL),
    (lambda: ClassCalibrationError(), P, CLASS),
    (lambda: ClassCalibrationError(True, 5), Q, LABEL),
    (lambda: ClassAUROC(C), P, CLASS),
    (lambda: ClassAUROC(C, multi_label=True), Q, LABEL),
    (lambda: ImageMean("nat", "predictive entropy, mean over images"), P[:, 0], P[:, 0]),
]


@pytest.mark.parametrize(("make", "prediction", "label"), ALL)
def test_batching_and_order_do_not_matter(make, prediction, label):
    whole, parts, lists = make(), make(), make()
    whole(prediction, label, ratio=RATIO, volume=VOLUME)
    for i in torch.randperm(N, generator=torch.Generator().manual_seed(0)).split(5):
        parts(prediction[i], label[i], ratio=RATIO[i], volume=VOLUME[i])
    lists(list(prediction), list(label))  # decollated
    torch.testing.assert_close(parts.aggregate(), whole.aggregate())
    torch.testing.assert_close(lists.aggregate(), whole.aggregate())
    assert parts.by_ratio() == pytest.approx(whole.by_ratio(), rel=1e-5)
    assert list(whole.by_ratio()) == [0.1, 0.25]
    if isinstance(whole, ClassAUROC | ClassAccuracy):
        assert parts.estimates() == whole.estimates()
    assert whole.unit
    assert len(whole.convention) > 20


@pytest.mark.parametrize(("make", "prediction", "label"), ALL)
def test_runs_in_monais_ignite_handler(make, prediction, label):
    batches = [(prediction[i : i + 5], label[i : i + 5]) for i in range(0, N, 5)]
    engine, metric = Engine(lambda _, batch: batch), make()
    IgniteMetricHandler(metric_fn=make(), output_transform=lambda out: out).attach(engine, "value")
    metric(prediction, label)
    assert engine.run(batches).metrics["value"] == pytest.approx(metric.aggregate().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "function"),
    [
        (ClassAccuracy, class_accuracy),
        (ClassBrierScore, class_brier_score),
        (ClassLikelihood, class_negative_log_likelihood),
    ],
)
@pytest.mark.parametrize(("p", "label", "multi_label"), [(P, CLASS, False), (Q, LABEL, True)])
def test_is_the_mean_of_the_pure_function(make, function, p, label, multi_label):
    metric = make(multi_label)
    metric(p, label, ratio=RATIO)
    values = function(p, label, multi_label)
    torch.testing.assert_close(metric.by_image(), values)
    assert metric.by_ratio() == pytest.approx({s: values[s == RATIO].mean().item() for s in (0.1, 0.25)}, rel=1e-5)


def test_calibration_error_is_of_all_images_together():
    metric = ClassCalibrationError()
    metric(P, CLASS, ratio=RATIO)
    for s, diagram in metric.diagrams_by_ratio().items():
        error = error_of_bins(class_calibration_bins(P[s == RATIO], CLASS[s == RATIO]).sum(0)).item()
        assert metric.by_ratio()[s] == pytest.approx(error)
        assert (diagram.share * (diagram.confidence - diagram.frequency).abs()).nansum().item() == pytest.approx(error)


def test_area_is_scikit_learns_one_against_the_rest():
    metric = ClassAUROC(C, ["a", "b", "c"])
    metric(P, CLASS, ratio=RATIO)
    exact = P.double() / P.double().sum(1, keepdim=True)
    for s, found in metric.estimates().items():
        at = s == RATIO
        expected = roc_auc_score(CLASS[at], exact[at], multi_class="ovr", average=None)
        assert list(found) == ["a", "b", "c", ""]
        assert [e.value for e in found.values()] == pytest.approx([*expected, expected.mean()])
        assert all(e.lower <= e.value <= e.upper for e in found.values())
        assert metric.by_ratio()[s] == pytest.approx(expected.mean())


def test_area_of_labels_is_scikit_learns_label_by_label():
    metric = ClassAUROC(C, multi_label=True)
    metric(Q, LABEL, ratio=0.5)
    expected = [roc_auc_score(LABEL[:, i], Q[:, i]) for i in range(C)]
    assert [e.value for e in metric.estimates()[0.5].values()] == pytest.approx([*expected, sum(expected) / C])
    assert metric.aggregate().item() == pytest.approx(roc_auc_score(LABEL, Q, average="macro"))


def test_area_of_two_classes_is_that_of_the_second():
    label, metric = labels_of(N, 2), ClassAUROC(2, ["no lesion", "lesion"])
    p = posterior_of(label, 2).probabilities
    metric(p, label, ratio=0.5)
    found = metric.estimates()[0.5]
    assert list(found) == ["lesion", ""]
    assert found["lesion"] == found[""]
    assert found[""].value == pytest.approx(roc_auc_score(label, p[:, 1]))
    assert "of lesion" in metric.convention


def test_an_absent_class_is_nan_and_the_log_names_it(caplog):
    label = labels_of(N, 2)
    p = posterior_of(label, 3).probabilities
    metric = ClassAUROC(3, ["a", "b", "tumour"])
    with caplog.at_level(logging.WARNING):
        metric(p, label, ratio=RATIO)
        estimates = metric.estimates()
    assert caplog.messages == ["AUROC is not defined: 24 images all have or all lack tumour"]
    for found in estimates.values():
        assert [math.isnan(e.value) for e in found.values()] == [False, False, True, True]
        assert all(math.isnan(found[name].lower) for name in ("tumour", ""))
    assert metric.aggregate().isnan()


def test_subjects_are_counted_by_ratio():
    metric = ClassAccuracy()
    metric(P, CLASS, ratio=RATIO, volume=VOLUME)
    assert metric.subjects_by_ratio() == {0.1: 6, 0.25: 6}
    metric(P[:1], CLASS[:1], ratio=0.25)
    assert metric.subjects_by_ratio() == {0.1: 6}


def test_intervals_use_the_subjects(generator):
    """Copies of a subject's image: the interval of one image each."""
    once, copies = (ClassAccuracy(bootstrap=SubjectBootstrap(100, 3)) for _ in range(2))
    once(P, CLASS, ratio=0.5, volume=torch.arange(N))
    copies(P.repeat(4, 1), CLASS.repeat(4), ratio=0.5, volume=torch.arange(N).repeat(4))
    assert copies.estimates()[0.5] == pytest.approx(once.estimates()[0.5])


def test_refuses():
    with pytest.raises(ValueError, match="no images yet"):
        ClassAUROC(2).estimates()
    with pytest.raises(ValueError, match="must be of 4 classes or labels, got 3"):
        ClassAUROC(4)(P, CLASS)
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        ClassAUROC(1)
    with pytest.raises(ValueError, match="one for each of 3"):
        ClassAUROC(3, ["a"])
