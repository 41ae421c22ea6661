"""The rate-distortion table: quality, calibration and redundancy of reconstructions, one row per sampling ratio."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from infomri_monai.acquisition.symmetry import redundancy_ratio
from infomri_monai.arrays import takes
from infomri_monai.metrics.calibration import (
    IntervalScale,
    PooledCorrelation,
    interval_coverage,
    magnitude_coverage,
    split_posterior,
    stack_posterior,
    standardized_squared_error,
    uncertainty_error_correlation,
)
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.image_quality import VolumePSNR, VolumeSSIM, psnr, ssim, warn_where_signed
from infomri_monai.metrics.tables import RatioTable, TableCollector

__all__ = ["IMAGE_QUALITY", "RateDistortion", "RateDistortionRow", "RateDistortionTable", "mask_ratio"]

#: conventions of what the images themselves are compared by (decision 23)
IMAGE_QUALITY = {
    "psnr": "PSNR of magnitudes, per slice, data range = slice maximum, mean over slices",
    "ssim": "SSIM of magnitudes, per slice, Gaussian window 11, data range = slice maximum, mean over slices",
}
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
        coverage: of the components' central 90 % interval.
        magnitude_coverage: of that of the magnitude, inside the object.
        interval_scale: factor on sigma of the magnitude that would make it 90 %.
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
    magnitude_coverage: float = _NAN
    interval_scale: float = _NAN
    redundancy_ratio: float = _NAN
    images: int = 0


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

    fields: ClassVar = {
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
        "magnitude_coverage": ("magn. cov.", "ideal .9", ".3f"),
        "interval_scale": ("magn. scale", "ideal 1", ".3f"),
        "redundancy_ratio": ("redund.", "eq. 43", ".3f"),
        "images": ("slices", "", "d"),
    }


def mask_ratio() -> PerImageMetric:
    """The realised sampling ratio; ``y_pred`` and ``y`` are both the mask, (batch, 1, *spatial): a metric needs two.

    Example:
        >>> import torch
        >>> metric, mask = mask_ratio(), torch.eye(4).reshape(1, 1, 4, 4)
        >>> _ = metric(mask, mask)
        >>> metric.aggregate()
        tensor(0.2500)
    """
    convention = "realised sampling ratio: sampled positions / all positions, mean over masks"
    return PerImageMetric(lambda mask, _: mask.flatten(1).mean(1), "1", convention)


def _of_posterior(function: Callable[[Tensor, Tensor, Tensor], Tensor], convention: str) -> PerImageMetric:
    """Of the image and the mean and log-variance that :func:`stack_posterior` made one."""
    return PerImageMetric(lambda posterior, image: function(image, *split_posterior(posterior)), "1", convention)


class RateDistortion(TableCollector[RateDistortionTable]):
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

    file_name = "rate_distortion"

    def __init__(self, method: str = "InfoMRI") -> None:
        quality = {"psnr": partial(PerImageMetric, psnr, "dB"), "ssim": partial(PerImageMetric, ssim, "1")}
        images = {name: make(IMAGE_QUALITY[name]) for name, make in quality.items()}
        zero_filled = {f"zero_filled_{name}": make(IMAGE_QUALITY[name]) for name, make in quality.items()}
        self._posterior: dict[str, RatioMetric] = {
            "standardized_squared_error": _of_posterior(
                standardized_squared_error,
                "standardised squared error |x-mu|^2/(components sigma^2), mean over pixels, then images; 1 if calibrated",
            ),
            "correlation": _of_posterior(
                uncertainty_error_correlation,
                "Pearson correlation of sigma with |error| over the pixels of a slice, mean over slices",
            ),
            "pooled_correlation": PooledCorrelation(),
            "coverage": _of_posterior(
                interval_coverage,
                "share of real components inside mu +- 1.645 sigma (central 90 % Gaussian interval); 0.9 if calibrated",
            ),
        }
        self._magnitude: dict[str, RatioMetric] = {
            "magnitude_coverage": _of_posterior(
                magnitude_coverage,
                "share of the object's pixels whose magnitude is inside |mu| +- 1.645 sigma of the magnitude; 0.9 if calibrated",
            ),
            "interval_scale": IntervalScale(),
        }
        redundancy = PerImageMetric(
            lambda mask, _: redundancy_ratio(mask[:, 0], mask.ndim - 2),
            "1",
            "redundancy ratio (43) of the mask: share of samples whose conjugate partner is sampled too, mean over masks",
        )
        self._volumes: dict[str, RatioMetric] = {"volume_psnr": VolumePSNR(), "volume_ssim": VolumeSSIM()}
        masks = {"realised_ratio": mask_ratio(), "redundancy_ratio": redundancy}
        super().__init__(
            method, {**masks, **images, **zero_filled, **self._posterior, **self._magnitude, **self._volumes}
        )
        self._with_volumes = False

    @takes(label="number")
    def update(self, prediction: Any, label: Tensor, ratio: Tensor | float, volume: Tensor | int | None = None) -> None:
        """Add a batch.

        Args:
            prediction: a :class:`~infomri_monai.systems.ReconstructionResult`.
            label: the fully sampled target, (batch, 1, H, W). With a real mean, a complex target's magnitude counts. Of a
                real one with negative values the magnitude is another image, which is a warning.
            ratio: requested sampling ratio, one or one per image.
            volume: which volume each image is a slice of; None leaves the volume-level columns out.

        Raises:
            ValueError: if shapes do not fit.
        """
        mean, mask = prediction.mean, prediction.mask
        warn_where_signed(label)
        if label.is_complex() and not mean.is_complex():
            label = label.abs()
        elif mean.is_complex():
            label = label.to(mean.dtype)
        posterior = stack_posterior(mean, prediction.log_variance)
        inputs = {"realised_ratio": (mask, mask), "redundancy_ratio": (mask, mask)}
        inputs |= {f"zero_filled_{name}": (prediction.zero_filled, label) for name in IMAGE_QUALITY}
        inputs |= dict.fromkeys(self._posterior, (posterior, label))
        of_magnitude = stack_posterior(mean.abs(), prediction.magnitude_log_variance)
        inputs |= dict.fromkeys(self._magnitude, (of_magnitude, label.abs()))
        for name, metric in self.metrics.items():
            if volume is not None or name not in self._volumes:
                metric(*inputs.get(name, (mean, label)), ratio=ratio, volume=volume)
        self._with_volumes |= volume is not None

    def table(self) -> RateDistortionTable:
        """The table of all batches since ``reset()``, on every rank the same; volume-level columns if there were volumes.

        Raises:
            ValueError: if there are none.
        """
        used = {n: m for n, m in self.metrics.items() if self._with_volumes or n not in self._volumes}
        columns = {name: metric.by_ratio() for name, metric in used.items()}
        rows = [
            RateDistortionRow(ratio=s, images=count, **{name: column[s] for name, column in columns.items()})
            for s, count in self.metrics["psnr"].images_by_ratio().items()
        ]
        return RateDistortionTable(self.method, rows, {n: m.convention for n, m in used.items()}, self.told())

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._with_volumes = False
