"""The classification table: values, intervals, text, files, single images."""

from __future__ import annotations

import math

import pytest
import torch
from classified import labels_of, posterior_of
from helper import refusals, refuses

from infomri_monai.metrics import (
    ClassificationQuality,
    SubjectBootstrap,
    class_accuracy,
    class_auroc,
    class_brier_score,
    class_calibration_bins,
    class_negative_log_likelihood,
    exact_match,
)
from infomri_monai.metrics.auroc import auroc_estimates
from infomri_monai.metrics.bootstrap import mean_estimate
from infomri_monai.metrics.classification import class_targets
from infomri_monai.metrics.probability import error_of_bins

N = 20
NAMES = ["ACL sprain", "meniscus tear", "abnormal"]


def collected(classes=3, multi_label=False, names=None, volume=None, **options):
    """Two ratios of 20 images."""
    quality, results = ClassificationQuality("method", classes, names, multi_label, **options), {}
    for seed, ratio in enumerate((0.25, 0.125)):
        label = labels_of(N, classes, multi_label, seed)
        results[ratio] = posterior_of(label, classes, seed), label
        quality.update(*results[ratio], ratio, volume)
    return quality, results


@pytest.mark.parametrize("multi_label", [False, True])
def test_rows_are_the_pure_functions(multi_label):
    volume = torch.arange(N) // 2
    quality, results = collected(3, multi_label, NAMES, volume, bootstrap=50, seed=4)
    table = quality.table()
    assert [(row.ratio, row.acceleration, row.images, row.subjects) for row in table.rows] == [
        (0.125, 8, N, N // 2),
        (0.25, 4, N, N // 2),
    ]
    for row in table.rows:
        posterior, label = results[row.ratio]
        p, bootstrap = posterior.probabilities, SubjectBootstrap(50, 4)
        right, targets = class_accuracy(p, label, multi_label), class_targets(label, 3, multi_label)
        *areas, mean = auroc_estimates(p, targets, volume, bootstrap)
        assert row.accuracy == pytest.approx(mean_estimate(right, volume, bootstrap))
        assert row.auroc == mean
        assert row.class_auroc == dict(zip(NAMES, areas, strict=True))
        expected = {
            "realised_ratio": posterior.ratio.mean(),
            "accuracy": right.mean(),
            "auroc": class_auroc(p, targets).mean(),
            "auroc_acl_sprain": class_auroc(p, targets)[0],
            "auroc_acl_sprain_lower": areas[0].lower,
            "ece": error_of_bins(class_calibration_bins(p, label, multi_label).sum(0)),
            "brier": class_brier_score(p, label, multi_label).mean(),
            "nll": class_negative_log_likelihood(p, label, multi_label).mean(),
            "entropy": posterior.entropy.mean(),
            "mutual_information": posterior.mutual_information.mean(),
            "kspace_entropy": posterior.kspace_entropy.mean(),
        }
        expected |= {"exact_match": exact_match(p, label).mean()} if multi_label else {}
        record = table.record(row)
        assert {name: record[name] for name in expected} == pytest.approx(
            {name: float(value) for name, value in expected.items()}, rel=1e-5
        )
        assert math.isnan(record["exact_match"]) != multi_label


def test_values_of_single_images_keep_their_order():
    quality, label = ClassificationQuality("method", 3), labels_of(N, 3)
    posterior, ratio = posterior_of(label, 3), torch.tensor([0.5, 0.25]).repeat(N // 2)
    quality.update(posterior, label, ratio, torch.arange(N))
    values = quality.by_image()
    expected = {"ratio": ratio, "volume": torch.arange(N), "kspace_entropy": posterior.kspace_entropy}
    expected["accuracy"] = class_accuracy(posterior.probabilities, label)
    torch.testing.assert_close({name: values[name] for name in expected}, expected, check_dtype=False)
    assert not {"ece", "auroc"} & set(values)
    quality.reset()
    refuses(ValueError, "no images yet", quality.table)


def test_text():
    quality, _ = collected(3, True, NAMES, torch.arange(N))
    table = quality.table()
    text, markdown, row = str(table), table.markdown(), table.rows[0]
    a = row.class_auroc["abnormal"]
    assert f"{a.value:.4f} [{a.lower:.4f}, {a.upper:.4f}]" in text
    assert "lower" not in text.splitlines()[1]
    assert len({len(line) for line in text.splitlines()[3:6]}) == 1
    assert "95% percentile bootstrap over subjects, 1000 resamples, seed 0" in text
    assert "every image a subject" not in text
    assert "| abnormal (AUROC) |" in markdown
    record = table.records()[0]
    assert record["auroc_abnormal_lower"] == a.lower
    intervals = {field for field in record if field.endswith(("_lower", "_upper"))}
    assert set(table.conventions) == set(record) - intervals - {"acceleration", "ratio", "images", "subjects"}


def test_without_subjects_or_intervals_the_table_says_so():
    assert "every image a subject of its own" in collected()[0].table().conventions["auroc"]
    table = collected(bootstrap=0)[0].table()
    assert "bootstrap" not in str(table)
    assert "[" not in str(table)
    assert "subjects" not in str(table)
    assert math.isnan(table.rows[0].accuracy.lower)


def test_many_classes_have_their_areas_in_the_files_only():
    table = collected(6)[0].table()
    assert "class_3" not in str(table)
    assert not math.isnan(table.records()[0]["auroc_class_3_upper"])


def test_a_system_without_statistics_has_no_entropy_of_kspace():
    quality, label = ClassificationQuality("method", 2), labels_of(N, 2)
    posterior = posterior_of(label, 2)
    quality.update(posterior._replace(kspace_entropy=torch.full((N,), math.nan)), label, 0.25)
    table = quality.table()
    assert math.isnan(table.rows[0].kspace_entropy)
    assert "H(k-space)" not in str(table)


def test_what_does_not_fit_leaves_nothing_behind():
    quality, label = ClassificationQuality("method", 3), labels_of(N, 3)
    refuses(ValueError, "labels must be", quality.update, posterior_of(label, 3), label + 1, 0.25)
    refuses(ValueError, "must be of 3 classes", quality.update, posterior_of(label, 4), label, 0.25)
    quality.update(posterior_of(label, 3), label, 0.25)
    assert quality.table().rows[0].images == N


test_refuses = refusals(
    (lambda: ClassificationQuality("method", num_classes=1), "num_classes must be at least 2"),
    (lambda: ClassificationQuality("method", labels=["a", "b", "c"]), "one for each of 2"),
    (lambda: ClassificationQuality("method", bootstrap=-1), "bootstrap"),
    (lambda: ClassificationQuality("method", seed=-1), "seed must be at least 0"),
)
