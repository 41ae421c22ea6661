"""Everything the rate-distortion table needs, accumulated over batches and ranks."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from infomri_monai.acquisition.symmetry import redundancy_ratio
from infomri_monai.metrics.calibration_metrics import (
    IntervalCoverage,
    PooledCorrelation,
    StandardizedSquaredError,
    UncertaintyErrorCorrelation,
)
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.posterior import stack_posterior
from infomri_monai.metrics.rate_distortion_table import RateDistortionRow, RateDistortionTable
from infomri_monai.metrics.slice_quality import PSNR, SSIM
from infomri_monai.metrics.volume_quality import VolumePSNR, VolumeSSIM

__all__ = ["MaskRatio", "RateDistortion", "RedundancyRatio"]


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
