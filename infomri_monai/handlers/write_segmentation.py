"""Ignite handler that writes every segmented case, and the worklist of the cases that a person should look at."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from infomri_monai.engines.segmentation import VolumeSegmentation
from infomri_monai.files import null_unless_finite
from infomri_monai.handlers.cases import (
    WriteCases,
    case_sidecar,
    describe,
    draw_segmented_case,
    grid_affine,
    scaled_entry,
    source_affine,
    voxel_volume,
    worklist_entry,
    write_files,
)
from infomri_monai.metrics.structures import structure_names
from infomri_monai.triage import StructureVolume, WorklistEntry, load_threshold, write_worklist

__all__ = ["WriteSegmentation"]


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
        draw = partial(
            draw_segmented_case, result=result, image=batch["image"] if record.simulated else None, title=text
        )
        figure = partial(draw, structures=[volume.structure for volume in entry.volumes]) if self.figure else None
        write_files(self.prefix(index), images, sidecar, text, figure)
        self.entries[index], self.voxels[index] = entry, voxel

    def follow(self, index: int) -> None:
        """Nothing to do."""

    def end(self) -> None:
        """Write the worklist; cases that failed have nothing but their name there, and need review."""
        in_mm3 = None not in self.voxels.values()
        entries = [scaled_entry(entry, self.voxels[i]) if in_mm3 else entry for i, entry in self.entries.items()]
        known = entries[0] if entries else None
        unknown = tuple(StructureVolume(v.structure, *[math.nan] * 3) for v in (known.volumes if known else ()))
        failed = [WorklistEntry(i, self.names[i], math.nan, math.nan, unknown, review=True) for i in self.failures]
        write_worklist([*entries, *failed], self.output_dir, "mm3" if in_mm3 else "voxels")

    def _details(self, result: VolumeSegmentation, entry: WorklistEntry, voxel: float | None) -> dict[str, Any]:
        """What the sidecar says about the segmentation; null for what is unknown."""
        null = null_unless_finite
        return {
            "shape": list(result.entropy.shape),
            "classes": result.class_probabilities.shape[0],
            "multi_label": result.segmentation.ndim > result.entropy.ndim,
            "samples": len(result.volumes),
            "samples_seed": result.seed,
            "agreement": null(entry.agreement),
            "mean_entropy": entry.mean_entropy,
            "volumes": {
                volume.structure: {
                    "median": null(volume.median),
                    "interval_90": [null(volume.low), null(volume.high)],
                }
                for volume in scaled_entry(entry, voxel).volumes
            },
            "volume_unit": "voxels" if voxel is None else "mm3",
            "review": entry.review,
            "review_below_agreement": None if self.threshold is None else null(self.threshold.threshold),
            "units": "segmentation: class number, 0 is background (multi-label: 0/1); probability: 0 to 1; entropy and "
            "mutual_information: nats; mean, sigma: intensity of the source; mask: 1 where k-space was measured, DC at n // 2",
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
