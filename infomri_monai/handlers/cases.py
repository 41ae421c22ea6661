"""What handlers share that write the results of whole cases: files, pictures, worklist entries, and failures that stop nobody."""

from __future__ import annotations

import gzip
import json
import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from ignite.engine import Engine, Events
from monai.data.utils import to_affine_nd
from monai.utils import CommonKeys, optional_import
from numpy.typing import NDArray
from torch import Tensor

import infomri_monai
from infomri_monai.engines.case import AcquisitionRecord, CaseFailure
from infomri_monai.engines.segmentation import VolumeSegmentation
from infomri_monai.files import atomic_path, writable_folder
from infomri_monai.metrics import volume_quantiles
from infomri_monai.metrics.structures import structure_names
from infomri_monai.metrics.tables import finite
from infomri_monai.triage import ReviewThreshold, StructureVolume, WorklistEntry

__all__ = [
    "WriteCases",
    "case_sidecar",
    "describe",
    "grid_affine",
    "scaled_entry",
    "source_affine",
    "voxel_volume",
    "worklist_entry",
    "write_files",
]


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


def describe(record: AcquisitionRecord, ratio: Tensor, task: str) -> str:
    """The text of the NIfTI headers' ``descrip`` (at most 79 characters).

    Simulated k-space is always called so, whatever happens to the sidecar.

    Args:
        record: how k-space came about.
        ratio: realised sampling ratio of every slice.
        task: what was done with measured k-space, one word.
    """
    if record.simulated:
        return f"InfoMRI simulated acquisition ratio={record.ratio_requested:.6g} seed={record.seed}"
    return f"InfoMRI {task} of measured k-space ratio={float(ratio.mean()):.6g}"


def case_sidecar(record: AcquisitionRecord, ratio: Tensor, network: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """How the case was acquired, by which network it was treated and what came of it, as plain types for JSON.

    Args:
        record: how k-space came about.
        ratio: realised sampling ratio of every slice.
        network: name of the network.
        details: what else there is to say.
    """
    mean = float(ratio.double().mean())
    return {
        **record._asdict(),
        "ratio_realised": mean,
        "ratio_realised_per_slice": ratio.tolist(),
        "acceleration": 1 / mean if mean > 0 else None,
        "network": network,
        **details,
        "version": infomri_monai.__version__,
    }


def source_affine(batch: Mapping[str, Any]) -> NDArray[np.float64]:
    """The source's 4 x 4 affine; the identity where there is none (raw k-space)."""
    source = getattr(batch.get("image"), "affine", None)
    if source is None:
        return np.eye(4)
    matrix = np.asarray(source, dtype=np.float64)
    return np.asarray(to_affine_nd(3, matrix.reshape(-1, *matrix.shape[-2:])[0]), dtype=np.float64)


def voxel_volume(batch: Mapping[str, Any]) -> float | None:
    """Volume of the source's voxels.

    Args:
        batch: one case; its "has_geometry" is that of :class:`~infomri_monai.data.ReadCased`.

    Returns:
        In mm3; NaN if the affine is singular; None where the source says nothing about its voxels (PNG, arrays, raw k-space).
    """
    if "has_geometry" not in batch or not bool(batch["has_geometry"][0]):
        return None
    volume = abs(float(np.linalg.det(source_affine(batch)[:3, :3])))
    return volume if volume > 0 else math.nan


def grid_affine(record: AcquisitionRecord, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine of the grid of k-space: the source's, moved where the source was cropped or padded."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, : len(record.offset)] @ np.array(record.offset, dtype=float)
    return moved


def write_files(
    prefix: Path,
    images: Mapping[str, tuple[Tensor, NDArray[np.float64]]],
    sidecar: Mapping[str, Any],
    text: str,
    figure: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Write ``<prefix>_<name>.nii.gz`` for every image, ``<prefix>.json`` and on request ``<prefix>.png``.

    The files take their names when all are complete.

    Args:
        prefix: path of the files without suffix; folders are made.
        images: tensors of two to four axes with their 4 x 4 affines, by name.
        sidecar: content of the JSON file; NaN and infinity become null.
        text: the images' ``descrip``.
        figure: called with a path to draw the picture there; None draws nothing.

    Returns:
        The files.

    Raises:
        OSError: if a file cannot be written.
    """
    paths = [prefix.with_name(f"{prefix.name}_{name}.nii.gz") for name in images]
    paths.append(prefix.with_name(f"{prefix.name}.json"))
    if figure is not None:
        paths.append(prefix.with_name(f"{prefix.name}.png"))
    with ExitStack() as stack:
        parts = [stack.enter_context(atomic_path(path)) for path in paths]
        for part, (tensor, affine) in zip(parts, images.values(), strict=False):
            part.write_bytes(_nifti(tensor, affine, text))
        parts[len(images)].write_text(json.dumps(finite(sidecar), indent=2, allow_nan=False) + "\n")
        if figure is not None:
            figure(parts[-1])
    return paths


def _nifti(tensor: Tensor, affine: NDArray[np.float64], text: str) -> bytes:
    """A compressed NIfTI file; the same image gives the same bytes."""
    image = nibabel.Nifti1Image(np.asfortranarray(tensor.numpy()), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = text.encode("ascii")[:79]
    return gzip.compress(image.to_bytes(), compresslevel=3, mtime=0)


_, _HAS_MATPLOTLIB = optional_import("matplotlib")


class WriteCases(ABC):
    """Write the result of every case; subclasses say what the files are.

    A case that fails leaves no file and does not stop the others; at the end they are all reported, as an error. Logs name a
    case by its number only, since file names may be patients' names.

    Args:
        output_dir: folder of the files; made if absent.
        name_by: ``"stem"`` names the files as the source (with its subfolders), ``"index"`` as ``case_0001`` and so on, for
            sources whose names must not be copied.
        figure: also draw ``<case>.png``.

    Raises:
        ValueError: if ``name_by`` is unknown or ``figure`` is no boolean.
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
        self.output_dir = writable_folder(output_dir, "output_dir")
        self.figure = figure
        self.name_by = name_by
        self.written = 0
        self.names: dict[int, str] = {}
        self.failures: dict[int, str] = {}
        self.logger = logging.getLogger(type(self).__module__)

    def begin(self, network: Any) -> None:
        """At the start of a run, before any case."""
        return None

    @abstractmethod
    def write(self, result: Any, batch: dict[str, Any], index: int, network: Any) -> None:
        """Write the files of one case, all of them or none, under :meth:`prefix`.

        Args:
            result: the inferer's result.
            batch: the case as the data loader gave it.
            index: its number.
            network: the evaluator's network.

        Raises:
            OSError: if a file cannot be written.
        """

    def follow(self, index: int) -> None:
        """After every case, written or failed."""
        return None

    def end(self) -> None:
        """At the end of a run, before it is reported."""
        return None

    def attach(self, engine: Engine) -> None:
        """Register at the start, after every case and at the end."""
        engine.add_event_handler(Events.STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def reset(self, engine: Engine) -> None:
        """Forget the cases of an earlier run."""
        self.written = 0
        self.names = {}
        self.failures = {}
        self.begin(engine.network)  # type: ignore[attr-defined]

    def prefix(self, index: int) -> Path:
        """Path of a case's files, without what follows the case's name."""
        return self.output_dir / self.names[index]

    def __call__(self, engine: Engine) -> None:
        """Write the case that the evaluator has just finished."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        result, index = output[CommonKeys.PRED], int(batch["index"][0])
        self.names[index] = batch["name"][0] if self.name_by == "stem" else f"case_{index:04d}"
        if not isinstance(result, CaseFailure):
            try:
                self.write(result, batch, index, engine.network)  # type: ignore[attr-defined]
            except OSError as error:  # its message holds the path
                why = os.strerror(error.errno or 0)
                result = CaseFailure(f"{type(error).__name__}: the files cannot be written ({why})")
        if isinstance(result, CaseFailure):
            self.failures[index] = result.reason
            self.logger.error("case %d failed: %s", index, result.reason)
        else:
            self.written += 1
            self.logger.info("case %d: ratio %.4f, %d slices", index, float(result.ratio.mean()), len(result.ratio))
        self.follow(index)

    def report(self, engine: Engine) -> None:
        """Say what was written; raise if a case failed."""
        self.end()
        self.logger.info("%d cases written to %s", self.written, self.output_dir)
        if self.failures:
            listed = "; ".join(f"case {index}: {reason}" for index, reason in sorted(self.failures.items()))
            total = self.written + len(self.failures)
            raise RuntimeError(f"{len(self.failures)} of {total} cases failed, the others are complete: {listed}")
