"""Training and evaluating every bundle end to end, by the commands of its README."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from bundle_table import RECON, SEGMENTATION, bundles, every_bundle
from running import (
    TORCHRUN,
    assert_same_weights,
    command,
    csv_rows,
    curve,
    evaluate,
    files,
    parse,
    succeeded,
    table,
    tiny,
    train,
)


def written(bundle, *epochs):
    """What a training leaves that keeps the checkpoints of these epochs, and the best model beside them."""
    curves = {"training.csv", "training.png"}
    kept = {f"checkpoints/checkpoint_epoch={epoch}.pt" for epoch in epochs}
    return bundle.weights | curves | kept | {"checkpoints/best.pt"}


@every_bundle
def test_train_then_evaluate(bundle, trained, evaluated):
    assert files(trained) == written(bundle, 1, 2, 3, 4)
    assert [row["epoch"] for row in curve(trained)] == [1, 2, 3, 4]
    report = {name.removeprefix("evaluation/") for name in files(evaluated) if name.startswith("evaluation")}
    assert report == bundle.report_files
    rows = table(evaluated / "evaluation", bundle.report)
    assert [row["ratio"] for row in rows] == pytest.approx(bundle.ratios)
    assert [row["realised_ratio"] for row in rows] == pytest.approx(bundle.ratios, abs=1.5e-3)
    assert [row["images"] for row in rows] == [8] * len(bundle.ratios)
    for row in rows:
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    assert bundle.printed in (evaluated / "evaluate.log").read_text()  # the table is printed
    assert not (evaluated / "mlruns.db").exists()


@pytest.mark.slow
@every_bundle
def test_a_resumed_run_is_the_uninterrupted_one(bundle, trained, tmp_path):
    (tmp_path / "training.csv").write_text("\n".join((trained / "training.csv").read_text().splitlines()[:3]))
    checkpoint = trained / "checkpoints" / "checkpoint_epoch=2.pt"
    train(bundle, tmp_path, max_epochs=4, mixed_precision=False, resume_from=checkpoint)
    for row, expected in zip(curve(tmp_path), curve(trained), strict=True):
        assert row == pytest.approx(expected, rel=1e-6)
    assert_same_weights(tmp_path, trained)


@pytest.mark.slow
@every_bundle
def test_the_best_model_may_take_the_place_of_the_last(bundle, trained, tmp_path):
    """The best one of the last two epochs or, where none of them is better, of the run before: it is asked for after a resume."""
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(trained / "checkpoints" / "best.pt", tmp_path / "checkpoints")
    checkpoint = trained / "checkpoints" / "checkpoint_epoch=2.pt"
    train(bundle, tmp_path, max_epochs=4, mixed_precision=False, resume_from=checkpoint, keep_best=True)
    best = torch.load(trained / "checkpoints" / "best.pt", weights_only=True)["system"]
    again = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)["system"]
    assert all(torch.equal(value, again[name]) for name, value in best.items())
    model = torch.load(tmp_path / "model.pt", weights_only=True)
    for name, value in model.items():
        if name != "log_variance_line":  # calibrated afterwards
            assert torch.equal(value, best[f"network.{name}"]), name


@pytest.mark.slow
@every_bundle
def test_the_same_seed_trains_the_same_model_and_another_does_not(bundle, trained, tmp_path):
    train(bundle, tmp_path / "again", max_epochs=4, mixed_precision=False)
    assert_same_weights(tmp_path / "again", trained)
    train(bundle, tmp_path / "other", max_epochs=4, mixed_precision=False, seed=1)
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "other", trained)


@pytest.mark.slow
@every_bundle
def test_two_processes_share_weights_and_draw_apart(bundle, tmp_path):
    values = tiny(bundle, max_epochs=1, batch_size=2, num_workers=0)
    arguments = [str(tmp_path / "report.pt"), str(tmp_path / "out"), json.dumps(values)]
    script = str(Path(__file__).with_name("rank_report.py"))
    succeeded(command([*TORCHRUN, "--nproc_per_node=2", script], arguments, bundle.root))
    first, second = torch.load(tmp_path / "report.pt", weights_only=False)
    assert first["weights"].keys() == second["weights"].keys()
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert first["metrics"]
    assert first["metrics"] == second["metrics"]
    places = [[place for draw in rank["drawn"] for place in draw["places"]] for rank in (first, second)]
    assert len(set(places[0]) | set(places[1])) == 16  # every slice once, between them
    assert not set(places[0]) & set(places[1])
    for a, b in zip(first["drawn"], second["drawn"], strict=True):
        assert not torch.isclose(a["ratio"], b["ratio"], atol=1e-4).all()
        assert not torch.equal(a["mask"], b["mask"])
    assert written(bundle) <= files(tmp_path / "out")


@pytest.mark.slow
@every_bundle
def test_the_documented_torchrun_command(bundle, tmp_path):
    train(bundle, tmp_path, ["multi_gpu_train"], processes=2, max_epochs=1)
    assert files(tmp_path) == written(bundle, 1)


def artifacts(client, run_id, folder=None):
    entries = client.list_artifacts(run_id, folder)
    return {name for e in entries for name in (artifacts(client, run_id, e.path) if e.is_dir else {e.path})}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@every_bundle
def test_tracking_holds_training_and_evaluation(bundle, tmp_path):
    train(bundle, tmp_path, tracking="mlflow")
    succeeded(evaluate(bundle, tmp_path, tracking="mlflow"))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlruns.db'}")
    experiment = client.get_experiment_by_name(bundle.name)
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"train-InfoMRI-seed0", "evaluate-InfoMRI-seed0"}
    assert all(run.info.status == "FINISHED" for run in runs.values())
    training, evaluation = runs["train-InfoMRI-seed0"], runs["evaluate-InfoMRI-seed0"]
    assert training.data.params.items() >= {"grid": "[32, 32]", **bundle.tracked_parameters}.items()
    history = client.get_metric_history(training.info.run_id, "train_loss")
    assert [metric.step for metric in history] == [1, 2, 3, 4]
    metrics = {f"{name}_at_{ratio:.4f}" for name in bundle.tracked_metrics for ratio in bundle.ratios}
    for run in (training, evaluation):
        assert metrics <= set(run.data.metrics)
    logged = artifacts(client, training.info.run_id)
    assert logged >= written(bundle, 2)
    assert any(name.startswith("config_") for name in logged)
    tracked = artifacts(client, evaluation.info.run_id)
    assert tracked >= bundle.report_files - bundle.untracked
    assert not tracked & bundle.untracked


@every_bundle
def test_everything_that_trains_is_on_the_device(bundle):
    """Seen with a device that is not the CPU; on a GPU a policy left behind would fail at its first draw."""
    # without the handlers, of which one validates some images, which have no values there
    parser = parse(bundle, device=torch.device("meta"), **bundle.tiny_model, **{"train#handlers": []})
    for engine in ("train#trainer", "validate#evaluator"):
        system = parser.get_parsed_content(engine).network
        assert {p.device.type for p in (*system.parameters(), *system.buffers())} == {"meta"}


@bundles(RECON)
def test_the_loss_falls_from_epoch_to_epoch(trained):
    losses = [row["loss"] for row in curve(trained)]
    assert losses == sorted(losses, reverse=True)


@bundles(RECON)
def test_a_few_steps_leave_no_image_worse_than_doing_nothing(evaluated):
    for row in table(evaluated / "evaluation"):
        values = {name: value for name, value in row.items() if not name.startswith("volume_")}
        assert all(math.isfinite(value) for value in values.values())
        assert row["psnr"] > row["zero_filled_psnr"] - 0.05


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
    cases, listed = (csv_rows(evaluated / "evaluation" / f"{name}.csv") for name in ("cases", "worklist"))
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
