"""Read one DICOM MR series as a case: an image in MONAI's layout with its geometry and its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import torch
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from infomri_monai.data.dicom.quiet import DicomError
from infomri_monai.data.dicom.series import SeriesCandidate
from infomri_monai.data.dicom.volume import read_series
from infomri_monai.deploy.case import CaseSource, DeployCase, DeployError
from infomri_monai.deploy.dicom.geometry import slice_geometry
from infomri_monai.deploy.dicom.identity import new_uid
from infomri_monai.deploy.dicom.mr_series import mr_attributes
from infomri_monai.deploy.dicom.references import slice_references
from infomri_monai.deploy.logs import guarded

__all__ = ["case_source", "read_case"]


def read_case(candidate: SeriesCandidate, number: int | None = None) -> DeployCase:
    """Read a series that :func:`~infomri_monai.data.dicom.series.find_series` found.

    Args:
        candidate: of a scan.
        number: of the case; None for the candidate's.

    Returns:
        A case of the domain "image": float32, shape (1, columns, rows, slices), as
        :func:`~infomri_monai.data.dicom.volume.read_series` reads it.

    Raises:
        DeployError: as the reader's DicomError. The message holds no identifier.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> from infomri_monai.data.dicom.series import find_series
        >>> folder = tempfile.mkdtemp()
        >>> _ = write_example_series(folder, slices=3, grid=(48, 32))
        >>> case = read_case(find_series(folder).candidates[0])
        >>> case.domain, tuple(case.data.shape), len(case.source.instances)
        ('image', (1, 48, 32, 3), 3)
    """
    start = perf_counter()
    try:
        volume = read_series(candidate)
    except DicomError as error:
        raise DeployError(str(error)) from None
    with guarded("checking the source's headers"):  # what fails here would fail after the network has run
        source, made_up = case_source(volume.instances, volume.frames)
        columns, rows, slices = volume.pixels.shape
        tiled = not volume.frames and len(volume.instances) < slices
        source = replace(source, tiled=tiled)
        for reference in slice_references(source, slice_geometry(volume.affine, slices), (rows, columns)):
            mr_attributes(reference, source.attributes)
    return DeployCase(
        number=number or candidate.number,
        domain="image",
        data=torch.from_numpy(volume.pixels)[None],
        affine=volume.affine,
        source=source,
        warnings=(*volume.warnings, *made_up),
        seconds={"load": perf_counter() - start},
    )


def case_source(instances: Sequence[Dataset], frames: Sequence[int] = ()) -> tuple[CaseSource, tuple[str, ...]]:
    """Make a case's source. To be called within ``quiet``.

    All values are decoded here, so that none is decoded (and perhaps quoted in a warning) later; elements that cannot be decoded
    are dropped. A missing StudyInstanceUID or FrameOfReferenceUID is made new, in the instances, too, and so is a frame of
    reference that bears the UID of its study or series.

    Args:
        instances: without pixel data, in the order of the slices.
        frames: number (from 1) of the frame of each slice of a multi-frame instance.

    Returns:
        The source, and warnings.

    Example:
        >>> from hospital.mr_series import example_datasets
        >>> datasets = example_datasets(slices=2)
        >>> del datasets[0].FrameOfReferenceUID, datasets[1].FrameOfReferenceUID
        >>> source, warnings = case_source(datasets)
        >>> source.attributes.FrameOfReferenceUID == source.instances[1].FrameOfReferenceUID, warnings
        (True, ('FrameOfReferenceUID was missing and is made new.',))
    """
    warnings = []
    for instance in instances:
        _decode(instance)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not instances[0].get(keyword):
            new = new_uid()
            for instance in instances:
                setattr(instance, keyword, new)
            warnings.append(f"{keyword} was missing and is made new.")
    taken = {str(instances[0].get(keyword)) for keyword in ("StudyInstanceUID", "SeriesInstanceUID")}
    if (old := str(instances[0].FrameOfReferenceUID)) in taken:
        for instance in instances:  # the same for all series of the study, which can still be laid over each other
            instance.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference", old])
        warnings.append("FrameOfReferenceUID was that of the study or series, which is invalid, and is made new.")
    return CaseSource(tuple(instances), instances[0], tuple(frames)), tuple(warnings)


def _decode(dataset: Dataset) -> None:
    """Turn raw bytes into values, everywhere; drop what cannot be."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # damaged values raise whatever their parser does
            del dataset[tag]
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                _decode(item)
