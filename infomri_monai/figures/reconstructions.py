"""Figure: mask, ground truth, zero-filled image, reconstruction, |error| and sigma side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from infomri_monai.figures.style import SEQUENTIAL, styled, tidy_axes
from infomri_monai.metrics.image_quality import psnr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from infomri_monai.systems.reconstruction import ReconstructionResult

__all__ = ["reconstruction_figure"]


def reconstruction_figure(
    result: ReconstructionResult, image: Tensor, indices: Sequence[int] = (0,), title: str | None = None
) -> Figure:
    """One row per image of the batch.

    The three images share one grey scale, from 0 to the ground truth's maximum. |error| and the predicted uncertainty share
    one colour scale, so that they can be compared: for complex images the root-mean-square error to be expected is
    sqrt(2) sigma (two components), and that is what is drawn.

    Args:
        result: what the system returned.
        image: fully sampled ground truth, real or complex, (batch, 1, H, W).
        indices: which images of the batch to draw.
        title: heading.

    Returns:
        A matplotlib figure; the PSNRs are of magnitudes, per slice, data range = the slice's maximum.

    Raises:
        ValueError: if there is no index, one is outside the batch, or the image does not fit the result.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import UnrolledReconstructor
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> from infomri_monai.systems import ReconstructionSystem
        >>> network, image = UnrolledReconstructor(phases=1, channels=4), torch.rand(2, 1, 16, 16)
        >>> system = ReconstructionSystem(PatternGenerationNetwork((16, 16)), FourierMeasurement(), network)
        >>> figure = reconstruction_figure(system(image, 0.25), image, indices=(0, 1))
        >>> len(figure.axes)  # two rows of six, and a colour bar for each
        14
    """
    batch = image.shape[0]
    if not indices or not all(-batch <= i < batch for i in indices):
        raise ValueError(f"indices must name images of the batch of {batch}, got {list(indices)}.")
    if image.shape != result.mean.shape or image.ndim != 4:
        raise ValueError(
            f"image must be (batch, 1, H, W) like the mean, got {tuple(image.shape)} and {tuple(result.mean.shape)}."
        )
    aspect = image.shape[2] / image.shape[3]
    with styled(len(indices), 6, 13.5, (2.05 * aspect + 0.3) * len(indices) + (0.35 if title else 0.05)) as (
        figure,
        axes,
    ):
        for row, i in enumerate(indices):
            _draw_row(figure, axes[row], result, image, i)
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


@torch.no_grad()
def _draw_row(figure: Figure, axes: Any, result: ReconstructionResult, image: Tensor, i: int) -> None:
    """Draw the six panels of one image."""
    truth, zero_filled, mean = (t[i, 0].detach().cpu() for t in (image, result.zero_filled, result.mean))
    complex_valued = mean.is_complex()
    sigma = torch.exp(0.5 * result.log_variance[i, 0].detach().float()).cpu() * (2**0.5 if complex_valued else 1.0)
    error = ((truth if complex_valued or not truth.is_complex() else truth.abs()) - mean).abs()
    qualities = [float(psnr(t[None, None], truth[None, None])) for t in (zero_filled, mean)]
    grey = {"cmap": "gray", "vmin": 0.0, "vmax": float(truth.abs().max()) or 1.0}
    largest = max(float(torch.quantile(t.float(), 0.998)) for t in (error, sigma)) or 1.0
    heat = {"cmap": SEQUENTIAL, "vmin": 0.0, "vmax": largest}
    mask = result.mask[i, 0].detach().cpu().expand(truth.shape)
    panels: list[tuple[str, Tensor, dict[str, Any]]] = [
        (f"mask, ratio {float(result.ratio[i]):.4f}", mask, {"cmap": "gray", "vmin": 0, "vmax": 1}),
        ("ground truth", truth.abs(), grey),
        (f"zero-filled, {qualities[0]:.2f} dB", zero_filled.abs(), grey),
        (f"reconstruction, {qualities[1]:.2f} dB", mean.abs(), grey),
        (r"$|x-\mu|$", error, heat),
        (r"predicted $\sqrt{2}\,\sigma$" if complex_valued else r"predicted $\sigma$", sigma, heat),
    ]
    for panel, (name, picture, options) in zip(axes, panels, strict=True):
        shown = panel.imshow(picture.numpy(), interpolation="nearest", **options)
        panel.set_title(name)
        tidy_axes(panel)
    figure.colorbar(shown, ax=axes[4:].tolist(), shrink=0.85, pad=0.02, aspect=18, label="image units")
