"""Ignite handlers for what MONAI's lack: rate-distortion tables, figures, variance calibration, the system's files."""

from infomri_monai.handlers.figures import EvaluationFigures, TrainingCurves
from infomri_monai.handlers.rate_distortion import RateDistortionHandler
from infomri_monai.handlers.tracking import TrackOutputs
from infomri_monai.handlers.training import CalibrateVariance, ClipGradientNorm, OutputAsList, SaveSystem
from infomri_monai.handlers.write_reconstruction import WriteReconstruction

__all__ = [
    "CalibrateVariance",
    "ClipGradientNorm",
    "EvaluationFigures",
    "OutputAsList",
    "RateDistortionHandler",
    "SaveSystem",
    "TrackOutputs",
    "TrainingCurves",
    "WriteReconstruction",
]
