"""An audit is a tracked run of its own, through MONAI's handler and ours."""

from __future__ import annotations

import mlflow
import pytest
from audits import audit
from monai.handlers import MLFlowHandler
from monai.utils import path_to_sqlite_uri

from infomri_monai.handlers import TrackOutputs

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own dependencies
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # MLflow's connections
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_numbers_and_files_are_in_one_finished_run(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = path_to_sqlite_uri(str(tmp_path / "mlruns.db"))
    names = {"tracking_uri": uri, "experiment_name": "tiny", "run_name": "audit-seed0"}
    patterns = ["*.png", "*.csv", "*.json", "*.md"]
    track = TrackOutputs(**names, output_dir=tmp_path / "audit", patterns=patterns, parameters={"seed": 0})
    monai = MLFlowHandler(**names, iteration_log=False, close_on_complete=True)  # as --tracking mlflow attaches it
    made = audit(tmp_path / "audit", val_handlers=[track, monai])
    made.run()
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "0"
    assert run.data.metrics["unrolled_psnr_at_0.2500"] == made.report.attackers[0].rows[0].psnr
    logged = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"attackers.csv", "report.md", "reconstructions.png", "learning_curves.png"} <= logged
    assert "models" not in logged
