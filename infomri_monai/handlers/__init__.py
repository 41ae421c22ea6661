"""Ignite handlers for what MONAI's lack: tables by sampling ratio, figures, variance calibration, the system's files."""

from infomri_monai.handlers.case_table import CaseTable
from infomri_monai.handlers.classification_figures import ClassificationFigures
from infomri_monai.handlers.classification_quality import ClassificationQualityHandler
from infomri_monai.handlers.figures import EvaluationFigures
from infomri_monai.handlers.prediction_table import PredictionTable
from infomri_monai.handlers.rate_distortion import RateDistortionHandler
from infomri_monai.handlers.ratio_sweep import RatioSweepHandler
from infomri_monai.handlers.segmentation_figures import SegmentationFigures
from infomri_monai.handlers.segmentation_quality import SegmentationQualityHandler
from infomri_monai.handlers.tracking import TrackOutputs
from infomri_monai.handlers.training import (
    AverageBuffers,
    CalibrateVariance,
    ClipGradientNorm,
    OutputAsList,
    RestoreBest,
    SaveStatistics,
    SaveSystem,
)
from infomri_monai.handlers.training_curves import TrainingCurves
from infomri_monai.handlers.triage import CalibrateTriage, EvaluationWorklist
from infomri_monai.handlers.warm_up import WarmUp
from infomri_monai.handlers.write_classification import WriteClassification
from infomri_monai.handlers.write_reconstruction import WriteReconstruction
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
