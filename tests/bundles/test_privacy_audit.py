"""The audit of the privacy bundle as a user runs it, after a tiny training."""

from __future__ import annotations

import json

import mlflow
import pytest
import torch
from bundle_table import PRIVACY
from running import TINY_TEST, files, run_bundle, succeeded

TINY_AUDIT = {
    **TINY_TEST,
    "train_data#subjects": 12,
    "test_data#subjects": 6,
    "validation_data#subjects": 6,
    "attack_steps": 4,
    "attack_mixed_precision": False,
    "attack_val_interval": 2,
    "attack_batch_size": 4,
}
REPORT = {
    *(f"attackers.{suffix}" for suffix in ("csv", "json", "md", "png")),
    *("report.md", "report.json", "reconstructions.png", "learning_curves.png"),
}


def audit(output, trained, **values):
    values = {**TINY_AUDIT, **PRIVACY.tiny_model, "policy_path": trained / "policy.pt", **values}
    return run_bundle(PRIVACY, ["train", "audit"], output, values)


@pytest.fixture
def bundle():
    return PRIVACY


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_the_audit_reports_tracks_and_leaves_the_policy_alone(trained, tmp_path):
    before = (trained / "policy.pt").read_bytes()
    succeeded(audit(tmp_path, trained, tracking="mlflow"))
    assert (trained / "policy.pt").read_bytes() == before
    assert {name.removeprefix("audit/") for name in files(tmp_path) if name.startswith("audit/")} >= REPORT
    words = (tmp_path / "audit" / "report.md").read_text()
    assert "not a guarantee" in words
    assert "## What was not shown" in words
    content = json.loads((tmp_path / "audit" / "report.json").read_text())
    assert [attacker["name"] for attacker in content["attackers"]] == ["unet", "unrolled", "linear MMSE"]
    for attacker in content["attackers"]:
        assert [row["ratio"] for row in attacker["rows"]] == pytest.approx(PRIVACY.ratios)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlruns.db'}")
    runs = client.search_runs([client.get_experiment_by_name(PRIVACY.name).experiment_id])
    assert [run.info.run_name for run in runs] == ["audit-InfoMRI-seed0"]
    assert {f"unrolled_psnr_at_{ratio:.4f}" for ratio in PRIVACY.ratios} <= set(runs[0].data.metrics)
    tracked = {artifact.path for artifact in client.list_artifacts(runs[0].info.run_id)}
    assert tracked >= REPORT - {"reconstructions.png"}
    assert "reconstructions.png" not in tracked  # nobody's image goes to a server


@pytest.mark.slow
def test_a_second_audit_takes_what_is_finished(trained, tmp_path):
    succeeded(audit(tmp_path, trained))
    weights = {p: torch.load(p, weights_only=True) for p in (tmp_path / "audit" / "models").rglob("weights.pt")}
    report = (tmp_path / "audit" / "report.json").read_text()
    assert len(weights) == 4  # two attackers, two probes
    log = succeeded(audit(tmp_path, trained))
    assert "early_stopping" not in log  # nothing was trained
    assert (tmp_path / "audit" / "report.json").read_text() == report


def test_bad_values_are_refused_before_anything_is_written(trained, tmp_path):
    for values, message in (
        ({"attack_patience": 0}, "patience must be >= 1"),
        ({"attackers": {}}, "attackers"),
        ({"policy_path": trained / "model.pt"}, "not a policy checkpoint"),
    ):
        done = audit(tmp_path / "out", trained, **values)
        assert done.returncode != 0
        assert message in done.stderr
        assert not (tmp_path / "out").exists()
