"""Handlers of reconstructions: the pictures of an evaluation, and the files of every case."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infomri_monai.engines.case import centre_fit
from infomri_monai.engines.reconstruction import VolumeReconstruction
from infomri_monai.figures import calibration_figure, rate_distortion_figure, reconstruction_figure, save_figure
from infomri_monai.handlers.cases import WriteCases, case_sidecar, describe, grid_affine, source_affine, write_files
from infomri_monai.handlers.sweep import RatioSweepHandler, SweepPictures
from infomri_monai.metrics import RateDistortionTable, error_by_sigma, inside_object
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.systems import ReconstructionResult

__all__ = ["EvaluationFigures", "WriteReconstruction"]


class EvaluationFigures(SweepPictures):
    """Pictures of an evaluation that sweeps ratios: masks, reconstructions with their uncertainty, curves, calibration.

    Args:
        policy: the policy whose masks are drawn.
        quality: the evaluator's handler of a :class:`~infomri_monai.metrics.RateDistortion`, attached before this one.
        output_dir: folder of ``masks.png``, ``reconstructions.png``, ``rate_distortion.png`` and ``calibration.png``.
        seed: seed of the drawn masks.
    """

    def __init__(
        self, policy: SamplingPolicy, quality: RatioSweepHandler, output_dir: str | Path, seed: int = 0
    ) -> None:
        super().__init__(quality, output_dir, seed)
        self.policy = policy

    def draw(self, table: RateDistortionTable, gathered: None) -> None:
        """Draw all four."""
        result, image, ratios = self.prediction, self.label, self.quality.ratios.tolist()
        each = image.shape[0] // len(ratios)
        middle = [each * i + each // 2 for i in range(len(ratios))]
        self.draw_masks(self.policy, self.quality.ratios)
        title = "Reconstructions at ratios " + ", ".join(f"{ratio:.4g}" for ratio in ratios)
        self.save(reconstruction_figure(result, image, middle, title), "reconstructions")
        curves = {
            table.method: {row.ratio: row.psnr for row in table.rows},
            "zero-filled": {row.ratio: row.zero_filled_psnr for row in table.rows},
        }
        self.save(rate_distortion_figure(curves), "rate_distortion")
        inside = inside_object(image)
        target, mean, log_variance = image.abs(), result.mean.abs(), result.magnitude_log_variance
        points = {}
        for i, ratio in enumerate(ratios):
            at = inside & (torch.arange(len(image), device=image.device) // each == i).reshape(-1, 1, 1, 1)
            if bool(at.any()):
                points[f"ratio {ratio:.4g}"] = error_by_sigma(target[at], mean[at], log_variance[at])
        self.save(calibration_figure(points), "calibration")


class WriteReconstruction(WriteCases):
    """Write the reconstructions of an evaluator whose inferer is a :class:`~infomri_monai.engines.VolumeInferer`.

    ``<case>_mean.nii.gz`` and ``<case>_sigma.nii.gz`` (of the mean's magnitude; float32, the source's affine, size and
    intensity units),
    ``<case>_mask.nii.gz`` (uint8, in k-space; its affine is that of the image whose k-space it is) and ``<case>.json`` with the
    acquisition. A case that fails leaves no file and does not stop the others; at the end they are all reported, as an error.
    Logs name a case by its number only, since file names may be patients' names. The arguments are those of
    :class:`~infomri_monai.handlers.cases.WriteCases`; the picture is the middle slice beside the truth, for simulated
    acquisitions.
    """

    def write(self, result: VolumeReconstruction, batch: dict[str, Any], index: int, network: Any) -> None:
        """Write mean, sigma, mask and sidecar."""
        affine, record = source_affine(batch), result.record
        text = describe(record, result.ratio, "reconstruction")
        # psnr has no meaning for an empty slice, and measured k-space has no truth to show
        shown = self.figure and record.simulated and bool(result.mean.any())
        images = {
            "mean": (result.mean, affine),
            "sigma": (result.sigma, affine),
            "mask": (result.mask, grid_affine(record, affine)),
        }
        details = {
            "shape": list(result.mean.shape),
            "units": "mean (magnitude), sigma (its standard deviation): intensity of the source; "
            "mask: 1 where k-space was measured, DC at n // 2",
        }
        figure = partial(_draw_case, result=result, image=batch["image"], title=text) if shown else None
        sidecar = case_sidecar(record, result.ratio, type(network).__name__, details)
        write_files(self.prefix(index), images, sidecar, text, figure)


def _draw_case(path: Path, result: VolumeReconstruction, image: Tensor, title: str) -> None:
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
        mean, 2 * torch.log(sigma), zero_filled, torch.zeros_like(zero_filled), mask, mask, ratio, 2 * torch.log(sigma)
    )
    truth = cut(torch.as_tensor(image)[0, 0].abs())
    save_figure(reconstruction_figure(system_result, truth, title=title), path)
