"""What a structure is, for the segments of a DICOM segmentation: codes that any viewer understands, colour, algorithm."""

from __future__ import annotations

from typing import Any, NamedTuple

from monai.utils import optional_import

from infomri_monai.deploy.case import ModelIdentity
from infomri_monai.deploy.dicom.common import new_uid

highdicom, _ = optional_import("highdicom")
segmentations, _ = optional_import("highdicom.seg")
codes, _ = optional_import("pydicom.sr.codedict", name="codes")

__all__ = ["SegmentCode", "segment_code", "segment_description"]

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
    description = segmentations.SegmentDescription(
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
        modifier = highdicom.sr.CodedConcept.from_code(code.modifier)
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return description
