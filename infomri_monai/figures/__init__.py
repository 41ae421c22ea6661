"""Figures of masks, reconstructions with uncertainty, rate-distortion and training curves, and calibration."""

from infomri_monai.figures.calibration import calibration_figure
from infomri_monai.figures.masks import mask_figure
from infomri_monai.figures.rate_distortion import rate_distortion_figure
from infomri_monai.figures.reconstructions import reconstruction_figure
from infomri_monai.figures.style import save_figure
from infomri_monai.figures.training import training_figure

__all__ = [
    "calibration_figure",
    "mask_figure",
    "rate_distortion_figure",
    "reconstruction_figure",
    "save_figure",
    "training_figure",
]
