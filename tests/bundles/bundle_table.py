"""The list that a bundle joins to be tested: a row of what differs between the bundles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Refusal(NamedTuple):
    """Values that a training must refuse, part of what it must say, and whether only ``make test-all`` tries."""

    values: Mapping[str, Any]
    message: str
    slow: bool = False


@dataclass(frozen=True, eq=False)
class Bundle:
    """What the shared tests must know of a bundle.

    Attributes:
        name: its folder, and its experiment in MLflow.
        grid: of the shipped policy, and of the embedded data.
        channels: of the exported network's output.
        models: shipped in ``models/`` beside model.pt and policy.pt, and made by a training too.
        not_exported: beginnings of the names of shipped weights that inference does without.
        real_valued: whether its images are.
        ratios: of the evaluation, rising.
        tiny_model: values that make the network small.
        tiny_training: values that make a training small, beside those of every bundle.
        tiny_evaluation: the same for an evaluation.
        report: name of the evaluation's table.
        report_files: what an evaluation writes.
        printed: a column's title in the table that an evaluation prints.
        tracked_parameters: some of what MLflow holds of a tiny training.
        tracked_metrics: names of some metrics that MLflow holds for every ratio.
        refusals: what its training refuses.
        other_architecture: an overlay with another network, and the network's class.
        tiny_inference: values that make an inference small, beside ``tiny_model``.
        case_files: ends of the names of what ``tiny_inference`` writes for a case.
        folder_files: what it writes once.
        other_grid: what an evaluation on another grid than the training's must say.
        statistics: configuration's paths of more files of a training than model.pt and policy.pt that an evaluation reads.
        embedded_cases: number of its embedded cases.
        untracked: files of an evaluation that do not go to MLflow.
        maps: whether the exported network's output has pixels.
    """

    name: str
    grid: tuple[int, int]
    channels: int
    real_valued: bool
    ratios: tuple[float, ...]
    report: str
    report_files: frozenset[str]
    printed: str
    tracked_parameters: Mapping[str, str]
    tracked_metrics: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    other_architecture: tuple[str, str]
    tiny_inference: Mapping[str, Any]
    case_files: tuple[str, ...]
    folder_files: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()
    not_exported: tuple[str, ...] = ()
    tiny_model: Mapping[str, Any] = field(default_factory=dict)
    tiny_training: Mapping[str, Any] = field(default_factory=dict)
    tiny_evaluation: Mapping[str, Any] = field(default_factory=dict)
    embedded_cases: int = 2
    other_grid: str = "grid (48, 40) differs from the policy's grid (32, 32)"
    statistics: Mapping[str, str] = field(default_factory=dict)
    maps: bool = True
    untracked: frozenset[str] = frozenset()

    @property
    def root(self) -> Path:
        """The bundle's folder, from which a user runs it."""
        return Path(__file__).parents[2] / "bundles" / self.name

    @property
    def weights(self) -> set[str]:
        """All files of ``models/``."""
        return {"model.pt", "policy.pt", *self.models}


#: a task model of a few thousand parameters
TINY_MODEL = {"channels": [8, 8], "latent_channels": 4}

RECON = Bundle(
    name="infomri_recon",
    grid=(96, 96),
    channels=4,
    real_valued=False,
    ratios=(0.0625, 0.125, 0.1875, 0.25),
    report="rate_distortion",
    report_files=frozenset(
        {*(f"rate_distortion.{suffix}" for suffix in ("csv", "json", "md", "png"))}
        | {"masks.png", "reconstructions.png", "calibration.png"}
    ),
    printed="std.sq.err",
    tracked_parameters={"learning_rate": "0.003"},
    tracked_metrics=("psnr",),
    refusals=(
        Refusal({"grid": [8, 8]}, "grid must lie in [16, 512]"),
        Refusal({"validate#key_metric": {"pnsr": "@validate#rate_distortion"}}, "key metric must be one of", slow=True),
    ),
    other_architecture=("unet", "GaussianUNet"),
    tiny_inference={"figure": False},
    case_files=(".json", "_mean.nii.gz", "_sigma.nii.gz", "_mask.nii.gz"),
)

SEGMENTATION = Bundle(
    name="infomri_segmentation",
    grid=(64, 64),
    channels=6,  # four classes, entropy, mutual information
    models=("triage.json",),
    not_exported=("reconstruction_decoder",),
    real_valued=True,
    ratios=(0.03125, 0.0625, 0.125, 0.25),
    tiny_model=TINY_MODEL,
    tiny_training={"validation_samples": 4},
    tiny_evaluation={"evaluation_samples": 6},
    report="segmentation",
    report_files=frozenset(
        {*(f"segmentation.{suffix}" for suffix in ("csv", "json", "md"))}
        | {"cases.csv", "worklist.csv", "worklist.json", "masks.png", "segmentations.png", "sweep.png"}
        | {"segmentation_by_acceleration.png", "reliability.png", "risk_coverage.png", "ged_by_samples.png"}
    ),
    printed="V-stat.",
    tracked_parameters={"kl_weight": "1.5", "simulated_raters": "True"},
    tracked_metrics=("ged", "dice"),
    refusals=(
        Refusal({"validation_samples": 0}, "samples must be >= 1"),
        Refusal(
            {"validate#prepare_batch#label_key": "mask"},
            "validation_data cannot be validated with: batch has no key 'mask'",
        ),
        Refusal({"kl_weight": -1.0}, "weights must name", slow=True),
        Refusal({"num_classes": 1}, "label must lie below 1, got 3", slow=True),
        Refusal({"structures": ["one"]}, "structures must be", slow=True),
    ),
    other_architecture=("systems/deterministic", "DeterministicSegmenter"),
    tiny_inference={"samples": 2},
    case_files=(
        *(".json", ".png", "_segmentation.nii.gz", "_probability.nii.gz"),
        *("_entropy.nii.gz", "_mutual_information.nii.gz", "_mask.nii.gz"),
    ),
    folder_files=frozenset({"worklist.csv", "worklist.json"}),
)

PRIVACY = Bundle(
    name="infomri_privacy_classification",
    grid=(64, 64),
    channels=3,  # two classes, entropy
    maps=False,
    models=("kspace_statistics.npz",),
    real_valued=True,
    ratios=(0.0625, 0.125, 0.25),
    tiny_model={"channels": [4, 4, 4, 4], "data_seed": 2},  # one subject of a split has both classes
    tiny_training={"batch_size": 8},
    tiny_evaluation={"bootstrap": 20, "train_data#subjects": 4},
    other_grid="belongs to the grid (32, 32), the data have (48, 40)",
    statistics={"statistics_path": "kspace_statistics.npz"},
    report="classification",
    report_files=frozenset(
        {*(f"classification.{suffix}" for suffix in ("csv", "json", "md")), "predictions.csv"}
        | {
            f"{name}.png"
            for name in ("performance", "reliability", "roc", "predictive_entropy", "masks", "entropy_map", "examples")
        }
    ),
    printed="AUROC",
    tracked_parameters={"beta": "-1e-05"},
    tracked_metrics=("accuracy", "kspace_entropy"),
    refusals=(
        Refusal({"beta": 1e-4}, "beta must be a finite number <= 0"),
        Refusal({"noise_std": 0.0}, "noise_std must be", slow=True),
        Refusal({"num_classes": 1}, "num_classes must be at least 2", slow=True),
        Refusal({"labels": ["one"]}, "labels must", slow=True),
        Refusal({"train_data#prevalence": 0.0}, "train_data: class 1 of 2 is absent"),
    ),
    other_architecture=("paper_scale", "ImageClassifier"),
    tiny_inference={},
    case_files=(".json",),
    folder_files=frozenset({"report.csv"}),
    embedded_cases=4,
    untracked=frozenset({"examples.png", "predictions.csv"}),
)

BUNDLES = (RECON, SEGMENTATION, PRIVACY)


def bundles(*fast: Bundle, slow: tuple[Bundle, ...] = ()) -> pytest.MarkDecorator:
    """Parametrise a test by ``bundle``: some always, some in ``make test-all`` only."""
    marked = [pytest.param(bundle, id=bundle.name) for bundle in fast]
    marked += [pytest.param(bundle, id=bundle.name, marks=pytest.mark.slow) for bundle in slow]
    return pytest.mark.parametrize("bundle", marked)


every_bundle = bundles(*BUNDLES)
#: where the bundles share what is tested, one of them answers for all in ``make test``
first_bundle_fast = bundles(BUNDLES[0], slow=BUNDLES[1:])
