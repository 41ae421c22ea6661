"""From the segmentation of a case to its row of the worklist."""

from __future__ import annotations

import math
from collections.abc import Sequence

from infomri_monai.engines.volume_segmentation import VolumeSegmentation
from infomri_monai.metrics import volume_quantiles
from infomri_monai.metrics.structure_names import structure_names
from infomri_monai.triage import ReviewThreshold, StructureVolume, WorklistEntry

__all__ = ["scaled_entry", "worklist_entry"]


def worklist_entry(
    result: VolumeSegmentation,
    index: int,
    name: str,
    structures: Sequence[str] | None = None,
    threshold: ReviewThreshold | None = None,
    picture: str = "",
) -> WorklistEntry:
    """The worklist's row of a case, volumes in voxels.

    Args:
        result: what :class:`~infomri_monai.engines.SegmentationInferer` returned.
        index: the case's number.
        name: name of its files.
        structures: names of the structures; None numbers them.
        threshold: decides whether the case needs review; None leaves that open.
        picture: path of its picture, or "".

    Raises:
        ValueError: if the structures' number is not the result's.
    """
    volumes = [quantile[0].tolist() for quantile in volume_quantiles(result.volumes[None])]
    ratio = float(result.ratio.double().mean())
    names = structure_names(structures, result.volumes.shape[1])
    return WorklistEntry(
        case=index,
        name=name,
        agreement=result.agreement,
        mean_entropy=float(result.entropy.double().mean()),
        volumes=tuple(StructureVolume(*row) for row in zip(names, *volumes, strict=True)),
        acceleration=1 / ratio if ratio > 0 else math.nan,
        review=None if threshold is None else bool(threshold.needs_review([result.agreement])),
        picture=picture,
    )


def scaled_entry(entry: WorklistEntry, voxel: float | None) -> WorklistEntry:
    """The entry with its volumes in the unit of ``voxel``, the volume of a voxel; None keeps voxels.

    Example:
        >>> entry = WorklistEntry(1, "a", 0.9, 0.1, (StructureVolume("tumour", 10.0, 8.0, 12.0),))
        >>> scaled_entry(entry, 0.5).volumes
        (StructureVolume(structure='tumour', median=5.0, low=4.0, high=6.0),)
    """
    factor = 1.0 if voxel is None else voxel
    volumes = [StructureVolume(v.structure, *(factor * number for number in v[1:])) for v in entry.volumes]
    return entry._replace(volumes=tuple(volumes))
