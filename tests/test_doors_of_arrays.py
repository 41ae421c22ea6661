"""Every public function and transform, with every type, byte order, stride and kind of scalar: the right value, or a named error.

A public name joins by a line in ``DOORS``; without one, and without a reason in ``EXEMPT``, the first test fails.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from helper import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from infomri_monai import acquisition as acq
from infomri_monai import figures, information, losses, metrics, sampling, scanner, systems, transforms, triage
from infomri_monai.data import extract_slice, prepare_images
from infomri_monai.networks import ThreeLayerReconstructor

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "acquisition",
    "information",
    "sampling",
    "scanner",
    "metrics",
    "triage",
    "losses",
    "systems",
    "audit",
    "figures",
    "data",
)

# small whole numbers, which every type holds
_DRAW = np.random.default_rng(0)
IMAGE = _DRAW.integers(0, 4, (2, 1, 12, 12)).astype(np.float32)
KSPACE = (IMAGE - 1j * IMAGE[::-1]).astype(np.complex64)
MASK = (_DRAW.random((2, 1, 12, 12)) < 0.4).astype(np.float32)
MASK[..., 6, 6] = 1
VARIANCE = np.zeros_like(IMAGE)
LABEL = _DRAW.integers(0, 2, (2, 3, 12, 12))
RATERS = LABEL[:, :, None]
SHARE = _DRAW.choice([0.0, 0.25, 0.5, 1.0], (2, 1, 12, 12)).astype(np.float32)
CLASS_SHARE, CLASS = np.array([[0.25, 0.75], [0.5, 0.5], [1, 0]], np.float32), np.array([0, 1, 0])
AGREEMENT = np.array([0.25, 0.5, 1.0])


class Door(NamedTuple):
    """A call with keyword arguments, native values of those that vary, and how often it is tried."""

    call: Callable[..., Any]
    arguments: dict[str, Any]
    tries: int = 12


def _transform(make: Callable[[], Any], of_keys: bool = False, **arguments: Any) -> Door:
    def call(**given: Any) -> Any:
        transform = make()
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(0)
        return transform(given) if of_keys else transform(**given)

    return Door(call, arguments)


def _plain(room: Any, names: str, **arguments: Any) -> dict[str, Door]:
    """Functions that are called as they are, with arguments of one kind."""
    return {f"{room.__name__.split('.')[-1]}.{name}": Door(getattr(room, name), arguments) for name in names.split()}


def _pgn() -> sampling.SamplingPolicy:
    return sampling.PatternGenerationNetwork((12, 12)).requires_grad_(False)


def _system(real_valued: bool = False) -> systems.ReconstructionSystem:
    torch.manual_seed(0)
    return systems.ReconstructionSystem(_pgn(), acq.FourierMeasurement(), ThreeLayerReconstructor()).eval()


def _drawn(policy: Any, **given: Any) -> Any:
    return policy(**{"ratio": 0.25, "shape": (12, 12), **given}, generator=seeded())


def _noisy(name: str) -> Door:
    def call(noise_std: Any = 0.25, **given: Any) -> Any:
        return getattr(acq, name)(noise_std, "absolute")(**{"kspace": KSPACE} | given, generator=seeded())

    return Door(call, {"kspace": KSPACE, "noise_std": 0.25})


def _centre(kspace: Any, mask: Any) -> Any:
    check = acq.CentreCheck()
    check.add(kspace, mask)
    return check._sums


def _shown(figure: Any) -> list[np.ndarray]:
    return [np.asarray(image.get_array(), float) for axes in figure.axes for image in axes.images]


_POSTERIOR = {"target": IMAGE, "mean": IMAGE[::-1].copy(), "log_variance": VARIANCE}
_FEATURES = dict.fromkeys(("mean_q", "log_variance_q", "mean_p", "log_variance_p"), IMAGE)
_RESULT = SimpleNamespace(mean=torch.tensor(IMAGE), log_variance=torch.tensor(VARIANCE), magnitude_log_variance=None)
_LOGITS = SimpleNamespace(logits=torch.zeros(3, 2), kspace_entropy=torch.zeros(3))
_LEVEL, _BINS = {"level": 0.75}, {"bins": 4}
_BOTH = {"probabilities": SHARE, "raters": RATERS}
_CLASSES = {"probabilities": CLASS_SHARE, "labels": CLASS}
_CASES = {"agreement": AGREEMENT, "dice": AGREEMENT}

DOORS: dict[str, Door] = {
    "acquisition.CentreCheck": Door(_centre, {"kspace": KSPACE, "mask": MASK}),
    "acquisition.off_centre": Door(acq.off_centre, {"kspace": KSPACE, "mask": MASK}),
    **{f"acquisition.{name}": _noisy(name) for name in ("ComplexGaussianNoise", "RicianNoise", "PoissonNoise")},
    "acquisition.FourierMeasurement": Door(
        lambda coil_maps, **given: acq.FourierMeasurement(coil_maps=coil_maps).zero_filled(**given),
        {"image": IMAGE, "mask": MASK, "coil_maps": KSPACE},
    ),
    "acquisition.coil_warning": Door(lambda coils: len(acq.coil_warning(coils)), {"coils": 4}),
    "acquisition.combine_coils": Door(acq.combine_coils, {"kspace": KSPACE[:, 0], "mask": MASK[0, 0]}),
    "acquisition.root_sum_of_squares": Door(acq.root_sum_of_squares, {"kspace": KSPACE[:, 0], "mask": MASK[0, 0]}),
    "acquisition.conjugate_partner": Door(acq.conjugate_partner, {"data": KSPACE, "spatial_dims": 2}),
    "acquisition.crop_kspace": Door(
        lambda size, **given: acq.crop_kspace(size=[size, size], **given), {"kspace": KSPACE, "size": 4}
    ),
    "acquisition.hermitian_completion": Door(acq.hermitian_completion, {"kspace": KSPACE, "mask": MASK}),
    "acquisition.image_to_kspace": Door(acq.image_to_kspace, {"image": IMAGE, "spatial_dims": 2}),
    "acquisition.kspace_to_image": Door(acq.kspace_to_image, {"kspace": KSPACE, "spatial_dims": 2}),
    "acquisition.redundancy_ratio": Door(acq.redundancy_ratio, {"mask": MASK, "spatial_dims": 2}),
    "acquisition.split_by_symmetry": Door(acq.split_by_symmetry, {"mask": MASK, "spatial_dims": 2}),
    "information.MarginalEntropy": Door(
        lambda mask, **given: information.MarginalEntropy(**given)(mask),
        {"mask": MASK, "variance_real": IMAGE[0, 0], "variance_imag": IMAGE[1, 0], "noise_std": 0.5},
    ),
    "information.bernoulli_entropy": Door(information.bernoulli_entropy, {"probabilities": SHARE}),
    "information.categorical_entropy": Door(information.categorical_entropy, {"probabilities": CLASS_SHARE}),
    "information.gaussian_kl": Door(information.gaussian_kl, _FEATURES),
    "information.gaussian_nll": Door(information.gaussian_nll, _POSTERIOR),
    "information.measurement_entropy": Door(
        information.measurement_entropy, {"mask": MASK, "position": IMAGE[0, 0], "pair": IMAGE[1, 0]}
    ),
    **_plain(information, "position_entropy pair_entropy", variance_real=IMAGE, variance_imag=IMAGE, noise_std=0.5),
    "sampling.PatternGenerationNetwork": Door(
        lambda magnitude, **given: _drawn(_pgn().warm_start(magnitude), **given),
        {"ratio": 0.25, "magnitude": IMAGE[0, 0]},
    ),
    "sampling.warm_started_pgn": Door(
        lambda **given: _drawn(sampling.warm_started_pgn(grid=(12, 12), **given)),
        {"magnitude": IMAGE[0, 0], "asymmetry": 2.0, "width": 0.25},
    ),
    "sampling.LOUPE": Door(lambda ratio: _drawn(sampling.LOUPE((12, 12)), ratio=ratio), {"ratio": 0.25}),
    "sampling.Equispaced": Door(
        lambda ratio, **given: _drawn(sampling.Equispaced(**given), ratio=ratio),
        {"ratio": 0.25, "center_share": 0.5, "readout_axis": 1},
    ),
    "sampling.PoissonDisk": Door(
        lambda ratio, **given: _drawn(sampling.PoissonDisk(**given), ratio=ratio), {"ratio": 0.25, "slope": 8.0}
    ),
    "sampling.Radial": Door(lambda ratio: _drawn(sampling.Radial(), ratio=ratio), {"ratio": 0.25}),
    "sampling.Spectrum": Door(
        lambda ratio, **given: _drawn(sampling.Spectrum(**given), ratio=ratio),
        {"ratio": 0.25, "magnitude": IMAGE[0, 0], "readout_axis": 0},
    ),
    "sampling.UniformRandom": Door(
        lambda ratio, shape, **given: _drawn(sampling.UniformRandom(**given), ratio=ratio, shape=(shape, 12)),
        {"ratio": 0.25, "shape": 12, "readout_axis": 1},
    ),
    "sampling.VariableDensity": Door(
        lambda ratio, **given: _drawn(sampling.VariableDensity(**given), ratio=ratio), {"ratio": 0.25, "power": 4.0}
    ),
    "scanner.phase_encodes": Door(lambda mask: scanner.phase_encodes(mask).positions, {"mask": MASK[0, 0]}),
    "metrics.PerImageMetric": Door(
        lambda **given: metrics.PerImageMetric(metrics.psnr, "dB", "")(**given), {"y_pred": IMAGE, "y": IMAGE[::-1]}
    ),
    **_plain(metrics, "brier_score", **_BOTH),
    **_plain(metrics, "calibration_bins expected_calibration_error reliability_diagram", **_BOTH, **_BINS),
    **_plain(metrics, "channel_masks", label=RATERS),
    **_plain(metrics, "structure_masks", label=LABEL, num_classes=2),
    **_plain(metrics, "class_accuracy class_brier_score class_negative_log_likelihood", **_CLASSES),
    **_plain(metrics, "class_calibration_bins", **_CLASSES, **_BINS),
    **_plain(metrics, "exact_match", probabilities=SHARE[:, 0, 0], labels=LABEL[:, 0, 0]),
    **_plain(metrics, "class_auroc", scores=SHARE[:, 0, 0], targets=LABEL[:, 0, 0]),
    **_plain(metrics, "dice_to_raters", masks=RATERS, raters=RATERS[:, ::-1]),
    **_plain(metrics, "energy_distance", samples=RATERS, raters=RATERS[:, ::-1]),
    **_plain(metrics, "sample_diversity", samples=RATERS),
    **_plain(metrics, "mask_pixels", masks=RATERS),
    **{
        f"metrics.{name}": Door(lambda sets, name=name: getattr(metrics, name)(sets, RATERS), {"sets": RATERS})
        for name in ("intersections", "pairwise_dice", "pairwise_iou")
    },
    **_plain(metrics, "error_by_sigma", **_POSTERIOR, **_BINS),
    **_plain(metrics, "interval_coverage magnitude_coverage", **_POSTERIOR, **_LEVEL),
    **_plain(metrics, "standardized_squared_error uncertainty_error_correlation", **_POSTERIOR),
    **_plain(metrics, "inside_object", image=IMAGE, threshold=0.25),
    **_plain(metrics, "psnr ssim", prediction=IMAGE, target=IMAGE[::-1], data_range=np.full(2, 4, np.float32)),
    **_plain(metrics, "stack_posterior", mean=IMAGE, log_variance=VARIANCE),
    **_plain(metrics, "split_posterior", posterior=np.concatenate([IMAGE, VARIANCE], 1)),
    **_plain(metrics, "volume_interval", samples=RATERS, pixel_volume=np.full(2, 2, np.float32), **_LEVEL),
    **_plain(metrics, "volume_quantiles", volumes=IMAGE[:, 0, :, :1], **_LEVEL),
    **_plain(metrics, "volume_coverage", samples=RATERS, raters=RATERS, **_LEVEL),
    "triage.choose_threshold": Door(
        triage.choose_threshold, {"agreement": AGREEMENT, "quality": AGREEMENT, "acceptable": 0.5, "error_rate": 0.25}
    ),
    "triage.risk_coverage": Door(triage.risk_coverage, _CASES | {"acceptable": 0.5}),
    "triage.share_removed": Door(triage.share_removed, _CASES | {"reviewed": 0.5, "worst": 0.5}),
    "triage.sample_agreement": Door(triage.sample_agreement, {"samples": RATERS}),
    "losses.GaussianNLLLoss": Door(lambda target: losses.GaussianNLLLoss()(_RESULT, target), {"target": IMAGE}),
    "losses.MeanSquaredErrorLoss": Door(
        lambda target: losses.MeanSquaredErrorLoss()(_RESULT, target), {"target": IMAGE}
    ),
    "losses.BottleneckLoss": Door(
        lambda beta, target: losses.BottleneckLoss(beta)(_LOGITS, target), {"beta": -0.25, "target": CLASS}
    ),
    "systems.ReconstructionSystem": Door(
        lambda **given: _system()(**given, generator=seeded()), {"image": IMAGE, "ratio": 0.25}
    ),
    "systems.System": Door(lambda **given: _system().reconstruct(**given), {"kspace": KSPACE, "mask": MASK}),
    "figures.acceleration_text": Door(figures.acceleration_text, {"ratio": 0.25}),
    "figures.entropy_map_figure": Door(
        lambda **given: _shown(figures.entropy_map_figure(**given)),
        {"position_entropy": IMAGE[0, 0], "pair_entropy": IMAGE[1, 0]},
        2,
    ),
    "figures.reconstruction_figure": Door(
        lambda image: _shown(figures.reconstruction_figure(_system()(IMAGE, 0.25, seeded()), image)),
        {"image": IMAGE},
        2,
    ),
    "data.prepare_images": Door(prepare_images, {"images": IMAGE[:, 0]}),
    "data.extract_slice": Door(extract_slice, {"volume": IMAGE, "index": 1}),
    "transforms.CropKSpace": Door(
        lambda img, roi_size: transforms.CropKSpace(roi_size)(img), {"img": KSPACE[0], "roi_size": 4}
    ),
    "transforms.CropKSpaced": _transform(lambda: transforms.CropKSpaced("img", 4), True, img=KSPACE[0]),
    "transforms.ImageToKSpace": _transform(transforms.ImageToKSpace, img=IMAGE[0]),
    "transforms.ImageToKSpaced": _transform(lambda: transforms.ImageToKSpaced("img"), True, img=IMAGE[0]),
    "transforms.KSpaceToImage": _transform(transforms.KSpaceToImage, img=KSPACE[0]),
    "transforms.KSpaceToImaged": _transform(lambda: transforms.KSpaceToImaged("img"), True, img=KSPACE[0]),
    "transforms.RandKSpaceNoise": _transform(transforms.RandKSpaceNoise, img=KSPACE[0], mask=MASK[0]),
    "transforms.RandKSpaceNoised": _transform(
        lambda: transforms.RandKSpaceNoised("img", mask_key="mask"), True, img=KSPACE[0], mask=MASK[0]
    ),
    "transforms.RandSampleMask": Door(
        lambda ratio, img: transforms.RandSampleMask(_pgn(), ratio).set_random_state(0)(img),
        {"img": IMAGE[0], "ratio": 0.25},
    ),
    "transforms.RandSampleMaskd": _transform(
        lambda: transforms.RandSampleMaskd("img", _pgn(), 0.25), True, img=IMAGE[0]
    ),
    "transforms.SimulateAcquisition": Door(
        lambda img, **given: transforms.SimulateAcquisition(_pgn(), **given).set_random_state(0)(img),
        {"img": IMAGE[0], "ratio": 0.25, "noise_std": 0.25, "spatial_dims": 2},
    ),
    "transforms.SimulateAcquisitiond": _transform(
        lambda: transforms.SimulateAcquisitiond("img", _pgn(), 0.25), True, img=IMAGE[0]
    ),
    "transforms.Undersample": _transform(transforms.Undersample, img=KSPACE[0], mask=MASK[0]),
    "transforms.Undersampled": _transform(lambda: transforms.Undersampled("img"), True, img=KSPACE[0], mask=MASK[0]),
    "transforms.ZeroFilled": _transform(transforms.ZeroFilled, img=KSPACE[0]),
    "transforms.ZeroFilledd": _transform(lambda: transforms.ZeroFilledd("img"), True, img=KSPACE[0]),
    "transforms.RandRater": _transform(transforms.RandRater, label=LABEL[0]),
    "transforms.RandRaterd": _transform(lambda: transforms.RandRaterd("img"), True, img=LABEL[0]),
    "transforms.SimulateRaters": _transform(lambda: transforms.SimulateRaters(2), label=LABEL[0, :1]),
    "transforms.StackRaters": Door(
        lambda labels: transforms.StackRaters()([labels, LABEL[1, :1]]), {"labels": LABEL[0, :1]}
    ),
    "transforms.StackRatersd": _transform(lambda: transforms.StackRatersd(["img"]), True, img=LABEL[0, :1]),
    "transforms.check_label": Door(lambda label: transforms.check_label(label, 2), {"label": LABEL}),
}

#: what takes no array or number of a stranger, and why
EXEMPT = {
    "takes paths, and a reader's own tests try its files": (
        "sampling.load_policy sampling.save_policy triage.load_threshold triage.save_threshold scanner.read_phase_encodes "
        "scanner.read_pulseq_lines data.brain_50 data.brain_complex_180 data.brain_tumour_1380 data.brain_tumour_side data.brisc "
        "data.decathlon_slices data.fastmri_knee data.fastmri_plus_knee data.fastmri_plus_volumes data.hippocampus_200 "
        "data.image_slices data.inference_cases data.load_kspace_statistics data.mnist data.npz_slices data.qubiq_prostate "
        "data.read_split data.skm_tea"
    ),
    "makes its own data": "data.embedded_lesions data.embedded_segmentation data.embedded_subjects",
    "reads items that a reader made": (
        "data.CaseDataset data.ExtractSliced data.ReadCased data.ReadFastMRISliced data.ReadLabelledSliced data.ReadSKMTEASliced "
        "data.check_classes data.class_frequencies data.kspace_statistics data.marginal_entropy_of data.mean_kspace_magnitude "
        "acquisition.KSpaceStatistics acquisition.ImageChecksum acquisition.CentreWarning transforms.SimulateRatersd"
    ),
    "writes what another function made": (
        "scanner.GradientEcho scanner.gradient_echo_sequence scanner.phase_encode_table scanner.write_masks scanner.write_pulseq "
        "triage.write_worklist figures.save_figure"
    ),
    "an interface": "acquisition.NoiseModel sampling.SamplingPolicy sampling.LearnedPolicy metrics.RatioMetric "
    "metrics.RatioTable metrics.TableCollector",
    "takes what a system or an evaluation made": (
        "metrics.BinnedCalibration metrics.ClassAUROC metrics.ClassificationQuality metrics.ClassificationTable "
        "metrics.IntervalScale metrics.PooledCorrelation metrics.RateDistortion metrics.RateDistortionTable "
        "metrics.SegmentationQuality metrics.SegmentationTable metrics.SubjectBootstrap metrics.VolumePSNR metrics.VolumeSSIM "
        "losses.ELBOLoss audit.PrivacyAudit figures.attack_figure figures.beta_mask_figure figures.calibration_figure "
        "figures.classification_by_acceleration_figure figures.classified_image_figure figures.curves_by_acceleration_figure "
        "figures.ged_by_samples_figure figures.mask_figure figures.predictive_entropy_figure figures.privacy_utility_figure "
        "figures.rate_distortion_figure figures.reliability_figure figures.risk_coverage_figure figures.roc_figure "
        "figures.segmentation_figure figures.sweep_figure figures.training_figure transforms.present_raters"
    ),
    "draws a field from a generator": "transforms.smooth_field",
    "the door of ReconstructionSystem is theirs (System.acquire)": "systems.ClassificationSystem systems.SegmentationSystem",
    "takes modules and learning rates of a configuration": "systems.parameter_groups",
}


def _public() -> set[str]:
    """Names of functions and classes; neither constants, named tuples, nor MONAI's other spellings of a dictionary transform."""
    found = set()
    for room in (*ROOMS, "transforms"):
        module = importlib.import_module(f"infomri_monai.{room}")
        for name in module.__all__:
            value = getattr(module, name)
            spelled = name.endswith(("D", "Dict")) and getattr(value, "__name__", name) != name
            if callable(value) and not (isinstance(value, type) and issubclass(value, tuple)) and not spelled:
                found.add(f"{room}.{name}")
    return found


def test_every_public_name_is_listed_or_exempt_for_a_reason():
    exempt = [name for names in EXEMPT.values() for name in names.split()]
    assert len(exempt) == len(set(exempt))
    assert not set(exempt) & set(DOORS)
    assert _public() == set(DOORS) | set(exempt)


NUMPY = ["f2", "f4", "f8", "g", "u1", "i1", "u2", "u4", "u8", "i2", "i4", "i8", "?", "c8", "c16", "G", "U8", "O"]
TORCH = (torch.bfloat16, torch.complex32, torch.uint16, torch.uint64, torch.float16, torch.bool)
LAYOUTS = (
    "C",
    "F",
    "reversed",
    "stepped",
    "read-only",
    "swapped",
    "masked",
    "hidden",
    "tensor",
    "meta",
    "sparse",
    "list",
)
Variant = tuple[str, Any]


def _stored(values: np.ndarray, layout: str) -> Any:
    """The same values under another order of bytes, other strides, flags or in another container."""
    if layout == "F":
        return np.asfortranarray(values)
    if layout == "reversed":
        return np.flip(np.flip(values).copy())
    if layout == "stepped":
        return np.repeat(values[..., None], 2, -1)[..., 0]
    if layout == "read-only":
        values = values.copy()
        values.flags.writeable = False
        return values
    if layout == "swapped":
        swapped = np.flip(np.flip(values).astype(values.dtype.newbyteorder("S")))
        swapped = np.asarray(swapped)
        swapped.flags.writeable = False
        return swapped
    if layout in ("masked", "hidden"):
        return np.ma.masked_array(values, mask=np.zeros(values.shape, bool) | (layout == "hidden"))
    if layout == "list":
        return values.tolist()
    kinds = "biufc" if values.dtype.char not in "gG" else ""
    if layout in ("tensor", "meta", "sparse") and values.dtype.kind in kinds:
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        return {"tensor": tensor.clone, "meta": lambda: MetaTensor(tensor), "sparse": tensor.to_sparse}[layout]()
    return values


def variant_of(native: Any, kind: Any, layout: str) -> Any:
    """The native value as another type in another layout; None where that type does not hold it."""
    values = np.asarray(native)
    if isinstance(kind, torch.dtype):
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        with np.errstate(all="ignore"):
            cast = tensor.to(kind)
        back = cast.to(torch.complex128)
        return cast if torch.equal(back, tensor.to(torch.complex128)) else None
    if kind in ["O", "U8"]:
        return _stored(values.astype(kind), layout)
    with np.errstate(all="ignore"):
        if np.iscomplexobj(values) and np.dtype(kind).kind != "c":
            return (
                values.real.astype(kind) if layout == "C" else None
            )  # half of it: must be refused, or be its real part
        cast = values.astype(kind)
    return _stored(cast, layout) if np.array_equal(cast.astype(np.clongdouble), values.astype(np.clongdouble)) else None


def leaves(result: Any) -> Iterable[torch.Tensor]:
    """The numbers of a result, in complex double precision."""
    if isinstance(result, (torch.Tensor, np.ndarray, np.generic, int, float, complex)):
        tensor = result if isinstance(result, torch.Tensor) else torch.from_numpy(np.array(result, np.complex128))
        yield tensor.detach().as_subclass(torch.Tensor).to(torch.complex128)
    elif isinstance(result, Mapping):
        for value in result.values():
            yield from leaves(value)
    elif isinstance(result, (tuple, list)):
        for value in result:
            yield from leaves(value)


def _ours(error: BaseException) -> bool:
    return Path(traceback.extract_tb(error.__traceback__)[-1].filename).is_relative_to(ROOT)


#: what transforms call an argument
CALLED = {"img": ("img", "image", "k-space", "label"), "kspace": ("kspace", "k-space"), "labels": ("label",)}


def attempt(door: Door, name: str, given: Any) -> bool:
    """Whether the door let it in, after the check that it gave the right value; or it refused it by name."""
    try:
        result, refusal = door.call(**(door.arguments | {name: given})), None
    except (ValueError, TypeError) as error:
        result, refusal = None, error
    if refusal is not None:
        assert _ours(refusal), f"of another library: {refusal!r}"
        assert any(word in str(refusal) for word in CALLED.get(name, (name,))), f"{name} is not named: {refusal}"
        return False
    got, wanted = list(leaves(result)), list(leaves(door.call(**door.arguments)))
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4, equal_nan=True)
    return True


ARRAYS = [
    pytest.param(door, name, id=f"{key}-{name}")
    for key, door in DOORS.items()
    for name, native in door.arguments.items()
    if isinstance(native, np.ndarray)
]
NUMBERS = [
    pytest.param(door, name, id=f"{key}-{name}")
    for key, door in DOORS.items()
    for name, native in door.arguments.items()
    if isinstance(native, (int, float))
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("door", "name"), ARRAYS)
def test_an_array_is_taken_or_refused_by_name(door, name):
    native = door.arguments[name]

    @settings(max_examples=door.tries, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from([*NUMPY, *TORCH]), st.sampled_from(LAYOUTS))
    def property_of(kind, layout):
        given = variant_of(native, kind, layout)
        if given is not None and (not np.iscomplexobj(native) or np.dtype("c8") == kind or "c" in str(kind).lower()):
            attempt(door, name, given)

    property_of()
    kind = native.dtype.str[1:]
    assert attempt(door, name, variant_of(native, kind, "swapped")), "big-endian, reversed and read-only is refused"
    assert attempt(door, name, variant_of(native, kind, "tensor")), "a tensor is refused"
    for bad in (variant_of(native, kind, "hidden"), variant_of(native, "U8", "C"), "a text"):
        assert not attempt(door, name, bad), f"{bad!r} was taken"


SCALARS: dict[str, Callable[[float], Any]] = {
    **{f"numpy {kind}": np.dtype(kind).type for kind in ("f2", "f4", "f8", "g", "i1", "u1", "i8", "u2")},
    "0-d array": np.array,
    "big-endian": lambda value: np.array(value, ">f8"),
    "0-d tensor": torch.tensor,
    "half tensor": lambda value: torch.tensor(value, dtype=torch.float16),
    "bfloat16 tensor": lambda value: torch.tensor(value, dtype=torch.bfloat16),
    "text": str,
    "complex": complex,
    "many": lambda value: np.full(5, value),
    "truth": lambda value: np.bool_(True),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("door", "name"), NUMBERS)
def test_a_number_is_taken_or_refused_by_name(door, name):
    native, taken = door.arguments[name], {}
    for kind, make in SCALARS.items():
        if kind == "many" and name == "ratio":
            continue  # one for each mask
        given = make(native)
        if kind in ("text", "complex", "many", "truth") or given == native:
            taken[kind] = attempt(door, name, given)
    fitting = ["0-d array", "0-d tensor", "numpy i8" if isinstance(native, int) else "numpy f4"]
    assert all(taken[kind] for kind in fitting), taken
    assert not any(taken.get(kind) for kind in ("text", "complex", "many", "truth")), taken
