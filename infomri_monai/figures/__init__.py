"""Figures of masks, reconstructions, segmentations and their uncertainty, curves of quality, and calibration."""

from infomri_monai.figures.acceleration import acceleration_text
from infomri_monai.figures.calibration import calibration_figure
from infomri_monai.figures.masks import mask_figure
from infomri_monai.figures.rate_distortion import rate_distortion_figure
from infomri_monai.figures.reconstructions import reconstruction_figure
from infomri_monai.figures.reliability import reliability_figure
from infomri_monai.figures.risk_coverage import risk_coverage_figure
from infomri_monai.figures.segmentation_curves import curves_by_acceleration_figure, ged_by_samples_figure
from infomri_monai.figures.segmentations import segmentation_figure
from infomri_monai.figures.style import save_figure
from infomri_monai.figures.sweep import sweep_figure
from infomri_monai.figures.training import training_figure

__all__ = [
    "acceleration_text",
    "calibration_figure",
    "curves_by_acceleration_figure",
    "ged_by_samples_figure",
    "mask_figure",
    "rate_distortion_figure",
    "reconstruction_figure",
    "reliability_figure",
    "risk_coverage_figure",
    "save_figure",
    "segmentation_figure",
    "sweep_figure",
    "training_figure",
]
