"""The data of a privacy audit, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from monai.data import DataLoader
from monai.data import Dataset as MonaiDataset
from torch import Tensor
from torch.utils.data import Dataset

from infomri_monai.engines.prepare import SeededPrepareBatch
from infomri_monai.metrics.image_quality import SSIM_WINDOW
from infomri_monai.sampling.policy import SamplingPolicy, check_ratio

__all__ = ["AuditData", "PrepareListedRatios", "mean_magnitude", "raw_entries", "size", "told_apart"]


class AuditData(NamedTuple):
    """Training, validation and test data: data sets of entries with an image (1, H, W), real or complex."""

    train: Dataset
    validation: Dataset
    test: Dataset

    @classmethod
    def of(cls, train: Any, validation: Any, test: Any) -> AuditData:
        """Data sets as they are, and lists of entries as data sets."""
        parts = (part if isinstance(part, Dataset) else MonaiDataset(list(part)) for part in (train, validation, test))
        return cls(*parts)

    def check(self, policy: SamplingPolicy, image_key: str) -> Tensor:
        """The first test image, (1, 1, H, W).

        Raises:
            ValueError: if a split is empty, lacks the image, or its images do not fit the other splits or the policy's grid.
        """
        first = {}
        for name, data in self._asdict().items():
            if not size(data):
                raise ValueError(f"{name}_data is empty; the audit needs images of all three splits.")
            if image_key not in data[0]:
                raise ValueError(f"{name}_data: entries have no {image_key!r}, they have {sorted(data[0])}.")
            first[name] = torch.as_tensor(data[0][image_key])
        shapes = {name: tuple(image.shape) for name, image in first.items()}
        image = first["test"]
        if len(set(shapes.values())) > 1 or image.ndim != 3 or len(image) != 1:
            raise ValueError(f"images must have one shape (1, H, W) in all splits, got {shapes}.")
        if len({part.is_complex() for part in first.values()}) > 1:
            raise ValueError("images must be real in all splits or complex in all splits.")
        if min(image.shape[1:]) < SSIM_WINDOW:
            raise ValueError(
                f"images must have at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {shapes['test'][1:]}."
            )
        if policy.grid is not None and tuple(policy.grid) != shapes["test"][1:]:
            raise ValueError(
                f"the policy was trained on grid {tuple(policy.grid)}, the data has {shapes['test'][1:]}: audit the policy on its "
                "own grid, or give policy.for_grid(...), which is another policy."
            )
        return image.unsqueeze(0)


class PrepareListedRatios(SeededPrepareBatch):
    """One ratio per image, drawn uniformly from a list: the attackers are trained for the ratios that they are tested at.

    Args:
        ratios: the list.
        seed: seed of ratios, masks and noise.
        image_key: the batch's key of the image.

    Example:
        >>> image, _, (ratio,), _ = PrepareListedRatios((0.25, 0.125))({"image": torch.ones(50, 1, 8, 8)})
        >>> ratio.unique()
        tensor([0.1250, 0.2500])
    """

    def __init__(self, ratios: Sequence[float], seed: int = 0, image_key: str = "image") -> None:
        super().__init__(seed, image_key)
        self.ratios = check_ratio(ratios, "ratios")

    def draw(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One listed ratio per image."""
        index = torch.randint(len(self.ratios), (len(image),), generator=generator, device=image.device)
        return image, self.ratios.to(image.device)[index]


def told_apart(ratios: Sequence[float]) -> list[float]:
    """The sampling ratios of an audit, ascending, each once.

    Raises:
        ValueError: if one is out of range, or two agree in the four decimals by which files and numbers are named.

    Example:
        >>> told_apart([0.5, 0.25, 0.25])
        [0.25, 0.5]
    """
    found = sorted({round(ratio, 6) for ratio in check_ratio(ratios, "ratios").tolist()})
    for low, high in pairwise(found):
        if f"{low:.4f}" == f"{high:.4f}":
            raise ValueError(
                f"ratios must differ in their first four decimals, which name the results, got {low} and {high}."
            )
    return found


def size(data: Dataset) -> int:
    """Number of entries."""
    return len(cast(Any, data))


def raw_entries(data: Dataset) -> Any:
    """The entries before the data set's transforms, which may be random."""
    return getattr(data, "data", data)


def mean_magnitude(data: Dataset, image_key: str, batch_size: int) -> Tensor:
    """Mean magnitude of a data set's images, float32, (1, 1, H, W): what an attacker guesses without any measurement."""
    loader = DataLoader(data, batch_size=batch_size)
    sums = [torch.as_tensor(batch[image_key]).abs().double().sum(0, keepdim=True) for batch in loader]
    return (torch.stack(sums).sum(0) / size(data)).float()
