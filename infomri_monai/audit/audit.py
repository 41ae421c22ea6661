"""The privacy audit: attackers are trained against a frozen policy, tested, and reported in words."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines.workflow import Workflow
from torch import Tensor

from infomri_monai.acquisition.measurement import FourierMeasurement
from infomri_monai.audit.attack import AuditAttacks
from infomri_monai.audit.linear import LINEAR
from infomri_monai.audit.probe import AuditProbe
from infomri_monai.audit.report import (
    ZERO_FILLED,
    AuditReport,
    attack_examples,
    draw_curves_of,
    judge,
    write_examples,
    write_report,
)
from infomri_monai.audit.scene import AuditData, Budget, Scene, listed_floors, seeded, told_apart
from infomri_monai.audit.store import AuditStore, checksum_of_data, checksum_of_module, fingerprint
from infomri_monai.audit.training import Maker
from infomri_monai.engines.hardware import MixedPrecision
from infomri_monai.metrics.image_quality import psnr, ssim
from infomri_monai.sampling.policy import FrozenPolicy, SamplingPolicy

__all__ = ["Floor", "PrivacyAudit", "floors", "policy_warnings"]


class Floor(NamedTuple):
    """Quality of one image as a guess of every test image, (images,) each; PSNR in dB."""

    psnr: Tensor
    ssim: Tensor


def floors(scene: Scene, batch_size: int) -> dict[str, Floor]:
    """Compare every test image with what needs no measurement: the mean training image, and a constant image."""
    found = {}
    for name, guess in listed_floors(scene, batch_size).items():
        values = []
        for batch in DataLoader(scene.data.test, batch_size=batch_size):
            image = torch.as_tensor(batch[scene.image_key]).abs().float()
            same = guess.expand_as(image)
            values.append((psnr(same, image), ssim(same, image)))
        found[name] = Floor(*(torch.cat(parts) for parts in zip(*values, strict=True)))
    return found


def policy_warnings(policy: SamplingPolicy, ratios: Sequence[float]) -> list[str]:
    """What makes an audit of this policy say less than it seems to; also logged.

    Raises:
        ValueError: if a parameter or buffer of the policy is not finite.
    """
    bad = [name for name, tensor in policy.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise ValueError(f"policy holds NaN or Inf in {', '.join(bad[:3])}: its training diverged.")
    warnings = []
    if any(True for _ in policy.parameters()) and policy.ratio_range is None:
        warnings.append(
            "The policy does not say for which ratios it was trained; it may be untrained, and then this is no audit of a learned "
            "policy."
        )
    outside = [ratio for ratio in ratios if policy.extrapolates(ratio)]
    for ratio in outside:
        policy.warn_where_extrapolating(ratio)
    if outside:
        listed = ", ".join(f"{ratio:.4g}" for ratio in outside)
        warnings.append(
            f"The policy was trained for the range {policy.ratio_range}; its masks at {listed} are extrapolated."
        )
    return warnings


_LOGGER = logging.getLogger(__name__)
_VERSION = 4  # of what is trained and tested: raise it and older results are not taken over


class PrivacyAudit(Workflow):
    """Train attackers to reconstruct images from a defender's measurements, and report what they reached.

    The policy is copied and frozen. Every attacker meets fresh masks and the defender's noise, is given the masks, and is trained
    on images of the same distribution with MONAI's ``SupervisedTrainer`` until validation stops improving; the weights of the best
    validation are tested. Beside them stand the linear MMSE attack in closed form (:mod:`infomri_monai.audit.linear`; of a single
    coil), and the guesses that need no measurement: the training images' mean and a constant image. A classifier that predicts the
    entries' attribute from the same measurements probes for other leaks, if it learns the attribute from complete data.

    It is an Ignite engine whose iterations are the networks to train, so that handlers (MONAI's ``MLFlowHandler``,
    :class:`~infomri_monai.handlers.TrackOutputs`) attach as to an evaluator. ``state.metrics`` holds
    ``<attacker>_psnr_at_<ratio>`` and so on. Under ``output_dir``: ``attackers.csv``, ``.json``, ``.md``, ``.png``; ``report.md``,
    ``report.json``; ``attribute_probe.*``; ``reconstructions.png`` (images of the test data), ``learning_curves.png``; and
    ``models/``, from which a second run with the same settings takes what is finished.

    Args:
        policy: the trained policy to attack.
        measurement: the defender's measurement, with its noise.
        attackers: name -> network as :class:`~infomri_monai.systems.ReconstructionSystem` takes it, or a function that makes one
            (in a config ``"_mode_": "callable"``), which is called under the audit's seed. Networks are copied.
        train_data: what attackers learn from: a data set or list of entries with an image (1, H, W), real or complex.
        validation_data: what ends their training.
        test_data: what they are tested on.
        ratios: sampling ratios that are attacked; results are named by four decimals, in which they must differ.
        output_dir: folder of the results.
        method: what is audited, for titles.
        learning_rate: of Adam; one for all or one per attacker.
        batch_size: images per gradient step.
        max_epochs: most passes over the training data, for each ratio that a network serves.
        max_steps: most gradient steps, for each ratio that a network serves; None for no other limit. Every method of a comparison
            so has the same budget; the report names the networks that it ended.
        val_interval: gradient steps between validations, for each ratio, less where that divides ``max_steps`` better; None
            validates once per pass.
        patience: validations in a row without a mean squared error lower by 0.5 % that end a training; each of them goes back to
            the best weights with a third of the learning rate.
        per_ratio: train one network per ratio; else one per attacker for all ratios, drawn uniformly, one per image.
        probe: classifier of the attribute, an :class:`~infomri_monai.networks.ImageClassifier` or a function that makes one; None
            for a small ResNet.
        attribute_key: the entries' key of the attribute, a class number; None for no probe. Entries without it: no probe.
        probe_learning_rate: of the probe.
        recoverable_margin: gain in dB over the guess without a measurement from which the report calls an image recoverable.
        seed: of everything random.
        device: where everything runs.
        mixed_precision: bfloat16 while training, ``"auto"`` where the hardware is faster with it; tests are in float32.
        num_workers: processes of the data loaders.
        image_key: the entries' key of the image.
        val_handlers: handlers to attach.

    Attributes:
        report: the :class:`~infomri_monai.audit.report.AuditReport` after a run.

    Raises:
        ValueError: if there is no attacker, a name is no file name, a number is out of range, a split is empty or does not fit the
            policy's grid, an attacker cannot take the measurement, or the policy holds NaN.
        RuntimeError: if several processes run it, or a network's gradient or prediction is not finite.

    References:
        InfoMRI (2026), section IV-C.
    """

    def __init__(
        self,
        policy: SamplingPolicy,
        measurement: FourierMeasurement,
        attackers: Mapping[str, Maker],
        train_data: Any,
        validation_data: Any,
        test_data: Any,
        ratios: Sequence[float],
        output_dir: str | os.PathLike[str],
        method: str = "InfoMRI",
        learning_rate: float | Mapping[str, float] = 1e-3,
        batch_size: int = 64,
        max_epochs: int = 100,
        max_steps: int | None = None,
        val_interval: int | None = None,
        patience: int = 5,
        per_ratio: bool = False,
        probe: Maker | None = None,
        attribute_key: str | None = "attribute",
        probe_learning_rate: float = 1e-3,
        recoverable_margin: float = 3.0,
        seed: int = 0,
        device: str | torch.device = "cpu",
        mixed_precision: bool | Literal["auto"] = False,
        num_workers: int = 0,
        image_key: str = "image",
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        _check_alone()
        self.method, self.output_dir, self.margin = method, Path(output_dir), _checked_margin(recoverable_margin)
        where, limits = torch.device(device), (batch_size, max_epochs, max_steps, val_interval, patience)
        mixed = MixedPrecision(mixed_precision, where).enabled
        self.budget = Budget(probe_learning_rate, *limits, seed, mixed, num_workers, where).check()
        self.ratios = told_apart(ratios)
        self.warnings = policy_warnings(policy, self.ratios)
        data = AuditData.of(train_data, validation_data, test_data)
        self.scene = Scene(FrozenPolicy(policy, where), copy.deepcopy(measurement).to(where), data, image_key)
        self.scene.image()
        store = AuditStore(self.output_dir / "models", _fingerprint_of(self.scene))
        given = self.scene, self.ratios, self.budget, store
        self.attacks = AuditAttacks(*given, attackers, learning_rate, per_ratio)
        self.probe = AuditProbe(*given, attribute_key, probe)
        self.report: AuditReport | None = None
        work = [*self.attacks.trials, *self.probe.trials]
        super().__init__(device=where, max_epochs=1, data_loader=work, decollate=False)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._conclude)
        self._register_handlers(val_handlers or [])

    def _iteration(self, engine: Any, batchdata: Any) -> dict:
        """Train and test one network, or take it from an earlier run."""
        place, total = engine.state.iteration, engine.state.epoch_length
        _LOGGER.info("privacy audit of %s, %d of %d: %s", self.method, place, total, batchdata)
        with seeded(self.budget.device, self.budget.seed):
            (self.probe if batchdata in self.probe.trials else self.attacks).run(batchdata)
        return {}

    def _conclude(self, engine: Engine) -> None:
        with seeded(self.budget.device, self.budget.seed):
            self.conclude()

    def conclude(self) -> None:
        """Compare with what is known without a measurement, publish the numbers, write tables, report and pictures."""
        self.attacks.attack_linearly()
        if self.attacks.linear is None:
            self.warnings = [*self.warnings, f"The {LINEAR} attack was not made: it takes one coil."]
        outcomes = self.attacks.outcomes()
        guesses = floors(self.scene, self.budget.batch_size)
        guess = max(guesses.values(), key=lambda floor: float(floor.psnr.nanmean()))
        zero_filled = next(iter(outcomes.values())).images["zero_filled_psnr"]
        attacks = [
            {ZERO_FILLED: zero_filled[i], **{name: outcome.images["psnr"][i] for name, outcome in outcomes.items()}}
            for i in range(len(self.ratios))
        ]
        verdicts = [judge(s, a, guess.psnr, self.margin) for s, a in zip(self.ratios, attacks, strict=True)]
        self.report = AuditReport(
            method=self.method,
            facts=self.scene.facts(self.ratios),
            budget=self.budget,
            margin=self.margin,
            attackers=self.attacks.reports(),
            floors={n: (float(f.psnr.nanmean()), float(f.ssim.nanmean())) for n, f in guesses.items()},
            verdicts=verdicts,
            probe=self.probe.report(),
            warnings=self.warnings,
        )
        self.state.metrics |= self.report.metrics()
        write_report(self.report, self.output_dir)
        draw_curves_of(self.report, self.output_dir)
        examples = attack_examples(self.scene, self.attacks.trained, outcomes, self.budget.seed, self.budget.device)
        write_examples(examples, self.method, self.output_dir)
        _LOGGER.info("privacy audit of %s: %s", self.method, self.report.summary())


def _check_alone() -> None:
    if idist.get_world_size() > 1:
        raise RuntimeError("the privacy audit runs in one process; start it without torchrun.")


def _checked_margin(margin: float) -> float:
    if not margin > 0:
        raise ValueError(f"recoverable_margin must be > 0 dB, got {margin}.")
    return float(margin)


def _fingerprint_of(scene: Scene) -> str:
    """What all networks of an audit have in common."""
    return fingerprint(
        version=_VERSION,
        policy=checksum_of_module(scene.policy.policy),
        measurement=checksum_of_module(scene.measurement),
        data=[checksum_of_data(part, scene.image_key) for part in scene.data],
        image_key=scene.image_key,
    )
