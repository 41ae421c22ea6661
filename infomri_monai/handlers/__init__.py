"""Ignite handlers for what MONAI's lack: tables by sampling ratio, figures, variance calibration, the system's files."""

from infomri_monai.handlers.classification import ClassificationFigures, PredictionTable, WriteClassification
from infomri_monai.handlers.progress import Progress
from infomri_monai.handlers.reconstruction import EvaluationFigures, WriteReconstruction
from infomri_monai.handlers.segmentation import CaseTable, SegmentationFigures, WriteSegmentation
from infomri_monai.handlers.sweep import RatioSweepHandler
from infomri_monai.handlers.tracking import TrackOutputs
from infomri_monai.handlers.training import (
    AverageBuffers,
    CalibrateVariance,
    ClipGradientNorm,
    OutputAsList,
    RestoreBest,
    SaveStatistics,
    SaveSystem,
    TrainingCurves,
    WarmUp,
)
from infomri_monai.handlers.triage import CalibrateTriage, EvaluationWorklist
from infomri_monai.handlers.trial import TryValidation

__all__ = [
    "AverageBuffers",
    "CalibrateTriage",
    "CalibrateVariance",
    "CaseTable",
    "ClassificationFigures",
    "ClipGradientNorm",
    "EvaluationFigures",
    "EvaluationWorklist",
    "OutputAsList",
    "PredictionTable",
    "Progress",
    "RatioSweepHandler",
    "RestoreBest",
    "SaveStatistics",
    "SaveSystem",
    "SegmentationFigures",
    "TrackOutputs",
    "TrainingCurves",
    "TryValidation",
    "WarmUp",
    "WriteClassification",
    "WriteReconstruction",
    "WriteSegmentation",
]
