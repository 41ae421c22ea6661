"""What MONAI's supervised engines lack for amortised sampling: the batch's ratios and generators, whole cases, a CPU's memory."""

from importlib import import_module

from infomri_monai.engines.case import AcquisitionRecord, CaseFailure, PrepareCase, TolerantInferer
from infomri_monai.engines.case_inferer import SystemInferer
from infomri_monai.engines.classification import ClassificationInferer, VolumeClassification
from infomri_monai.engines.hardware import AutocastInferer, MixedPrecision, keep_freed_memory
from infomri_monai.engines.prepare import (
    FollowIterations,
    PrepareAmortizedBatch,
    PrepareLabels,
    PrepareOneRater,
    PrepareRaters,
    PrepareRatioSweep,
)
from infomri_monai.engines.reconstruction import VolumeInferer, VolumeReconstruction
from infomri_monai.engines.segmentation import SegmentationInferer, VolumeSegmentation

__all__ = [
    "AcquisitionRecord",
    "AutocastInferer",
    "CaseFailure",
    "ClassificationInferer",
    "FollowIterations",
    "MixedPrecision",
    "PrepareAmortizedBatch",
    "PrepareCase",
    "PrepareLabels",
    "PrepareOneRater",
    "PrepareRaters",
    "PrepareRatioSweep",
    "PrivacyAudit",
    "SegmentationInferer",
    "SystemInferer",
    "TolerantInferer",
    "VolumeClassification",
    "VolumeInferer",
    "VolumeReconstruction",
    "VolumeSegmentation",
    "keep_freed_memory",
]


def __getattr__(name: str) -> object:
    """The audit has a room of its own above this one, and is looked up there when it is asked for."""
    if name == "PrivacyAudit":
        return getattr(import_module("infomri_monai.audit"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
