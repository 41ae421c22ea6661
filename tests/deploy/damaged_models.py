"""Models that are damaged in one way each, with the message that each must give."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from faults import Bomb, Fault

ROOT = Path(__file__).parents[2]
#: which makes PyTorch's reader of old pickles fail with an IndexError
RUBBISH = b"RUBBISH"
BUNDLE = ROOT / "bundles/infomri_segmentation"


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


def _written(name: str, content: bytes) -> Callable[[Path], object]:
    """Another content of a file."""
    return lambda folder: (folder / name).write_bytes(content)


def _flipped_archive(folder: Path) -> None:
    """An archive of which one byte is another."""
    _archive(folder, b"weights" * 99)
    raw = (folder / "model.ts").read_bytes()
    (folder / "model.ts").write_bytes(raw.replace(b"weights", b"weighty", 1))


def _pickled(name: str) -> Callable[[Path], None]:
    return lambda folder: torch.save({"weight": Bomb()}, folder / "models" / name)


def _pickled_archive(folder: Path) -> None:
    """What a TorchScript archive looks like, with a pickle that would execute code."""
    _archive(folder, pickle.dumps(Bomb()))


def _archive(folder: Path, content: bytes) -> None:
    folder.mkdir()
    shutil.copy(BUNDLE / "models/policy.pt", folder)
    with zipfile.ZipFile(folder / "model.ts", "w") as archive:
        for name in ("inference.json", "metadata.json"):
            archive.writestr(f"model/extra/{name}", json.dumps(json.loads((BUNDLE / "configs" / name).read_text())))
        archive.writestr("model/data.pkl", content)
        archive.writestr("model/constants.pkl", content)
        archive.writestr("model/version", "3\n")


def _no_archive(folder: Path) -> None:
    folder.mkdir()
    (folder / "model.ts").write_bytes(pickle.dumps(Bomb()))


_RECON = ROOT / "bundles/infomri_recon"
_NO_BUNDLE, _NO_CHECKPOINT = "models: the folder holds no bundle (found: ", "is damaged or not a PyTorch checkpoint"
_NO_CHECKSUM, _CODE = "is damaged: a checksum in it does not fit", "objects that would execute code; it is refused"

#: what the segmentation says of a models folder
MODEL_FAULTS = (
    Fault("missing", lambda folder: None, "models: the path does not exist"),
    Fault("empty", lambda folder: folder.mkdir(), f"{_NO_BUNDLE}none) for segmentation"),
    Fault("of another task", _copied(lambda folder: None, _RECON), f"{_NO_BUNDLE}reconstruction) for segmentation"),
    Fault("broken configuration", _copied(_written("configs/inference.json", b"{")), "models: configuration of"),
    Fault("truncated weights", _copied(_truncated), _NO_CHECKPOINT),
    Fault("flipped weights", _copied(_flipped("model.pt")), f"model.pt {_NO_CHECKSUM}"),
    Fault("flipped policy", _copied(_flipped("policy.pt")), f"policy.pt {_NO_CHECKSUM}"),
    Fault("policy of rubbish", _copied(_written("models/policy.pt", RUBBISH)), f"policy.pt {_NO_CHECKPOINT}"),
    Fault("broken threshold", _copied(_written("models/triage.json", b"{broken")), "triage.json is not JSON"),
    Fault("flipped archive", _flipped_archive, f"model.ts {_NO_CHECKSUM}"),
    Fault("NaN weights", _copied(_not_a_number), "the training diverged or the file is damaged"),
    Fault("weights of another network", _copied(_another_network), "is the checkpoint of another architecture"),
    Fault("weights that execute code", _copied(_pickled("model.pt")), _CODE),
    Fault("policy that executes code", _copied(_pickled("policy.pt")), _CODE),
    Fault("archive that executes code", _pickled_archive, "models: the bundle cannot be built: "),
    Fault("no archive", _no_archive, "model.ts is damaged, or no TorchScript archive"),
)
