"""Handlers of segmentations: pictures and single cases of an evaluation; files and worklist of an inference."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.metrics import Cumulative
from monai.utils import CommonKeys
from torch import Tensor

from infomri_monai.engines.case import centre_fit
from infomri_monai.engines.segmentation import VolumeSegmentation
from infomri_monai.figures import (
    acceleration_text,
    curves_by_acceleration_figure,
    ged_by_samples_figure,
    reliability_figure,
    risk_coverage_figure,
    save_figure,
    segmentation_figure,
    sweep_figure,
)
from infomri_monai.handlers.cases import (
    WriteCases,
    case_sidecar,
    describe,
    grid_affine,
    scaled_entry,
    source_affine,
    voxel_volume,
    worklist_entry,
    write_files,
)
from infomri_monai.handlers.sweep import RatioSweepHandler, SweepPictures, SweptImage, SweptImages, batch_agreement
from infomri_monai.metrics import SegmentationTable, dice_to_raters, volume_coverage
from infomri_monai.metrics.overlap import energy_distance_by_count
from infomri_monai.metrics.structures import rater_masks, structure_names
from infomri_monai.metrics.tables import write_rows
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.systems import SegmentationPosterior
from infomri_monai.triage import (
    RiskCoverage,
    StructureVolume,
    WorklistEntry,
    load_threshold,
    risk_coverage,
    share_removed,
    write_worklist,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CaseTable", "SegmentationFigures", "WriteSegmentation"]


#: columns of the table that are drawn against acceleration
_METRICS = {
    "ged": "squared GED (V-statistic)",
    "dice": "Dice of the majority",
    "ece": "ECE, pooled",
    "brier": "Brier score",
    "diversity": "diversity: 1 - IoU of samples",
    "entropy": "entropy [nats per pixel]",
}


class SegmentationFigures(SweepPictures):
    """Pictures of an evaluation that sweeps ratios: cases, one case at every ratio, curves, reliability, risk-coverage.

    Cases are of the first batch, those with the most pixels labelled. The evaluator's prediction is a
    :class:`~infomri_monai.systems.SegmentationPosterior`, its label the raters' labels.

    Args:
        quality: the evaluator's handler of a :class:`~infomri_monai.metrics.SegmentationQuality`, attached before this one.
        output_dir: folder of ``segmentations.png``, ``sweep.png``, ``segmentation_by_acceleration.png``, ``reliability.png``,
            ``risk_coverage.png`` (not of a model of single samples) and ``masks.png`` (with a ``policy``).
        seed: seed of the drawn masks.
        structures: names of the structures; None numbers them.
        simulated_raters: whether the raters were simulated; the figures say so.
        policy: the policy whose masks are drawn; None draws none.
        cases: number of cases in ``segmentations.png``, at most the first batch's.

    Raises:
        ValueError: if ``cases`` < 1.
    """

    def __init__(
        self,
        quality: RatioSweepHandler,
        output_dir: str | Path,
        seed: int = 0,
        structures: Sequence[str] | None = None,
        simulated_raters: bool = False,
        policy: SamplingPolicy | None = None,
        cases: int = 4,
    ) -> None:
        if cases < 1:
            raise ValueError(f"cases must be at least 1, got {cases}.")
        super().__init__(quality, output_dir, seed)
        self.structures, self.simulated_raters = structures, simulated_raters
        self.policy, self.cases = policy, cases
        self._agreement = Cumulative()  # type: ignore[abstract]  # MONAI declares an abstract method, but no abstract class

    def attach(self, engine: Engine) -> None:
        """Register as :class:`~infomri_monai.handlers.sweep.SweepPictures`, and keep every case's agreement."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._agreement.reset())
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self._agreement.extend(batch_agreement(e)))
        super().attach(engine)

    def gather(self) -> tuple[Any, dict[str, Tensor], dict[float, Any]]:
        """Agreement and values of every image, and diagrams by ratio."""
        collector = self.quality.collector
        return self._agreement.get_buffer(), collector.by_image(), collector.metrics["ece"].diagrams_by_ratio()

    def draw(self, table: SegmentationTable, gathered: tuple[Any, dict[str, Tensor], dict[float, Any]]) -> None:
        """Draw all."""
        agreement, images, diagrams = gathered
        if self.policy is not None:
            self.draw_masks(self.policy, self.quality.ratios)
        self._draw_cases()
        self.save(self._curves(table), "segmentation_by_acceleration")
        known = {
            acceleration_text(s): d for s, d in sorted(diagrams.items(), reverse=True) if bool((d.share > 0).any())
        }
        if known:
            reliability = reliability_figure(known, "Reliability of the averaged samples", self.simulated_raters)
            self.save(reliability, "reliability")
        if agreement is not None:
            self._draw_risk(*(values.cpu() for values in (images["ratio"], agreement, images["dice"])))

    def _draw_cases(self) -> None:
        """Several cases at the middle ratio, and the first of them at all ratios."""
        result, image, label = self.prediction, self.image, self.label
        each = image.shape[0] // len(self.quality.ratios)
        order = self.quality.ratios.argsort(descending=True).tolist()
        labelled = (label[:each] > 0).flatten(1).sum(1)
        cases = labelled.argsort(descending=True, stable=True)[: self.cases].tolist()
        middle = order[(len(order) - 1) // 2]
        options: dict[str, Any] = {"structures": self.structures, "simulated_raters": self.simulated_raters}
        title = f"Segmentations at {acceleration_text(float(self.quality.ratios[middle]))}"
        at_middle = [middle * each + case for case in cases]
        figure = segmentation_figure(result, image, label, at_middle, title=self._titled(title), **options)
        self.save(figure, "segmentations")
        everywhere = [place * each + cases[0] for place in order]
        title = "One case, less and less measured"
        figure = sweep_figure(result, image, label, everywhere, title=self._titled(title), **options)
        self.save(figure, "sweep")

    def _curves(self, table: SegmentationTable) -> Figure:
        """Every column that was measured, against acceleration."""
        nothing = float("nan")
        columns = {
            label: {row.acceleration: (getattr(row, name), nothing) for row in table.rows}
            for name, label in _METRICS.items()
        }
        measured = {
            label: {table.method: column}
            for label, column in columns.items()
            if any(value == value for value, _ in column.values())
        }
        return curves_by_acceleration_figure(measured, self._titled(table.method))

    def _draw_risk(self, ratio: Tensor, agreement: Tensor, dice: Tensor) -> None:
        """One curve per ratio; cases without any rater, or of single samples, are left out."""
        known = dice.isfinite() & agreement.isfinite()
        ratio, agreement, dice = ratio[known], agreement[known], dice[known]
        curves: dict[str, RiskCoverage] = {}
        found: list[float] = []  # within a ratio: over all together it would suffice to tell the ratios apart
        for name, at in self.by_ratio(ratio):
            curves[name] = risk_coverage(agreement[at], dice[at])
            found.append(share_removed(agreement[at], dice[at]))
        if curves:
            share = f"{100 * sum(found) / len(found):.0f} %"
            title = f"The least certain 20 % of an acceleration hold\n{share} of its worst tenth"
            self.save(risk_coverage_figure(curves, title=self._titled(title)), "risk_coverage")

    def _titled(self, title: str) -> str:
        said = "simulated raters" in title  # a table's title may say it
        return f"{title} (simulated raters)" if self.simulated_raters and not said else title


class CaseTable(SweptImages[dict[str, float]]):
    """``cases.csv``: one row for every image and ratio of an evaluation that sweeps ratios; ``ged_by_samples.png``: GED against K.

    Columns: ``image`` (number in the data set, from 1), ``ratio`` and ``acceleration`` asked for, ``dice`` of the majority (mean
    over raters and structures), ``agreement`` (mean pairwise Dice of the samples), ``entropy`` (nats per pixel),
    ``volume_coverage`` (share of raters whose volume lies in the samples' 90 % interval, mean over structures), and ``ged_K``, the
    squared generalized energy distance of the first K samples (V-statistic). Empty: not defined. The images of all ranks are
    there, each once.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        output_dir: folder of the files; no picture of a model of single samples.
        counts: numbers of samples K; those beyond the samples drawn are left out.
        simulated_raters: whether the raters were simulated; the picture says so.

    Raises:
        ValueError: if a ratio is outside (0, 1] or a count < 1.
    """

    def __init__(
        self,
        ratios: Sequence[float],
        output_dir: str | Path,
        counts: Sequence[int] = (1, 2, 4, 8, 16, 32),
        simulated_raters: bool = False,
    ) -> None:
        super().__init__(ratios)
        if not counts or min(counts) < 1:
            raise ValueError(f"counts must be numbers of samples >= 1, got {list(counts)}.")
        self.output_dir = Path(output_dir)
        self.counts = sorted(set(counts))
        self.simulated_raters = simulated_raters
        self.rows: list[dict[str, float]] = []

    def mean_ged(self) -> dict[float, dict[int, float]]:
        """Mean GED by ratio, then by number of samples; images that no rater drew do not count (NaN if nothing is left)."""
        drawn = [k for k in self.counts if f"ged_{k}" in (self.rows[0] if self.rows else {})]
        means: dict[float, dict[int, float]] = {}
        for ratio in sorted({row["ratio"] for row in self.rows}):
            of_ratio = [row for row in self.rows if row["ratio"] == ratio]
            means[ratio] = {k: _mean([row[f"ged_{k}"] for row in of_ratio]) for k in drawn}
        return means

    def notes(self, engine: Engine) -> list[dict[str, float]]:
        """What the columns say of every image."""
        output: Any = engine.state.output
        posterior: SegmentationPosterior = output[CommonKeys.PRED]
        samples = posterior.samples
        raters = rater_masks(output[CommonKeys.LABEL], samples.shape[2])
        columns = {
            "dice": dice_to_raters(posterior.majority, raters).flatten(1).nanmean(1),
            "agreement": batch_agreement(engine),
            "entropy": posterior.entropy.flatten(1).mean(1),
            "volume_coverage": volume_coverage(samples, raters).nanmean(1),
        }
        distances = energy_distance_by_count(samples, raters, self.counts)
        columns |= {f"ged_{count}": values for count, values in distances.items()}
        table = torch.stack([values.cpu() for values in columns.values()], 1).tolist()
        return [dict(zip(columns, values, strict=True)) for values in table]

    def conclude(self, images: list[SweptImage[dict[str, float]]]) -> None:
        """Write both files, on the first rank."""
        self.rows = [
            {"image": image.number, "ratio": image.ratio, "acceleration": 1 / image.ratio} | image.note
            for image in images
        ]
        if idist.get_rank() != 0 or not self.rows:
            return
        write_rows(self.output_dir / "cases.csv", self.rows, list(self.rows[0]))
        curves = {
            acceleration_text(ratio): {k: (value, math.nan) for k, value in means.items()}
            for ratio, means in reversed(self.mean_ged().items())
        }
        if all(len(curve) > 1 for curve in curves.values()):
            title = "Energy distance of the first K samples" + (" (simulated raters)" if self.simulated_raters else "")
            save_figure(ged_by_samples_figure(curves, title=title), self.output_dir / "ged_by_samples.png")


def _mean(values: Sequence[float]) -> float:
    """Mean of the numbers that are not NaN."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


class WriteSegmentation(WriteCases):
    """Write the segmentations of an evaluator whose inferer is a :class:`~infomri_monai.engines.SegmentationInferer`.

    With the source's affine and size: ``<case>_segmentation.nii.gz`` (uint8, class numbers), ``<case>_probability.nii.gz``
    (float32, classes on the fourth axis), ``<case>_entropy.nii.gz`` and ``<case>_mutual_information.nii.gz`` (float32, nats).
    Where the inferer reconstructs, ``<case>_mean.nii.gz`` and ``<case>_sigma.nii.gz``, as
    :class:`~infomri_monai.handlers.WriteReconstruction`. In k-space ``<case>_mask.nii.gz``; and ``<case>.json``. Of a
    multi-label network segmentation and samples have the labels on the fourth axis (for samples: all labels of the first
    sample, then of the second). Two-dimensional sources have one slice where there is a fourth axis.

    At the end ``worklist.csv`` and ``worklist.json``: every case, least agreement first, before it the cases that failed.

    Volumes are in mm3 where the source says how large its voxels are (NIfTI, DICOM), else in voxels (PNG, arrays, raw k-space).
    The worklist has one unit: voxels as soon as one case has no other.

    Args:
        output_dir: folder of the files; made if absent.
        name_by: ``"stem"`` or ``"index"``, see :class:`~infomri_monai.handlers.cases.WriteCases`; names stand in the
            worklist too.
        figure: also draw ``<case>.png``: the slice with the most foreground.
        structures: names of the structures; None numbers them.
        save_samples: also write ``<case>_samples.nii.gz`` (uint8, samples on the fourth axis); the inferer must keep them.
        threshold_path: file of :func:`~infomri_monai.triage.save_threshold`, which decides whether a case needs review; None
            or "" leaves that open ("" because MONAI's command line cannot say None).

    Raises:
        ValueError: as WriteCases; if names of structures repeat, ``save_samples`` is no boolean, or the threshold's file is not
            valid; during the run if the structures' number is not the network's, or samples are to be saved that the
            inferer does not keep.
        FileNotFoundError: if there is no threshold file.
        RuntimeError: at the end of the run, if cases failed; it lists their numbers and reasons.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        name_by: str = "stem",
        figure: bool = False,
        structures: Sequence[str] | None = None,
        save_samples: bool = False,
        threshold_path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(output_dir, name_by, figure)
        if not isinstance(save_samples, bool):
            raise ValueError(
                f"save_samples must be True or False (on a command line with a capital letter), got {save_samples!r}."
            )
        if threshold_path and not Path(threshold_path).is_file():
            raise FileNotFoundError(
                f"threshold_path: there is no file {threshold_path}; a training writes it as triage.json. Give '' to leave open "
                "which cases need review."
            )
        self.structures = structure_names(structures) or None
        self.save_samples = save_samples
        self.threshold = load_threshold(threshold_path) if threshold_path else None
        self.entries: dict[int, WorklistEntry] = {}  # volumes in voxels
        self.voxels: dict[int, float | None] = {}

    def begin(self, network: Any) -> None:
        """Forget the entries of an earlier run; check the structures' names where the network says how many it knows."""
        self.entries, self.voxels = {}, {}
        if isinstance(number := getattr(network, "structures", None), int):
            structure_names(self.structures, number)

    def write(self, result: VolumeSegmentation, batch: dict[str, Any], index: int, network: Any) -> None:
        """Write the maps and the sidecar, and note the worklist's entry."""
        if self.save_samples and result.samples is None:
            raise ValueError("save_samples=True needs an inferer with keep_samples=True.")
        if self.names[index] == "worklist":
            raise FileExistsError(errno.EEXIST, "the name is the worklist's")
        affine, record, voxel = source_affine(batch), result.record, voxel_volume(batch)
        picture = f"{self.names[index]}.png" if self.figure else ""
        entry = worklist_entry(result, index, self.names[index], self.structures, self.threshold, picture)
        images = {name: (image, affine) for name, image in _maps(result, self.save_samples).items()}
        images["mask"] = (result.mask, grid_affine(record, affine))
        text = describe(record, result.ratio, "segmentation")
        sidecar = case_sidecar(record, result.ratio, type(network).__name__, self._details(result, entry, voxel))
        draw = partial(_draw_case, result=result, image=batch["image"] if record.simulated else None, title=text)
        figure = partial(draw, structures=[volume.structure for volume in entry.volumes]) if self.figure else None
        write_files(self.prefix(index), images, sidecar, text, figure)
        self.entries[index], self.voxels[index] = entry, voxel

    def end(self) -> None:
        """Write the worklist; cases that failed have nothing but their name there, and need review."""
        in_mm3 = None not in self.voxels.values()
        entries = [scaled_entry(entry, self.voxels[i]) if in_mm3 else entry for i, entry in self.entries.items()]
        known = entries[0] if entries else None
        unknown = tuple(StructureVolume(v.structure, *[math.nan] * 3) for v in (known.volumes if known else ()))
        failed = [WorklistEntry(i, self.names[i], math.nan, math.nan, unknown, review=True) for i in self.failures]
        write_worklist([*entries, *failed], self.output_dir, "mm3" if in_mm3 else "voxels")

    def _details(self, result: VolumeSegmentation, entry: WorklistEntry, voxel: float | None) -> dict[str, Any]:
        """What the sidecar says about the segmentation; NaN for what is unknown."""
        return {
            "shape": list(result.entropy.shape),
            "classes": result.class_probabilities.shape[0],
            "multi_label": result.segmentation.ndim > result.entropy.ndim,
            "samples": len(result.volumes),
            "samples_seed": result.seed,
            "agreement": entry.agreement,
            "mean_entropy": entry.mean_entropy,
            "volumes": {
                volume.structure: {"median": volume.median, "interval_90": [volume.low, volume.high]}
                for volume in scaled_entry(entry, voxel).volumes
            },
            "volume_unit": "voxels" if voxel is None else "mm3",
            "review": entry.review,
            "review_below_agreement": None if self.threshold is None else self.threshold.threshold,
            "units": "segmentation: class number, 0 is background (multi-label: 0/1); probability: 0 to 1; entropy and "
            "mutual_information: nats; mean (magnitude), sigma (its standard deviation): intensity of the source; "
            "mask: 1 where k-space was measured, DC at n // 2",
        }


def _maps(result: VolumeSegmentation, save_samples: bool) -> dict[str, Tensor]:
    """The images by the names of their files."""
    spatial = result.entropy.ndim

    def classes_last(image: Tensor) -> Tensor:
        """(*leading, height, width[, slice]) as (height, width, slice, leading)."""
        merged = image.reshape(-1, *result.entropy.shape).movedim(0, -1)
        return merged if spatial == 3 else merged.unsqueeze(2)

    multi_label = result.segmentation.ndim > spatial
    maps = {
        "segmentation": classes_last(result.segmentation) if multi_label else result.segmentation,
        "probability": classes_last(result.class_probabilities),
        "entropy": result.entropy,
        "mutual_information": result.mutual_information,
    }
    if save_samples and result.samples is not None:
        maps["samples"] = classes_last(result.samples)
    if result.mean is not None and result.sigma is not None:
        maps |= {"mean": result.mean, "sigma": result.sigma}
    return maps


def _draw_case(
    path: Path, result: VolumeSegmentation, image: Tensor | None, structures: Sequence[str], title: str
) -> None:
    """Draw mask, majority, samples and uncertainty of the slice with the most foreground.

    Args:
        path: file of the picture.
        result: the inferer's result.
        image: the fully sampled image, shape (1, 1, height, width[, slice]); None shows the zero-filled one.
        structures: names of the structures.
        title: heading.
    """
    key = result.key_slice
    mask = result.mask if result.mask.ndim == 2 else result.mask[..., key.slice_index]
    shown = key.zero_filled
    if image is not None:
        volume = torch.as_tensor(image)[0, 0].abs()
        plane = volume if volume.ndim == 2 else volume[..., key.slice_index]
        shown = centre_fit(plane, result.record.grid)[None, None]
    heading = f"{title}: slice {key.slice_index + 1} of {len(result.ratio)}"
    if len(result.volumes) > 1:  # of all slices; that of the slice shown stands beside it
        heading += f", agreement of the case {result.agreement:.2f}"
    figure = segmentation_figure(
        key.posterior, shown, mask=mask[None, None].float(), structures=structures, title=heading
    )
    save_figure(figure, path)
