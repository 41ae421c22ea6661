"""Which SOP classes in which encodings are fetched from a PACS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from monai.utils import optional_import

from infomri_monai.deploy.case import EXIT_USAGE, DeployError

uid, _ = optional_import("pydicom.uid")
presentation, _ = optional_import("pynetdicom.presentation")

if TYPE_CHECKING:
    from pynetdicom.presentation import PresentationContext

__all__ = ["DOCUMENTS", "IMAGES", "VERIFICATION", "send_contexts", "storage_contexts", "transfer_syntaxes"]

#: SOP classes with pixels, by their names in ``pydicom.uid``
IMAGES = (
    "MRImageStorage",
    "EnhancedMRImageStorage",
    "EnhancedMRColorImageStorage",
    "SecondaryCaptureImageStorage",
    "SegmentationStorage",
    "ParametricMapStorage",
)
#: SOP classes without
DOCUMENTS = (
    "BasicTextSRStorage",
    "EnhancedSRStorage",
    "ComprehensiveSRStorage",
    "Comprehensive3DSRStorage",
    "KeyObjectSelectionDocumentStorage",
    "GrayscaleSoftcopyPresentationStateStorage",
    "RawDataStorage",
    "MRSpectroscopyStorage",
    "EncapsulatedPDFStorage",
)
#: uncompressed data sets, and the whole data set deflated
NATIVE = ("ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "DeflatedExplicitVRLittleEndian")
#: compressed pixels
COMPRESSED = (
    "RLELossless",
    "JPEGLosslessSV1",
    "JPEGLossless",
    "JPEGBaseline8Bit",
    "JPEGExtended12Bit",
    "JPEGLSLossless",
    "JPEGLSNearLossless",
    "JPEG2000Lossless",
    "JPEG2000",
    "HTJ2KLossless",
    "HTJ2K",
)
#: of an association, by the protocol
MOST_CONTEXTS = 128
#: SOP class of C-ECHO
VERIFICATION = "1.2.840.10008.1.1"


def transfer_syntaxes(sop_class: str) -> list[str]:
    """UIDs of the transfer syntaxes in which a SOP class is taken.

    Args:
        sop_class: one of ``IMAGES`` or ``DOCUMENTS``.

    Example:
        >>> transfer_syntaxes("ComprehensiveSRStorage")
        ['1.2.840.10008.1.2.1', '1.2.840.10008.1.2', '1.2.840.10008.1.2.1.99']
    """
    names = NATIVE + COMPRESSED if sop_class in IMAGES else NATIVE
    return [getattr(uid, name) for name in names]


def storage_contexts() -> list[PresentationContext]:
    """A presentation context for each SOP class in each transfer syntax.

    The other side accepts one transfer syntax in each context, so a context that offered several would have what is stored
    in the others decoded or refused.

    Returns:
        Fewer than the 128 that an association can have.

    References:
        DICOM PS3.8 (2024), 9.3.2.2 and Annex B: presentation contexts and their negotiation.
    """
    return [
        presentation.build_context(getattr(uid, name), syntax)
        for name in IMAGES + DOCUMENTS
        for syntax in transfer_syntaxes(name)
    ]


def send_contexts(kinds: Iterable[tuple[str, str]]) -> list[PresentationContext]:
    """Presentation contexts for instances to send, each as it is encoded, and verification, which every PACS accepts.

    What is not compressed is also offered as implicit VR little endian, which a PACS must accept; it is then converted.

    Args:
        kinds: UIDs of SOP class and transfer syntax of every instance.

    Raises:
        DeployError: if there are more kinds than an association can have.

    Example:
        >>> len(send_contexts([("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1")] * 20))
        3

    References:
        DICOM PS3.5 (2024), 10.1: the default transfer syntax.
    """
    pairs = dict.fromkeys((str(sop_class), str(syntax)) for sop_class, syntax in kinds)
    for sop_class, syntax in list(pairs):
        if syntax == uid.ExplicitVRLittleEndian:
            pairs[(sop_class, str(uid.ImplicitVRLittleEndian))] = None
    if len(pairs) >= MOST_CONTEXTS:
        raise DeployError(
            f"instances of {len(pairs)} kinds and encodings are more than can be sent at once.", EXIT_USAGE
        )
    return [presentation.build_context(VERIFICATION), *(presentation.build_context(*pair) for pair in pairs)]
