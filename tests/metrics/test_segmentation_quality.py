"""The segmentation table: values, text, files, single images."""

from __future__ import annotations

import json
import math

import pytest
from helper import refusals, refuses
from raters import tiny_posterior

from infomri_monai.metrics import (
    SegmentationQuality,
    SegmentationRow,
    SegmentationTable,
    brier_score,
    channel_masks,
    dice_to_raters,
    energy_distance,
    expected_calibration_error,
    sample_diversity,
    structure_masks,
)

NAMES = ["white matter", "grey matter"]


@pytest.mark.parametrize(("multi_label", "classes"), [(False, 3), (True, 2)])
def test_rows_are_the_pure_functions(multi_label, classes):
    quality = SegmentationQuality("method", classes, NAMES, multi_label)
    results = {s: tiny_posterior(4, classes, multi_label, seed) for s, seed in ((0.25, 1), (0.125, 2))}
    for ratio, (posterior, label) in results.items():
        quality.update(posterior, label, ratio)
    table = quality.table()
    assert [(row.ratio, row.acceleration, row.images) for row in table.rows] == [(0.125, 8, 4), (0.25, 4, 4)]
    for row in table.rows:
        posterior, label = results[row.ratio]
        raters = channel_masks(label) if multi_label else structure_masks(label, classes)
        probabilities = posterior.class_probabilities[:, -2:]
        majority = dice_to_raters(posterior.majority, raters)
        expected = {
            "ged": energy_distance(posterior.samples, raters).mean(),
            "ged_unbiased": energy_distance(posterior.samples, raters, unbiased=True).mean(),
            "dice": majority.mean(),
            "dice_samples": dice_to_raters(posterior.samples, raters).mean(),
            "dice_white_matter": majority[:, 0].mean(),
            "dice_grey_matter": majority[:, 1].mean(),
            "ece": expected_calibration_error(probabilities, raters, pooled=True),
            "ece_per_image": expected_calibration_error(probabilities, raters).mean(),
            "brier": brier_score(probabilities, raters).mean(),
            "ece_of_samples": expected_calibration_error(posterior.samples.float().mean(1), raters, pooled=True),
            "brier_of_samples": brier_score(posterior.samples.float().mean(1), raters).mean(),
            "diversity": sample_diversity(posterior.samples).mean(),
            "entropy": posterior.entropy.mean(),
            "realised_ratio": posterior.mask.mean(),
        }
        record = table.record(row)
        assert {name: record[name] for name in expected} == pytest.approx(
            {name: float(value) for name, value in expected.items()}, abs=1e-5
        )
        assert 0 <= record["volume_coverage"] <= 1


def test_a_single_structure_has_no_column_of_its_own():
    quality, (posterior, label) = SegmentationQuality("method", 2, ["tumour"]), tiny_posterior(num_classes=2)
    quality.update(posterior, label, 0.25)
    assert quality.table().rows[0].structure_dice == {}
    assert "tumour" not in str(quality.table())


def test_text():
    quality, (posterior, label) = SegmentationQuality("a, b", 3, NAMES), tiny_posterior()
    quality.update(posterior, label, 1 / 32)
    table = quality.table()
    lines, markdown = str(table).splitlines(), table.markdown()
    assert lines[4].split()[:2] == ["32", "0.0312"]
    assert len({len(line) for line in lines[3:5]}) == 1
    assert "grey matter (Dice): Dice of the majority mask with every rater" in str(table)
    assert "| accel. (1/ratio) | ratio (asked) |" in markdown
    assert set(table.conventions) == set(table.columns()) - {"acceleration", "ratio", "images"}


def test_a_structure_that_one_row_lacks_is_not_measured(tmp_path):
    rows = [SegmentationRow(0.5, dice=0.9, structure_dice={"a": 0.8}, images=1), SegmentationRow(0.25, dice=0.7)]
    table = SegmentationTable("method", rows)
    assert [row["dice_a"] for row in table.records()] == pytest.approx([math.nan, 0.8], nan_ok=True)
    assert "GED" not in str(table)
    table.write_json(tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text())["rows"][0]["dice_a"] is None
    refuses(ValueError, "in the table already", table.add, rows[0])


def test_refuses_labels_that_do_not_fit():
    quality, (posterior, label) = SegmentationQuality("method", 3), tiny_posterior()
    refuses(ValueError, "do not fit 2 structures", quality.update, posterior, label[..., :5], 0.25)
    refuses(ValueError, "label must lie in -1", quality.update, posterior, label + 2, 0.25)
    refuses(ValueError, "do not fit 3 structures", SegmentationQuality("method", 4).update, posterior, label, 0.25)


test_refuses = refusals(
    (lambda: SegmentationQuality("method", 1), "num_classes must be at least 2"),
    (lambda: SegmentationQuality("method", 3, ["one"]), "structures must be different names, one for each of 2"),
    (lambda: SegmentationQuality("method", 3, ["a b", "A-b"]), "structures must give different columns"),
    (lambda: SegmentationQuality("method", 3, ["a", "samples"]), "structures must give different columns"),
    (lambda: SegmentationQuality("method", 0, None, True), "num_classes must be"),
)
