"""Handler that leaves the pictures of an evaluation of reconstructions."""

from __future__ import annotations

from pathlib import Path

from ignite.engine import Engine, Events

from infomri_monai.figures import (
    calibration_figure,
    rate_distortion_figure,
    reconstruction_figure,
    save_figure,
)
from infomri_monai.handlers.first_batch import FirstBatch, draw_masks
from infomri_monai.handlers.rate_distortion import RateDistortionHandler
from infomri_monai.metrics import error_by_sigma
from infomri_monai.sampling import SamplingPolicy

__all__ = ["EvaluationFigures"]


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
