"""Ignite handlers for what MONAI's lack: rate-distortion tables, variance calibration, the system's files."""

from infomri_monai.handlers.rate_distortion import RateDistortionHandler
from infomri_monai.handlers.training import CalibrateVariance, ClipGradientNorm, SaveSystem
from infomri_monai.handlers.write_reconstruction import WriteReconstruction

__all__ = ["CalibrateVariance", "ClipGradientNorm", "RateDistortionHandler", "SaveSystem", "WriteReconstruction"]
