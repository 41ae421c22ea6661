"""PSNR and SSIM by named convention, calibration of the reconstruction's variance, and the rate-distortion table."""

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
from infomri_monai.metrics.cumulative import PerImageMetric, ReconstructionMetric
from infomri_monai.metrics.image_quality import psnr, ssim
from infomri_monai.metrics.posterior import split_posterior, stack_posterior
from infomri_monai.metrics.rate_distortion import MaskRatio, RateDistortion, RedundancyRatio
from infomri_monai.metrics.rate_distortion_table import RateDistortionRow, RateDistortionTable
from infomri_monai.metrics.slice_quality import PSNR, SSIM
from infomri_monai.metrics.volume_quality import VolumePSNR, VolumeSSIM

__all__ = [
    "PSNR",
    "SSIM",
    "IntervalCoverage",
    "MaskRatio",
    "PerImageMetric",
    "PooledCorrelation",
    "RateDistortion",
    "RateDistortionRow",
    "RateDistortionTable",
    "ReconstructionMetric",
    "RedundancyRatio",
    "StandardizedSquaredError",
    "UncertaintyErrorCorrelation",
    "VolumePSNR",
    "VolumeSSIM",
    "error_by_sigma",
    "interval_coverage",
    "psnr",
    "split_posterior",
    "ssim",
    "stack_posterior",
    "standardized_squared_error",
    "uncertainty_error_correlation",
]
