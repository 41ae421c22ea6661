"""Quality and calibration of reconstructions, segmentations and classifications by named convention, and tables by ratio."""

from infomri_monai.metrics.auroc import ClassAUROC, class_auroc
from infomri_monai.metrics.bootstrap import Estimate, SubjectBootstrap
from infomri_monai.metrics.calibration import (
    IntervalScale,
    PooledCorrelation,
    error_by_sigma,
    inside_object,
    interval_coverage,
    magnitude_coverage,
    split_posterior,
    stack_posterior,
    standardized_squared_error,
    uncertainty_error_correlation,
)
from infomri_monai.metrics.classification import (
    class_accuracy,
    class_brier_score,
    class_calibration_bins,
    class_negative_log_likelihood,
    exact_match,
)
from infomri_monai.metrics.classification_quality import ClassificationQuality, ClassificationRow, ClassificationTable
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.image_quality import VolumePSNR, VolumeSSIM, psnr, ssim
from infomri_monai.metrics.overlap import (
    MaskCounts,
    dice_to_raters,
    energy_distance,
    intersections,
    mask_pixels,
    pairwise_dice,
    pairwise_iou,
    sample_diversity,
)
from infomri_monai.metrics.probability import (
    BinnedCalibration,
    ReliabilityDiagram,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    reliability_diagram,
)
from infomri_monai.metrics.rate_distortion import RateDistortion, RateDistortionRow, RateDistortionTable
from infomri_monai.metrics.segmentation_quality import SegmentationQuality, SegmentationRow, SegmentationTable
from infomri_monai.metrics.structures import channel_masks, structure_masks
from infomri_monai.metrics.tables import RatioTable, TableCollector
from infomri_monai.metrics.volumes import VolumeInterval, volume_coverage, volume_interval, volume_quantiles

__all__ = [
    "BinnedCalibration",
    "ClassAUROC",
    "ClassificationQuality",
    "ClassificationRow",
    "ClassificationTable",
    "Estimate",
    "IntervalScale",
    "MaskCounts",
    "PerImageMetric",
    "PooledCorrelation",
    "RateDistortion",
    "RateDistortionRow",
    "RateDistortionTable",
    "RatioMetric",
    "RatioTable",
    "ReliabilityDiagram",
    "SegmentationQuality",
    "SegmentationRow",
    "SegmentationTable",
    "SubjectBootstrap",
    "TableCollector",
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
    "inside_object",
    "intersections",
    "interval_coverage",
    "magnitude_coverage",
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
