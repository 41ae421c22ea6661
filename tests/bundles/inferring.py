"""``configs/inference.json`` of the bundles as a user runs it: a copy of the bundle with random weights, volumes, workflows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from torch import nn

from infomri_monai.sampling import PatternGenerationNetwork, save_policy

#: axes permuted, turned and of different lengths
AFFINE = np.array([[0, 0.2, 3, -20], [1.9, -0.3, 0, 5], [0.3, 1.8, -0.1, 7], [0, 0, 0, 1.0]])
#: of the copied bundles' policy
GRID = (32, 32)


def network(bundle: Path, *overlays: str, **values: Any) -> nn.Module:
    """``network_def`` of a bundle's inference configuration, with overlays, and values of the configuration changed."""
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / f"{name}.json") for name in ("inference", *overlays)])
    parser.update(values)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = parser.get_parsed_content("network_def")
    return made


def copied_bundle(bundle: Path, root: Path, weights: nn.Module) -> Path:
    """The configurations of a bundle beside other weights and a policy of 32 x 32."""
    (root / "models").mkdir(parents=True)
    shutil.copytree(bundle / "configs", root / "configs")
    torch.save(weights.state_dict(), root / "models" / "model.pt")
    save_policy(PatternGenerationNetwork(GRID), root / "models" / "policy.pt")
    return root


def workflow(*overlays: str, **values: Any) -> ConfigWorkflow:
    """The workflow of the bundle whose root is the working directory."""
    configs = [f"configs/{name}.json" for name in ("inference", *overlays)]
    return ConfigWorkflow(config_file=configs, meta_file=None, logging_file=False, workflow_type="infer", **values)


def infer(*overlays: str, **values: Any) -> None:
    """Run the workflow."""
    flow = workflow(*overlays, **values)
    flow.initialize()
    flow.run()
    flow.finalize()


def refusal(**values: Any) -> str:
    """The messages of the error that the workflow must end with, causes included (MONAI wraps what a ``_target_`` raises)."""
    with pytest.raises((RuntimeError, ValueError)) as error:
        infer(**values)
    messages: list[str] = []
    cause: BaseException | None = error.value
    while cause is not None:
        messages.append(str(cause))
        cause = cause.__cause__
    return " ".join(messages)


def write_volumes(
    folder: Path,
    names: Sequence[str] = ("a", "b"),
    shape: Sequence[int] = (29, 34, 3),
    broken: str = "",
    header: bytes = b"",
) -> None:
    """NIfTI volumes of uniform noise, mean intensity 500, with words in their headers; one may be of NaN."""
    for seed, name in enumerate(names):
        data = 1000 * np.random.default_rng(seed).random(tuple(shape)).astype(np.float32)
        image = nibabel.Nifti1Image(np.full_like(data, np.nan) if name == broken else data, AFFINE)
        for field in ("descrip", "aux_file", "intent_name"):
            image.header[field] = header
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.to_filename(path)


def write_kspace(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Two slices of random k-space of 20 x 27 and a mask of lines, which are returned as well."""
    draw = np.random.default_rng(0)
    kspace = (draw.normal(size=(2, 20, 27)) + 1j * draw.normal(size=(2, 20, 27))).astype(np.complex64)
    mask = (draw.random(27) < 0.4).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, kspace=kspace, mask=mask)
    return kspace, mask


def pixels(path: Path) -> np.ndarray:
    """The array of a NIfTI file."""
    image: Any = nibabel.load(path)
    return np.asanyarray(image.dataobj)


def record(path: Path) -> dict[str, Any]:
    """A JSON file."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content
