"""The segmentation bundle's inference on small random weights: its network, its commands, and the files it writes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from bundle_table import SEGMENTATION, TINY_MODEL
from inferring import copied_bundle, infer, network

from infomri_monai.triage import choose_threshold, save_threshold

MAPS = {"segmentation", "probability", "entropy", "mutual_information", "mask"}
STRUCTURES = ["csf", "grey", "white"]
WORKLIST = {"worklist.csv", "worklist.json"}


def task_model(**values: Any) -> Any:
    """A small network whose samples differ: an untrained one gives every class everywhere the same probability."""
    made: Any = network(SEGMENTATION.root, **{**TINY_MODEL, "reconstruct": True, **values})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.task_decoder.blocks[-1].parameters():
            parameter.normal_(generator=generator)
        if hasattr(made, "posterior"):
            made.latent.head.bias[TINY_MODEL["latent_channels"] :] = -2
    return made


def bundle_with_weights(root: Path) -> Path:
    """A copy of the bundle with weights and a threshold as a training leaves them."""
    copied_bundle(SEGMENTATION.root, root, task_model())
    chosen = choose_threshold([0.6, 0.1], [0.9, 0.1], acceptable=0.7, error_rate=0.1)
    save_threshold(chosen, root / "models" / "triage.json")
    return root


def segment(folder: Path, output: Path, *overlays: str, **values: Any) -> None:
    """Three samples of every case, without pictures unless they are asked for."""
    small = {**TINY_MODEL, "samples": 3, "figure": False}
    infer(*overlays, **{**small, "dataset_dir": str(folder), "output_dir": str(output), **values})


def rows(folder: Path) -> list[dict[str, str]]:
    """``worklist.csv``."""
    with (folder / "worklist.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def names(case: str, *more: str) -> set[str]:
    """Files of a case, with ``more`` maps than there always are."""
    return {f"{case}_{name}.nii.gz" for name in (*MAPS, *more)} | {f"{case}.json"}
