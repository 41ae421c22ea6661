"""What MONAI's supervised engines lack for amortised sampling: the batch's ratios and generators, whole cases, a CPU's memory."""

from infomri_monai.engines.case import CaseFailure, PrepareCase, TolerantInferer
from infomri_monai.engines.classification_inferer import ClassificationInferer
from infomri_monai.engines.ensemble_inferer import EnsembleInferer
from infomri_monai.engines.hardware import AutocastInferer, MixedPrecision, keep_freed_memory
from infomri_monai.engines.posterior_inferer import PosteriorInferer
from infomri_monai.engines.prepare import FollowIterations, PrepareAmortizedBatch, PrepareRatioSweep
from infomri_monai.engines.prepare_classification import PrepareLabels
from infomri_monai.engines.prepare_segmentation import PrepareOneRater, PrepareRaters
from infomri_monai.engines.privacy_audit import PrivacyAudit
from infomri_monai.engines.segmentation_inferer import SegmentationInferer
from infomri_monai.engines.slice_acquisition import AcquisitionRecord
from infomri_monai.engines.volume_classification import VolumeClassification
from infomri_monai.engines.volume_inferer import VolumeInferer, VolumeReconstruction
from infomri_monai.engines.volume_segmentation import VolumeSegmentation

__all__ = [
    "AcquisitionRecord",
    "AutocastInferer",
    "CaseFailure",
    "ClassificationInferer",
    "EnsembleInferer",
    "FollowIterations",
    "MixedPrecision",
    "PosteriorInferer",
    "PrepareAmortizedBatch",
    "PrepareCase",
    "PrepareLabels",
    "PrepareOneRater",
    "PrepareRaters",
    "PrepareRatioSweep",
    "PrivacyAudit",
    "SegmentationInferer",
    "TolerantInferer",
    "VolumeClassification",
    "VolumeInferer",
    "VolumeReconstruction",
    "VolumeSegmentation",
    "keep_freed_memory",
]
