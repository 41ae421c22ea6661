"""Handler that leaves the pictures of an evaluation of reconstructions.

Also here: Ignite handler that makes the rate-distortion table of an evaluation. Ignite handler that writes every
reconstructed case and reports the cases that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from infomri_monai.engines.reconstruction import VolumeReconstruction
from infomri_monai.figures import (
    calibration_figure,
    rate_distortion_figure,
    reconstruction_figure,
    save_figure,
)
from infomri_monai.handlers.cases import (
    WriteCases,
    case_sidecar,
    describe,
    draw_case,
    grid_affine,
    source_affine,
    write_files,
)
from infomri_monai.handlers.sweep import FirstBatch, RatioSweepHandler, draw_masks
from infomri_monai.metrics import RateDistortion, RateDistortionTable, error_by_sigma
from infomri_monai.sampling import SamplingPolicy

__all__ = ["EvaluationFigures", "RateDistortionHandler", "WriteReconstruction"]


class RateDistortionHandler(RatioSweepHandler[RateDistortionTable]):
    """Collect quality, calibration and redundancy per ratio from an evaluator that sweeps ratios.

    After every epoch ``engine.state.metrics`` holds ``<metric>_at_<ratio>`` for every column and ratio (so that MONAI's MLflow
    handler logs them) and ``<metric>`` as the mean over the ratios. With an ``output_dir`` the table is written there and
    printed to the log.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        method: title of the table.
        output_dir: folder of ``rate_distortion.csv``, ``.json`` and ``.md``; None writes nothing.
        volume_key: key of the batch that says to which volume a slice belongs; None leaves volume-level metrics out.

    Raises:
        ValueError: if a ratio is outside (0, 1].
    """

    def __init__(
        self,
        ratios: Sequence[float],
        method: str = "InfoMRI",
        output_dir: str | Path | None = None,
        volume_key: str | None = None,
    ) -> None:
        super().__init__(RateDistortion(method), ratios, "rate_distortion", output_dir, volume_key)


class EvaluationFigures:
    """Pictures of an evaluation that sweeps ratios: masks, reconstructions with their uncertainty, curves, calibration.

    Args:
        policy: the policy whose masks are drawn.
        rate_distortion: the evaluator's :class:`RateDistortionHandler`, attached before this one.
        output_dir: folder of ``masks.png``, ``reconstructions.png``, ``rate_distortion.png`` and ``calibration.png``.
        seed: seed of the drawn masks.
    """

    def __init__(
        self, policy: SamplingPolicy, rate_distortion: RateDistortionHandler, output_dir: str | Path, seed: int = 0
    ) -> None:
        self.policy = policy
        self.rate_distortion = rate_distortion
        self.output_dir = Path(output_dir)
        self.seed = seed
        self._first = FirstBatch()

    def attach(self, engine: Engine) -> None:
        """Register: keep the first batch of an epoch, draw at its end."""
        self._first.attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._draw)

    def _draw(self, engine: Engine) -> None:
        result, table = self._first.prediction, self.rate_distortion.table
        if result is None or table is None:
            return
        image, ratios = self._first.label, self.rate_distortion.ratios.tolist()
        each = image.shape[0] // len(ratios)
        middle = [each * i + each // 2 for i in range(len(ratios))]
        draw_masks(self.policy, self.rate_distortion.ratios, image, self.seed, self.output_dir / "masks.png")
        title = "Reconstructions at ratios " + ", ".join(f"{ratio:.4g}" for ratio in ratios)
        save_figure(reconstruction_figure(result, image, middle, title), self.output_dir / "reconstructions.png")
        curves = {
            table.method: {row.ratio: row.psnr for row in table.rows},
            "zero-filled": {row.ratio: row.zero_filled_psnr for row in table.rows},
        }
        save_figure(rate_distortion_figure(curves), self.output_dir / "rate_distortion.png")
        target = image if result.mean.is_complex() == image.is_complex() else image.to(result.mean.dtype)
        points = {}
        for i, ratio in enumerate(ratios):
            part = slice(i * each, (i + 1) * each)
            points[f"ratio {ratio:.4g}"] = error_by_sigma(target[part], result.mean[part], result.log_variance[part])
        save_figure(calibration_figure(points), self.output_dir / "calibration.png")


class WriteReconstruction(WriteCases):
    """Write the reconstructions of an evaluator whose inferer is a :class:`~infomri_monai.engines.VolumeInferer`.

    ``<case>_mean.nii.gz`` and ``<case>_sigma.nii.gz`` (float32, the source's affine, size and intensity units),
    ``<case>_mask.nii.gz`` (uint8, in k-space; its affine is that of the image whose k-space it is) and ``<case>.json`` with the
    acquisition. A case that fails leaves no file and does not stop the others; at the end they are all reported, as an error.
    Logs name a case by its number only, since file names may be patients' names. The arguments are those of
    :class:`~infomri_monai.handlers.cases.WriteCases`; the picture is the middle slice beside the truth, for simulated
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
