"""What training and evaluating the segmentation bundle must show alone, and its comparators."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from bundle_table import SEGMENTATION, bundles
from running import curve, evaluate, succeeded, table, train


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@bundles(SEGMENTATION)
def test_the_loss_is_its_terms_and_the_task_gets_better(trained):
    curves = curve(trained)
    assert curves[-1]["loss_task"] < curves[0]["loss_task"]
    weights = json.loads((SEGMENTATION.root / "configs" / "train.json").read_text())
    for row in curves:
        weighted = sum(weights[f"{n}_weight"] * row[f"loss_{n}"] for n in ("task", "kl", "reconstruction", "mean_task"))
        assert row["loss"] == pytest.approx(weighted, rel=1e-3)


@bundles(SEGMENTATION)
def test_the_worklist_and_the_cases_are_those_of_the_table(evaluated):
    cases, listed = (rows_of(evaluated / "evaluation" / f"{name}.csv") for name in ("cases", "worklist"))
    assert len(cases) == len(listed) == 32
    agreement = [float(row["agreement"]) for row in listed]
    assert agreement == sorted(agreement)
    assert agreement == pytest.approx(sorted(float(row["agreement"]) for row in cases))
    for row in table(evaluated / "evaluation", "segmentation"):
        own = [case for case in cases if float(case["ratio"]) == pytest.approx(row["ratio"])]
        assert np.mean([float(case["dice"]) for case in own]) == pytest.approx(row["dice"], abs=1e-6)
        assert 0 <= row["ged"] <= 2
    document = json.loads((evaluated / "evaluation" / "worklist.json").read_text())
    assert [case["case"] for case in document["cases"]] == [int(row["case"]) for row in listed]


@pytest.mark.slow
def test_the_two_stages_of_the_comparator(tmp_path):
    features = {"unet_features": [4, 4, 4, 4, 4, 4]}
    train(SEGMENTATION, tmp_path / "stage1", ["systems/tradpat_unet_rs_reconstruction"], **features)
    train(SEGMENTATION, tmp_path, ["systems/tradpat_unet_rs"], **features)
    assert not (tmp_path / "triage.json").exists()  # one segmentation has nothing to agree with
    succeeded(evaluate(SEGMENTATION, tmp_path, ["systems/tradpat_unet_rs"], **features))
    rows = table(tmp_path / "evaluation", "segmentation")
    assert [row["diversity"] for row in rows] == [0.0] * 4


@pytest.mark.slow
def test_the_deterministic_counterpart(tmp_path):
    train(SEGMENTATION, tmp_path, ["systems/deterministic"], max_epochs=1)
    succeeded(evaluate(SEGMENTATION, tmp_path, ["systems/deterministic"]))
    for row in table(tmp_path / "evaluation", "segmentation"):
        assert row["dice"] == pytest.approx(row["dice_samples"])
