"""Ignite handler that writes every reconstructed case and reports the cases that failed."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.data.utils import to_affine_nd
from monai.utils import CommonKeys, optional_import
from numpy.typing import NDArray

from infomri_monai.engines.case import CaseFailure
from infomri_monai.engines.volume_inferer import VolumeReconstruction
from infomri_monai.handlers.case_figure import draw_case
from infomri_monai.handlers.case_files import describe, write_case

_, _HAS_MATPLOTLIB = optional_import("matplotlib")

__all__ = ["WriteReconstruction"]


class WriteReconstruction:
    """Write the reconstructions of an evaluator whose inferer is a :class:`~infomri_monai.engines.VolumeInferer`.

    ``<case>_mean.nii.gz`` and ``<case>_sigma.nii.gz`` (float32, the source's affine, size and intensity units),
    ``<case>_mask.nii.gz`` (uint8, in k-space) and ``<case>.json`` with the acquisition. A case that fails leaves no file and
    does not stop the others; at the end they are all reported, as an error. Logs name a case by its number only, since
    file names may be patients' names.

    Args:
        output_dir: folder of the files; made if absent.
        name_by: ``"stem"`` names the files as the source (with its subfolders), ``"index"`` as ``case_0001`` and so on, for
            sources whose names must not be copied.
        figure: also draw ``<case>.png``, the middle slice beside the truth, for simulated acquisitions.

    Raises:
        ValueError: if ``name_by`` is unknown.
        ImportError: if ``figure`` is asked for and matplotlib (extra ``figures``) is not installed.
        RuntimeError: at the end of the run, if cases failed; it lists their numbers and reasons.
    """

    def __init__(self, output_dir: str | os.PathLike[str], name_by: str = "stem", figure: bool = False) -> None:
        if name_by not in ("stem", "index"):
            raise ValueError(f"name_by must be 'stem' or 'index', got {name_by!r}.")
        if not isinstance(figure, bool):
            raise ValueError(f"figure must be True or False (on a command line with a capital letter), got {figure!r}.")
        if figure and not _HAS_MATPLOTLIB:
            raise ImportError("figure=True needs matplotlib: install infomri-monai[figures], or set figure to false.")
        self.output_dir = Path(output_dir)
        self.figure = figure
        self.name_by = name_by
        self.written = 0
        self.failures: dict[int, str] = {}
        self.logger = logging.getLogger(__name__)

    def attach(self, engine: Engine) -> None:
        """Register at the start, after every case and at the end."""
        engine.add_event_handler(Events.STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def reset(self, engine: Engine) -> None:
        """Forget the cases of an earlier run."""
        self.written = 0
        self.failures = {}

    def __call__(self, engine: Engine) -> None:
        """Write the case that the evaluator has just reconstructed."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        result, index = output[CommonKeys.PRED], int(batch["index"][0])
        if not isinstance(result, CaseFailure):
            result = self._write(result, batch, index, type(engine.network).__name__)  # type: ignore[attr-defined]
        if isinstance(result, CaseFailure):
            self.failures[index] = result.reason
            self.logger.error("case %d failed: %s", index, result.reason)
        else:
            self.written += 1
            self.logger.info("case %d: ratio %.4f, %d slices", index, float(result.ratio.mean()), len(result.ratio))

    def report(self, engine: Engine) -> None:
        """Say what was written; raise if a case failed."""
        self.logger.info("%d cases written to %s", self.written, self.output_dir)
        if self.failures:
            listed = "; ".join(f"case {index}: {reason}" for index, reason in sorted(self.failures.items()))
            total = self.written + len(self.failures)
            raise RuntimeError(f"{len(self.failures)} of {total} cases failed, the others are complete: {listed}")

    def _write(
        self, result: VolumeReconstruction, batch: dict[str, Any], index: int, network: str
    ) -> VolumeReconstruction | CaseFailure:
        name = batch["name"][0] if self.name_by == "stem" else f"case_{index:04d}"
        # psnr has no meaning for an empty slice, and measured k-space has no truth to show
        shown = self.figure and result.record.simulated and bool(result.mean.any())
        figure = partial(draw_case, result=result, image=batch["image"], title=describe(result)) if shown else None
        try:
            write_case(result, self.output_dir / name, _affine(batch), network, figure)
        except OSError as error:  # its message holds the path
            return CaseFailure(f"{type(error).__name__}: the files cannot be written ({os.strerror(error.errno or 0)})")
        return result


def _affine(batch: dict[str, Any]) -> NDArray[np.float64]:
    """The source's 4 x 4 affine; the identity where there is none (raw k-space)."""
    source = getattr(batch.get("image"), "affine", None)
    if source is None:
        return np.eye(4)
    matrix = np.asarray(source, dtype=np.float64)
    return np.asarray(to_affine_nd(3, matrix.reshape(-1, *matrix.shape[-2:])[0]), dtype=np.float64)
