"""What an audit has finished, on disk: a second run of the same audit takes it from there."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infomri_monai.atomic import atomic_path
from infomri_monai.engines.attack import AttackOutcome
from infomri_monai.engines.training_budget import Course
from infomri_monai.metrics.rate_distortion_table import RateDistortionRow

__all__ = ["AuditStore", "fingerprint"]

_LOGGER = logging.getLogger(__name__)


def fingerprint(**settings: Any) -> str:
    """SHA-256 over named settings (numbers, texts, lists of them).

    Example:
        >>> fingerprint(seed=0, ratios=[0.25]) == fingerprint(ratios=[0.25], seed=0) != fingerprint(ratios=[0.25], seed=1)
        True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


class AuditStore:
    """A folder with one folder per trained network: its record, its weights, and numbers by image.

    The record is written last, so a network without one was not finished. Weights are plain state dicts.

    Args:
        folder: the folder; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finished(self, name: str, wanted: str) -> dict[str, Any] | None:
        """The record of a network with this fingerprint; None if there is none or one of other settings."""
        path = self.folder / name / "record.json"
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            record = {}
        if record.get("fingerprint") != wanted or not self.weights(name).is_file():
            _LOGGER.info("%s: what an earlier run left belongs to other settings; it is trained anew", name)
            return None
        _LOGGER.info("%s: finished by an earlier run of the same settings, not trained again", name)
        return record

    def weights(self, name: str) -> Path:
        """File of a network's state dict."""
        return self.folder / name / "weights.pt"

    def save(self, name: str, network: nn.Module, record: dict[str, Any], images: dict[str, Tensor]) -> None:
        """Write a finished network's three files."""
        self._forget(name)
        for file, content in (("weights.pt", _on_cpu(network.state_dict())), ("images.pt", images)):
            with atomic_path(self.folder / name / file) as part:
                torch.save(content, part)
        with atomic_path(self.folder / name / "record.json") as part:
            part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def outcome(self, name: str, record: dict[str, Any]) -> tuple[Course, AttackOutcome]:
        """Course and test of a finished attacker."""
        images = torch.load(self.folder / name / "images.pt", weights_only=True)
        known = ({key: value for key, value in row.items() if value is not None} for row in record["rows"])
        rows = [RateDistortionRow(**{"psnr": math.nan, "zero_filled_psnr": math.nan, **row}) for row in known]
        return Course(**record["course"]), AttackOutcome(rows, images)

    def _forget(self, name: str) -> None:
        """Without its record a network counts as unfinished while its other files are replaced."""
        (self.folder / name / "record.json").unlink(missing_ok=True)


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
