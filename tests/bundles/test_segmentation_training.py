"""Training and evaluating the segmentation bundle end to end, by the commands of its README."""

from __future__ import annotations

import csv
import json
import math

import mlflow
import numpy as np
import pytest
from running import (
    SEGMENTATION,
    TINY_SEGMENTATION,
    assert_same_weights,
    curve,
    evaluate_segmentation,
    files,
    run_bundle,
    succeeded,
    table,
    train_segmentation,
)

RATIOS = [0.03125, 0.0625, 0.125, 0.25]
PICTURES = {
    f"{name}.png"
    for name in (
        *("masks", "segmentations", "sweep", "segmentation_by_acceleration"),
        *("reliability", "risk_coverage", "ged_by_samples"),
    )
}
REPORT = {f"segmentation.{suffix}" for suffix in ("csv", "json", "md")} | PICTURES
REPORT |= {"cases.csv", "worklist.csv", "worklist.json"}
TRAINED = {"model.pt", "policy.pt", "triage.json", "training.csv", "training.png"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of one tiny training run of four epochs, every checkpoint kept."""
    folder = tmp_path_factory.mktemp("trained")
    train_segmentation(folder, max_epochs=4, mixed_precision=False, **{"checkpoint#saver#n_saved": 10})
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_train_then_evaluate(trained):
    assert files(trained) - {f"checkpoints/checkpoint_epoch={epoch}.pt" for epoch in range(1, 5)} == TRAINED
    curves = curve(trained)
    assert [row["epoch"] for row in curves] == [1, 2, 3, 4]
    assert curves[-1]["loss_task"] < curves[0]["loss_task"]
    for row in curves:
        weighted = row["loss_task"] + 4 * row["loss_kl"] + 0.02 * row["loss_reconstruction"]
        assert row["loss"] == pytest.approx(weighted, rel=1e-3)
    log = succeeded(evaluate_segmentation(trained))
    assert {name.removeprefix("evaluation/") for name in files(trained) if name.startswith("eval")} == REPORT
    rows = table(trained / "evaluation", "segmentation")
    assert [row["ratio"] for row in rows] == pytest.approx(RATIOS)
    assert [row["images"] for row in rows] == [8] * 4
    for row in rows:
        assert 0 <= row["ged"] <= 2
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    assert "V-stat." in log  # the table is printed
    assert not (trained / "mlruns.db").exists()


def test_the_worklist_and_the_cases_are_those_of_the_table(trained):
    if not (trained / "evaluation").exists():
        succeeded(evaluate_segmentation(trained))
    cases, listed = (rows_of(trained / "evaluation" / f"{name}.csv") for name in ("cases", "worklist"))
    assert len(cases) == len(listed) == 32
    agreement = [float(row["agreement"]) for row in listed]
    assert agreement == sorted(agreement)
    assert agreement == pytest.approx(sorted(float(row["agreement"]) for row in cases))
    for row in table(trained / "evaluation", "segmentation"):
        own = [case for case in cases if float(case["ratio"]) == pytest.approx(row["ratio"])]
        assert np.mean([float(case["dice"]) for case in own]) == pytest.approx(row["dice"], abs=1e-6)
    document = json.loads((trained / "evaluation" / "worklist.json").read_text())
    assert [case["case"] for case in document["cases"]] == [int(row["case"]) for row in listed]


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(trained, tmp_path):
    (tmp_path / "training.csv").write_text("\n".join((trained / "training.csv").read_text().splitlines()[:3]))
    checkpoint = trained / "checkpoints" / "checkpoint_epoch=2.pt"
    train_segmentation(tmp_path, max_epochs=4, mixed_precision=False, resume_from=checkpoint)
    for row, expected in zip(curve(tmp_path), curve(trained), strict=True):
        assert row == pytest.approx(expected, rel=1e-5)
    assert_same_weights(tmp_path, trained)


@pytest.mark.slow
def test_the_documented_torchrun_command(tmp_path):
    train_segmentation(tmp_path, ["multi_gpu_train"], processes=2, max_epochs=1)
    assert files(tmp_path) == TRAINED | {"checkpoints/checkpoint_epoch=1.pt"}


@pytest.mark.slow
def test_the_two_stages_of_the_comparator(tmp_path):
    features = {"unet_features": [4, 4, 4, 4, 4, 4]}
    train_segmentation(tmp_path / "stage1", ["systems/tradpat_unet_rs_reconstruction"], **features)
    train_segmentation(tmp_path, ["systems/tradpat_unet_rs"], **features)
    assert not (tmp_path / "triage.json").exists()  # one segmentation has nothing to agree with
    succeeded(evaluate_segmentation(tmp_path, ["systems/tradpat_unet_rs"], **features))
    rows = table(tmp_path / "evaluation", "segmentation")
    assert [row["diversity"] for row in rows] == [0.0] * 4 or all(row["diversity"] is None for row in rows)


@pytest.mark.slow
def test_the_deterministic_counterpart(tmp_path):
    train_segmentation(tmp_path, ["systems/deterministic"], max_epochs=1)
    succeeded(evaluate_segmentation(tmp_path, ["systems/deterministic"]))
    for row in table(tmp_path / "evaluation", "segmentation"):
        assert row["dice"] == pytest.approx(row["dice_samples"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_tracking_holds_training_and_evaluation(tmp_path):
    train_segmentation(tmp_path, tracking="mlflow")
    succeeded(evaluate_segmentation(tmp_path, tracking="mlflow"))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlruns.db'}")
    experiment = client.get_experiment_by_name("infomri_segmentation")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"train-InfoMRI-seed0", "evaluate-InfoMRI-seed0"}
    assert all(run.info.status == "FINISHED" for run in runs.values())
    training, evaluation = runs["train-InfoMRI-seed0"], runs["evaluate-InfoMRI-seed0"]
    assert training.data.params["kl_weight"] == "4.0"
    assert training.data.params["simulated_raters"] == "True"
    for run in (training, evaluation):
        assert {f"{name}_at_{ratio:.4f}" for name in ("ged", "dice") for ratio in RATIOS} <= set(run.data.metrics)
    logged = {entry.path for entry in client.list_artifacts(training.info.run_id)}
    assert logged >= TRAINED
    assert {entry.path for entry in client.list_artifacts(evaluation.info.run_id)} >= REPORT


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio_range": [0, 2]}, "ratio_range must lie in (0, 1]"),
        ({"validation_samples": 0}, "samples must be >= 1"),
        pytest.param({"kl_weight": -1.0}, "weights must name", marks=pytest.mark.slow),
        pytest.param({"num_classes": 1}, "label must lie below 1, got 3", marks=pytest.mark.slow),
        pytest.param({"structures": ["one"]}, "structures must be", marks=pytest.mark.slow),
    ],
)
def test_bad_values_are_refused_before_any_work(values, message, tmp_path):
    done = run_bundle(["train"], tmp_path / "out", {**TINY_SEGMENTATION, **values}, root=SEGMENTATION)
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
