"""DICOM segmentations of a case: what is most probable by the samples (binary) and their mean probabilities (fractional)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import highdicom
import highdicom.seg
import numpy as np
from highdicom.sr import CodedConcept
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.derivation import Derivation, ModelIdentity
from infomri_monai.deploy.dicom.geometry import slice_geometry
from infomri_monai.deploy.dicom.identity import identity_arguments, new_uid, series_attributes
from infomri_monai.deploy.dicom.references import slice_references, source_proxies
from infomri_monai.deploy.logs import guarded
from infomri_monai.metrics.structures import structure_names

__all__ = [
    "MAXIMUM_FRACTIONAL_VALUE",
    "SegmentCode",
    "binary_segmentation",
    "fractional_segmentation",
    "segment_code",
    "segment_description",
]

#: recommended colours, RGB; Okabe and Ito's, which people who are colour-blind tell apart
_COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (0, 114, 178), (213, 94, 0))


class SegmentCode(NamedTuple):
    """The codes of a segment, ``pydicom.sr.coding.Code`` of SNOMED CT.

    Attributes:
        category: of the property that the segment has (context group 7150).
        type: the property (context group 7151).
        modifier: which part of it; None for all of it.
    """

    category: Any
    type: Any
    modifier: Any = None


_ANATOMY, _LESION = "AnatomicalStructure", "MorphologicallyAbnormalStructure"

#: keywords of category, type and modifier
_KEYWORDS = {
    "csf": (_ANATOMY, "CerebrospinalFluid"),
    "grey": (_ANATOMY, "GrayMatter"),
    "white": (_ANATOMY, "WhiteMatter"),
    "tumour": (_LESION, "Neoplasm"),
    "hippocampus": (_ANATOMY, "Hippocampus"),
    "hippocampus anterior": (_ANATOMY, "Hippocampus", "Anterior"),
    "hippocampus posterior": (_ANATOMY, "Hippocampus", "Posterior"),
}
_SYNONYMS = {
    "cerebrospinal fluid": "csf",
    **dict.fromkeys(("gray", "grey matter", "gray matter"), "grey"),
    "white matter": "white",
    **dict.fromkeys(("tumor", "neoplasm"), "tumour"),
    "anterior hippocampus": "hippocampus anterior",
    "posterior hippocampus": "hippocampus posterior",
}
_UNKNOWN = ("Tissue", "Tissue")


def segment_code(structure: str) -> SegmentCode:
    """The codes of a structure; of a name that says nothing for certain ("anterior" of what?) those of any tissue.

    Args:
        structure: its name; case, hyphens and underscores do not matter.

    Returns:
        SNOMED CT codes.

    Example:
        >>> segment_code("Grey_matter").type.meaning, segment_code("structure_1").type.meaning
        ('Gray Matter', 'Tissue')

    References:
        DICOM PS3.16 2024e, CID 7150, CID 7151, CID 7159 and CID 7192.
    """
    name = " ".join(structure.casefold().replace("_", " ").replace("-", " ").split())
    keywords = _KEYWORDS.get(_SYNONYMS.get(name, name), _UNKNOWN)
    return SegmentCode(*(getattr(codes.SCT, keyword) for keyword in keywords))


def segment_description(number: int, structure: str, model: ModelIdentity) -> Any:
    """What a segment is and which model drew it.

    Args:
        number: of the segment, from 1.
        structure: its name, at most 64 characters.
        model: which drew it without a person's help.

    Returns:
        A ``highdicom.seg.SegmentDescription`` with a new tracking UID.

    Example:
        >>> description = segment_description(1, "tumour", ModelIdentity("unet", "1.0", "ab" * 32))
        >>> description.SegmentAlgorithmType, description.segmented_property_type.meaning
        ('AUTOMATIC', 'Neoplasm')
    """
    code = segment_code(structure)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=model.name,
        family=codes.DCM.ArtificialIntelligence,
        version=model.version,
        source="infomri_monai",
        parameters={"weights_sha256": model.checksum},
    )
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=structure,
        segmented_property_category=code.category,
        segmented_property_type=code.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=new_uid(),
        tracking_id=f"{model.name} {structure}"[:64],
        display_color=highdicom.color.CIELabColor.from_rgb(*_COLOURS[(number - 1) % len(_COLOURS)]),
    )
    if code.modifier is not None:
        modifier = CodedConcept.from_code(code.modifier)
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return description


#: stored value of probability 1; a stored probability is off by half a step, 1/510, at most
MAXIMUM_FRACTIONAL_VALUE = 255


def binary_segmentation(
    segmentation: ArrayLike,
    structures: Sequence[str],
    affine: ArrayLike,
    source: CaseSource,
    derivation: Derivation,
    series_number: int,
    keep_empty: bool = False,
) -> Dataset:
    """The segmentation of a case, one segment per structure; exact.

    Frames in which a structure has no pixel are left out unless ``keep_empty``, as the standard allows (of a segmentation that is
    empty altogether none is); segments are described even if they have no pixel.

    Args:
        segmentation: class numbers, 0 is background, shape (columns, rows, slices), or masks of 0/1 that may overlap
            (multi-label), (structures, columns, rows, slices): integers or booleans. A tensor on the CPU will do.
        structures: names of the structures, 1 to 64 characters each; the first one is class 1.
        affine: (column, row, slice) index to RAS in mm, 4 x 4.
        source: patient and study; its instances are what was segmented, in the order of the slices and of their size: for raw
            k-space the series that :func:`~infomri_monai.deploy.dicom.mr_series.mr_series` made of it.
        derivation: title and text, and the model, which becomes the segments' algorithm.
        series_number: of the new series.
        keep_empty: write frames without any pixel of their structure, too, for viewers that want one for every slice.

    Returns:
        A ``highdicom.seg.Segmentation``, explicit VR little endian, of segmentation type BINARY.

    Raises:
        ValueError: if shapes, names, values, affine and source do not fit together; nothing of the source is in the message.
        DeployError: if highdicom refuses the source's header.

    Example:
        >>> from infomri_monai.deploy.derivation import ModelIdentity
        >>> from hospital.mr_series import example_datasets
        >>> image = example_datasets(slices=1, grid=(32, 24), oblique=False)[0]
        >>> affine = np.diag([-image.PixelSpacing[1], -image.PixelSpacing[0], 1, 1])
        >>> affine[:3, 3] = np.array([-1, -1, 1]) * image.ImagePositionPatient
        >>> labels = np.zeros((32, 24, 1), dtype=np.uint8)
        >>> labels[5:9, 7, 0] = 2
        >>> derivation = Derivation("InfoMRI 8x", "By 16 samples.", True, ModelIdentity("unet", "1.0", "ab"))
        >>> made = binary_segmentation(labels, ["grey", "white"], affine, CaseSource((image,), image), derivation, 901)
        >>> made.SeriesDescription, len(made.SegmentSequence), int(made.pixel_array.sum())
        ('InfoMRI 8x SIMULATED of 3 Example classic MR', 2, 4)

    References:
        DICOM PS3.3 2024e, A.51 Segmentation IOD and C.8.20.
    """
    array = np.asarray(segmentation)
    names = _names(structures)
    if array.dtype.kind not in "biu":
        raise ValueError(f"segmentation must hold integers or booleans, got {array.dtype}.")
    highest = len(names) if array.ndim == 3 else 1
    if array.ndim not in (3, 4) or (array.ndim == 4 and len(array) != len(names)) or 0 in array.shape:
        raise ValueError(
            "segmentation must have the shape (columns, rows, slices), or (structures, columns, rows, slices) with "
            f"{len(names)} structures, got {array.shape}."
        )
    if int(array.min()) < 0 or int(array.max()) > highest:
        raise ValueError(f"segmentation must lie in 0..{highest}, got {array.min()}..{array.max()}.")
    dtype = np.uint8 if highest < 256 else np.uint16
    exclusive = array.ndim == 3
    what = "Most probable class by the samples' mean" if exclusive else "Mean probability over the samples above 1/2"
    kind: dict[str, Any] = {
        "segmentation_type": "BINARY",
        "content_label": "MAJORITY",
        "content_description": derivation.content(what),
    }
    kind |= {"omit_empty_frames": not keep_empty}
    return _segmentation(array.astype(dtype), names, affine, source, derivation, series_number, kind)


def fractional_segmentation(
    probabilities: ArrayLike,
    structures: Sequence[str],
    affine: ArrayLike,
    source: CaseSource,
    derivation: Derivation,
    series_number: int,
    keep_empty: bool = False,
) -> Dataset:
    """The probabilities of a case's structures, one segment per structure, in steps of 1/255; off by 1/510 at most.

    Frames in which a structure's probability is stored as 0 everywhere are left out, as in :func:`binary_segmentation`.

    Args:
        probabilities: mean over the samples, real, in [0, 1] up to rounding (1e-4), shape (structures, columns, rows,
            slices), or one more in front, which is the background and is left out.
        structures: as for :func:`binary_segmentation`, like the other arguments.
        affine: see there.
        source: see there.
        derivation: see there.
        series_number: see there.

    Returns:
        A ``highdicom.seg.Segmentation``, explicit VR little endian, of segmentation type FRACTIONAL (PROBABILITY).

    Raises:
        ValueError: as :func:`binary_segmentation`; if a probability is NaN or outside [0, 1].
        DeployError: if highdicom refuses the source's header.

    References:
        DICOM PS3.3 2024e, C.8.20.2.3 (segmentation type and fractional type).
    """
    array = np.asarray(probabilities)
    names = _names(structures)
    if array.ndim != 4 or len(array) - len(names) not in (0, 1) or 0 in array.shape or array.dtype.kind not in "fiub":
        raise ValueError(
            f"probabilities must be real and of the shape (structures, columns, rows, slices) with {len(names)} structures, "
            f"or one more in front for the background, got {array.dtype} {array.shape}."
        )
    array = array[len(array) - len(names) :].astype(np.float32)
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        raise ValueError(f"probabilities must lie in [0, 1], got {low:.6g}..{high:.6g}.")
    # rounded here, so that what is stored as 0 counts as empty
    stored = np.rint(array.clip(0, 1) * MAXIMUM_FRACTIONAL_VALUE) / np.float32(MAXIMUM_FRACTIONAL_VALUE)
    kind = {
        "segmentation_type": "FRACTIONAL",
        "fractional_type": "PROBABILITY",
        "max_fractional_value": MAXIMUM_FRACTIONAL_VALUE,
        "omit_empty_frames": not keep_empty,
        "content_label": "PROBABILITY",
        "content_description": derivation.content("Mean probability over the samples, step 1/255"),
    }
    return _segmentation(stored, names, affine, source, derivation, series_number, kind)


def _names(structures: Sequence[str]) -> tuple[str, ...]:
    """The names, if DICOM takes them."""
    names = structure_names(structures)
    if not names or not all(
        isinstance(name, str) and 0 < len(name.strip()) <= 64 and "\\" not in name for name in names
    ):
        raise ValueError(f"structures must be names of 1 to 64 characters without a backslash, got {structures!r}.")
    return names


def _segmentation(
    array: NDArray[Any],
    names: Sequence[str],
    affine: ArrayLike,
    source: CaseSource,
    derivation: Derivation,
    series_number: int,
    kind: dict[str, Any],
) -> Dataset:
    """A segmentation of checked arrays, (columns, rows, slices) or (structures, columns, rows, slices)."""
    columns, rows, slices = array.shape[-3:]
    geometry = slice_geometry(affine, slices)
    references = slice_references(source, geometry, (rows, columns))
    series = series_attributes(source, derivation, series_number, "SEG")
    series.pop("Laterality", None)  # a segmentation's frames have their own, and the standard wants only one of them
    series.DerivationDescription = derivation.description
    with guarded("making the segmentation"):
        made = highdicom.seg.Segmentation(
            source_images=source_proxies(references, geometry, series),
            pixel_array=np.ascontiguousarray(array.T),
            segment_descriptions=[segment_description(i, name, derivation.model) for i, name in enumerate(names, 1)],
            **identity_arguments(series),
            **kind,
        )
        made.update(series)
        if source.frames:  # highdicom saw the case's frames only; the segments share their items
            frames = made.PerFrameFunctionalGroupsSequence
            items = [frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in frames]
            for item in {id(item): item for item in items}.values():
                item.ReferencedFrameNumber = references[int(item.ReferencedFrameNumber) - 1].frame
    return made
