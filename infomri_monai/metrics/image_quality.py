"""PSNR and SSIM of magnitude images, as pure functions over a batch."""

from __future__ import annotations

import torch
from monai.metrics.regression import KernelType, compute_mean_error_metrics, compute_ssim_and_cs
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

__all__ = ["SSIM_WINDOW", "check_images", "magnitude", "psnr", "ssim"]

#: side of SSIM's Gaussian window (sigma 1.5 truncated at 3.5 sigma, as in scikit-image)
SSIM_WINDOW = 11


def magnitude(image: Tensor) -> Tensor:
    """Magnitude of a real or complex image as a plain real tensor (MetaTensor metadata is dropped).

    Example:
        >>> import torch
        >>> magnitude(torch.tensor([3 + 4j, -1]))
        tensor([5., 1.])
    """
    return convert_to_tensor(image, track_meta=False).abs()


def check_images(prediction: Tensor, target: Tensor, smallest: int = 1) -> None:
    """Raise ValueError unless both have one shape (batch, ..., H, W) with H and W at least ``smallest``.

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


def _normalised(prediction: Tensor, target: Tensor, data_range: Tensor | float | None) -> tuple[Tensor, Tensor]:
    """Magnitudes divided by every element's own data range, so that one range of 1 fits the whole batch."""
    x, y = magnitude(prediction), magnitude(target)
    if data_range is None:
        span = y.flatten(1).amax(1)
    else:
        span = torch.as_tensor(data_range, dtype=y.dtype, device=y.device).reshape(-1)
        if span.numel() not in (1, y.shape[0]) or not bool((span > 0).all()):
            raise ValueError(f"data_range must be positive, one for all or one per element, got {span.tolist()}.")
    span = torch.where(span > 0, span, torch.nan).reshape(-1, *[1] * (y.ndim - 1))
    return x / span, y / span


def psnr(prediction: Tensor, target: Tensor, data_range: Tensor | float | None = None) -> Tensor:
    """Peak signal-to-noise ratio of magnitudes: 20 log10(data range) - 10 log10(MSE), in dB.

    The convention follows from what one batch element is (decision 23): a slice (batch, 1, H, W) gives the per-slice
    value with the slice's maximum as the data range, a volume (batch, slices, H, W) or (batch, 1, D, H, W) the
    volume-level one with the volume's maximum and one MSE. The two differ by several dB.

    MONAI's ``PSNRMetric`` has one ``max_val`` for all; dividing each element by its range first makes the two the same.

    Args:
        prediction: real or complex, shape (batch, ..., H, W). Magnitudes are compared.
        target: of the prediction's shape.
        data_range: peak value, one or one per element; None takes each target element's largest magnitude.

    Returns:
        PSNR in dB, shape (batch,); infinite where both agree exactly, NaN where an element's target is all zero.

    Raises:
        ValueError: if the shapes differ or lack axes, or ``data_range`` is not positive or does not fit the batch.

    Example:
        >>> import torch
        >>> psnr(torch.full((1, 1, 8, 8), 0.9), torch.ones(1, 1, 8, 8))
        tensor([20.0000])
    """
    check_images(prediction, target)
    x, y = _normalised(prediction, target, data_range)
    return -10 * torch.log10(compute_mean_error_metrics(x, y, func=torch.square)[:, 0])


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
