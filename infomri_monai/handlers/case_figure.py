"""The picture of one simulated case: its middle slice, with the truth beside the reconstruction."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from infomri_monai.engines.slice_acquisition import centre_fit
from infomri_monai.engines.volume_inferer import VolumeReconstruction
from infomri_monai.figures import reconstruction_figure, save_figure
from infomri_monai.systems import ReconstructionResult

__all__ = ["draw_case"]


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
