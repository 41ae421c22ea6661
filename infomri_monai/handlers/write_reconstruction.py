"""Ignite handler that writes every reconstructed case and reports the cases that failed."""

from __future__ import annotations

from functools import partial
from typing import Any

from infomri_monai.engines.volume_inferer import VolumeReconstruction
from infomri_monai.handlers.case_figure import draw_case
from infomri_monai.handlers.case_files import case_sidecar, describe, grid_affine, source_affine, write_files
from infomri_monai.handlers.write_cases import WriteCases

__all__ = ["WriteReconstruction"]


class WriteReconstruction(WriteCases):
    """Write the reconstructions of an evaluator whose inferer is a :class:`~infomri_monai.engines.VolumeInferer`.

    ``<case>_mean.nii.gz`` and ``<case>_sigma.nii.gz`` (float32, the source's affine, size and intensity units),
    ``<case>_mask.nii.gz`` (uint8, in k-space; its affine is that of the image whose k-space it is) and ``<case>.json`` with the
    acquisition. A case that fails leaves no file and does not stop the others; at the end they are all reported, as an error.
    Logs name a case by its number only, since file names may be patients' names. The arguments are those of
    :class:`~infomri_monai.handlers.write_cases.WriteCases`; the picture is the middle slice beside the truth, for simulated
    acquisitions.
    """

    def begin(self, network: Any) -> None:
        """Nothing to prepare."""

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
            "units": "mean, sigma: intensity of the source; mask: 1 where k-space was measured, DC at n // 2",
        }
        figure = partial(draw_case, result=result, image=batch["image"], title=text) if shown else None
        sidecar = case_sidecar(record, result.ratio, type(network).__name__, details)
        write_files(self.prefix(index), images, sidecar, text, figure)

    def follow(self, index: int) -> None:
        """Nothing to do."""

    def end(self) -> None:
        """Nothing to conclude."""
