"""Is the predicted variance of a reconstruction the error that occurs?

Functions over a batch. A metric of MONAI has two arguments: :func:`stack_posterior` makes mean and log-variance one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, cat

from infomri_monai.arrays import takes
from infomri_monai.metrics.cumulative import RatioMetric
from infomri_monai.metrics.image_quality import warn_where_signed

__all__ = [
    "IntervalScale",
    "PooledCorrelation",
    "error_by_sigma",
    "inside_object",
    "interval_coverage",
    "magnitude_coverage",
    "split_posterior",
    "stack_posterior",
    "standardized_squared_error",
    "uncertainty_error_correlation",
]


@takes(mean="number", log_variance="real")
def stack_posterior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Stack mean and log-variance as two channels.

    Args:
        mean: real or complex, shape (batch, 1, *spatial).
        log_variance: real, of the mean's shape.

    Returns:
        Tensor (batch, 2, *spatial), complex if ``mean`` is; no precision is lost.

    Raises:
        ValueError: if the shapes differ or there is more than one channel.

    Example:
        >>> import torch
        >>> stack_posterior(torch.zeros(1, 1, 4, 4, dtype=torch.complex64), torch.zeros(1, 1, 4, 4)).shape
        torch.Size([1, 2, 4, 4])
    """
    if mean.shape != log_variance.shape or mean.ndim < 2 or mean.shape[1] != 1:
        raise ValueError(
            f"mean and log_variance must both have shape (batch, 1, *spatial), got {tuple(mean.shape)} and "
            f"{tuple(log_variance.shape)}."
        )
    return cat([mean, log_variance.to(mean.dtype)], dim=1)


@takes(posterior="number")
def split_posterior(posterior: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (real) log-variance of a tensor from :func:`stack_posterior`.

    Raises:
        ValueError: if there are not two channels.

    Example:
        >>> import torch
        >>> mean, log_variance = split_posterior(torch.zeros(1, 2, 4, 4))
        >>> mean.shape
        torch.Size([1, 1, 4, 4])
    """
    if posterior.ndim < 2 or posterior.shape[1] != 2:
        raise ValueError(
            f"y_pred must hold mean and log-variance as two channels (stack_posterior), "
            f"got shape {tuple(posterior.shape)}."
        )
    log_variance = posterior[:, 1:]
    return posterior[:, :1], log_variance.real if log_variance.is_complex() else log_variance


def _squared_error(target: Tensor, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, int]:
    """|x - mu|^2 per pixel (batch, ...) and its number of real components, after checking the shapes."""
    if target.shape != mean.shape or target.shape != log_variance.shape:
        raise ValueError(
            f"target, mean and log_variance must have one shape, got {tuple(target.shape)}, {tuple(mean.shape)}, "
            f"{tuple(log_variance.shape)}."
        )
    if target.is_complex() != mean.is_complex():
        raise ValueError(f"target ({target.dtype}) and mean ({mean.dtype}) must both be real or both complex.")
    error = target - mean
    if error.is_complex():
        return error.real.square() + error.imag.square(), 2
    return error.square(), 1


@takes(target="number", mean="number", log_variance="real")
def standardized_squared_error(target: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Mean over pixels of |x - mu|^2 / (components * sigma^2): 1 if calibrated, above 1 if overconfident.

    Args:
        target: image x, real or complex, shape (batch, ...).
        mean: mu, of the target's shape and kind.
        log_variance: log sigma^2 per real component, real, of the target's shape, in squared image units.

    Returns:
        Dimensionless, shape (batch,).

    Raises:
        ValueError: if the shapes or the kinds (real, complex) differ.

    Example:
        >>> import torch
        >>> standardized_squared_error(torch.full((1, 4), 2.0), torch.zeros(1, 4), torch.zeros(1, 4))
        tensor([4.])
    """
    squared, components = _squared_error(target, mean, log_variance)
    return (squared * torch.exp(-log_variance) / components).flatten(1).mean(1)


@takes(target="number", mean="number", log_variance="real")
def uncertainty_error_correlation(target: Tensor, mean: Tensor, log_variance: Tensor, pooled: bool = False) -> Tensor:
    """Pearson correlation over pixels of sigma with |x - mu|.

    Even a perfectly calibrated sigma stays below 1, because the error is one draw from it.

    Args:
        target: image x, real or complex, shape (batch, ...).
        mean: mu, of the target's shape and kind.
        log_variance: log sigma^2 per real component, real, of the target's shape.
        pooled: False correlates within every batch element; True once over the pixels of all, where differences between
            images count too.

    Returns:
        Values in [-1, 1], shape (batch,), or a scalar if ``pooled``; NaN where sigma or the error is constant.

    Raises:
        ValueError: if the shapes or the kinds (real, complex) differ.

    Example:
        >>> import torch
        >>> sigma = torch.tensor([[1.0, 2.0, 3.0]])
        >>> uncertainty_error_correlation(2 * sigma, torch.zeros(1, 3), 2 * sigma.log())
        tensor([1.])
    """
    squared, _ = _squared_error(target, mean, log_variance)
    sigma, error = torch.exp(0.5 * log_variance).flatten(1).double(), squared.sqrt().flatten(1).double()
    if pooled:
        sigma, error = sigma.reshape(1, -1), error.reshape(1, -1)
    # relative to the mean, so that rounding in a constant map is not taken for variation
    deviations = [v / v.mean(1, keepdim=True) - 1 for v in (sigma, error)]
    powers = [d.square().mean(1) for d in deviations]
    valid = (powers[0] > 1e-12) & (powers[1] > 1e-12)
    covariance = (deviations[0] * deviations[1]).mean(1)
    r = torch.where(valid, covariance / (powers[0] * powers[1]).sqrt(), torch.nan).to(log_variance.dtype)
    return r[0] if pooled else r


@takes(target="number", mean="number", log_variance="real", level="scalar")
def interval_coverage(target: Tensor, mean: Tensor, log_variance: Tensor, level: float = 0.9) -> Tensor:
    """Share of real components inside the central Gaussian interval mu +- z sigma: ``level`` if calibrated.

    Args:
        target: image x, real or complex, shape (batch, ...); a complex pixel has two components.
        mean: mu, of the target's shape and kind.
        log_variance: log sigma^2 per real component, real, of the target's shape.
        level: probability of the interval, in (0, 1).

    Returns:
        Share in [0, 1], shape (batch,); NaN where a pixel is NaN.

    Raises:
        ValueError: if ``level`` is outside (0, 1), or the shapes or the kinds (real, complex) differ.

    Example:
        >>> import torch
        >>> interval_coverage(torch.tensor([[0.0, 1.6, 1.7, -1.6]]), torch.zeros(1, 4), torch.zeros(1, 4))
        tensor([0.7500])
    """
    half_width = _half_width(level) * torch.exp(0.5 * log_variance)
    _squared_error(target, mean, log_variance)
    error = target - mean
    if error.is_complex():
        error, half_width = torch.view_as_real(error), half_width.unsqueeze(-1)
    inside = (error.abs() <= half_width).to(log_variance.dtype).masked_fill((error + half_width).isnan(), torch.nan)
    return inside.flatten(1).mean(1)


def _half_width(level: float) -> float:
    """Of the central interval of a standard normal variable."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}.")
    return math.sqrt(2) * torch.erfinv(torch.tensor(level)).item()


@takes(target="number", mean="number", log_variance="real", bins="whole")
def error_by_sigma(target: Tensor, mean: Tensor, log_variance: Tensor, bins: int = 15) -> tuple[Tensor, Tensor]:
    """The calibration diagram: root-mean-square error against sigma in bins of equally many pixels.

    Args:
        target: image x, real or complex, shape (batch, ...).
        mean: mu, of the target's shape and kind.
        log_variance: log sigma^2 per real component, real, of the target's shape.
        bins: number of bins, 1 to the number of pixels.

    Returns:
        Root-mean-square sigma and root-mean-square error per real component of every bin, ascending in sigma, each
        (bins,), in image units. Calibrated: the two agree.

    Raises:
        ValueError: if ``bins`` does not fit, or the shapes or the kinds (real, complex) differ.

    Example:
        >>> import torch
        >>> sigma = torch.tensor([[1.0, 1.0, 3.0, 3.0]])
        >>> error_by_sigma(sigma, torch.zeros(1, 4), 2 * sigma.log(), bins=2)
        (tensor([1., 3.]), tensor([1., 3.]))
    """
    squared, components = _squared_error(target, mean, log_variance)
    if not 1 <= bins <= squared.numel():
        raise ValueError(f"bins must lie in 1 to {squared.numel()} (the number of pixels), got {bins}.")
    order = log_variance.flatten().argsort()
    variance, error = torch.exp(log_variance).flatten()[order], squared.flatten()[order] / components
    parts = zip(variance.tensor_split(bins), error.tensor_split(bins), strict=True)
    pairs = torch.stack([torch.stack([v.mean(), e.mean()]) for v, e in parts]).sqrt()
    return pairs[:, 0], pairs[:, 1]


@takes(image="number", threshold="scalar")
def inside_object(image: Tensor, threshold: float = 0.1) -> Tensor:
    """Which pixels belong to the imaged object: there is signal at them, or on all four sides of them in the plane.

    The background of an image is easy to predict and mostly of no interest; a share of pixels says something where it is taken
    of the object. Dark parts within it (ventricles, bone) count.

    Args:
        image: real (negative values are a warning) or complex, shape (batch, 1, *spatial); the plane is that of the first two
            spatial axes.
        threshold: what counts as signal, as a share of the 99th percentile of the image's magnitudes.

    Returns:
        Booleans of the image's shape; none of an image that is zero everywhere.

    Example:
        >>> import torch
        >>> ring = torch.ones(1, 1, 5, 5)
        >>> ring[..., 2, 2] = ring[..., 0] = 0
        >>> inside_object(ring)[0, 0, 2].int().tolist()
        [0, 1, 1, 1, 1]
    """
    warn_where_signed(image)
    magnitude = image.abs()
    peak = torch.stack([_percentile_99(one) for one in magnitude])
    signal = (magnitude > threshold * peak.reshape(-1, *[1] * (image.ndim - 1))).to(torch.uint8)
    enclosed = torch.ones_like(signal)
    for axis in range(2, min(image.ndim, 4)):
        enclosed &= signal.cummax(axis).values & signal.flip(axis).cummax(axis).values.flip(axis)
    return (signal | enclosed).bool()


def _percentile_99(values: Tensor) -> Tensor:
    """As torch.quantile, which refuses more than 2^24 values: a volume has more."""
    ordered = values.flatten().float().sort().values  # NaN comes last
    place = 0.99 * (len(ordered) - 1)
    between = torch.lerp(ordered[int(place)], ordered[math.ceil(place)], place - int(place))
    return torch.where(ordered[-1].isnan(), ordered[-1], between)


def _half_widths(target: Tensor, mean: Tensor, log_variance: Tensor, level: float) -> list[Tensor]:
    """| |x| - |mu| | of the pixels in the object in half-widths of their interval, ascending, for every image."""
    _squared_error(target.abs(), mean.abs(), log_variance)
    error = (target.abs() - mean.abs()).abs() * torch.exp(-0.5 * log_variance) / _half_width(level)
    inside = inside_object(target)
    return [one[at].sort().values for one, at in zip(error, inside, strict=True)]


@takes(target="number", mean="number", log_variance="real", level="scalar")
def magnitude_coverage(target: Tensor, mean: Tensor, log_variance: Tensor, level: float = 0.9) -> Tensor:
    """Share of the object's pixels whose magnitude is inside the interval |mu| +- z sigma: ``level`` if calibrated.

    Args:
        target: image x, real or complex, shape (batch, 1, *spatial); its object is that of :func:`inside_object`.
        mean: mu, real or complex, of the target's shape.
        log_variance: log sigma^2 of the magnitude, real, of the target's shape.
        level: probability of the interval, in (0, 1).

    Returns:
        Share in [0, 1], shape (batch,); NaN where an image is zero everywhere, or a prediction is NaN.

    Raises:
        ValueError: if ``level`` is outside (0, 1), or the shapes differ.

    Example:
        >>> import torch
        >>> target, mean = torch.tensor([[[0.0, 2.0, 4.0, 2.0]]]), torch.tensor([[[9.0, 3.0, 2.0, 2.0]]])
        >>> magnitude_coverage(target, mean, torch.zeros(1, 1, 4))  # two of the three that are not background
        tensor([0.6667])
    """
    shares = [
        (one <= 1).float().masked_fill(one.isnan(), torch.nan).mean()
        for one in _half_widths(target, mean, log_variance, level)
    ]
    return torch.stack(shares).to(log_variance.dtype)


class IntervalScale(RatioMetric):
    """Factor on sigma of the magnitude at which its interval holds ``level`` of the object's pixels; 1 if calibrated.

    The share is the mean over images, as in :func:`magnitude_coverage`.

    Args:
        level: probability of the interval, in (0, 1).

    Example:
        >>> import torch
        >>> target, metric = torch.ones(1, 1, 1, 101), IntervalScale()
        >>> _ = metric(stack_posterior(target + torch.linspace(-1, 1, 101), torch.zeros_like(target)), target)
        >>> round(float(metric.aggregate()) * 1.645, 1)
        0.9
    """

    unit = "1"
    convention = (
        "factor on sigma of the magnitude at which its 90 % interval holds 90 % of the object's pixels; 1 if calibrated"
    )

    def __init__(self, level: float = 0.9) -> None:
        super().__init__()
        self.level = level
        self.factors = torch.logspace(-4, 4, 321)

    @takes(y_pred="number", y="number")
    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Share of every image's pixels at each factor, shape (batch, factors)."""
        errors = _half_widths(y, *split_posterior(y_pred), self.level)
        factors = self.factors.to(y_pred.device)
        return torch.stack([torch.searchsorted(e, factors.to(e), right=True) / e.numel() for e in errors])

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """The factor, between the two that enclose the level; NaN where none does."""
        share = statistics.nanmean(0)
        above = int((share < self.level).sum())
        if not 0 < above < len(share):
            return torch.tensor(torch.nan)
        low, high = share[above - 1], share[above]
        first, second = self.factors[above - 1 : above + 1]
        return first * (second / first) ** float((self.level - low) / (high - low))


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

    @takes(y_pred="number", y="number")
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
