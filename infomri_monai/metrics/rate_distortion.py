"""Everything the rate-distortion table needs, accumulated over batches and ranks.

Also here: The rate-distortion table: one row per sampling ratio, printed and written with units and conventions.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from infomri_monai.acquisition.symmetry import redundancy_ratio
from infomri_monai.metrics.calibration import (
    IntervalCoverage,
    PooledCorrelation,
    StandardizedSquaredError,
    UncertaintyErrorCorrelation,
    stack_posterior,
)
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.image_quality import PSNR, SSIM, VolumePSNR, VolumeSSIM
from infomri_monai.metrics.tables import Column, RatioTable

__all__ = ["MaskRatio", "RateDistortion", "RateDistortionRow", "RateDistortionTable", "RedundancyRatio"]

_NAN = float("nan")


class RateDistortionRow(NamedTuple):
    """One sampling ratio; NaN for what was not measured. Qualities are means over slices unless the name says volume.

    Attributes:
        ratio: requested sampled positions / all positions.
        realised_ratio: mean ratio of the masks.
        psnr: of the reconstruction, dB, per slice.
        zero_filled_psnr: of the zero-filled image, dB, per slice.
        ssim: of the reconstruction, per slice.
        zero_filled_ssim: of the zero-filled image, per slice.
        volume_psnr: of the reconstruction, dB, per volume.
        volume_ssim: of the reconstruction, per volume.
        standardized_squared_error: 1 if calibrated.
        correlation: of sigma with |error|, per slice.
        pooled_correlation: of sigma with |error| over all slices together.
        coverage: of the central 90 % interval.
        redundancy_ratio: share of sampled positions whose conjugate partner is sampled too (43).
        images: number of slices.
    """

    ratio: float
    realised_ratio: float
    psnr: float
    zero_filled_psnr: float
    ssim: float = _NAN
    zero_filled_ssim: float = _NAN
    volume_psnr: float = _NAN
    volume_ssim: float = _NAN
    standardized_squared_error: float = _NAN
    correlation: float = _NAN
    pooled_correlation: float = _NAN
    coverage: float = _NAN
    redundancy_ratio: float = _NAN
    images: int = 0


_COLUMNS: dict[str, Column] = {
    "ratio": ("ratio", "asked", ".4f"),
    "realised_ratio": ("ratio", "realised", ".4f"),
    "psnr": ("PSNR", "dB, slice", ".2f"),
    "zero_filled_psnr": ("ZF PSNR", "dB, slice", ".2f"),
    "ssim": ("SSIM", "slice", ".4f"),
    "zero_filled_ssim": ("ZF SSIM", "slice", ".4f"),
    "volume_psnr": ("PSNR", "dB, vol.", ".2f"),
    "volume_ssim": ("SSIM", "volume", ".4f"),
    "standardized_squared_error": ("std.sq.err", "ideal 1", ".3f"),
    "correlation": ("sigma corr", "slice", ".3f"),
    "pooled_correlation": ("sigma corr", "pooled", ".3f"),
    "coverage": ("coverage", "ideal .9", ".3f"),
    "redundancy_ratio": ("redund.", "eq. 43", ".3f"),
    "images": ("slices", "", "d"),
}


class RateDistortionTable(RatioTable[RateDistortionRow]):
    """Rows in ascending ratio under headers that name unit and convention.

    Args:
        method: what was evaluated, e.g. ``"InfoMRI, 2D"``; the table's title.
        rows: rows in any order, one per ratio.
        conventions: lines printed below the table and written to the JSON file, by field.

    Raises:
        ValueError: if two rows have one ratio.

    Example:
        >>> table = RateDistortionTable("demo", [RateDistortionRow(0.25, 0.2501, 31.0, 27.5, images=8)])
        >>> print(table)
        demo
         ratio     ratio       PSNR    ZF PSNR  slices
         asked  realised  dB, slice  dB, slice
        ------  --------  ---------  ---------  ------
        0.2500    0.2501      31.00      27.50       8
    """

    def columns(self) -> dict[str, Column]:
        """Every field in order."""
        return dict(_COLUMNS)

    def record(self, row: RateDistortionRow) -> dict[str, float]:
        """The row by field."""
        return row._asdict()


class Reconstruction(Protocol):
    """The fields of a ``ReconstructionResult`` that are read here."""

    @property
    def mean(self) -> Tensor: ...
    @property
    def log_variance(self) -> Tensor: ...
    @property
    def zero_filled(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...


class RedundancyRatio(PerImageMetric):
    """Mean over masks of the share of sampled positions whose conjugate partner is sampled too (equation 43).

    ``y_pred`` and ``y`` are both the mask, (batch, 1, *spatial); a metric needs two.

    Example:
        >>> import torch
        >>> metric, mask = RedundancyRatio(), torch.ones(1, 1, 5, 5)
        >>> _ = metric(mask, mask)
        >>> metric.aggregate()
        tensor(0.9600)
    """

    unit = "1"
    convention = (
        "redundancy ratio (43) of the mask: share of samples whose conjugate partner is sampled too, mean over masks"
    )

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Redundancy ratio of every mask, shape (batch,)."""
        return redundancy_ratio(y_pred[:, 0], y_pred.ndim - 2)


class MaskRatio(PerImageMetric):
    """Mean over masks of the realised sampling ratio; ``y_pred`` and ``y`` are both the mask, (batch, 1, *spatial).

    Example:
        >>> import torch
        >>> metric, mask = MaskRatio(), torch.eye(4).reshape(1, 1, 4, 4)
        >>> _ = metric(mask, mask)
        >>> metric.aggregate()
        tensor(0.2500)
    """

    unit = "1"
    convention = "realised sampling ratio: sampled positions / all positions, mean over masks"

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Realised ratio of every mask, shape (batch,)."""
        return y_pred.flatten(1).mean(1)


class RateDistortion:
    """Collects reconstructions of any ratios and makes the rate-distortion table.

    Args:
        method: title of the table.

    Example:
        >>> import torch
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import GaussianUNet
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> from infomri_monai.systems import ReconstructionSystem
        >>> network = GaussianUNet(features=(4, 4, 4, 4, 4, 4))
        >>> system = ReconstructionSystem(PatternGenerationNetwork((32, 32)), FourierMeasurement(), network)
        >>> image, evaluation = torch.rand(2, 1, 32, 32, dtype=torch.complex64), RateDistortion("demo")
        >>> for ratio in (0.25, 0.5):
        ...     evaluation.update(system(image, ratio), image, ratio)
        >>> [round(row.realised_ratio, 2) for row in evaluation.table().rows]
        [0.25, 0.5]
    """

    def __init__(self, method: str) -> None:
        self.method = method
        self.metrics: dict[str, RatioMetric] = {
            "realised_ratio": MaskRatio(),
            "psnr": PSNR(),
            "zero_filled_psnr": PSNR(),
            "ssim": SSIM(),
            "zero_filled_ssim": SSIM(),
            "standardized_squared_error": StandardizedSquaredError(),
            "correlation": UncertaintyErrorCorrelation(),
            "pooled_correlation": PooledCorrelation(),
            "coverage": IntervalCoverage(),
            "redundancy_ratio": RedundancyRatio(),
            "volume_psnr": VolumePSNR(),
            "volume_ssim": VolumeSSIM(),
        }
        self._with_volumes = False

    def update(
        self, result: Reconstruction, image: Tensor, ratio: Tensor | float, volume: Tensor | int | None = None
    ) -> None:
        """Add a batch.

        Args:
            result: what the system returned.
            image: the fully sampled target, (batch, 1, H, W). With a real mean, a complex target's magnitude counts.
            ratio: requested sampling ratio, one or one per image.
            volume: which volume each image is a slice of; None leaves the volume-level columns out.

        Raises:
            ValueError: if shapes do not fit.
        """
        if image.is_complex() and not result.mean.is_complex():
            image = image.abs()
        elif result.mean.is_complex():
            image = image.to(result.mean.dtype)
        posterior = stack_posterior(result.mean, result.log_variance)
        inputs = {"zero_filled_psnr": result.zero_filled, "zero_filled_ssim": result.zero_filled}
        inputs |= dict.fromkeys(
            ("standardized_squared_error", "correlation", "pooled_correlation", "coverage"), posterior
        )
        masks = ("realised_ratio", "redundancy_ratio")
        for name, metric in self.metrics.items():
            if name.startswith("volume_") and volume is None:
                continue
            prediction, target = (result.mask,) * 2 if name in masks else (inputs.get(name, result.mean), image)
            metric(prediction, target, ratio=ratio, volume=volume)
        self._with_volumes |= volume is not None

    def table(self) -> RateDistortionTable:
        """The table of all batches since ``reset()``, on every rank the same.

        Raises:
            ValueError: if there are none.
        """
        used = {n: m for n, m in self.metrics.items() if self._with_volumes or not n.startswith("volume_")}
        columns = {name: metric.by_ratio() for name, metric in used.items()}
        counts = self.metrics["psnr"].images_by_ratio()
        rows = [
            RateDistortionRow(ratio=s, images=counts[s], **{name: column[s] for name, column in columns.items()})
            for s in columns["psnr"]
        ]
        return RateDistortionTable(self.method, rows, {name: metric.convention for name, metric in used.items()})

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.metrics.values():
            metric.reset()
        self._with_volumes = False
