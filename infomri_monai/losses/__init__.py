"""Losses that read a system's result by field."""

from infomri_monai.losses.bottleneck import BottleneckLoss, BottleneckTerms
from infomri_monai.losses.elbo import ELBOLoss, ELBOTerms, SegmentationTarget
from infomri_monai.losses.gaussian import GaussianNLLLoss, MeanSquaredErrorLoss

__all__ = [
    "BottleneckLoss",
    "BottleneckTerms",
    "ELBOLoss",
    "ELBOTerms",
    "GaussianNLLLoss",
    "MeanSquaredErrorLoss",
    "SegmentationTarget",
]
