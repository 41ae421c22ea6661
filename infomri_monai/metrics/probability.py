"""Are predicted probabilities the frequencies that occur? Calibration error, its diagram, and Brier score."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.metrics.cumulative import RatioMetric

__all__ = [
    "BinnedCalibration",
    "ReliabilityDiagram",
    "brier_score",
    "calibration_bins",
    "expected_calibration_error",
    "reliability_diagram",
]


class ReliabilityDiagram(NamedTuple):
    """Frequency against confidence in bins of equal width; calibrated: the two agree.

    Attributes:
        confidence: mean probability of the bin's pixels, (bins,); NaN for an empty bin.
        frequency: mean over the bin's pixels of the share of raters who drew the structure, (bins,); NaN if empty.
        share: the bin's share of all pixels, (bins,).
    """

    confidence: Tensor
    frequency: Tensor
    share: Tensor


@takes(probabilities="real", raters="real", bins="whole")
def calibration_bins(probabilities: Tensor, raters: Tensor, bins: int = 10) -> Tensor:
    """What the calibration error and the diagram are made of; sums of several images may be added.

    The bins are (lower, upper] with 0 in the first, those of ``monai.metrics.calibration_binning`` (whose documentation in
    MONAI 1.6 describes them the other way round). That function adds up in float32, which for 256 x 256 equal probabilities is
    off by up to 5e-4, as much as a small calibration error; here sums are float64. Structures are pooled, each against the
    rest; the target of a pixel is the mean of the raters' masks.

    Args:
        probabilities: of the structures, (batch, structure, *spatial), in [0, 1].
        raters: 0-1 masks, (batch, rater, structure, *spatial); a missing rater is NaN everywhere and is left out.
        bins: number of bins of equal width, at least 1.

    Returns:
        Pixels, sum of probabilities and sum of targets, float64, (batch, bins, 3); the last is NaN where a structure has no
        rater.

    Raises:
        ValueError: if shapes do not fit, ``bins`` < 1 or a probability is outside [0, 1].

    Example:
        >>> import torch
        >>> calibration_bins(torch.tensor([[[0.2, 0.9]]]), torch.tensor([[[[0.0, 1.0]]]]), bins=2)[0]
        tensor([[1.0000, 0.2000, 0.0000],
                [1.0000, 0.9000, 1.0000]], dtype=torch.float64)
    """
    _check(probabilities, raters)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}.")
    p, t = probabilities.flatten(1).contiguous(), raters.float().nanmean(1).flatten(1)
    index = torch.bucketize(p, torch.linspace(0, 1, bins + 1, dtype=p.dtype, device=p.device)[1:-1])
    terms = torch.stack([torch.ones_like(p), p, t], -1).double()
    return terms.new_zeros(len(p), bins, 3).scatter_add(1, index.unsqueeze(-1).expand_as(terms), terms)


@takes(probabilities="real", raters="real", bins="whole")
def expected_calibration_error(probabilities: Tensor, raters: Tensor, bins: int = 10, pooled: bool = False) -> Tensor:
    """Mean over bins, weighted by their pixels, of |frequency - confidence| (equation 46, decision 22).

    ``monai.metrics.CalibrationErrorMetric`` gives the same for one structure and images one by one. With several structures it
    averages their errors where this pools them; it cannot pool images; and it takes one target, not several raters.

    Args:
        probabilities: of the structures, (batch, structure, *spatial), in [0, 1].
        raters: 0-1 masks, (batch, rater, structure, *spatial); a missing rater is NaN everywhere and is left out.
        bins: number of bins of equal width.
        pooled: False bins every image by itself; True bins the pixels of all images together.

    Returns:
        In [0, 1], (batch,), or a scalar if ``pooled``; NaN where a structure has no rater. Pooling leaves such images out.

    Raises:
        ValueError: as :func:`calibration_bins`.

    References:
        Guo et al., "On calibration of modern neural networks", 2017, equation 3.

    Example:
        >>> import torch
        >>> expected_calibration_error(torch.full((1, 1, 4), 0.75), torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]]))
        tensor([0.])
    """
    sums = calibration_bins(probabilities, raters, bins)
    return error_of_bins(pool_bins(sums) if pooled else sums).to(torch.float32)


def pool_bins(sums: Tensor) -> Tensor:
    """Bins of all images together, (n, bins, 3) to (bins, 3), without the images that have no rater."""
    known = ~sums.isnan().any(-1).any(-1)
    return sums[known].sum(0)


def error_of_bins(sums: Tensor) -> Tensor:
    """Expected calibration error from bins, (..., bins, 3) to (...)."""
    return (sums[..., 1] - sums[..., 2]).abs().sum(-1) / sums[..., 0].sum(-1)


def diagram_of_bins(sums: Tensor) -> ReliabilityDiagram:
    """Reliability diagram from pooled bins, (bins, 3)."""
    count, confidence, frequency = sums.unbind(-1)
    return ReliabilityDiagram(confidence / count, frequency / count, count / count.sum())


@takes(probabilities="real", raters="real", bins="whole")
def reliability_diagram(probabilities: Tensor, raters: Tensor, bins: int = 10) -> ReliabilityDiagram:
    """Frequency and confidence in every bin, over the pixels of all images together.

    Args:
        probabilities: of the structures, (batch, structure, *spatial), in [0, 1].
        raters: 0-1 masks, (batch, rater, structure, *spatial); a missing rater is NaN everywhere and is left out.
        bins: number of bins of equal width.

    Returns:
        The diagram, whose share-weighted mean of |frequency - confidence| is the pooled calibration error.

    Raises:
        ValueError: as :func:`calibration_bins`.

    Example:
        >>> import torch
        >>> reliability_diagram(torch.tensor([[[0.2, 0.9]]]), torch.tensor([[[[0.0, 1.0]]]]), bins=2).frequency
        tensor([0., 1.], dtype=torch.float64)
    """
    return diagram_of_bins(pool_bins(calibration_bins(probabilities, raters, bins)))


@takes(probabilities="real", raters="real")
def brier_score(probabilities: Tensor, raters: Tensor) -> Tensor:
    """Mean over raters, structures and pixels of (p - t)^2 (equation 47), where t is each rater's mask, not their mean.

    Args:
        probabilities: of the structures, (batch, structure, *spatial), in [0, 1].
        raters: 0-1 masks, (batch, rater, structure, *spatial); a missing rater is NaN everywhere and is left out.

    Returns:
        In [0, 1], (batch,); NaN where all raters are missing.

    Raises:
        ValueError: if shapes do not fit, or a probability is outside [0, 1].

    References:
        Brier, "Verification of forecasts expressed in terms of probability", 1950.

    Example:
        >>> import torch
        >>> brier_score(torch.full((1, 1, 2), 0.5), torch.tensor([[[[0.0, 1.0]], [[1.0, 1.0]]]]))
        tensor([0.2500])
    """
    _check(probabilities, raters)
    return (probabilities.unsqueeze(1) - raters.float()).square().flatten(1).nanmean(1)


def _check(probabilities: Tensor, raters: Tensor) -> None:
    if raters.ndim < 4 or probabilities.shape != raters[:, 0].shape or probabilities.numel() == 0:
        raise ValueError(
            "probabilities must have shape (batch, structure, *spatial) and raters (batch, rater, structure, *spatial), got "
            f"{tuple(probabilities.shape)} and {tuple(raters.shape)}."
        )
    low, high = probabilities.aminmax()
    if not (low >= 0 and high <= 1 + 1e-5):
        raise ValueError(f"probabilities must lie in [0, 1], got {low.item():.6g} to {high.item():.6g}.")


class BinnedCalibration(RatioMetric):
    """Expected calibration error over the bins of all images together; keeps the bins of every image.

    Args:
        function: ``function(y_pred, y)`` gives every image's bins, (batch, bins, 3), as :func:`calibration_bins` or
            :func:`~infomri_monai.metrics.class_calibration_bins`.
        convention: one line that says what is compared and how.

    Example:
        >>> import torch
        >>> metric = BinnedCalibration(calibration_bins, "expected calibration error (46), 10 bins over all pixels")
        >>> _ = metric(torch.full((1, 1, 4, 4), 0.75), torch.ones(1, 2, 1, 4, 4))
        >>> metric.aggregate(), metric.diagram().frequency[7]
        (tensor(0.2500), tensor(1., dtype=torch.float64))
    """

    unit = "1"

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], convention: str) -> None:
        super().__init__()
        self.function, self.convention = function, convention

    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Bins of every image, shape (batch, bins, 3)."""
        return self.function(y_pred, y)

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
