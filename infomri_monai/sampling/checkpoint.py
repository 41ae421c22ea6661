"""Saving and loading a policy as a plain checkpoint that executes no code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from infomri_monai.files import atomic_path, read_plain
from infomri_monai.sampling.equispaced import Equispaced
from infomri_monai.sampling.loupe import LOUPE
from infomri_monai.sampling.pgn import PatternGenerationNetwork
from infomri_monai.sampling.poisson_disk import PoissonDisk
from infomri_monai.sampling.policy import SamplingPolicy
from infomri_monai.sampling.radial import Radial
from infomri_monai.sampling.spectrum import Spectrum
from infomri_monai.sampling.uniform import UniformRandom
from infomri_monai.sampling.variable_density import VariableDensity

__all__ = ["POLICIES", "load_policy", "save_policy"]

#: the classes that a checkpoint may name
POLICIES: dict[str, type[SamplingPolicy]] = {
    policy.__name__: policy
    for policy in (
        LOUPE,
        Equispaced,
        PatternGenerationNetwork,
        PoissonDisk,
        Radial,
        Spectrum,
        UniformRandom,
        VariableDensity,
    )
}

_KEYS = ("policy", "config", "state_dict")


def save_policy(policy: SamplingPolicy, path: str | os.PathLike[str]) -> Path:
    """Save a policy: its class name, its constructor arguments and its state dict, as one plain dictionary.

    The file is written under a temporary name and then renamed, so that a crash leaves no half-written checkpoint.

    Args:
        policy: a policy of one of the classes in ``POLICIES``.
        path: file to write; its folder must exist.

    Returns:
        The path.

    Raises:
        ValueError: if the policy's class is not in ``POLICIES``.
        FileNotFoundError: if the folder does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     load_policy(save_policy(VariableDensity(power=4), f"{folder}/policy.pt")).config()["power"]
        4.0
    """
    name = type(policy).__name__
    if POLICIES.get(name) is not type(policy):
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {name}.")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} of the policy checkpoint does not exist.")
    with atomic_path(path) as part:
        torch.save({"policy": name, "config": policy.config(), "state_dict": policy.state_dict()}, part)
    return path


def load_policy(path: str | os.PathLike[str], map_location: str | torch.device = "cpu") -> SamplingPolicy:
    """Load a policy saved by :func:`save_policy`. Nothing in the file is executed.

    Args:
        path: the checkpoint.
        map_location: device of the loaded policy.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the file cannot be read: a right is missing, or the disk fails.
        ValueError: if the file is damaged (also where only a checksum tells), holds anything but tensors and plain types (a pickle
            that would execute code), is not a policy's checkpoint, names an unknown class, or its arguments or tensors do not fit
            the class.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"policy checkpoint {path} does not exist or is not a file.")
    content = _read(path, map_location)
    name, config, state = content["policy"], content["config"], content["state_dict"]
    if not isinstance(name, str) or name not in POLICIES:
        raise ValueError(f"{path} names the policy class {name!r}; known are {', '.join(POLICIES)}.")
    try:
        policy = POLICIES[name](**config)
        policy.load_state_dict(state)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold a {name} of this version: {error}") from error
    return policy.to(map_location)


def _read(path: Path, map_location: str | torch.device) -> dict[str, Any]:
    content = read_plain(path, map_location)
    if not isinstance(content, dict) or not set(_KEYS) <= set(content):
        found = sorted(map(str, content))[:4] if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path} is not a policy checkpoint: it must hold {', '.join(_KEYS)} as save_policy writes them, "
            f"got {found} (the checkpoint of a network?)."
        )
    return content
