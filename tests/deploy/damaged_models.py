"""Models that are damaged in one way each, with the message that each must give."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from faults import Bomb

ROOT = Path(__file__).parents[2]
#: which makes PyTorch's reader of pickles fail with an IndexError
RUBBISH = b"RUBBISH"
BUNDLE = ROOT / "bundles/infomri_segmentation"


class ModelFault(NamedTuple):
    """A damaged models folder.

    Attributes:
        name: short.
        write: writes it into a new folder.
        message: what the segmentation says of it, in part.
    """

    name: str
    write: Callable[[Path], None]
    message: str


def _copied(change: Callable[[Path], object], source: Path = BUNDLE) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        shutil.copytree(source, folder)
        change(folder)

    return write


def _truncated(folder: Path) -> None:
    path = folder / "models/model.pt"
    path.write_bytes(path.read_bytes()[:5000])


def _flipped(name: str) -> Callable[[Path], None]:
    """A byte in the largest record is another, which PyTorch does not notice."""

    def change(folder: Path) -> None:
        path = folder / "models" / name
        with zipfile.ZipFile(path) as archive:
            largest = max((i for i in archive.infolist() if "/data/" in i.filename), key=lambda info: info.file_size)
        raw = bytearray(path.read_bytes())
        raw[largest.header_offset + largest.file_size // 2] ^= 1
        path.write_bytes(raw)

    return change


def _not_a_number(folder: Path) -> None:
    state = torch.load(folder / "models/model.pt", weights_only=True)
    next(tensor for tensor in state.values() if tensor.is_floating_point()).fill_(torch.nan)
    torch.save(state, folder / "models/model.pt")


def _another_network(folder: Path) -> None:
    shutil.copy(ROOT / "bundles/infomri_recon/models/model.pt", folder / "models/model.pt")


def _rubbish(name: str) -> Callable[[Path], object]:
    """What PyTorch's reader of old pickles stumbles over with an error of another kind."""
    return lambda folder: (folder / "models" / name).write_bytes(RUBBISH)


def _broken_threshold(folder: Path) -> None:
    (folder / "models/triage.json").write_text("{broken")


def _flipped_archive(folder: Path) -> None:
    """An archive of which one byte is another."""
    folder.mkdir()
    shutil.copy(BUNDLE / "models/policy.pt", folder)
    _archive(folder, b"weights" * 99)
    raw = (folder / "model.ts").read_bytes()
    (folder / "model.ts").write_bytes(raw.replace(b"weights", b"weighty", 1))


def _pickled(name: str) -> Callable[[Path], None]:
    return lambda folder: torch.save({"weight": Bomb()}, folder / "models" / name)


def _without_configuration(folder: Path) -> None:
    (folder / "configs/inference.json").write_text("{")


def _pickled_archive(folder: Path) -> None:
    """What a TorchScript archive looks like, with a pickle that would execute code."""
    folder.mkdir()
    shutil.copy(BUNDLE / "models/policy.pt", folder)
    _archive(folder, pickle.dumps(Bomb()))


def _archive(folder: Path, content: bytes) -> None:
    with zipfile.ZipFile(folder / "model.ts", "w") as archive:
        for name in ("inference.json", "metadata.json"):
            archive.writestr(f"model/extra/{name}", json.dumps(json.loads((BUNDLE / "configs" / name).read_text())))
        archive.writestr("model/data.pkl", content)
        archive.writestr("model/constants.pkl", content)
        archive.writestr("model/version", "3\n")


def _no_archive(folder: Path) -> None:
    folder.mkdir()
    (folder / "model.ts").write_bytes(pickle.dumps(Bomb()))


MODEL_FAULTS = (
    ModelFault("missing", lambda folder: None, "models: the path does not exist"),
    ModelFault(
        "empty", lambda folder: folder.mkdir(), "models: the folder holds no bundle (found: none) for segmentation"
    ),
    ModelFault(
        "of another task",
        _copied(lambda folder: None, ROOT / "bundles/infomri_recon"),
        "models: the folder holds no bundle (found: reconstruction) for segmentation",
    ),
    ModelFault("broken configuration", _copied(_without_configuration), "models: configuration of"),
    ModelFault("truncated weights", _copied(_truncated), "is damaged or not a PyTorch checkpoint"),
    ModelFault("flipped weights", _copied(_flipped("model.pt")), "model.pt is damaged: a checksum in it does not fit"),
    ModelFault("flipped policy", _copied(_flipped("policy.pt")), "policy.pt is damaged: a checksum in it does not fit"),
    ModelFault("policy of rubbish", _copied(_rubbish("policy.pt")), "policy.pt is damaged or not a PyTorch checkpoint"),
    ModelFault("broken threshold", _copied(_broken_threshold), "triage.json is not JSON"),
    ModelFault("flipped archive", _flipped_archive, "model.ts is damaged: a checksum in it does not fit"),
    ModelFault("NaN weights", _copied(_not_a_number), "the training diverged or the file is damaged"),
    ModelFault("weights of another network", _copied(_another_network), "is the checkpoint of another architecture"),
    ModelFault(
        "weights that execute code", _copied(_pickled("model.pt")), "objects that would execute code; it is refused"
    ),
    ModelFault(
        "policy that executes code", _copied(_pickled("policy.pt")), "objects that would execute code; it is refused"
    ),
    ModelFault("archive that executes code", _pickled_archive, "models: the bundle cannot be built: "),
    ModelFault("no archive", _no_archive, "model.ts is damaged, or no TorchScript archive"),
)
