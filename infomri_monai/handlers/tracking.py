"""What MONAI's MLflow handler does not log: parameters by name, and the folder of figures, tables and checkpoints."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ignite import distributed as idist
from ignite.engine import Engine, Events

from infomri_monai.files import writable_folder

__all__ = ["TrackOutputs"]

_PORTS = {"http": 80, "https": 443}


class TrackOutputs:
    """Log parameters when a run starts and the files of a folder when it ends, to the run that MONAI's handler opened.

    ``--tracking mlflow`` makes MONAI's ``MLFlowHandler`` open a run of the configured names. Without it there is no such run, and
    nothing is logged (nor is a database made).

    Args:
        tracking_uri: as the MONAI handler's; the environment's ``MLFLOW_TRACKING_URI`` goes before it, as there.
        experiment_name: as the MONAI handler's.
        run_name: as the MONAI handler's.
        output_dir: the run's folder.
        patterns: which files of it are logged. They are named one by one, so that nothing that other runs left there (the
            pictures of an inference, whose names may be patients') goes along.
        parameters: parameters to log by name.

    Raises:
        OSError: if the folder cannot be written to, or no server answers at an ``http(s)`` address. Nothing is made or sent.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment_name: str,
        run_name: str,
        output_dir: str | Path,
        patterns: Sequence[str],
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri
        self.experiment_name = experiment_name
        self.run_name = run_name
        self.output_dir = writable_folder(output_dir, "output_dir")
        _check_server(self.tracking_uri)
        self.patterns = list(patterns)
        self.parameters = dict(parameters or {})

    def attach(self, engine: Engine) -> None:
        """Register at the run's last event; MONAI's handler is attached after this one and closes the run then."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Log to the open run, if there is one."""
        if idist.get_rank() != 0 or not self._server_exists():
            return
        import mlflow  # slow to import, and seldom asked for

        client = mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        experiment = client.get_experiment_by_name(self.experiment_name)
        if experiment is None:
            return
        wanted = f"attributes.run_name = '{self.run_name}' and attributes.status = 'RUNNING'"
        for run in client.search_runs([experiment.experiment_id], wanted, max_results=1):
            for name, value in self.parameters.items():
                if name not in run.data.params:
                    client.log_param(run.info.run_id, name, value)
            found = {path for pattern in self.patterns for path in self.output_dir.glob(pattern)}
            for path in sorted(
                path for path in found if not path.name.startswith(".")
            ):  # half-written files have a dot
                folder = str(path.parent.relative_to(self.output_dir))
                client.log_artifact(run.info.run_id, str(path), None if folder == "." else folder)

    def _server_exists(self) -> bool:
        parsed = urlparse(self.tracking_uri)
        return parsed.scheme != "sqlite" or Path(self.tracking_uri.removeprefix("sqlite:///")).exists()


def _check_server(uri: str) -> None:
    """MLflow itself tries for minutes, after the training."""
    parsed = urlparse(uri)
    if parsed.scheme in ("http", "https"):
        try:
            socket.create_connection((parsed.hostname or "", parsed.port or _PORTS[parsed.scheme]), timeout=5).close()
        except OSError as error:
            raise ConnectionError(f"tracking_uri: no server answers at {parsed.hostname}: {error}.") from None
