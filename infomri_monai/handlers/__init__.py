"""Ignite handlers for what MONAI's lack: tables by sampling ratio, figures, variance calibration, the system's files."""

from infomri_monai.handlers.classification import ClassificationFigures, ClassificationQualityHandler, PredictionTable
from infomri_monai.handlers.progress import Progress
from infomri_monai.handlers.reconstruction import EvaluationFigures, RateDistortionHandler, WriteReconstruction
from infomri_monai.handlers.segmentation import CaseTable, SegmentationFigures, SegmentationQualityHandler
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
from infomri_monai.handlers.write_classification import WriteClassification
from infomri_monai.handlers.write_segmentation import WriteSegmentation

__all__ = [
    "AverageBuffers",
    "CalibrateTriage",
    "CalibrateVariance",
    "CaseTable",
    "ClassificationFigures",
    "ClassificationQualityHandler",
    "ClipGradientNorm",
    "EvaluationFigures",
    "EvaluationWorklist",
    "OutputAsList",
    "PredictionTable",
    "Progress",
    "RateDistortionHandler",
    "RatioSweepHandler",
    "RestoreBest",
    "SaveStatistics",
    "SaveSystem",
    "SegmentationFigures",
    "SegmentationQualityHandler",
    "TrackOutputs",
    "TrainingCurves",
    "WarmUp",
    "WriteClassification",
    "WriteReconstruction",
    "WriteSegmentation",
]
