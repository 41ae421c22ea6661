"""One file per method: which policy, measurement and networks it wires, and what a forward pass returns."""

from infomri_monai.systems.classification import ClassificationPosterior, ClassificationSystem, ClassificationTraining
from infomri_monai.systems.reconstruction import ReconstructionResult, ReconstructionSystem
from infomri_monai.systems.segmentation import SegmentationPosterior, SegmentationSystem, SegmentationTraining
from infomri_monai.systems.system import System, parameter_groups

__all__ = [
    "ClassificationPosterior",
    "ClassificationSystem",
    "ClassificationTraining",
    "ReconstructionResult",
    "ReconstructionSystem",
    "SegmentationPosterior",
    "SegmentationSystem",
    "SegmentationTraining",
    "System",
    "parameter_groups",
]
