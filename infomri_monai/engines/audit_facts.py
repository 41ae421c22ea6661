"""What an audit states about the defender, and what an attacker knows without any measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from monai.data import DataLoader
from torch import Tensor, nn

from infomri_monai.engines.attack import Scene
from infomri_monai.engines.audit_data import mean_magnitude, size
from infomri_monai.metrics.image_quality import psnr, ssim
from infomri_monai.sampling.policy import SamplingPolicy

__all__ = ["ConstantGuess", "constant_guess", "facts_of", "policy_warnings"]


class ConstantGuess(NamedTuple):
    """Quality of the training images' mean magnitude as a guess of every test image, (images,) each; PSNR in dB."""

    psnr: Tensor
    ssim: Tensor


def constant_guess(scene: Scene, batch_size: int) -> ConstantGuess:
    """Compare every test image with the training images' mean magnitude."""
    guess = mean_magnitude(scene.data.train, scene.image_key, batch_size)
    values = []
    for batch in DataLoader(scene.data.test, batch_size=batch_size):
        image = torch.as_tensor(batch[scene.image_key]).abs().float()
        same = guess.expand_as(image)
        values.append((psnr(same, image), ssim(same, image)))
    return ConstantGuess(*(torch.cat(parts) for parts in zip(*values, strict=True)))


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


def facts_of(scene: Scene, ratios: Sequence[float]) -> dict[str, Any]:
    """Policy, ratios, noise and data in words."""
    policy = scene.policy.policy
    sizes = {name: size(data) for name, data in scene.data._asdict().items()}
    image = torch.as_tensor(scene.data.test[0][scene.image_key])
    noise = scene.measurement.noise
    lines = "single positions" if policy.readout_axis is None else f"lines along axis {policy.readout_axis}"
    return {
        "policy": f"{type(policy).__name__}, {lines}, {sum(p.numel() for p in policy.parameters())} parameters, not changed",
        "ratios": ", ".join(f"{ratio:.4g}" for ratio in ratios),
        "noise": "none" if noise is None else _noise(noise),
        "images": f"{'complex' if image.is_complex() else 'real'}, {image.shape[1]} x {image.shape[2]}; "
        + ", ".join(f"{count} {name}" for name, count in sizes.items()),
        "the attackers are given": "the masks (networks without a mask input do not use them), and for training measurements with "
        "the defender's noise of images of the same distribution",
    }


def _noise(noise: nn.Module) -> str:
    """Class and numbers of a noise model."""
    plain = {
        k: v
        for k, v in vars(noise).items()
        if k not in ("training", "spatial_dims") and isinstance(v, (bool, float, int))
    }
    numbers = ", ".join(f"{key} {value}" for key, value in plain.items() if not key.startswith("_"))
    return f"{type(noise).__name__} ({numbers})" if numbers else type(noise).__name__
