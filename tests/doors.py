"""Every public function and transform with a call of it and the kinds of its arguments, for test_every_door.

A new one joins by being listed: its arguments by the names that its errors use, each with a small native value. The value's kind is
the argument's: complex (k-space), real float (image or other numbers), bool (mask), int array (label), float (number), int (whole).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from infomri_monai import acquisition, data, figures, information, losses, metrics, sampling, systems, transforms
from infomri_monai.networks import ImageClassifier, LatentSegmenter, TaskPosterior, UnrolledReconstructor

ROOMS = ("acquisition", "information", "sampling", "scanner", "metrics", "triage", "losses", "systems", "audit")
ROOMS += ("figures", "data", "transforms")


class Door(NamedTuple):
    """A call, its arguments' native values, whether its result is not to be compared, other names that its errors may use."""

    call: Callable[..., Any]
    arguments: Mapping[str, Any]
    draws: bool = False
    also: str = "no other name"


DRAW = np.random.default_rng(0)
IMAGE = DRAW.integers(0, 4, (1, 1, 12, 16)).astype(float)
KSPACE = IMAGE + 1j * DRAW.integers(0, 4, IMAGE.shape)
MASK = DRAW.random(IMAGE.shape) < 0.5
LABEL = MASK[0].astype(np.int64)  # (1, H, W)
SETS = (DRAW.random((1, 3, 1, 4, 6)) < 0.5).astype(np.int64)  # (batch, N, structure, H, W)
SHARES = DRAW.choice([0.0, 0.25, 0.5, 1.0], (1, 1, 4, 6))
CLASSES = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
CLASS = np.array([1, 0, 0])
BOTH = np.array([[1, 0], [0, 1], [1, 1]])
STEPS = np.array([0.25, 0.5, 0.75, 1.0])
POSITIVE = IMAGE[0, 0] + 1
PAIR = {"target": IMAGE, "mean": IMAGE[..., ::-1].copy(), "log_variance": IMAGE}
POLICY = sampling.VariableDensity()


def seeded() -> torch.Generator:
    """A generator that every call has anew."""
    return torch.Generator().manual_seed(0)


def named(room: str, name: str, **arguments: Any) -> Door:
    """A function that is called by the names of its arguments."""
    return Door(getattr(importlib.import_module(f"infomri_monai.{room}"), name), arguments)


@cache
def system(kind: str) -> Any:
    """A small system in inference mode."""
    torch.manual_seed(0)
    made = {
        "ReconstructionSystem": lambda: UnrolledReconstructor(phases=1, channels=4),
        "SegmentationSystem": lambda: LatentSegmenter(channels=(8, 8)),
        "ClassificationSystem": lambda: ImageClassifier(
            torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(8, 2))
        ),
    }[kind]()
    return getattr(systems, kind)(POLICY, acquisition.FourierMeasurement(), made).eval()


@cache
@torch.no_grad()
def answer(kind: str) -> Any:
    """What a small system says of the image."""
    made, image = system(kind), torch.from_numpy(IMAGE).float()
    return made(image, 0.5, seeded()) if kind[0] == "R" else made.infer(image, 0.5, 2, seeded())


def collected(metric: Any) -> Callable[..., Any]:
    """A metric after one batch."""

    def call(y_pred: Any, y: Any, ratio: Any) -> Any:
        made = metric()
        made(y_pred, y, ratio=ratio)
        return made.by_ratio()

    return call


def table(collector: str, kind: str, **options: Any) -> Callable[..., Any]:
    """A table after one batch."""

    def call(label: Any, ratio: Any) -> Any:
        said = answer(kind)
        collected = getattr(metrics, collector)(**options)
        collected.update(said, label, ratio)
        return list(collected.table().rows[0])[:6]

    return call


def policy(make: Callable[[], Any]) -> Door:
    """A policy's draw."""
    return Door(lambda ratio, shape: make()(ratio, (12, shape), seeded()), {"ratio": 0.25, "shape": 16})


def noise(name: str) -> Door:
    """A noise model's draw."""
    model = getattr(acquisition, name)
    return Door(lambda noise_std, kspace: model(noise_std)(kspace, seeded()), {"noise_std": 0.25, "kspace": KSPACE})


def transformed(name: str, key: str, value: Any, *options: Any, **others: Any) -> dict[str, Door]:
    """A transform of one array and its dictionary version."""
    make, of_keys = getattr(transforms, name), getattr(transforms, f"{name}d")

    def array(**given: Any) -> Any:
        made = make(*options)
        return _seeded(made)(*given.values())

    def dictionary(**given: Any) -> Any:
        out = _seeded(of_keys(key, *options, **others.get("keys", {})))(given)
        return {name: value for name, value in out.items() if value is not given.get(name)}

    arguments = {key: value, **others.get("more", {})}
    return {name: Door(array, arguments), f"{name}d": Door(dictionary, arguments)}


def _seeded(transform: Any) -> Any:
    return transform.set_random_state(0) if hasattr(transform, "set_random_state") else transform


def _statistics(kspace: Any) -> Any:
    made = acquisition.KSpaceStatistics((12, 16))
    made.update(kspace)
    return made.mean


def _checksum(images: Any) -> Any:
    made = acquisition.ImageChecksum()
    made.update(images)
    return made.hexdigest()


def _centre(spatial_dims: Any, kspace: Any, mask: Any) -> Any:
    check = acquisition.CentreCheck(spatial_dims)
    check.add(kspace, mask)
    return check.warning()


ENTROPY = {"variance_real": POSITIVE, "variance_imag": POSITIVE, "noise_std": 0.5}
GAUSS = dict.fromkeys(("mean_q", "log_variance_q", "mean_p", "log_variance_p"), POSITIVE)
LABELLED = {"probabilities": CLASSES, "labels": CLASS}
RATED = {"probabilities": SHARES, "raters": SETS}
SAMPLED = {"samples": SETS, "raters": SETS[:, :2]}
RISK = {"agreement": STEPS, "dice": STEPS[::-1].copy()}
RESULT = {"ratio": 0.25, "image": IMAGE}
MEASUREMENT = acquisition.FourierMeasurement()
POSTERIOR = systems.ClassificationPosterior(
    torch.tensor([[0.5, 0.5]]),
    torch.ones(1),
    torch.ones(1),
    torch.ones(1, 1, 2),
    torch.ones(1, 1, 12, 16),
    torch.ones(1),
    torch.ones(1),
)
TASK = TaskPosterior(
    torch.ones(1, 3, 1, 12, 16).byte(),
    torch.ones(1, 1, 12, 16).byte(),
    torch.ones(1, 2, 12, 16) / 2,
    *[torch.ones(1, 1, 12, 16)] * 2,
)


def gaussian(loss: Any) -> Door:
    """A loss of an image."""
    result = systems.ReconstructionResult(*[torch.zeros(1, 1, 12, 16)] * 6, torch.ones(1), None)
    return Door(lambda target: loss()(result, target), {"target": IMAGE})


def _bottleneck(beta: Any, target: Any) -> Any:
    result = systems.ClassificationTraining(torch.zeros(3, 2), torch.ones(3), torch.ones(3, 1, 2, 2), torch.ones(3))
    return losses.BottleneckLoss(-beta if isinstance(beta, float) else beta)(result, target)


def _elbo(target: Any, label: Any) -> Any:
    x, z = torch.zeros(1, 1, 12, 16), torch.zeros(1, 1, 1, 1)
    result = systems.SegmentationTraining(torch.zeros(1, 2, 12, 16), z, z, z, z, x, x, x, torch.ones(1))
    return losses.ELBOLoss()(result, losses.SegmentationTarget(target, label))


def _posterior(kind: str) -> Callable[..., Any]:
    def call(image: Any, ratio: Any, samples: Any = None) -> Any:
        with torch.no_grad():
            return system(kind).infer(image, ratio, samples, seeded())

    return call


def _reconstructed(image: Any, ratio: Any) -> Any:
    with torch.no_grad():
        return system("ReconstructionSystem")(image, ratio, seeded())


def listing() -> dict[str, Door]:
    """The doors by ``room.name``."""
    rooms: dict[str, dict[str, Door | dict[str, Any]]] = {
        "acquisition": {
            "CentreCheck": Door(_centre, {"spatial_dims": 2, "kspace": KSPACE, "mask": MASK}),
            "CentreWarning": Door(lambda kspace: acquisition.CentreWarning("quiet")(kspace), {"kspace": KSPACE}),
            "FourierMeasurement": Door(lambda image, mask: MEASUREMENT(image, mask), {"image": IMAGE, "mask": MASK}),
            "ImageChecksum": Door(_checksum, {"images": IMAGE}, True),
            "KSpaceStatistics": Door(_statistics, {"kspace": KSPACE}),
            **{name: noise(name) for name in ("ComplexGaussianNoise", "PoissonNoise", "RicianNoise")},
            "coil_warning": {"coils": 2},
            "combine_coils": {"kspace": KSPACE[0], "mask": MASK[0, 0]},
            "conjugate_partner": {"data": KSPACE, "spatial_dims": 2},
            "crop_kspace": Door(
                lambda kspace, size: acquisition.crop_kspace(kspace, [size, 4]), {"kspace": KSPACE, "size": 6}
            ),
            "hermitian_completion": {"kspace": KSPACE, "mask": MASK, "spatial_dims": 2},
            "image_to_kspace": {"image": IMAGE, "spatial_dims": 2},
            "kspace_to_image": {"kspace": KSPACE, "spatial_dims": 2},
            "off_centre": {"kspace": KSPACE, "mask": MASK, "spatial_dims": 2},
            "redundancy_ratio": {"mask": MASK, "spatial_dims": 2},
            "root_sum_of_squares": {"kspace": KSPACE[0], "mask": MASK[0, 0]},
            "split_by_symmetry": {"mask": MASK, "spatial_dims": 2},
        },
        "information": {
            "MarginalEntropy": Door(
                lambda mask, **maps: information.MarginalEntropy(**maps)(mask), {"mask": MASK, **ENTROPY}
            ),
            "bernoulli_entropy": {"probabilities": SHARES},
            "categorical_entropy": {"probabilities": CLASSES, "dim": 1},
            "gaussian_kl": GAUSS,
            "gaussian_nll": PAIR,
            "measurement_entropy": {"mask": MASK, "position": POSITIVE, "pair": POSITIVE},
            "pair_entropy": ENTROPY,
            "position_entropy": ENTROPY,
        },
        "sampling": {
            "LOUPE": policy(lambda: sampling.LOUPE((12, 16))),
            "Equispaced": policy(lambda: sampling.Equispaced(center_share=0.25)),
            "PatternGenerationNetwork": policy(lambda: sampling.PatternGenerationNetwork((12, 16), hidden=4)),
            "PoissonDisk": policy(sampling.PoissonDisk),
            "Radial": policy(sampling.Radial),
            "Spectrum": Door(
                lambda magnitude, ratio: sampling.Spectrum(magnitude)(ratio, (12, 16)),
                {"magnitude": POSITIVE, "ratio": 0.25},
            ),
            "UniformRandom": policy(sampling.UniformRandom),
            "VariableDensity": Door(
                lambda power, ratio: sampling.VariableDensity(power)(ratio, (12, 16), seeded()),
                {"power": 8.0, "ratio": 0.25},
            ),
            "warm_started_pgn": Door(
                lambda magnitude, asymmetry: sampling.warm_started_pgn(
                    magnitude, (12, 16), asymmetry, hidden=4
                ).config(),
                {"magnitude": POSITIVE, "asymmetry": 1.0},
            ),
        },
        "scanner": {
            "phase_encodes": {"mask": np.repeat(MASK[0, 0, :, :1], 16, 1), "readout_axis": 1, "shots": 1, "seed": 0}
        },
        "metrics": {
            "BinnedCalibration": Door(
                collected(lambda: metrics.BinnedCalibration(metrics.calibration_bins, "")),
                {"y_pred": SHARES, "y": SETS, "ratio": 0.25},
                also="probabilities|raters",
            ),
            "ClassAUROC": Door(
                collected(lambda: metrics.ClassAUROC(2)),
                {"y_pred": CLASSES, "y": CLASS, "ratio": 0.25},
                also="probabilities|labels",
            ),
            "ClassificationQuality": Door(
                table("ClassificationQuality", "ClassificationSystem"), {"label": CLASS[:1], "ratio": 0.25}
            ),
            "IntervalScale": Door(
                collected(metrics.IntervalScale), {"y_pred": np.repeat(IMAGE, 2, 1), "y": IMAGE, "ratio": 0.25}
            ),
            "PerImageMetric": Door(
                collected(lambda: metrics.PerImageMetric(metrics.psnr, "dB", "")),
                {"y_pred": IMAGE, "y": PAIR["mean"], "ratio": 0.25},
            ),
            "PooledCorrelation": Door(
                collected(metrics.PooledCorrelation),
                {"y_pred": np.repeat(IMAGE, 2, 1), "y": PAIR["mean"], "ratio": 0.25},
            ),
            "RateDistortion": Door(table("RateDistortion", "ReconstructionSystem"), {"label": IMAGE, "ratio": 0.25}),
            "SegmentationQuality": Door(
                table("SegmentationQuality", "SegmentationSystem"), {"label": LABEL[None], "ratio": 0.25}
            ),
            "VolumePSNR": Door(collected(metrics.VolumePSNR), {"y_pred": IMAGE, "y": PAIR["mean"], "ratio": 0.25}),
            "VolumeSSIM": Door(collected(metrics.VolumeSSIM), {"y_pred": IMAGE, "y": PAIR["mean"], "ratio": 0.25}),
            "brier_score": RATED,
            "calibration_bins": {**RATED, "bins": 4},
            "channel_masks": {"label": SETS},
            "class_accuracy": LABELLED,
            "class_auroc": {"scores": CLASSES, "targets": BOTH},
            "class_brier_score": LABELLED,
            "class_calibration_bins": {**LABELLED, "bins": 4},
            "class_negative_log_likelihood": LABELLED,
            "dice_to_raters": {"masks": SETS, "raters": SETS},
            "energy_distance": SAMPLED,
            "error_by_sigma": {**PAIR, "bins": 4},
            "exact_match": {"probabilities": CLASSES, "labels": BOTH},
            "expected_calibration_error": {**RATED, "bins": 4},
            "inside_object": {"image": IMAGE, "threshold": 0.25},
            "interval_coverage": {**PAIR, "level": 0.5},
            "magnitude_coverage": {**PAIR, "level": 0.5},
            "mask_pixels": {"masks": SETS},
            **{
                name: Door(getattr(metrics, name), {"sets": SETS})
                for name in ("intersections", "pairwise_dice", "pairwise_iou")
            },
            "psnr": {"prediction": IMAGE, "target": PAIR["mean"], "data_range": 2.0},
            "reliability_diagram": {**RATED, "bins": 4},
            "sample_diversity": {"samples": SETS},
            "split_posterior": {"posterior": np.repeat(IMAGE, 2, 1)},
            "ssim": {"prediction": IMAGE, "target": PAIR["mean"], "data_range": 2.0},
            "stack_posterior": {"mean": IMAGE, "log_variance": IMAGE},
            "standardized_squared_error": PAIR,
            "structure_masks": {"label": LABEL[None], "num_classes": 2},
            "uncertainty_error_correlation": PAIR,
            "volume_coverage": {**SAMPLED, "level": 0.5},
            "volume_interval": {"samples": SETS, "pixel_volume": 0.5, "level": 0.5},
            "volume_quantiles": {"volumes": SETS.sum((-2, -1)).astype(float), "level": 0.5},
        },
        "triage": {
            "choose_threshold": {
                "agreement": STEPS,
                "quality": STEPS,
                "acceptable": 0.5,
                "error_rate": 0.25,
                "confidence": 0.75,
            },
            "risk_coverage": {**RISK, "acceptable": 0.5},
            "sample_agreement": {"samples": SETS},
            "share_removed": {**RISK, "reviewed": 0.25, "worst": 0.25},
        },
        "losses": {
            "BottleneckLoss": Door(_bottleneck, {"beta": 0.0, "target": CLASS}),
            "ELBOLoss": Door(_elbo, {"target": IMAGE, "label": LABEL[None]}),
            "GaussianNLLLoss": gaussian(losses.GaussianNLLLoss),
            "MeanSquaredErrorLoss": gaussian(losses.MeanSquaredErrorLoss),
        },
        "systems": {
            "ClassificationSystem": Door(
                lambda image, ratio, masks: _posterior("ClassificationSystem")(image, ratio, masks),
                {**RESULT, "masks": 2},
            ),
            "ReconstructionSystem": Door(_reconstructed, RESULT),
            "SegmentationSystem": Door(_posterior("SegmentationSystem"), {**RESULT, "samples": 2}),
            "System": Door(
                lambda image, ratio: systems.System(POLICY, MEASUREMENT, torch.nn.Identity()).acquire(
                    image, ratio, seeded()
                ),
                RESULT,
            ),
            "parameter_groups": Door(
                lambda learning_rate, policy_learning_rate: [
                    group["lr"]
                    for group in systems.parameter_groups(
                        system("ReconstructionSystem"), learning_rate, policy_learning_rate
                    )
                ],
                {"learning_rate": 0.25, "policy_learning_rate": 0.5},
            ),
        },
        "figures": {
            "acceleration_text": {"ratio": 0.25},
            "attack_figure": Door(
                lambda truth: figures.attack_figure([figures.AttackExample("a", truth, POSITIVE, {"unet": POSITIVE})]),
                {"truth": POSITIVE},
                True,
            ),
            "calibration_figure": Door(
                lambda sigma, error: figures.calibration_figure({"a": (sigma, error)}),
                {"sigma": STEPS, "error": STEPS},
                True,
            ),
            "classified_image_figure": Door(
                lambda image, label: figures.classified_image_figure(POSTERIOR, image, label),
                {"image": IMAGE, "label": CLASS[:1]},
                True,
            ),
            "entropy_map_figure": Door(
                figures.entropy_map_figure, {"position_entropy": POSITIVE, "pair_entropy": POSITIVE}, True
            ),
            "predictive_entropy_figure": Door(
                lambda entropy, right: figures.predictive_entropy_figure({"a": (entropy, right)}),
                {"entropy": STEPS, "right": STEPS > 0.5},
                True,
            ),
            "reconstruction_figure": Door(
                lambda image: figures.reconstruction_figure(answer("ReconstructionSystem"), image),
                {"image": IMAGE},
                True,
            ),
            "roc_figure": Door(
                lambda scores, targets: figures.roc_figure({"a": (scores, targets)}, ["x", "y"]),
                {"scores": CLASSES, "targets": BOTH},
                True,
            ),
            "segmentation_figure": Door(
                lambda image, labels: figures.segmentation_figure(TASK, image, labels),
                {"image": IMAGE, "labels": LABEL[None]},
                True,
            ),
        },
        "data": {
            "ExtractSliced": Door(
                lambda volume, slice: data.ExtractSliced("image")({"image": volume, "slice": slice})["image"],
                {"volume": IMAGE[..., None].repeat(2, -1)[0], "slice": 1},
            ),
            "check_classes": Door(
                lambda label: len(data.check_classes([{"label": label}, {"label": [0, 1]}], 2, True)),
                {"label": CLASS[:2]},
            ),
            "class_frequencies": Door(lambda label: data.class_frequencies([{"label": label}], 2), {"label": LABEL}),
            "extract_slice": {"volume": IMAGE[..., None].repeat(2, -1)[0], "index": 1, "axis": 2},
            "kspace_statistics": Door(
                lambda image: data.kspace_statistics([{"image": image}]).mean, {"image": IMAGE[0]}
            ),
            "mean_kspace_magnitude": Door(
                lambda image: data.mean_kspace_magnitude([{"image": image}]), {"image": IMAGE[0]}
            ),
            "prepare_images": {"images": IMAGE[0]},
        },
        "transforms": {
            **transformed("CropKSpace", "kspace", KSPACE[0], 4),
            **transformed("ImageToKSpace", "image", IMAGE[0]),
            **transformed("KSpaceToImage", "kspace", KSPACE[0]),
            **transformed("RandKSpaceNoise", "kspace", KSPACE[0]),
            **transformed("RandRater", "label", LABEL.repeat(3, 0)),
            **transformed("RandSampleMask", "image", IMAGE[0], POLICY, 0.25),
            **transformed("SimulateAcquisition", "image", IMAGE[0], POLICY, 0.25),
            **transformed("SimulateRaters", "label", LABEL, keys={"index_keys": ()}),
            **transformed("Undersample", "kspace", KSPACE[0], more={"mask": MASK[0]}),
            **transformed("ZeroFilled", "kspace", KSPACE[0]),
            "StackRaters": Door(lambda label: transforms.StackRaters()([label, label]), {"label": LABEL}),
            "StackRatersd": Door(
                lambda label: transforms.StackRatersd(("a", "b"))({"a": label, "b": label})["label"], {"label": LABEL}
            ),
            "check_label": {"label": LABEL, "num_classes": 2},
            "present_raters": {"label": LABEL},
            "smooth_field": Door(
                lambda shape, wavelength: transforms.smooth_field((shape, 4), wavelength, np.random.default_rng(0)),
                {"shape": 6, "wavelength": 2.0},
            ),
        },
    }
    return {
        f"{room}.{name}": named(room, name, **door) if isinstance(door, dict) else door
        for room, doors in rooms.items()
        for name, door in doors.items()
    }


#: what is not listed, and why
EXCEPTIONS = {
    "a product within checked calls": "acquisition.apply_mask",
    "abstract": "acquisition.NoiseModel metrics.RatioMetric metrics.TableCollector sampling.SamplingPolicy sampling.LearnedPolicy",
    "files and folders (tests/data)": (
        "data.CaseDataset data.ReadCased data.ReadFastMRISliced data.ReadLabelledSliced data.ReadSKMTEASliced data.brain_50 "
        "data.brain_complex_180 data.brain_tumour_1380 data.brain_tumour_side data.brisc data.decathlon_slices data.fastmri_knee "
        "data.fastmri_plus_knee data.fastmri_plus_volumes data.hippocampus_200 data.image_slices data.inference_cases "
        "data.load_kspace_statistics data.mnist data.npz_slices data.qubiq_prostate data.read_split data.skm_tea "
        "sampling.load_policy sampling.save_policy scanner.read_phase_encodes scanner.read_pulseq_lines scanner.write_masks "
        "triage.load_threshold triage.save_threshold triage.write_worklist figures.save_figure"
    ),
    "made of arguments of a configuration": (
        "data.embedded_lesions data.embedded_segmentation data.embedded_subjects data.marginal_entropy_of audit.PrivacyAudit "
        "metrics.SubjectBootstrap scanner.GradientEcho scanner.gradient_echo_sequence scanner.phase_encode_table "
        "scanner.write_pulseq"
    ),
    "a table of results that others fill": (
        "metrics.ClassificationTable metrics.RateDistortionTable metrics.RatioTable metrics.SegmentationTable"
    ),
    "drawings of numbers that tables hold, and of policies": (
        "figures.beta_mask_figure figures.classification_by_acceleration_figure figures.curves_by_acceleration_figure "
        "figures.ged_by_samples_figure figures.mask_figure figures.privacy_utility_figure figures.rate_distortion_figure "
        "figures.reliability_figure figures.risk_coverage_figure figures.sweep_figure figures.training_figure"
    ),
}
