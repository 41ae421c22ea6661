"""Handlers that bring triage into engines: the threshold from validation data, the worklist of an evaluation."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys, evenly_divisible_all_gather
from torch import Tensor

from infomri_monai.metrics import dice_to_raters, volume_interval
from infomri_monai.metrics.structure_masks import rater_masks
from infomri_monai.sampling.policy import check_ratio
from infomri_monai.systems import SegmentationPosterior
from infomri_monai.triage import (
    StructureVolume,
    WorklistEntry,
    choose_threshold,
    load_threshold,
    sample_agreement,
    save_threshold,
    write_worklist,
)

__all__ = ["CalibrateTriage", "EvaluationWorklist"]


class CaseScores:
    """Agreement and majority Dice of every case that an evaluator segments; attached to it, forgets at every epoch's start."""

    def __init__(self) -> None:
        self._agreement: list[Tensor] = []
        self._dice: list[Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Register on an evaluator whose prediction is a ``SegmentationPosterior`` and whose label holds the raters' labels."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)

    def _forget(self, engine: Engine) -> None:
        self._agreement, self._dice = [], []

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        posterior: SegmentationPosterior = output[CommonKeys.PRED]
        if posterior.samples.shape[1] < 2:  # a deterministic model has nothing to agree with
            return
        raters = rater_masks(output[CommonKeys.LABEL], posterior.samples.shape[2])
        self._agreement.append(sample_agreement(posterior.samples).cpu())
        self._dice.append(dice_to_raters(posterior.majority, raters).flatten(1).nanmean(1).cpu())

    def gathered(self) -> tuple[Tensor, Tensor]:
        """Agreement and Dice of all ranks' cases that a rater has drawn, each (cases,); none for a model of single samples."""
        parts = [torch.cat(part) if part else torch.zeros(0) for part in (self._agreement, self._dice)]
        if idist.get_world_size() > 1:
            parts = [evenly_divisible_all_gather(part.to(idist.device()), concat=True).cpu() for part in parts]
        agreement, dice = parts
        known = ~dice.isnan()
        return agreement[known], dice[known]


class CalibrateTriage:
    """Choose the review threshold on validation data when training ends, and write it beside the weights.

    All swept ratios count together: one threshold on the agreement serves every acceleration, as one model does.

    Args:
        validator: an evaluator on validation data that draws several samples of every image.
        path: file of the threshold, as :func:`~infomri_monai.triage.save_threshold` writes it.
        acceptable: majority Dice from which a case is acceptable.
        error_rate: wanted share of unacceptable cases among those that are not reviewed.
        confidence: see :func:`~infomri_monai.triage.choose_threshold`.
    """

    def __init__(
        self,
        validator: SupervisedEvaluator,
        path: str | Path,
        acceptable: float = 0.8,
        error_rate: float = 0.1,
        confidence: float | None = None,
    ) -> None:
        self.validator, self.path = validator, Path(path)
        self.acceptable, self.error_rate, self.confidence = acceptable, error_rate, confidence
        self.scores = CaseScores()
        self.scores.attach(validator)

    def attach(self, engine: Engine) -> None:
        """Register at the end of training."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Run the validator, choose, write."""
        self.validator.run(engine.state.epoch)
        agreement, dice = self.scores.gathered()
        if not len(agreement):
            logging.getLogger(__name__).info("no triage: the model gives single segmentations, or no rater drew a case")
            return
        chosen = choose_threshold(agreement, dice, self.acceptable, self.error_rate, self.confidence)
        logging.getLogger(__name__).info("%s", chosen)
        if idist.get_rank() == 0:
            save_threshold(chosen, self.path)


class EvaluationWorklist:
    """The worklist of an evaluation: every image at every ratio, least agreement first.

    Images are named by number and acceleration only.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        output_dir: folder of ``worklist.csv`` and ``worklist.json``.
        structures: names of the structures; None numbers them.
        threshold_path: file of the review threshold; where there is none, nothing is decided.

    Raises:
        ValueError: if a ratio is outside (0, 1]; in the first iteration, if ``structures`` are not as many as the samples'.
    """

    def __init__(
        self,
        ratios: Sequence[float],
        output_dir: str | Path,
        structures: Sequence[str] | None = None,
        threshold_path: str | Path | None = None,
    ) -> None:
        self.ratios = check_ratio(ratios, "ratios")
        self.output_dir = Path(output_dir)
        self.structures = structures
        exists = threshold_path is not None and Path(threshold_path).exists()
        self.threshold = load_threshold(threshold_path) if exists and threshold_path is not None else None
        self.entries: list[WorklistEntry] = []
        self._images = 0

    def attach(self, engine: Engine) -> None:
        """Register the handler's three events."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _forget(self, engine: Engine) -> None:
        self.entries, self._images = [], 0

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        posterior: SegmentationPosterior = output[CommonKeys.PRED]
        several = posterior.samples.shape[1] > 1
        nothing = torch.full((posterior.samples.shape[0],), math.nan)
        agreement = sample_agreement(posterior.samples).cpu() if several else nothing
        entropy = posterior.entropy.flatten(1).mean(1).cpu()
        images, _, structures = posterior.samples.shape[:3]
        pixels = volume_interval(posterior.samples.cpu())
        low, high = (end if several else torch.full_like(end, math.nan) for end in (pixels.lower, pixels.upper))
        each = images // len(self.ratios)
        names = self.structures or [f"structure_{i + 1}" for i in range(structures)]
        if len(names) != structures:
            raise ValueError(f"structures must name the {structures} structures of the samples, got {list(names)}.")
        for i in range(images):
            image, acceleration = self._images + i % each + 1, 1 / float(self.ratios[i // each])
            volumes = (
                StructureVolume(name, float(pixels.median[i, s]), float(low[i, s]), float(high[i, s]))
                for s, name in enumerate(names)
            )
            self.entries.append(
                WorklistEntry(
                    case=len(self.entries) + 1,
                    name=f"image_{image:04d}_{acceleration:.3g}x",
                    agreement=float(agreement[i]),
                    mean_entropy=float(entropy[i]),
                    volumes=tuple(volumes),
                    acceleration=acceleration,
                    review=None if self.threshold is None else bool(self.threshold.needs_review(agreement[i : i + 1])),
                )
            )
        self._images += each

    def _write(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            write_worklist(self.entries, self.output_dir, "pixels")
