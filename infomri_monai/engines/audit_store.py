"""What an audit has finished, on disk: a second run of the same audit takes it from there."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infomri_monai.atomic import atomic_path
from infomri_monai.engines.attack import AttackOutcome
from infomri_monai.engines.training_budget import Course
from infomri_monai.metrics.rate_distortion_table import RateDistortionRow

__all__ = ["AuditStore", "Finished", "fingerprint"]

_LOGGER = logging.getLogger(__name__)


def fingerprint(**settings: Any) -> str:
    """SHA-256 over named settings (numbers, texts, lists of them).

    Example:
        >>> fingerprint(seed=0, ratios=[0.25]) == fingerprint(ratios=[0.25], seed=0) != fingerprint(ratios=[0.25], seed=1)
        True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


class Finished(NamedTuple):
    """What an earlier run left of one network.

    Attributes:
        course: of its training.
        rows: its test, field -> number.
        images: numbers by image.
    """

    course: Course
    rows: list[dict[str, Any]]
    images: dict[str, Tensor]

    def outcome(self) -> AttackOutcome:
        """The test of an attacker."""
        return AttackOutcome([RateDistortionRow(**row) for row in self.rows], self.images)


class AuditStore:
    """A folder with one folder per trained network: its record, its weights, and numbers by image.

    The record is written last, so a network without one was not finished. Weights are plain state dicts.

    Args:
        folder: the folder; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finished(self, name: str, wanted: str) -> Finished | None:
        """A network with this fingerprint; None if there is none, one of other settings, or one with a missing or damaged file."""
        path = self.folder / name / "record.json"
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            same = record["fingerprint"] == wanted
            found = Finished(
                Course(**_numbers(record["course"])), _numbers(record["rows"]), _read(path.parent / "images.pt")
            )
            _read(self.weights(name))
        except (ValueError, KeyError, TypeError, OSError) as error:
            _LOGGER.warning("%s: what an earlier run left is damaged (%s); it is trained anew", name, error)
            return None
        if not same:
            _LOGGER.info("%s: what an earlier run left belongs to other settings; it is trained anew", name)
            return None
        _LOGGER.info("%s: finished by an earlier run of the same settings, not trained again", name)
        return found

    def weights(self, name: str) -> Path:
        """File of a network's state dict."""
        return self.folder / name / "weights.pt"

    def save(
        self,
        name: str,
        network: nn.Module,
        settings: dict[str, Any],
        finished: Finished,
    ) -> None:
        """Write a finished network's three files.

        Args:
            name: of its folder.
            network: the trained network.
            settings: what else the record says; its ``fingerprint`` is what :meth:`finished` asks for.
            finished: how it went.
        """
        self._forget(name)
        for file, content in (("weights.pt", _on_cpu(network.state_dict())), ("images.pt", finished.images)):
            with atomic_path(self.folder / name / file) as part:
                torch.save(content, part)
        record = settings | {"course": _plain(finished.course._asdict()), "rows": _plain(finished.rows)}
        with atomic_path(self.folder / name / "record.json") as part:
            part.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def _forget(self, name: str) -> None:
        """Without its record a network counts as unfinished while its other files are replaced."""
        (self.folder / name / "record.json").unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Tensor]:
    """Named tensors; ValueError if the file is missing or damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.load warns about archives that it then refuses
            content: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load passes on what its zip and pickle readers raise
        raise ValueError(f"{path.name} cannot be read: {type(error).__name__}") from error
    return content


def _plain(value: Any) -> Any:
    """For JSON, which knows neither NaN nor infinity: these as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(value: Any) -> Any:
    """What :func:`_plain` was given."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float(value) if isinstance(value, str) else value


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
