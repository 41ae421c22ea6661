"""Mean and log-variance in one tensor, as MONAI's two-argument metrics and handlers pass them."""

from __future__ import annotations

from torch import Tensor, cat

__all__ = ["split_posterior", "stack_posterior"]


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
