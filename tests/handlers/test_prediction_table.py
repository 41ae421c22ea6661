"""Every image's prediction of an evaluation, against the answers that were given."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from classified import labels_of
from helper import refuses
from known_classes import CLASSES, IMAGES, NAMES, RATIOS, answers, cases, evaluator

from infomri_monai.handlers import PredictionTable

FIELDS = ("left", "right", "white_matter")


def written(folder):
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("multi_label", [False, True])
def test_every_image_at_every_ratio_has_its_row(tmp_path, multi_label, times):
    """A second run begins anew."""
    engine = evaluator([PredictionTable(RATIOS, tmp_path / "report", NAMES)], multi_label)
    for _ in range(times):
        engine.run()
    rows, given, labels = written(tmp_path / "report"), answers(multi_label), labels_of(IMAGES, CLASSES, multi_label, 1)
    assert [(int(row["image"]), float(row["ratio"])) for row in rows] == [
        (i, s) for i in range(1, IMAGES + 1) for s in RATIOS
    ]
    numbers = ["realised_ratio", "entropy", "mutual_information", "kspace_entropy"]
    named = [f"probability_{field}" for field in FIELDS]
    truth = [f"label_{field}" for field in FIELDS] if multi_label else ["label"]
    assert set(rows[0]) == {"image", "subject", "slice", "ratio", "acceleration", *truth, *named, *numbers}
    for row in rows:
        i = int(row["image"]) - 1
        answer = given[float(row["ratio"])]
        assert (int(row["subject"]), int(row["slice"])) == (100 + i // 3, i % 3)
        assert float(row["acceleration"]) == 1 / float(row["ratio"])
        assert [float(row[name]) for name in truth] == labels[i].reshape(-1).tolist()
        assert [float(row[name]) for name in named] == pytest.approx(answer.probabilities[i].tolist())
        expected = [answer.ratio, answer.entropy, answer.mutual_information, answer.kspace_entropy]
        assert [float(row[name]) for name in numbers] == pytest.approx([float(values[i]) for values in expected])


def test_what_is_not_known_is_empty(tmp_path):
    data = [{k: v for k, v in case.items() if k != "slice"} for case in cases()]
    engine = evaluator([PredictionTable(RATIOS, tmp_path)], data=data)
    for answer in engine.network.answers.values():
        answer.kspace_entropy.fill_(math.nan)
    engine.run()
    rows = written(tmp_path)
    assert all(row["slice"] == row["kspace_entropy"] == "" and row["subject"] for row in rows)
    assert "probability_class_0" in rows[0]


def test_other_numbers_tell_images_apart_too(tmp_path):
    data = [case | {"volume": torch.tensor(i)} for i, case in enumerate(cases())]
    evaluator([PredictionTable(RATIOS, tmp_path, keys=["volume"])], data=data).run()
    rows = written(tmp_path)
    assert [int(row["volume"]) for row in rows] == [i for i in range(IMAGES) for _ in RATIOS]
    assert "subject" not in rows[0]


@pytest.mark.parametrize("subject", ["Jane Doe", 1.5, torch.tensor([1, 2])])
def test_refuses_what_could_be_a_name(tmp_path, subject):
    """The error does not repeat it, and nothing is written."""
    engine = evaluator([PredictionTable(RATIOS, tmp_path)], data=[case | {"subject": subject} for case in cases()])
    with pytest.raises(ValueError, match="must hold one whole number for each of 4 images") as refused:
        engine.run()
    assert "Jane" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_refuses(tmp_path):
    refuses(ValueError, "one for each of 3", evaluator([PredictionTable(RATIOS, tmp_path, ["a"])]).run)
