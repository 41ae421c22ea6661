"""Handlers that bring triage into engines: the threshold from validation data, the worklist of an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.metrics import Cumulative
from monai.utils import CommonKeys

from infomri_monai.handlers.sweep import SweptImage, SweptImages, batch_agreement
from infomri_monai.metrics import dice_to_raters, mask_pixels, volume_quantiles
from infomri_monai.metrics.structures import rater_masks, structure_names
from infomri_monai.systems import SegmentationPosterior
from infomri_monai.triage import (
    StructureVolume,
    WorklistEntry,
    choose_threshold,
    load_threshold,
    save_threshold,
    write_worklist,
)
from infomri_monai.triage.threshold import check_wish

__all__ = ["CalibrateTriage", "EvaluationWorklist"]


class CalibrateTriage:
    """Choose the review threshold on validation data when training ends, and write it beside the weights.

    All swept ratios count together: one threshold on the agreement serves every acceleration, as one model does.

    Args:
        validator: an evaluator on validation data that draws several samples of every image.
        path: file of the threshold, as :func:`~infomri_monai.triage.save_threshold` writes it.
        acceptable: majority Dice from which a case is acceptable.
        error_rate: wanted share of unacceptable cases among those that are not reviewed.
        confidence: see :func:`~infomri_monai.triage.choose_threshold`.

    Raises:
        ValueError: if ``acceptable``, ``error_rate`` or ``confidence`` is outside its range.
    """

    def __init__(
        self,
        validator: SupervisedEvaluator,
        path: str | Path,
        acceptable: float = 0.8,
        error_rate: float = 0.1,
        confidence: float | None = None,
    ) -> None:
        check_wish(acceptable, error_rate, confidence)
        self.validator, self.path = validator, Path(path)
        self.acceptable, self.error_rate, self.confidence = acceptable, error_rate, confidence
        self._scores = Cumulative()  # type: ignore[abstract]  # MONAI declares an abstract method, but no abstract class
        validator.add_event_handler(Events.EPOCH_STARTED, lambda _: self._scores.reset())
        validator.add_event_handler(Events.ITERATION_COMPLETED, self._score)

    def attach(self, engine: Engine) -> None:
        """Register at the end of training."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Run the validator, choose, write."""
        self.validator.run(engine.state.epoch)
        agreement, dice = (values.cpu() for values in self._scores.get_buffer())
        known = ~(agreement.isnan() | dice.isnan())  # a deterministic model has nothing to agree with
        if not bool(known.any()):
            logging.getLogger(__name__).info("no triage: the model gives single segmentations, or no rater drew a case")
            return
        chosen = choose_threshold(agreement[known], dice[known], self.acceptable, self.error_rate, self.confidence)
        logging.getLogger(__name__).info("%s", chosen)
        if idist.get_rank() == 0:
            save_threshold(chosen, self.path)

    def _score(self, engine: Engine) -> None:
        """Keep agreement and majority Dice of every case that the validator has just segmented."""
        output: Any = engine.state.output
        posterior: SegmentationPosterior = output[CommonKeys.PRED]
        raters = rater_masks(output[CommonKeys.LABEL], posterior.samples.shape[2])
        dice = dice_to_raters(posterior.majority, raters).flatten(1).nanmean(1).cpu()
        self._scores.extend(batch_agreement(engine), dice)


class EvaluationWorklist(SweptImages[WorklistEntry]):
    """The worklist of an evaluation: every image of all ranks at every ratio, least agreement first.

    Images are named by number and acceleration only.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        output_dir: folder of ``worklist.csv`` and ``worklist.json``.
        structures: names of the structures; None numbers them.
        threshold_path: file of the review threshold; where there is none, nothing is decided.

    Raises:
        ValueError: if a ratio is outside (0, 1] or names of structures repeat; in the first iteration, if they are not as many as
            the samples' structures.
    """

    def __init__(
        self,
        ratios: Sequence[float],
        output_dir: str | Path,
        structures: Sequence[str] | None = None,
        threshold_path: str | Path | None = None,
    ) -> None:
        super().__init__(ratios)
        self.output_dir = Path(output_dir)
        self.structures = structure_names(structures) or None
        exists = threshold_path is not None and Path(threshold_path).exists()
        self.threshold = load_threshold(threshold_path) if exists and threshold_path is not None else None

    def notes(self, engine: Engine) -> list[WorklistEntry]:
        """What an image's entry says before the case has a number."""
        output: Any = engine.state.output
        posterior: SegmentationPosterior = output[CommonKeys.PRED]
        names = structure_names(self.structures, posterior.samples.shape[2])
        agreement, entropy = batch_agreement(engine), posterior.entropy.flatten(1).mean(1)
        volumes = torch.stack(volume_quantiles(mask_pixels(posterior.samples.cpu())), 2).tolist()
        reviews = [None] * len(volumes) if self.threshold is None else self.threshold.needs_review(agreement).tolist()
        notes = []
        for i, review in enumerate(reviews):
            own = tuple(StructureVolume(name, *numbers) for name, numbers in zip(names, volumes[i], strict=True))
            notes.append(WorklistEntry(0, "", float(agreement[i]), float(entropy[i]), own, review=review))
        return notes

    def conclude(self, images: list[SweptImage[WorklistEntry]]) -> None:
        """Write the worklist, on the first rank."""
        entries = []
        for case, image in enumerate(images, 1):
            name = f"image_{image.number:04d}_{1 / image.ratio:.3g}x"
            entries.append(image.note._replace(case=case, name=name, acceleration=1 / image.ratio))
        if idist.get_rank() == 0:
            write_worklist(entries, self.output_dir, "pixels")
