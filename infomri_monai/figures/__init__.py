"""Figures of masks, reconstructions, segmentations and their uncertainty, curves of quality, and calibration."""

from infomri_monai.figures.calibration import (
    calibration_figure,
    predictive_entropy_figure,
    reliability_figure,
    risk_coverage_figure,
    roc_figure,
)
from infomri_monai.figures.curves import (
    classification_by_acceleration_figure,
    curves_by_acceleration_figure,
    ged_by_samples_figure,
    rate_distortion_figure,
    training_figure,
)
from infomri_monai.figures.images import classified_image_figure, reconstruction_figure
from infomri_monai.figures.masks import beta_mask_figure, entropy_map_figure, mask_figure
from infomri_monai.figures.privacy import AttackExample, PrivacyPoint, attack_figure, privacy_utility_figure
from infomri_monai.figures.segmentations import segmentation_figure, sweep_figure
from infomri_monai.figures.style import acceleration_text, save_figure

__all__ = [
    "AttackExample",
    "PrivacyPoint",
    "acceleration_text",
    "attack_figure",
    "beta_mask_figure",
    "calibration_figure",
    "classification_by_acceleration_figure",
    "classified_image_figure",
    "curves_by_acceleration_figure",
    "entropy_map_figure",
    "ged_by_samples_figure",
    "mask_figure",
    "predictive_entropy_figure",
    "privacy_utility_figure",
    "rate_distortion_figure",
    "reconstruction_figure",
    "reliability_figure",
    "risk_coverage_figure",
    "roc_figure",
    "save_figure",
    "segmentation_figure",
    "sweep_figure",
    "training_figure",
]
