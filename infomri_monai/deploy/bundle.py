"""One of our bundles in memory: the configured pre-processing, acquisition, network and post-processing for any case."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.utils import CommonKeys
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.deploy.case import EXIT_USAGE, DeployCase, DeployError
from infomri_monai.deploy.derivation import ModelIdentity
from infomri_monai.deploy.logs import about_case
from infomri_monai.deploy.model_files import BundleFiles, find_bundle, sha256
from infomri_monai.deploy.settings import blame, check_settings, class_names, evaluate_settings
from infomri_monai.engines.case import CaseFailure
from infomri_monai.files import check_intact
from infomri_monai.networks.checkpoint import fill_network
from infomri_monai.triage import load_threshold

__all__ = ["DeployBundle", "Inference", "TimedNetwork", "orientation_warning", "volume_of"]

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
#: where the axes of the patient (LPS) run from and to
_RUNS = (("right", "left"), ("anterior", "posterior"), ("feet", "head"))
#: by the axis that the slices' normal is nearest to: the plane, and which way is down in its pictures, LPS
_PLANES = (("sagittal", (0, 0, -1)), ("coronal", (0, 0, -1)), ("axial", (0, 1, 0)))


def orientation_warning(case: DeployCase) -> str:
    """What to tell if a case's anatomy is turned by more than 45 degrees from how one looks at its plane.

    Upright, the readout runs down: in axial slices from anterior to posterior, in coronal and sagittal ones from head to feet.
    k-space is never turned, as its lines would no longer be those of the policy. A mirrored image counts as upright.

    Args:
        case: raw k-space with a geometry; of images, and where there is none, nothing is told.

    Returns:
        The warning, or "".

    Example:
        >>> import torch
        >>> from infomri_monai.deploy.case import CaseSource
        >>> affine = np.diag([-2.0, -2.0, 4.0, 1.0])  # RAS: the readout runs to the left, phase encoding to the back
        >>> orientation_warning(DeployCase(1, "kspace", torch.zeros(1, 8, 8, 1), affine, CaseSource((), None)))[:94]
        'the anatomy lies on its side for the model: the axial slices were read out from right to left,'

    References:
        DICOM PS3.3 (2024), C.7.6.2.1.1: the axes of the patient.
    """
    if case.domain != "kspace" or not case.has_geometry:
        return ""
    read, phase = (case.affine[:3, axis] * _RAS_TO_LPS for axis in (0, 1))
    read = read / np.linalg.norm(read)
    normal = np.cross(read, phase)
    normal /= np.linalg.norm(normal)
    plane, down = _PLANES[int(np.abs(normal).argmax())]
    in_plane = down - (down @ normal) * normal
    cosine = float(read @ in_plane / np.linalg.norm(in_plane))
    if cosine >= np.sqrt(0.5):
        return ""
    posture = "is upside down" if cosine <= -np.sqrt(0.5) else "lies on its side"
    return (
        f"the anatomy {posture} for the model: the {plane} slices were read out from {_run(read)}, it was trained on upright "
        f"ones, read out from {_run(np.array(down, float))}; its results may be worse."
    )


def _run(direction: np.ndarray) -> str:
    """Where a direction (LPS) mainly runs, in words."""
    axis = int(np.abs(direction).argmax())
    return " to ".join(_RUNS[axis] if direction[axis] > 0 else _RUNS[axis][::-1])


class TimedNetwork:
    """A network that adds up the seconds spent in it.

    It has the network's attributes; the calls of itself, ``posterior``, ``logits`` and ``reconstruct`` are timed.

    Args:
        network: the network.
        clock: what tells the time, in seconds.

    Example:
        >>> import torch
        >>> timed = TimedNetwork(torch.nn.Linear(2, 3))
        >>> timed(torch.ones(1, 2)).shape, timed.seconds > 0, timed.out_features
        (torch.Size([1, 3]), True, 3)
    """

    def __init__(self, network: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self.network, self.clock = network, clock
        self.seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network."""
        return self._timed(self.network)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.__dict__["network"], name)
        return self._timed(attribute) if name in ("posterior", "logits", "reconstruct") else attribute

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = self.clock()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += self.clock() - start

        return call


_LOGGER = logging.getLogger(__name__)
_PROJECT = "infomri_monai"


class Inference(NamedTuple):
    """What a bundle says of a case.

    Attributes:
        result: the inferer's result with all its named fields, float, after the bundle's post-processing.
        seconds: "network", the time in the network; "acquire", all else: pre-processing, masks, noise, Fourier transforms.
        warnings: what the bundle warned of, e.g. that the ratio lies outside those it was trained for.
    """

    result: Any
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()


class _Warnings(logging.Handler):
    """Collects the project's warnings while it is entered."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning, once."""
        text = record.getMessage()
        if record.levelno == logging.WARNING and text not in self.texts:
            self.texts.append(text)

    def __enter__(self) -> _Warnings:
        logging.getLogger(_PROJECT).addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger(_PROJECT).removeHandler(self)


class DeployBundle:
    """Runs a bundle's own evaluator, as ``python -m monai.bundle run`` does with configs/inference.json, on cases in memory.

    Nothing is cast or dropped: the result is the inferer's NamedTuple. From a TorchScript archive come the weights and the embedded
    configuration; the network is built from that configuration and filled with the archive's weights, so that what does not
    script (samples, the reconstruction) is there too, and no code of the archive runs.

    Args:
        models: what :func:`~infomri_monai.deploy.model_files.find_bundle` takes.
        task: "reconstruction", "segmentation" or "classification".
        settings: keys of inference.json to override, e.g. ``{"ratio": 0.125}``.
        keep_empty_frames: segmentations are to have a frame for every slice, also where a structure has no pixel.

    Attributes:
        settings: what was overridden.
        names: of the structures or classes; none of a reconstruction.
        identity: name, version, checksum of the weights.
        beside: "policy_checksum" and "triage_checksum", hexadecimal SHA-256; "" where there is no such file.

    Raises:
        DeployError: if there is no such bundle, a key is unknown, a value is of the wrong kind, or the model cannot be built; exit
            code ``EXIT_USAGE``.
    """

    def __init__(
        self, models: Path, task: str, settings: Mapping[str, Any] | None = None, keep_empty_frames: bool = False
    ) -> None:
        files = find_bundle(Path(models), task)
        self.keep_empty_frames = keep_empty_frames
        self.task, self.settings = task, dict(settings or {})
        parser = _configured(files, self.settings)
        evaluate_settings(self.settings, parser)
        try:
            weights = files.archive or Path(parser.get_parsed_content("model_path"))
            if files.archive is not None:
                parser["network"] = _network_of_archive(parser, files.archive)
            network = parser.get_parsed_content("network")
            self.names = class_names(task, parser, network)
            parser["network"] = self.network = TimedNetwork(network)
            self.evaluator = parser.get_parsed_content("evaluator")
            self.dataset = parser.get_parsed_content("dataset")
            triage = _file_beside(parser, "triage")
            self.threshold = None if triage is None else load_threshold(triage)
        except DeployError:
            raise
        except Exception as error:
            raise DeployError(blame(error, self.settings), EXIT_USAGE) from None
        self.policy = parser.get_parsed_content("policy")
        self.swap_axes = bool(parser.get("swap_axes", False))
        name, version = (str(files.metadata.get(key, "")) for key in ("name", "version"))
        self.identity = ModelIdentity(name, version, sha256(weights))
        _LOGGER.info("model %s %s, SHA-256 of its weights %s", *self.identity)
        self.beside = {}
        for name in ("policy", "triage"):
            path = _file_beside(parser, name)
            self.beside[f"{name}_checksum"] = "" if path is None else sha256(path)
            if path is not None:
                _LOGGER.info("SHA-256 of its %s %s", path.name, self.beside[f"{name}_checksum"])

    def __call__(self, case: DeployCase) -> Inference:
        """Run the bundle on one case.

        Raises:
            DeployError: with the reason, if the case failed.
        """
        start, before = time.perf_counter(), self.network.seconds
        self.dataset.data = [_entry(case)]
        with _Warnings() as warned, about_case(case.number):
            # without swap_axes the model knows a reader's axes, whichever those are
            turned = orientation_warning(case) if self.swap_axes else ""
            if turned:
                _LOGGER.warning("%s", turned)
            try:
                self.evaluator.run()
            except Exception as error:
                reason = f"inference failed ({type(error).__name__})."
                raise DeployError(reason, warnings=tuple(warned.texts)) from error
            finally:
                self.dataset.data = [None]
        result = self.evaluator.state.output[CommonKeys.PRED]
        if isinstance(result, CaseFailure):
            raise DeployError(f"inference: {result.reason}", warnings=tuple(warned.texts))
        network = self.network.seconds - before
        seconds = {"acquire": time.perf_counter() - start - network, "network": network}
        return Inference(result, seconds, tuple(warned.texts))


def _entry(case: DeployCase) -> dict[str, Any]:
    """The case as an entry of the bundle's data set; a single slice has no slice axis, as a file of one slice has none."""
    data = case.data[..., 0] if case.data.shape[-1] == 1 and case.domain == "kspace" else case.data
    entry = {"name": f"case_{case.number:04d}", "index": case.number}
    if case.domain == "image":
        return {**entry, "image": MetaTensor(data, affine=torch.as_tensor(case.affine))}
    mask = None if case.mask is None else case.mask[..., 0] if data.ndim < case.data.ndim else case.mask
    return {**entry, "kspace": data, "centre_checked": True, **({} if mask is None else {"mask": mask})}


def _configured(files: BundleFiles, settings: Mapping[str, Any]) -> ConfigParser:
    """The parser of inference.json with the settings in it, for cases in memory."""
    check_settings(settings, files.config)
    parser = ConfigParser()
    parser.read_config(dict(files.config))
    parser.read_meta(dict(files.metadata))
    parser["bundle_root"] = str(files.root)
    if files.archive is not None:
        beside = {"policy_path": "policy.pt", "triage_path": "triage.json"}
        for key, name in beside.items():
            if key in files.config:
                parser[key] = str(files.root / name)
    for key, value in settings.items():
        parser[key] = value
    # one place for a case, filled anew for each
    parser["cases"], parser["handlers"] = [None], []
    return parser


def _file_beside(parser: ConfigParser, name: str) -> Path | None:
    """The file beside the weights that the configuration names, if there is one."""
    given = parser.get_parsed_content(f"{name}_path") if parser.get(f"{name}_path") else ""
    return Path(given) if given and Path(given).is_file() else None


def _network_of_archive(parser: ConfigParser, archive: Path) -> torch.nn.Module:
    """The configured network with the weights of a TorchScript archive, whose code is not run."""
    network = parser.get_parsed_content("network_def")
    ignore = parser.get("network", {}).get("ignore", [])
    check_intact(archive)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        scripted = torch.jit.load(str(archive), map_location="cpu")
    return fill_network(network, scripted.state_dict(), archive.name, parser.get_parsed_content("device"), ignore)


def volume_of(map_: Tensor, case: DeployCase, bundle: DeployBundle, leading: int = 0) -> NDArray[Any]:
    """A map of a result in the layout of its case.

    Args:
        map_: shape (*leading, height, width[, slices]), on the CPU.
        case: what it is of.
        bundle: may have been given images with swapped axes. Of raw k-space without geometry the readout runs down, as in
            fastMRI's arrays (height, width); with a geometry it runs along the rows, and the geometry says where that is.
        leading: number of axes before the spatial ones.

    Returns:
        Shape (*leading, columns, rows, slices).
    """
    array = map_.numpy()
    array = array[..., np.newaxis] if array.ndim == 2 + leading else array
    turned = bundle.swap_axes if case.domain == "image" else not case.has_geometry
    return array.swapaxes(leading, leading + 1) if turned else array
