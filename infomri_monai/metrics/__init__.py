"""Quality and calibration of reconstructions, segmentations and classifications by named convention, and tables by ratio."""

from infomri_monai.metrics.bit_masks import MaskCounts, intersections, mask_pixels
from infomri_monai.metrics.bootstrap import Estimate, SubjectBootstrap
from infomri_monai.metrics.calibration import (
    error_by_sigma,
    interval_coverage,
    standardized_squared_error,
    uncertainty_error_correlation,
)
from infomri_monai.metrics.calibration_metrics import (
    IntervalCoverage,
    PooledCorrelation,
    StandardizedSquaredError,
    UncertaintyErrorCorrelation,
)
from infomri_monai.metrics.class_auroc import ClassAUROC
from infomri_monai.metrics.classification_metrics import (
    ClassAccuracy,
    ClassBrierScore,
    ClassCalibrationError,
    ClassLikelihood,
    ExactMatch,
    ImageMean,
)
from infomri_monai.metrics.classification_quality import ClassificationQuality
from infomri_monai.metrics.classification_scores import (
    class_accuracy,
    class_brier_score,
    class_calibration_bins,
    class_negative_log_likelihood,
    exact_match,
)
from infomri_monai.metrics.classification_table import ClassificationRow, ClassificationTable
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.dice_raters import RaterDice, dice_to_raters
from infomri_monai.metrics.diversity import MeanEntropy, SampleDiversity, sample_diversity
from infomri_monai.metrics.energy_distance import GeneralizedEnergyDistance, energy_distance
from infomri_monai.metrics.image_quality import psnr, ssim
from infomri_monai.metrics.overlap import pairwise_dice, pairwise_iou
from infomri_monai.metrics.posterior import split_posterior, stack_posterior
from infomri_monai.metrics.probability_calibration import (
    ReliabilityDiagram,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    reliability_diagram,
)
from infomri_monai.metrics.probability_metrics import BrierScore, ExpectedCalibrationError, PooledCalibrationError
from infomri_monai.metrics.rate_distortion import MaskRatio, RateDistortion, RedundancyRatio
from infomri_monai.metrics.rate_distortion_table import RateDistortionRow, RateDistortionTable
from infomri_monai.metrics.ratio_table import RatioTable
from infomri_monai.metrics.roc_auc import class_auroc
from infomri_monai.metrics.segmentation_quality import SegmentationQuality
from infomri_monai.metrics.segmentation_table import SegmentationRow, SegmentationTable
from infomri_monai.metrics.slice_quality import PSNR, SSIM
from infomri_monai.metrics.structure_masks import channel_masks, structure_masks
from infomri_monai.metrics.volume_distribution import (
    VolumeCoverage,
    VolumeInterval,
    volume_coverage,
    volume_interval,
    volume_quantiles,
)
from infomri_monai.metrics.volume_quality import VolumePSNR, VolumeSSIM

__all__ = [
    "PSNR",
    "SSIM",
    "BrierScore",
    "ClassAUROC",
    "ClassAccuracy",
    "ClassBrierScore",
    "ClassCalibrationError",
    "ClassLikelihood",
    "ClassificationQuality",
    "ClassificationRow",
    "ClassificationTable",
    "Estimate",
    "ExactMatch",
    "ExpectedCalibrationError",
    "GeneralizedEnergyDistance",
    "ImageMean",
    "IntervalCoverage",
    "MaskCounts",
    "MaskRatio",
    "MeanEntropy",
    "PerImageMetric",
    "PooledCalibrationError",
    "PooledCorrelation",
    "RateDistortion",
    "RateDistortionRow",
    "RateDistortionTable",
    "RaterDice",
    "RatioMetric",
    "RatioTable",
    "RedundancyRatio",
    "ReliabilityDiagram",
    "SampleDiversity",
    "SegmentationQuality",
    "SegmentationRow",
    "SegmentationTable",
    "StandardizedSquaredError",
    "SubjectBootstrap",
    "UncertaintyErrorCorrelation",
    "VolumeCoverage",
    "VolumeInterval",
    "VolumePSNR",
    "VolumeSSIM",
    "brier_score",
    "calibration_bins",
    "channel_masks",
    "class_accuracy",
    "class_auroc",
    "class_brier_score",
    "class_calibration_bins",
    "class_negative_log_likelihood",
    "dice_to_raters",
    "energy_distance",
    "error_by_sigma",
    "exact_match",
    "expected_calibration_error",
    "intersections",
    "interval_coverage",
    "mask_pixels",
    "pairwise_dice",
    "pairwise_iou",
    "psnr",
    "reliability_diagram",
    "sample_diversity",
    "split_posterior",
    "ssim",
    "stack_posterior",
    "standardized_squared_error",
    "structure_masks",
    "uncertainty_error_correlation",
    "volume_coverage",
    "volume_interval",
    "volume_quantiles",
]
