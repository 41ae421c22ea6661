"""What is logged beside MONAI's MLflow handler, to a real SQLite database."""

from __future__ import annotations

import shutil

import mlflow
import pytest
from helper import refuses
from ignite.engine import Events
from monai.handlers import MLFlowHandler, from_engine
from monai.utils import path_to_sqlite_uri
from tiny_runs import tiny_system, trainer

from infomri_monai.handlers import SaveSystem, TrackOutputs

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own dependencies
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # MLflow's connections
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PATTERNS = ["model.pt", "policy.pt", "evaluation/*.png", "*.csv", "*.md", "checkpoints/*.pt"]
NAMES = {"experiment_name": "tiny", "run_name": "train-seed0"}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """MLflow's tables, made once: that takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow.MlflowClient(tracking_uri=path_to_sqlite_uri(str(path))).search_experiments()
    return path


@pytest.fixture
def absent(tmp_path, monkeypatch):
    """The address of a database that is not there yet."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return path_to_sqlite_uri(str(tmp_path / "mlruns.db"))


@pytest.fixture
def uri(tmp_path, absent, empty_database):
    """The address of a database without runs."""
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    return absent


def train(folder, uri, mlflow_handler=True, parameters=None, epochs=2, handlers=()):
    """A training run tracked as ``--tracking mlflow`` does it: MONAI's handler is attached last."""
    system = tiny_system()
    track = TrackOutputs(
        uri, **NAMES, output_dir=folder, patterns=PATTERNS, parameters=parameters or {"seed": 0, "grid": [16, 18]}
    )
    save = SaveSystem(system, folder / "model.pt", folder / "policy.pt")
    trainer(system, [*handlers, save, track, *([monai_handler(uri)] if mlflow_handler else [])], epochs).run()


def monai_handler(uri):
    return MLFlowHandler(
        tracking_uri=uri,
        **NAMES,
        tag_name="train_loss",
        output_transform=from_engine(["loss"], first=True),
        close_on_complete=True,
    )


def runs(uri):
    client = mlflow.MlflowClient(tracking_uri=uri)
    return client, client.search_runs([client.get_experiment_by_name("tiny").experiment_id])


def artifacts(client, run, folder=None):
    entries = client.list_artifacts(run.info.run_id, folder)
    return sorted(name for e in entries for name in (artifacts(client, run, e.path) if e.is_dir else [e.path]))


def test_parameters_curve_and_files_are_in_one_finished_run(tmp_path, uri):
    folder = tmp_path / "out"
    logged = ["evaluation/masks.png", "checkpoints/checkpoint_epoch=2.pt", "training.csv", "table.md"]
    for name in (*logged, ".training.part.csv", "patient.nii.gz", "log.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")
    train(folder, uri)
    client, (run,) = runs(uri)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "train-seed0")
    assert run.data.params.items() >= {"grid": "[16, 18]", "seed": "0"}.items()
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train_loss")] == [1, 2, 3, 4]
    assert artifacts(client, run) == sorted([*logged, "model.pt", "policy.pt"])


def test_without_monais_handler_nothing_is_logged_and_no_database_made(tmp_path, absent):
    train(tmp_path / "out", absent, mlflow_handler=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_database_of_earlier_runs_is_left_as_it_is(tmp_path, uri):
    train(tmp_path / "out", uri)
    before = runs(uri)[1][0].to_dictionary()
    (tmp_path / "out" / "new.csv").write_text("later")
    client = mlflow.MlflowClient(tracking_uri=uri)
    client.create_experiment("other", artifact_location=str(tmp_path / "mlruns"))
    train(tmp_path / "out", uri, mlflow_handler=False, parameters={"later": 1})
    _, (run,) = runs(uri)
    assert run.to_dictionary() == before
    assert "new.csv" not in artifacts(client, run)


class Interrupt:
    """In the third iteration."""

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), self)

    def __call__(self):
        raise KeyboardInterrupt


def test_an_interrupted_run_is_continued_not_opened_again(tmp_path, uri):
    refuses(KeyboardInterrupt, "^$", train, tmp_path / "out", uri, handlers=[Interrupt()])
    assert runs(uri)[1][0].info.status == "RUNNING"
    train(tmp_path / "out", uri)
    _, (run,) = runs(uri)
    assert (run.info.status, run.data.params["seed"]) == ("FINISHED", "0")


def test_the_environments_server_goes_first_as_in_monai(tmp_path, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    train(tmp_path / "out", path_to_sqlite_uri(str(tmp_path / "ignored.db")))
    assert runs(uri)[1][0].data.params["seed"] == "0"
    assert not (tmp_path / "ignored.db").exists()


def test_other_ranks_log_nothing(tmp_path, uri, monkeypatch):
    monkeypatch.setattr("infomri_monai.handlers.tracking.idist.get_rank", lambda: 1)
    train(tmp_path / "out", uri)
    client, (run,) = runs(uri)
    assert "seed" not in run.data.params
    assert artifacts(client, run) == []


def test_what_fails_at_the_end_is_told_at_the_beginning(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "file").touch()
    at = {**NAMES, "patterns": PATTERNS}
    refuses(
        OSError, "output_dir: .*file is no folder", TrackOutputs, "sqlite:///a.db", **at, output_dir=tmp_path / "file/a"
    )
    named = "tracking_uri: no server answers at 127.0.0.1"
    refuses(ConnectionError, named, TrackOutputs, "http://127.0.0.1:9", **at, output_dir=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
