"""Figure: what attackers reconstruct from a measurement, beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from infomri_monai.figures.style import styled, tidy_axes
from infomri_monai.metrics.image_quality import psnr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AttackExample", "attack_figure"]


class AttackExample(NamedTuple):
    """One measurement and what was made of it; images are real or complex, (H, W).

    Attributes:
        label: said at the row's left, e.g. ``"ratio 0.25, median image"``.
        truth: the fully sampled image.
        zero_filled: the measurement transformed back.
        reconstructions: attacker -> its reconstruction, the same attackers in every row.
    """

    label: str
    truth: Tensor
    zero_filled: Tensor
    reconstructions: Mapping[str, Tensor]


def attack_figure(examples: Sequence[AttackExample], title: str | None = None) -> Figure:
    """One row per measurement: truth, zero-filled image, every attacker's reconstruction.

    All images of a row share one grey scale, from 0 to the truth's maximum.

    Args:
        examples: the rows.
        title: heading.

    Returns:
        A matplotlib figure; the PSNRs are of magnitudes, per slice, data range = the slice's maximum.

    Raises:
        ValueError: if there is no row, rows have different attackers, or an image has not the truth's shape (H, W).
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> import torch
        >>> truth = torch.rand(16, 16)
        >>> example = AttackExample("ratio 0.25", truth, 0.5 * truth, {"unet": 0.9 * truth})
        >>> len(attack_figure([example, example]).axes)
        6
    """
    _check(examples)
    attackers = list(examples[0].reconstructions)
    rows, columns = len(examples), 2 + len(attackers)
    height, width = examples[0].truth.shape
    size = (1.75 * columns + 0.4, (1.75 * height / width + 0.25) * rows + (0.4 if title else 0.1))
    with styled(rows, columns, *size) as (figure, axes):
        for row, example in zip(axes, examples, strict=True):
            _draw_row(row, example)
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _draw_row(axes: Any, example: AttackExample) -> None:
    """Draw the panels of one measurement."""
    truth = example.truth.detach().cpu()
    window = {"cmap": "gray", "vmin": 0.0, "vmax": float(truth.abs().max()) or 1.0, "interpolation": "nearest"}
    panels = {"zero-filled": example.zero_filled, **example.reconstructions}
    axes[0].imshow(truth.abs().numpy(), **window)
    axes[0].set_title("truth")
    axes[0].set_ylabel(example.label)
    for panel, (name, image) in zip(axes[1:], panels.items(), strict=True):
        shown = image.detach().cpu().abs()
        quality = float(psnr(shown[None, None], truth.abs()[None, None]))
        panel.imshow(shown.numpy(), **window)
        panel.set_title(f"{name}, {quality:.2f} dB")
    for panel in axes:
        tidy_axes(panel)


def _check(examples: Sequence[AttackExample]) -> None:
    if not examples:
        raise ValueError("examples is empty; give at least one measurement.")
    for example in examples:
        if list(example.reconstructions) != list(examples[0].reconstructions):
            raise ValueError(
                f"every row must have the same attackers, got {list(examples[0].reconstructions)} and "
                f"{list(example.reconstructions)}."
            )
        shapes = [tuple(image.shape) for image in (example.zero_filled, *example.reconstructions.values())]
        if example.truth.ndim != 2 or any(shape != tuple(example.truth.shape) for shape in shapes):
            raise ValueError(
                f"images must have the truth's shape (H, W), got {tuple(example.truth.shape)} and {shapes}."
            )
