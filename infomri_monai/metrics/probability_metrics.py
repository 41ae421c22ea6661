"""Calibration error and Brier score as cumulative metrics.

``y_pred`` holds the structures' probabilities averaged over samples, (batch, structure, *spatial); ``y`` the raters' masks,
(batch, rater, structure, *spatial), NaN for a missing rater.
"""

from __future__ import annotations

from torch import Tensor

from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.probability_calibration import (
    ReliabilityDiagram,
    brier_score,
    calibration_bins,
    diagram_of_bins,
    error_of_bins,
    expected_calibration_error,
    pool_bins,
)

__all__ = ["BinnedCalibration", "BrierScore", "ExpectedCalibrationError", "PooledCalibrationError"]


class ExpectedCalibrationError(PerImageMetric):
    """Mean over images of the expected calibration error of each (equation 46).

    Args:
        bins: number of bins of equal width.

    Example:
        >>> import torch
        >>> metric = ExpectedCalibrationError()
        >>> _ = metric(torch.full((1, 1, 4, 4), 0.75), torch.ones(1, 2, 1, 4, 4))
        >>> metric.aggregate()
        tensor(0.2500)
    """

    unit = "1"

    def __init__(self, bins: int = 10) -> None:
        super().__init__()
        self.bins = bins
        self.convention = (
            f"expected calibration error (46) of an image, {bins} bins, target: mean of the raters, structures pooled, "
            "mean over images"
        )

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Calibration error of every image, shape (batch,)."""
        return expected_calibration_error(y_pred, y, self.bins)


class BinnedCalibration(RatioMetric):
    """Calibration error of the bins of all images together (final: subclasses say which bins an image has).

    Args:
        bins: number of bins of equal width.
    """

    unit = "1"

    def __init__(self, bins: int = 10) -> None:
        super().__init__()
        self.bins = bins

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Error of the added bins, (n, bins, 3) to a scalar."""
        return error_of_bins(pool_bins(statistics)).float()

    def diagram(self) -> ReliabilityDiagram:
        """Reliability diagram of all images seen since ``reset()``.

        Raises:
            ValueError: if there are none.
        """
        return diagram_of_bins(pool_bins(self._gathered()[0]))

    def diagrams_by_ratio(self) -> dict[float, ReliabilityDiagram]:
        """Reliability diagram of every sampling ratio that was given, in ascending order.

        Raises:
            ValueError: if there are no images.
        """
        statistics, ratio, _ = self._gathered()
        return {s: diagram_of_bins(pool_bins(statistics[at])) for s, at in self._groups(ratio).items()}


class PooledCalibrationError(BinnedCalibration):
    """Expected calibration error over the pixels of all images together (equation 46); keeps the bins of every image.

    Args:
        bins: number of bins of equal width.

    Example:
        >>> import torch
        >>> metric = PooledCalibrationError()
        >>> _ = metric(torch.full((1, 1, 4, 4), 0.75), torch.ones(1, 2, 1, 4, 4))
        >>> metric.aggregate(), metric.diagram().frequency[7]
        (tensor(0.2500), tensor(1., dtype=torch.float64))
    """

    def __init__(self, bins: int = 10) -> None:
        super().__init__(bins)
        self.convention = (
            f"expected calibration error (46), {bins} bins over the pixels of all images and structures together, "
            "target: mean of the raters"
        )

    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Bins of every image, shape (batch, bins, 3)."""
        return calibration_bins(y_pred, y, self.bins)


class BrierScore(PerImageMetric):
    """Mean over images of the Brier score (equation 47).

    Example:
        >>> import torch
        >>> metric = BrierScore()
        >>> _ = metric(torch.full((1, 1, 4, 4), 0.5), torch.ones(1, 2, 1, 4, 4))
        >>> metric.aggregate()
        tensor(0.2500)
    """

    unit = "1"
    convention = (
        "Brier score (47), target: every rater, mean over raters, structures and pixels, then images; 0 is best"
    )

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Brier score of every image, shape (batch,)."""
        return brier_score(y_pred, y)
