"""One attacker: trained to reconstruct from the defender's measurements, then tested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys
from torch import Tensor, nn

from infomri_monai.acquisition.measurement import FourierMeasurement
from infomri_monai.audit.early_stopping import check_finite, train_until_no_better
from infomri_monai.audit.scene import AuditData, Budget, Course, PrepareListedRatios
from infomri_monai.engines.prepare import PrepareRatioSweep
from infomri_monai.losses.gaussian import MeanSquaredErrorLoss
from infomri_monai.metrics.cumulative import PerImageMetric
from infomri_monai.metrics.image_quality import psnr
from infomri_monai.metrics.rate_distortion import RateDistortion, RateDistortionRow
from infomri_monai.sampling.policy import FrozenPolicy
from infomri_monai.systems.reconstruction import ReconstructionResult, ReconstructionSystem

__all__ = ["AttackOutcome", "Scene", "check_attacker", "evaluate_attacker", "run_on_test_data", "train_attacker"]

#: added to the seed, so that training, validation and test draw different masks and noise
VALIDATION, TEST = 1, 2
_OF_THE_VARIANCE = ("standardized_squared_error", "correlation", "pooled_correlation", "coverage")


class Scene(NamedTuple):
    """What every attacker meets: the frozen policy, the defender's measurement, and data of the same distribution."""

    policy: FrozenPolicy
    measurement: FourierMeasurement
    data: AuditData
    image_key: str = "image"


class AttackOutcome(NamedTuple):
    """The test of an attacker.

    Attributes:
        rows: one row per ratio of the rate-distortion table, without what an attacker has not (its uncertainty).
        images: ``ratio``, (ratios,), and ``psnr``, ``ssim`` and ``zero_filled_psnr`` of every test image, (ratios, images).
    """

    rows: list[RateDistortionRow]
    images: dict[str, Tensor]


def squared_error(result: ReconstructionResult, target: Tensor) -> Tensor:
    """Mean squared error of every image, (batch,)."""
    error = result.mean - (target.to(result.mean.dtype) if result.mean.is_complex() else target)
    return error.abs().square().flatten(1).mean(1)


def check_attacker(
    name: str, network: nn.Module, scene: Scene, image: Tensor, ratio: float, device: torch.device
) -> None:
    """Let an untrained attacker reconstruct one image.

    Raises:
        ValueError: if the attacker takes real images only and these are complex, or it does not return three channels.
    """
    if getattr(network, "real_valued", False) and image.is_complex():
        raise ValueError(f"attackers[{name!r}] is real-valued, and the images are complex.")
    system = ReconstructionSystem(scene.policy, scene.measurement, network).to(device).eval()
    try:
        with torch.no_grad():
            result = system(image.to(device), ratio, torch.Generator(device).manual_seed(0))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"attackers[{name!r}] ({type(network).__name__}) cannot take the measurement: {error}"
        ) from error
    if result.mean.shape != image.shape or result.log_variance.shape != image.shape:
        raise ValueError(
            f"attackers[{name!r}] must return (batch, 3, H, W) (mean real, imaginary, log-variance) for an image of "
            f"{tuple(image.shape)}, its mean is {tuple(result.mean.shape)}."
        )


def train_attacker(scene: Scene, network: nn.Module, ratios: Sequence[float], budget: Budget, name: str) -> Course:
    """Train an attacker on fresh masks and noise with the mean squared error until validation stops improving.

    Args:
        scene: what it meets.
        network: as :class:`~infomri_monai.systems.ReconstructionSystem` takes it; on return in its best state.
        ratios: drawn uniformly, one per image; a validation goes through all.
        budget: the limits.
        name: for the log.
    """
    system = ReconstructionSystem(scene.policy, scene.measurement, network).to(budget.device)
    prepare = (
        PrepareListedRatios(ratios, budget.seed, scene.image_key),
        PrepareRatioSweep(ratios, budget.seed + VALIDATION, scene.image_key),
    )
    quantities = {"mse": squared_error, "psnr": lambda result, target: psnr(result.mean, target.to(result.mean.dtype))}
    loss = MeanSquaredErrorLoss()
    return train_until_no_better(system, network, loss, quantities, scene.data[:2], prepare, budget, name)


def evaluate_attacker(
    scene: Scene, network: nn.Module, ratios: Sequence[float], budget: Budget, name: str
) -> AttackOutcome:
    """Test a trained attacker at every ratio; every attacker with these ratios sees the same measurements.

    Raises:
        RuntimeError: if a reconstruction is not finite.
    """
    prepare = PrepareRatioSweep(ratios, budget.seed + TEST, scene.image_key)
    quality = RateDistortion(name)

    def collect(result: ReconstructionResult, image: Tensor) -> None:
        check_finite(result.mean, name, "in the test")
        quality.update(result, image, prepare.ratios.repeat_interleave(len(image) // len(prepare.ratios)))

    run_on_test_data(scene, ReconstructionSystem(scene.policy, scene.measurement, network), prepare, budget, collect)
    return _outcome(quality)


def run_on_test_data(
    scene: Scene, system: nn.Module, prepare: Any, budget: Budget, collect: Callable[[Any, Tensor], None]
) -> None:
    """Run a system on the test data.

    Args:
        scene: has the test data.
        system: what MONAI's evaluator calls.
        prepare: batch preparation, which follows the evaluator.
        budget: for batches and device.
        collect: is given the system's result and the label of every batch.
    """
    evaluator = SupervisedEvaluator(
        device=budget.device,
        val_data_loader=DataLoader(scene.data.test, batch_size=budget.batch_size, num_workers=budget.num_workers),
        network=system.to(budget.device),
        prepare_batch=prepare,
        val_handlers=[prepare],
        decollate=False,
    )

    def pass_on(engine: Engine) -> None:
        output: Any = engine.state.output
        collect(output[CommonKeys.PRED], output[CommonKeys.LABEL])

    evaluator.add_event_handler(Events.ITERATION_COMPLETED, pass_on)
    evaluator.run()


def _outcome(quality: RateDistortion) -> AttackOutcome:
    """Rows, and the values of every image by ratio."""
    rows = quality.table().rows
    ratios = torch.tensor([row.ratio for row in rows])
    images = {"ratio": ratios}
    for key in ("psnr", "ssim", "zero_filled_psnr"):
        metric = quality.metrics[key]
        assert isinstance(metric, PerImageMetric)
        of_image, values = metric.image_labels()[0].cpu(), metric.by_image().cpu()
        images[key] = torch.stack([values[torch.isclose(of_image, ratio.double(), atol=1e-6)] for ratio in ratios])
    unknown: dict[str, Any] = dict.fromkeys(_OF_THE_VARIANCE, float("nan"))
    return AttackOutcome([row._replace(**unknown) for row in rows], images)
