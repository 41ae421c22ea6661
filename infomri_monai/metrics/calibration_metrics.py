"""Calibration of the reconstruction's variance as cumulative metrics.

``y_pred`` is mean and log-variance from :func:`infomri_monai.metrics.stack_posterior`, (batch, 2, *spatial); ``y`` the
image, (batch, 1, *spatial), real or complex like the mean. Give ``ratio=`` for values by sampling ratio.
"""

from __future__ import annotations

import torch
from torch import Tensor

from infomri_monai.metrics.calibration import (
    interval_coverage,
    standardized_squared_error,
    uncertainty_error_correlation,
)
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.posterior import split_posterior

__all__ = ["IntervalCoverage", "PooledCorrelation", "StandardizedSquaredError", "UncertaintyErrorCorrelation"]


class StandardizedSquaredError(PerImageMetric):
    """Mean over images of |x - mu|^2 / (components sigma^2); 1 if calibrated.

    Example:
        >>> import torch
        >>> from infomri_monai.metrics import stack_posterior
        >>> metric, zero = StandardizedSquaredError(), torch.zeros(1, 1, 4, 4)
        >>> _ = metric(stack_posterior(zero, zero), zero + 2)
        >>> metric.aggregate()
        tensor(4.)
    """

    unit = "1"
    convention = (
        "standardised squared error |x-mu|^2/(components sigma^2), mean over pixels, then images; 1 if calibrated"
    )

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Value of every image, shape (batch,)."""
        mean, log_variance = split_posterior(y_pred)
        return standardized_squared_error(y, mean, log_variance)


class UncertaintyErrorCorrelation(PerImageMetric):
    """Mean over images of the Pearson correlation over pixels of sigma with |x - mu|.

    Example:
        >>> import torch
        >>> from infomri_monai.metrics import stack_posterior
        >>> sigma = torch.rand(1, 1, 4, 4) + 1
        >>> metric = UncertaintyErrorCorrelation()
        >>> _ = metric(stack_posterior(torch.zeros_like(sigma), 2 * sigma.log()), 3 * sigma)
        >>> round(float(metric.aggregate()), 4)
        1.0
    """

    unit = "1"
    convention = "Pearson correlation of sigma with |error| over the pixels of a slice, mean over slices"

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Correlation of every image, shape (batch,)."""
        mean, log_variance = split_posterior(y_pred)
        return uncertainty_error_correlation(y, mean, log_variance)


class PooledCorrelation(RatioMetric):
    """Pearson correlation of sigma with |x - mu| over the pixels of all images together.

    Keeps six sums of every image instead of its pixels.

    Example:
        >>> import torch
        >>> from infomri_monai.metrics import stack_posterior
        >>> sigma = torch.rand(2, 1, 4, 4) + 1
        >>> metric = PooledCorrelation()
        >>> _ = metric(stack_posterior(torch.zeros_like(sigma), 2 * sigma.log()), 3 * sigma)
        >>> round(float(metric.aggregate()), 4)
        1.0
    """

    unit = "1"
    convention = "Pearson correlation of sigma with |error| over the pixels of all slices together"

    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Sums over pixels of 1, sigma, |e|, sigma^2, |e|^2 and sigma |e| in double precision, shape (batch, 6)."""
        mean, log_variance = split_posterior(y_pred)
        error = (y - mean).abs().flatten(1).double()
        sigma = torch.exp(0.5 * log_variance).flatten(1).double()
        terms = torch.ones_like(sigma), sigma, error, sigma.square(), error.square(), sigma * error
        return torch.stack([term.sum(1) for term in terms], 1)

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Correlation from the summed statistics."""
        n, sigma, error, sigma2, error2, both = statistics.sum(0)
        powers = torch.stack([sigma2 / n - (sigma / n) ** 2, error2 / n - (error / n) ** 2])
        valid = (powers > 1e-12 * torch.stack([sigma2, error2]) / n).all()
        r = (both / n - sigma * error / n**2) / powers.clamp_min(0).prod().sqrt()
        return torch.where(valid, r, torch.nan).float()


class IntervalCoverage(PerImageMetric):
    """Share of real components inside the central 90 % Gaussian interval, mean over images; 0.9 if calibrated.

    Example:
        >>> import torch
        >>> from infomri_monai.metrics import stack_posterior
        >>> metric, zero = IntervalCoverage(), torch.zeros(1, 1, 4, 4)
        >>> _ = metric(stack_posterior(zero, zero), zero + 1.6)
        >>> metric.aggregate()
        tensor(1.)
    """

    unit = "1"
    convention = "share of real components inside mu +- 1.645 sigma (central 90 % Gaussian interval); 0.9 if calibrated"

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Coverage of every image, shape (batch,)."""
        mean, log_variance = split_posterior(y_pred)
        return interval_coverage(y, mean, log_variance)
