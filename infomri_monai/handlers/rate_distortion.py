"""Ignite handler that makes the rate-distortion table of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infomri_monai.handlers.ratio_sweep import RatioSweepHandler
from infomri_monai.metrics import RateDistortion, RateDistortionTable

__all__ = ["RateDistortionHandler"]


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
