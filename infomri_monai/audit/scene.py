"""What the networks of a privacy audit meet: data, policy and measurement; how long they are trained, and how that went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from monai.data import DataLoader
from monai.data import Dataset as MonaiDataset
from torch import Tensor, nn
from torch.utils.data import Dataset

from infomri_monai.acquisition.measurement import FourierMeasurement
from infomri_monai.engines.prepare import SeededPrepareBatch, seeded_generator
from infomri_monai.metrics.image_quality import SSIM_WINDOW
from infomri_monai.sampling.policy import FrozenPolicy, SamplingPolicy, check_ratio

__all__ = [
    "CERTAIN",
    "AuditData",
    "Budget",
    "Course",
    "PrepareListedRatios",
    "Scene",
    "listed",
    "listed_floors",
    "mean_magnitude",
    "raw_entries",
    "seeded",
    "size",
    "told_apart",
]

#: standard errors that a two-sided 95 % interval reaches
CERTAIN = 1.96


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
            kinds = {name: "complex" if part.is_complex() else "real" for name, part in first.items()}
            raise ValueError(f"images must be real in all splits or complex in all splits, got {kinds}.")
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


class Scene(NamedTuple):
    """What every attacker meets: the frozen policy, the defender's measurement, and data of the same distribution."""

    policy: FrozenPolicy
    measurement: FourierMeasurement
    data: AuditData
    image_key: str = "image"

    def facts(self, ratios: Sequence[float]) -> dict[str, Any]:
        """Policy, ratios, noise and data in words."""
        policy, noise = self.policy.policy, self.measurement.noise
        image = torch.as_tensor(self.data.test[0][self.image_key])
        lines = "single positions" if policy.readout_axis is None else f"lines along axis {policy.readout_axis}"
        sizes = ", ".join(f"{size(data)} {name}" for name, data in self.data._asdict().items())
        kind = "complex" if image.is_complex() else "real"
        parameters = sum(parameter.numel() for parameter in policy.parameters())
        return {
            "policy": f"{type(policy).__name__}, {lines}, {parameters} parameters, not changed",
            "ratios": ", ".join(f"{ratio:.4g}" for ratio in ratios),
            "noise": "none" if noise is None else _noise(noise),
            "images": f"{kind}, {image.shape[1]} x {image.shape[2]}; {sizes}",
            "the attackers are given": "the masks (networks without a mask input do not use them), and for training measurements "
            "with the defender's noise of images of the same distribution",
        }

    def image(self) -> Tensor:
        """The first test image, (1, 1, H, W), after the data's check."""
        return self.data.check(self.policy, self.image_key)


def _noise(noise: nn.Module) -> str:
    """Class and numbers of a noise model."""
    plain = {
        k: v
        for k, v in vars(noise).items()
        if k not in ("training", "spatial_dims") and isinstance(v, (bool, float, int, str))
    }
    numbers = ", ".join(f"{key} {value}" for key, value in plain.items() if not key.startswith("_"))
    return f"{type(noise).__name__} ({numbers})" if numbers else type(noise).__name__


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


def listed_floors(scene: Scene, batch_size: int) -> dict[str, Tensor]:
    """Images that need no measurement, (1, 1, H, W): the training images' mean magnitude, and its mean at every pixel."""
    mean = mean_magnitude(scene.data.train, scene.image_key, batch_size)
    return {"mean training image": mean, "constant image": torch.full_like(mean, float(mean.mean()))}


def mean_magnitude(data: Dataset, image_key: str, batch_size: int) -> Tensor:
    """Mean magnitude of a data set's images, float32, (1, 1, H, W): what an attacker guesses without any measurement."""
    loader = DataLoader(data, batch_size=batch_size)
    sums = [torch.as_tensor(batch[image_key]).abs().double().sum(0, keepdim=True) for batch in loader]
    return (torch.stack(sums).sum(0) / size(data)).float()


class Budget(NamedTuple):
    """How long and with what a network is trained; checked by :meth:`check`.

    Attributes:
        learning_rate: of Adam.
        batch_size: images per gradient step.
        max_epochs: passes over the data, per ratio.
        max_steps: most gradient steps, per ratio; None for no limit beside ``max_epochs``.
        val_interval: most gradient steps between validations, per ratio; None validates once per pass over the data.
        patience: validations in a row without improvement that end the training.
        seed: seed of batches, masks and noise.
        mixed_precision: bfloat16 autocast while training.
        num_workers: processes of the data loaders.
        device: where everything runs.
    """

    learning_rate: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 100
    max_steps: int | None = None
    val_interval: int | None = None
    patience: int = 5
    seed: int = 0
    mixed_precision: bool = False
    num_workers: int = 0
    device: torch.device = torch.device("cpu")

    def check(self) -> Budget:
        """The budget itself.

        Raises:
            ValueError: if a number is out of its range.
        """
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a finite number > 0, got {self.learning_rate}.")
        for name in ("batch_size", "max_epochs", "max_steps", "val_interval", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}.")
        if self.seed < 0 or self.num_workers < 0:
            raise ValueError(f"seed and num_workers must be >= 0, got {self.seed} and {self.num_workers}.")
        return self

    def decisive(self) -> dict[str, Any]:
        """What decides the result: all but where it is computed."""
        return {key: value for key, value in self._asdict().items() if key not in ("num_workers", "device")}

    def for_ratios(self, number: int) -> Budget:
        """Of one network for so many ratios: it takes as many steps for each as a network of its own would.

        Example:
            >>> Budget(max_epochs=10, max_steps=250, val_interval=100).for_ratios(2)[2:5]
            (20, 500, 200)
        """
        limits = (self.max_epochs, self.max_steps, self.val_interval)
        epochs, steps, interval = (None if limit is None else number * limit for limit in limits)
        return self._replace(max_epochs=epochs or self.max_epochs, max_steps=steps, val_interval=interval)

    def schedule(self, batches: int) -> tuple[int, int]:
        """Steps between validations and number of validations, for data of so many batches.

        All intervals are equal, at most ``val_interval``, and together at most the budget: of it less than one step per
        validation is left over.

        Example:
            >>> Budget(max_epochs=10, max_steps=250, val_interval=100).schedule(50)
            (83, 3)
        """
        total = self.max_epochs * batches
        total = total if self.max_steps is None else min(total, self.max_steps)
        validations = math.ceil(total / (self.val_interval or batches))
        return total // validations, validations


class Course(NamedTuple):
    """How a training went.

    Attributes:
        steps: gradient steps taken.
        best_step: the step whose weights were kept; 0 is the untrained network.
        stopped_early: whether validation had stopped improving; False if the budget ended the training.
        history: ``step`` and every validation quantity, one value per validation.
    """

    steps: int
    best_step: int
    stopped_early: bool
    history: dict[str, list[float]]

    def words(self, ratios: Sequence[float] = ()) -> str:
        """How it went, as the end of a sentence; for which ratios, if they are given.

        Example:
            >>> Course(300, 200, True, {}).words([0.25])
            'for ratio 0.25 stopped because validation no longer improved after 300 steps, best at step 200.'
        """
        which = f"for {listed(ratios)} " if ratios else ""
        end = "stopped because validation no longer improved" if self.stopped_early else "ended with its budget"
        best = "the untrained network was best" if self.best_step == 0 else f"best at step {self.best_step}"
        return f"{which}{end} after {self.steps} steps, {best}."


@contextmanager
def seeded(device: torch.device, *key: int) -> Iterator[None]:
    """Torch's own generators start from a seed inside the block and go on outside as if nothing had happened.

    Example:
        >>> import torch
        >>> def draw():
        ...     with seeded(torch.device("cpu"), 1, 2):
        ...         return torch.rand(3)
        >>> torch.equal(draw(), draw())
        True
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seeded_generator("cpu", *key).initial_seed())
        yield


def listed(items: Sequence[float] | Sequence[str]) -> str:
    """Names, or ratios with that word.

    Example:
        >>> listed(["a", "b", "c"]), listed([0.25, 0.125])
        ('a, b and c', 'ratios 0.25 and 0.125')
    """
    texts = [item if isinstance(item, str) else f"{item:.4g}" for item in items]
    joined = texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]
    return joined if isinstance(items[0], str) else f"ratio{'s' if len(texts) > 1 else ''} {joined}"
