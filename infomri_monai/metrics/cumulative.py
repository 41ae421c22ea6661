"""What every metric here shares: buffers over batches and ranks, and values by sampling ratio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from infomri_monai.arrays import as_label, as_tensor, as_values
from infomri_monai.metrics.bootstrap import Estimate, SubjectBootstrap, mean_estimate

__all__ = ["PerImageMetric", "RatioMetric", "mean_over_images"]


def mean_over_images(values: Tensor) -> Tensor:
    """Mean over the images that have a value; NaN (an all-zero image) is left out, NaN if there is none.

    Example:
        >>> import torch
        >>> mean_over_images(torch.tensor([1.0, float("nan"), 3.0]))
        tensor(2.)
    """
    return torch.nanmean(values)


def _tensors(data: Any, name: str) -> Tensor | list[Tensor]:
    return [as_tensor(one, name) for one in data] if isinstance(data, (list, tuple)) else as_tensor(data, name)


class RatioMetric(CumulativeIterationMetric, ABC):
    """A cumulative metric, as a whole or per sampling ratio (subclasses say what is kept of an image and how that is summed up).

    ``metric(y_pred, y)`` is what MONAI's Ignite handler calls; ``metric(y_pred, y, ratio=..., volume=...)`` also says
    which ratio each image was sampled with and which volume it belongs to. Buffers are gathered over ranks by MONAI.

    An image whose prediction is not finite makes every value that it takes part in NaN. An image without a value (an empty target)
    is left out. :meth:`told` counts both.

    Class attributes:
        unit: unit of the value, e.g. ``"dB"``.
        convention: one line that says what is compared and how; goes into every table and figure.
        may_be_unknown: whether a NaN prediction says that nothing is known, not that something diverged.
    """

    unit: str
    convention: str
    may_be_unknown = False

    @abstractmethod
    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """What is kept of every image, shape (batch, ...)."""

    @abstractmethod
    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """The scalar value of images with these statistics (n, ...) and volume labels (n,), all of finite predictions."""

    def __call__(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        """Add a batch, or a list of images without the batch axis; arrays are taken as tensors are."""
        given: Any = [None if data is None else _tensors(data, name) for data, name in ((y_pred, "y_pred"), (y, "y"))]
        return super().__call__(*given, **kwargs)

    def left_out(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Which images have no value, booleans, (n,)."""
        return statistics.flatten(1).isnan().any(1)

    def _compute_tensor(
        self,
        y_pred: Tensor,
        y: Tensor | None = None,
        ratio: Tensor | float | None = None,
        volume: Tensor | int | None = None,
        **kwargs: Any,
    ) -> list[Tensor]:
        if y is None:
            raise ValueError(f"{type(self).__name__} needs a target y, got None.")
        plain = convert_to_tensor(y_pred, track_meta=False), convert_to_tensor(y, track_meta=False)
        statistics = self.statistics(*plain).detach()
        given = plain[0].reshape(len(statistics), -1)
        diverged = ~torch.isfinite(given).all(1) & (not self.may_be_unknown)
        labels = [self._label(v, n, len(statistics)) for v, n in ((ratio, "ratio"), (volume, "volume"))]
        return [statistics, torch.stack([*labels, diverged.double().cpu()], 1).to(statistics.device)]

    @staticmethod
    def _label(value: Tensor | float | None, name: str, batch: int) -> Tensor:
        given: Any = float("nan") if value is None else value
        label = (
            (as_values(given, name) if isinstance(given, (list, tuple)) else as_label(given, name)).double().reshape(-1)
        )
        if label.numel() not in (1, batch):
            raise ValueError(f"{name} must have 1 or {batch} entries (one per image), got {label.numel()}.")
        return label.expand(batch)

    def _gathered(self) -> tuple[Tensor, Tensor, Tensor]:
        """Statistics, ratios and volume labels of all ranks; an image without a label is a volume of its own."""
        buffer = self.get_buffer()
        if buffer is None:
            raise ValueError(f"{type(self).__name__} has no images yet; call it before aggregate() or by_ratio().")
        statistics, labels = buffer
        own = -1.0 - torch.arange(len(labels), dtype=labels.dtype, device=labels.device)
        return statistics, labels[:, 0], torch.where(labels[:, 1].isnan(), own, labels[:, 1])

    def diverged(self) -> Tensor:
        """Of which images the prediction is not finite, booleans, (n,).

        Raises:
            ValueError: if there are no images.
        """
        self._gathered()
        return self.get_buffer()[1][:, 2] > 0

    def _value(self, statistics: Tensor, volume: Tensor, diverged: Tensor) -> Tensor:
        value = self.summary(statistics, volume)
        return torch.full_like(value, torch.nan) if bool(diverged.any()) else value

    def told(self) -> dict[float, str]:
        """By ratio, where there is something to tell: how many images were left out, or are not finite.

        Raises:
            ValueError: if there are no images.
        """
        statistics, ratio, volume = self._gathered()
        diverged, said = self.diverged(), {}
        for s, at in self._groups(ratio).items():
            bad, count = int(diverged[at].sum()), int(at.sum())
            empty = int(self.left_out(statistics[at], volume[at]).sum())
            if bad:
                said[s] = f"of {bad} of {count} images the prediction is not finite: no value"
            elif 0 < empty < count:  # where all are, the value itself says so
                said[s] = f"{empty} of {count} images without a value left out"
        return said

    def aggregate(self) -> Tensor:
        """The value over all images seen since ``reset()``: a scalar tensor.

        Raises:
            ValueError: if there are none.
        """
        statistics, _, volume = self._gathered()
        return self._value(statistics, volume, self.diverged())

    def by_ratio(self) -> dict[float, float]:
        """The value for every sampling ratio that was given, in ascending order.

        Raises:
            ValueError: if there are no images.
        """
        statistics, ratio, volume = self._gathered()
        bad, groups = self.diverged(), self._groups(ratio).items()
        return {s: float(self._value(statistics[at], volume[at], bad[at])) for s, at in groups}

    def image_labels(self) -> tuple[Tensor, Tensor]:
        """Ratio and volume of every image in the order seen, each (n,); NaN ratio and a negative volume if none was given.

        Raises:
            ValueError: if there are no images.
        """
        return self._gathered()[1:]

    def images_by_ratio(self) -> dict[float, int]:
        """Number of images of every sampling ratio that was given, in ascending order."""
        return {s: int(at.sum()) for s, at in self._groups(self._gathered()[1]).items()}

    def subjects_by_ratio(self) -> dict[float, int]:
        """Number of different volumes of every sampling ratio whose images all have one, in ascending order."""
        _, ratio, volume = self._gathered()
        groups = self._groups(ratio).items()
        return {s: len(volume[at].unique()) for s, at in groups if bool((volume[at] >= 0).all())}

    @staticmethod
    def _groups(ratio: Tensor) -> dict[float, Tensor]:
        """Which images have which ratio; ratios that agree to six digits are one."""
        rounded = torch.round(ratio, decimals=6)
        return {s: rounded == s for s in rounded[~rounded.isnan()].unique().tolist()}


class PerImageMetric(RatioMetric):
    """The mean over images of any function with one value per image.

    Args:
        function: ``function(y_pred, y)`` gives the values, (batch,); NaN where an image has none.
        unit: their unit.
        convention: one line that says what is compared and how.
        may_be_unknown: whether a NaN prediction says that nothing is known.

    Example:
        >>> import torch
        >>> from infomri_monai.metrics import psnr
        >>> metric = PerImageMetric(psnr, "dB", "PSNR of magnitudes, data range = slice maximum, mean over slices")
        >>> _ = metric(torch.full((2, 1, 8, 8), 0.9), torch.ones(2, 1, 8, 8), ratio=torch.tensor([0.1, 0.2]))
        >>> metric.aggregate(), {s: round(v, 3) for s, v in metric.by_ratio().items()}
        (tensor(20.0000), {0.1: 20.0, 0.2: 20.0})
    """

    def __init__(
        self, function: Callable[[Tensor, Tensor], Tensor], unit: str, convention: str, may_be_unknown: bool = False
    ) -> None:
        super().__init__()
        self.function, self.unit, self.convention = function, unit, convention
        self.may_be_unknown = may_be_unknown

    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Value of every image, shape (batch, 1)."""
        return self.function(y_pred, y).unsqueeze(1)

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Mean over images."""
        return mean_over_images(statistics)

    def by_image(self) -> Tensor:
        """Value of every image in the order seen (rank after rank), shape (n,); NaN where there is none.

        Raises:
            ValueError: if there are no images.
        """
        return self._gathered()[0][:, 0].masked_fill(self.diverged(), torch.nan)

    def estimates(self, bootstrap: SubjectBootstrap) -> dict[float, Estimate]:
        """The mean with its interval, by ratio in ascending order; all NaN where an image has no value.

        Args:
            bootstrap: draws the subjects (volumes).

        Raises:
            ValueError: if there are no images.
        """
        _, ratio, volume = self._gathered()
        values = self.by_image()
        return {s: mean_estimate(values[at], volume[at], bootstrap) for s, at in self._groups(ratio).items()}
