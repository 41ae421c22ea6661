"""PSNR and SSIM of magnitude images: functions over a batch, and metrics of volumes whose slices arrive in any order."""

from __future__ import annotations

import warnings

import torch
from monai.metrics.regression import KernelType, compute_mean_error_metrics, compute_ssim_and_cs
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.metrics.cumulative import RatioMetric, mean_over_images
from infomri_monai.transforms.axes import likely_slice_axis

__all__ = [
    "SSIM_WINDOW",
    "VolumePSNR",
    "VolumeSSIM",
    "check_images",
    "is_signed",
    "magnitude",
    "psnr",
    "ssim",
    "warn_where_signed",
]

#: side of SSIM's Gaussian window (sigma 1.5 truncated at 3.5 sigma, as in scikit-image)
SSIM_WINDOW = 11
#: share of the sum of magnitudes that negative values may have: a sharp edge at low resolution rings below zero
_RINGING = 0.05


def magnitude(image: Tensor) -> Tensor:
    """Magnitude of a real or complex image as a plain real tensor (MetaTensor metadata is dropped).

    Example:
        >>> import torch
        >>> magnitude(torch.tensor([3 + 4j, -1]))
        tensor([5., 1.])
    """
    return convert_to_tensor(image, track_meta=False).abs()


def is_signed(image: Tensor) -> bool:
    """Whether negative values carry more than a twentieth of the magnitudes of a real image: its magnitude is another image.

    Less is ringing at sharp edges. A complex image has a phase, and its magnitude is what is meant.

    Args:
        image: shape (batch, ...); one such image is enough.

    Example:
        >>> import torch
        >>> is_signed(torch.tensor([[-0.01, 1.0], [0.0, 1.0]])), is_signed(torch.tensor([[0.0, 1.0], [-0.5, 1.0]]))
        (False, True)
    """
    if image.is_complex() or not image.numel():
        return False
    values = convert_to_tensor(image, track_meta=False).detach().flatten(1)
    return bool((values.clamp_max(0).abs().sum(1) > _RINGING * values.abs().sum(1)).any())


def warn_where_signed(image: Tensor) -> None:
    """Warn if a real target is no magnitude (:func:`is_signed`), as after NormalizeIntensity.

    Example:
        >>> import torch
        >>> warn_where_signed(torch.rand(1, 1, 8, 8))
    """
    if is_signed(image):
        warnings.warn(
            "a real target holds negative values, and magnitudes are compared here, in which -x is x and a dark background may be "
            "bright: give images that are not negative (without zero mean), or complex ones whose magnitude is meant",
            UserWarning,
            stacklevel=3,
        )


def check_images(prediction: Tensor, target: Tensor, smallest: int = 1) -> None:
    """Raise ValueError unless both have one shape (batch, ..., H, W), H and W at least ``smallest``, and the target is finite.

    A target that is signed is a warning (:func:`warn_where_signed`).

    Example:
        >>> import torch
        >>> check_images(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8))
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction and target must have one shape, got {tuple(prediction.shape)} and {tuple(target.shape)}."
        )
    if target.ndim < 3:
        raise ValueError(f"images must have shape (batch, ..., H, W), got {tuple(target.shape)}.")
    if min(target.shape[-2:]) < smallest:
        raise ValueError(f"SSIM needs images of at least {smallest} x {smallest}, got {tuple(target.shape[-2:])}.")
    if smallest > 1 and target.ndim > 3 and likely_slice_axis(target.shape[-3:]) == 2:
        warnings.warn(
            f"the last two axes of {tuple(target.shape)} are compared as images: are slices last? movedim(-1, 1) puts them first",
            UserWarning,
            stacklevel=3,
        )
    finite = torch.isfinite(convert_to_tensor(target, track_meta=False)).flatten(1).all(1)
    if not bool(finite.all()):
        raise ValueError(f"target must be finite, got NaN or Inf in {int((~finite).sum())} of {len(finite)} images.")
    warn_where_signed(target)


def _normalised(prediction: Tensor, target: Tensor, data_range: Tensor | float | None) -> tuple[Tensor, Tensor]:
    """Magnitudes divided by every element's own data range, so that one range of 1 fits the whole batch."""
    x, y = magnitude(prediction), magnitude(target)
    if data_range is None:
        span = y.flatten(1).amax(1)
    else:
        span = torch.as_tensor(data_range, dtype=y.dtype, device=y.device).reshape(-1)
        if span.numel() not in (1, y.shape[0]) or not bool(((span > 0) & torch.isfinite(span)).all()):
            raise ValueError(
                f"data_range must be positive and finite, one for all or one per element, got {span.tolist()}."
            )
    span = torch.where(span > 0, span, torch.nan).reshape(-1, *[1] * (y.ndim - 1))
    return x / span, y / span


@takes(prediction="number", target="number", data_range="real")
def psnr(prediction: Tensor, target: Tensor, data_range: Tensor | float | None = None) -> Tensor:
    """Peak signal-to-noise ratio of magnitudes: 20 log10(data range) - 10 log10(MSE), in dB.

    The convention follows from what one batch element is (decision 23): a slice (batch, 1, H, W) gives the per-slice
    value with the slice's maximum as the data range, a volume (batch, slices, H, W) or (batch, 1, D, H, W) the
    volume-level one with the volume's maximum and one MSE. The two differ by several dB.

    MONAI's ``PSNRMetric`` has one ``max_val`` for all; dividing each element by its range first makes the two the same.

    Args:
        prediction: real or complex, shape (batch, ..., H, W). Magnitudes are compared.
        target: of the prediction's shape; a real one with negative values is a warning (:func:`warn_where_signed`).
        data_range: peak value, one or one per element; None takes each target element's largest magnitude.

    Returns:
        PSNR in dB, shape (batch,); infinite where both agree exactly, NaN where an element's target is all zero.

    Raises:
        ValueError: if the shapes differ or lack axes, the target is not finite, or ``data_range`` is not positive, not finite or
            does not fit the batch.

    Example:
        >>> import torch
        >>> psnr(torch.full((1, 1, 8, 8), 0.9), torch.ones(1, 1, 8, 8))
        tensor([20.0000])
    """
    check_images(prediction, target)
    x, y = _normalised(prediction, target, data_range)
    return -10 * torch.log10(compute_mean_error_metrics(x, y, func=torch.square)[:, 0])


@takes(prediction="number", target="number", data_range="real")
def ssim(prediction: Tensor, target: Tensor, data_range: Tensor | float | None = None) -> Tensor:
    """Structural similarity of magnitudes, mean over all slices of an element.

    Gaussian window 11 x 11 with sigma 1.5, k1 = 0.01, k2 = 0.03, population covariance, borders without a full window
    left out: the values of Wang et al. and of scikit-image with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False``. (fastMRI's published SSIM uses a 7 x 7 uniform window and sample covariance.)

    MONAI's ``SSIMMetric`` has one ``data_range`` for all; dividing each element by its range first, under which SSIM
    does not change, makes the two the same.

    Args:
        prediction: real or complex, shape (batch, ..., H, W); the window is 2D, over the last two axes.
        target: of the prediction's shape.
        data_range: peak value, one or one per element; None takes each target element's largest magnitude: a slice's
            for (batch, 1, H, W), the volume's for (batch, slices, H, W).

    Returns:
        SSIM, at most 1, shape (batch,); NaN where an element's target is all zero.

    Raises:
        ValueError: if H or W is smaller than the window, or as :func:`psnr`.

    References:
        Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
        similarity", 2004.

    Example:
        >>> import torch
        >>> x = torch.rand(2, 1, 16, 16)
        >>> ssim(x, x)
        tensor([1., 1.])
    """
    check_images(prediction, target, SSIM_WINDOW)
    x, y = _normalised(prediction, target, data_range)
    slices = (-1, 1, *y.shape[-2:])
    values, _ = compute_ssim_and_cs(
        x.reshape(slices), y.reshape(slices), 2, (SSIM_WINDOW,) * 2, (1.5, 1.5), 1.0, KernelType.GAUSSIAN
    )
    return values.reshape(y.shape[0], -1).mean(1)


def _dark(peak: Tensor, volume: Tensor) -> Tensor:
    """Of images with these largest magnitudes, which belong to a volume that is all zero."""
    return torch.stack([peak[volume == v].amax() for v in volume]) == 0


class VolumePSNR(RatioMetric):
    """Mean over volumes of the PSNR with one MSE per volume and its largest magnitude as data range (decision 23).

    ``metric(y_pred, y, volume=index)`` takes slices of any volumes in any order and keeps three numbers of each.
    Without ``volume`` every batch element is a volume of its own, e.g. (batch, slices, H, W).

    Example:
        >>> import torch
        >>> metric = VolumePSNR()
        >>> y = torch.ones(2, 1, 8, 8); y[1] = 0.1  # a bright and a dim slice of volume 7, both wrong by 0.05
        >>> _ = metric(y + 0.05, y, volume=7)
        >>> metric.aggregate()
        tensor(26.0206)
    """

    unit = "dB"
    convention = "PSNR of magnitudes, per volume, data range = volume maximum, one MSE per volume, mean over volumes"

    @takes(y_pred="number", y="number")
    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Sum of squared errors, number of pixels and largest magnitude, shape (batch, 3)."""
        check_images(y_pred, y)
        x, target = magnitude(y_pred).flatten(1), magnitude(y).flatten(1)
        pixels = torch.full_like(target[:, 0], target.shape[1])
        return torch.stack([(x - target).square().sum(1), pixels, target.amax(1)], 1)

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Mean over volumes."""
        parts = [statistics[volume == v] for v in volume.unique()]
        mse = torch.stack([part[:, 0].sum() / part[:, 1].sum() for part in parts])
        peak = torch.stack([part[:, 2].amax() for part in parts])
        return mean_over_images(10 * torch.log10(torch.where(peak > 0, peak, torch.nan).square() / mse))

    def left_out(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Images of volumes that are all zero."""
        return _dark(statistics[:, 2], volume)


class VolumeSSIM(RatioMetric):
    """Mean over volumes of the SSIM with the volume's largest magnitude as data range (decision 23).

    The range is known only when a volume is complete, so the magnitudes themselves are kept until then, 8 bytes a
    pixel. All slices of one run have one size. Used as :class:`VolumePSNR`.

    Example:
        >>> import torch
        >>> metric = VolumeSSIM()
        >>> y = torch.rand(4, 1, 16, 16)
        >>> _ = metric(y, y, volume=torch.tensor([0, 0, 1, 1]))
        >>> metric.aggregate()
        tensor(1.)
    """

    unit = "1"
    convention = (
        "SSIM of magnitudes, 2D Gaussian window 11, data range = volume maximum, mean over slices, then volumes"
    )

    @takes(y_pred="number", y="number")
    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Magnitudes of prediction and target, shape (batch, 2, ..., H, W)."""
        check_images(y_pred, y, SSIM_WINDOW)
        return torch.stack([magnitude(y_pred), magnitude(y)], 1)

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Mean over volumes."""
        volumes = [statistics[volume == v].transpose(0, 1).flatten(1, 2).unsqueeze(1) for v in volume.unique()]
        return mean_over_images(torch.cat([ssim(prediction, target) for prediction, target in volumes]))

    def left_out(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Images of volumes that are all zero."""
        return _dark(statistics[:, 1].flatten(1).amax(1), volume)
