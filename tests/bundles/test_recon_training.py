"""Training and evaluating the reconstruction bundle end to end, by the commands of its README."""

from __future__ import annotations

import math
from pathlib import Path

import mlflow
import pytest
import torch
from running import (
    TINY,
    assert_same_weights,
    command,
    curve,
    evaluate,
    files,
    run_bundle,
    succeeded,
    table,
    train,
)

RATIOS = [0.0625, 0.125, 0.1875, 0.25]
REPORT = {f"rate_distortion.{suffix}" for suffix in ("csv", "json", "md", "png")}
REPORT |= {"masks.png", "reconstructions.png", "calibration.png"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of one tiny training run of four epochs, every checkpoint kept."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder, max_epochs=4, mixed_precision=False, **{"checkpoint#saver#n_saved": 10})
    return folder


def test_train_then_evaluate(trained):
    checkpoints = {f"checkpoints/checkpoint_epoch={epoch}.pt" for epoch in range(1, 5)}
    assert files(trained) == {"model.pt", "policy.pt", "training.csv", "training.png"} | checkpoints
    assert [row["epoch"] for row in curve(trained)] == [1, 2, 3, 4]
    losses = [row["loss"] for row in curve(trained)]
    assert losses == sorted(losses, reverse=True)
    log = succeeded(evaluate(trained))
    assert {name.removeprefix("evaluation/") for name in files(trained) if name.startswith("eval")} == REPORT
    rows = table(trained / "evaluation")
    assert [row["ratio"] for row in rows] == pytest.approx(RATIOS)
    assert [row["realised_ratio"] for row in rows] == pytest.approx(RATIOS, abs=1.5e-3)
    assert [row["images"] for row in rows] == [8] * 4
    for row in rows:
        values = {name: value for name, value in row.items() if not name.startswith("volume_")}
        assert all(math.isfinite(value) for value in values.values())
        assert row["psnr"] > row["zero_filled_psnr"] - 0.05  # a few steps never leave it worse than doing nothing
    assert "std.sq.err" in log  # the table is printed
    assert not (trained / "mlruns.db").exists()


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(trained, tmp_path):
    (tmp_path / "training.csv").write_text("\n".join((trained / "training.csv").read_text().splitlines()[:3]))
    checkpoint = trained / "checkpoints" / "checkpoint_epoch=2.pt"
    train(tmp_path, max_epochs=4, mixed_precision=False, resume_from=checkpoint)
    for row, expected in zip(curve(tmp_path), curve(trained), strict=True):
        assert row == pytest.approx(expected, rel=1e-6)
    assert_same_weights(tmp_path, trained)


@pytest.mark.slow
def test_the_same_seed_trains_the_same_model_and_another_does_not(trained, tmp_path):
    train(tmp_path / "again", max_epochs=4, mixed_precision=False)
    assert_same_weights(tmp_path / "again", trained)
    train(tmp_path / "other", max_epochs=4, mixed_precision=False, seed=1)
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "other", trained)


@pytest.mark.slow
def test_two_processes_share_weights_and_draw_apart(tmp_path):
    script = Path(__file__).with_name("rank_report.py")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    succeeded(command(launch, [str(tmp_path / "report.pt"), str(tmp_path / "out")]))
    first, second = torch.load(tmp_path / "report.pt", weights_only=False)
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert first["metrics"] == second["metrics"]
    places = [[place for draw in rank["drawn"] for place in draw["places"]] for rank in (first, second)]
    assert len(set(places[0]) | set(places[1])) == 16  # every slice once, between them
    assert not set(places[0]) & set(places[1])
    for a, b in zip(first["drawn"], second["drawn"], strict=True):
        assert not torch.isclose(a["ratio"], b["ratio"], atol=1e-4).all()
        assert not torch.equal(a["mask"], b["mask"])
    assert {"model.pt", "policy.pt", "training.csv", "training.png"} <= files(tmp_path / "out")


@pytest.mark.slow
def test_the_documented_torchrun_command(tmp_path):
    train(tmp_path, ["multi_gpu_train"], processes=2, max_epochs=1)
    assert {"model.pt", "policy.pt", "training.csv", "training.png", "checkpoints/checkpoint_epoch=1.pt"} == files(
        tmp_path
    )


def artifacts(client, run_id, folder=None):
    entries = client.list_artifacts(run_id, folder)
    return {name for e in entries for name in (artifacts(client, run_id, e.path) if e.is_dir else {e.path})}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_tracking_holds_training_and_evaluation(tmp_path):
    train(tmp_path, tracking="mlflow")
    succeeded(evaluate(tmp_path, tracking="mlflow"))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlruns.db'}")
    experiment = client.get_experiment_by_name("infomri_recon")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"train-InfoMRI-seed0", "evaluate-InfoMRI-seed0"}
    assert all(run.info.status == "FINISHED" for run in runs.values())
    training, evaluation = runs["train-InfoMRI-seed0"], runs["evaluate-InfoMRI-seed0"]
    assert training.data.params["grid"] == "[32, 32]"
    assert training.data.params["learning_rate"] == "0.003"
    history = client.get_metric_history(training.info.run_id, "train_loss")
    assert [metric.step for metric in history] == [1, 2, 3, 4]
    for run in (training, evaluation):
        assert {f"psnr_at_{ratio:.4f}" for ratio in RATIOS} <= set(run.data.metrics)
    logged = artifacts(client, training.info.run_id)
    assert {"training.png", "training.csv", "model.pt", "policy.pt", "checkpoints/checkpoint_epoch=2.pt"} <= logged
    assert any(name.startswith("config_") for name in logged)
    assert artifacts(client, evaluation.info.run_id) >= REPORT


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio_range": [0, 2]}, "ratio_range must lie in (0, 1]"),
        ({"grid": [8, 8]}, "grid must lie in [16, 512]"),
        pytest.param({"evaluation_ratios": [0.0]}, "ratios must lie in (0, 1]", marks=pytest.mark.slow),
    ],
)
def test_bad_values_are_refused_before_any_work(values, message, tmp_path):
    done = run_bundle(["train"], tmp_path / "out", {**TINY, **values})
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_evaluating_on_another_grid_is_refused(trained, tmp_path):
    values = {"grid": [48, 40], "policy_path": trained / "policy.pt", "model_path": trained / "model.pt"}
    done = evaluate(tmp_path / "out", **values)
    assert done.returncode != 0
    assert "grid (48, 40) differs from the policy's grid (32, 32)" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_weights_of_another_architecture_are_refused(trained, tmp_path):
    values = {"test_data#subjects": 2, "grid": [32, 32]}
    values |= {"policy_path": trained / "policy.pt", "model_path": trained / "model.pt"}
    done = run_bundle(["train", "unet", "evaluate"], tmp_path / "out", values)
    assert done.returncode != 0
    assert "another architecture than GaussianUNet" in done.stderr
    assert not (tmp_path / "out").exists()


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.pt", "policy.pt", "checkpoint.pt"])
def test_a_pickle_that_executes_code_is_refused(name, trained, tmp_path):
    torch.save({"system": Malicious(tmp_path / "executed")}, tmp_path / name)
    if name == "checkpoint.pt":
        done = run_bundle(["train"], tmp_path / "out", {**TINY, "resume_from": tmp_path / name})
    else:
        paths = {"policy_path": trained / "policy.pt", "model_path": trained / "model.pt"}
        done = evaluate(tmp_path / "out", **{**paths, f"{name.removesuffix('.pt')}_path": tmp_path / name})
    assert done.returncode != 0
    assert name in done.stderr or "Weights only load failed" in done.stderr
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists() or not files(tmp_path / "out")
