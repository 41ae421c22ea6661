"""Losses that read a system's result by field."""

from infomri_monai.losses.gaussian import GaussianNLLLoss, MeanSquaredErrorLoss

__all__ = ["GaussianNLLLoss", "MeanSquaredErrorLoss"]
