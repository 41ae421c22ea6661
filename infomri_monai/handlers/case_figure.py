"""The picture of one case: a slice with the truth beside the reconstruction, or with the segmentations over it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from infomri_monai.engines.slice_acquisition import centre_fit
from infomri_monai.engines.volume_inferer import VolumeReconstruction
from infomri_monai.engines.volume_segmentation import VolumeSegmentation
from infomri_monai.figures import reconstruction_figure, save_figure, segmentation_figure
from infomri_monai.systems import ReconstructionResult

__all__ = ["draw_case", "draw_segmented_case"]


def draw_case(path: Path, result: VolumeReconstruction, image: Tensor, title: str) -> None:
    """Draw mask, ground truth, zero-filled image, reconstruction, error and sigma of the middle slice, as magnitudes.

    Args:
        path: file of the picture.
        result: the inferer's result of a simulated acquisition.
        image: the fully sampled image, real or complex, shape (1, 1, height, width[, slice]).
        title: heading.
    """
    grid = result.record.grid
    middle = len(result.ratio) // 2

    def cut(volume: Tensor) -> Tensor:
        plane = volume if volume.ndim == 2 else volume[..., middle]
        return centre_fit(plane, grid)[None, None]

    mean, sigma, zero_filled = (cut(v) for v in (result.mean, result.sigma, result.zero_filled))
    mask = cut(result.mask).float()
    ratio = result.ratio[middle : middle + 1]
    system_result = ReconstructionResult(
        mean, 2 * torch.log(sigma), zero_filled, torch.zeros_like(zero_filled), mask, mask, ratio
    )
    truth = cut(torch.as_tensor(image)[0, 0].abs())
    save_figure(reconstruction_figure(system_result, truth, title=title), path)


def draw_segmented_case(
    path: Path, result: VolumeSegmentation, image: Tensor | None, structures: Sequence[str], title: str
) -> None:
    """Draw mask, majority, samples and uncertainty of the slice with the most foreground.

    Args:
        path: file of the picture.
        result: the inferer's result.
        image: the fully sampled image, shape (1, 1, height, width[, slice]); None shows the zero-filled one.
        structures: names of the structures.
        title: heading.
    """
    key = result.key_slice
    mask = result.mask if result.mask.ndim == 2 else result.mask[..., key.slice_index]
    shown = key.zero_filled
    if image is not None:
        volume = torch.as_tensor(image)[0, 0].abs()
        plane = volume if volume.ndim == 2 else volume[..., key.slice_index]
        shown = centre_fit(plane, result.record.grid)[None, None]
    heading = f"{title}: slice {key.slice_index + 1} of {len(result.ratio)}"
    if len(result.volumes) > 1:  # of all slices; that of the slice shown stands beside it
        heading += f", agreement of the case {result.agreement:.2f}"
    figure = segmentation_figure(
        key.posterior, shown, mask=mask[None, None].float(), structures=structures, title=heading
    )
    save_figure(figure, path)
