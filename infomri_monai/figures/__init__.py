"""Figures of masks, reconstructions, segmentations and their uncertainty, curves of quality, and calibration."""

from infomri_monai.figures.acceleration import acceleration_text
from infomri_monai.figures.attack import AttackExample, attack_figure
from infomri_monai.figures.beta_masks import beta_mask_figure
from infomri_monai.figures.calibration import calibration_figure
from infomri_monai.figures.classification_curves import classification_by_acceleration_figure
from infomri_monai.figures.classified_images import classified_image_figure
from infomri_monai.figures.entropy_map import entropy_map_figure
from infomri_monai.figures.masks import mask_figure
from infomri_monai.figures.predictive_entropy import predictive_entropy_figure
from infomri_monai.figures.privacy_utility import PrivacyPoint, privacy_utility_figure
from infomri_monai.figures.rate_distortion import rate_distortion_figure
from infomri_monai.figures.reconstructions import reconstruction_figure
from infomri_monai.figures.reliability import reliability_figure
from infomri_monai.figures.risk_coverage import risk_coverage_figure
from infomri_monai.figures.roc import roc_figure
from infomri_monai.figures.segmentation_curves import curves_by_acceleration_figure, ged_by_samples_figure
from infomri_monai.figures.segmentations import segmentation_figure
from infomri_monai.figures.style import save_figure
from infomri_monai.figures.sweep import sweep_figure
from infomri_monai.figures.training import training_figure

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
