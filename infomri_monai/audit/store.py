"""What an audit has finished, on disk, with the checksums by which a second run of the same audit recognises it."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import Randomizable
from torch import Tensor, nn
from torch.utils.data import Dataset

from infomri_monai.audit.scene import Course, raw_entries, seeded, size
from infomri_monai.files import atomic_path, read_plain

__all__ = ["AuditStore", "Finished", "checksum_of_data", "checksum_of_module", "checksum_of_values", "fingerprint"]

_LOGGER = logging.getLogger(__name__)
_LOADED = 32  # entries of a data set that its checksum loads
_PLAIN = (bool, int, float, str, type(None))


def _bytes(value: Any) -> bytes:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    return repr(value).encode()


def checksum_of_data(data: Dataset, key: str) -> str:
    """SHA-256 over all entries before transforms, where they are a list or an array, and some values after: see below.

    Args:
        data: the data set.
        key: as :func:`checksum_of_values` takes it.
    """
    digest = hashlib.sha256(str(count := size(data)).encode())
    entries = raw_entries(data)
    held = isinstance(entries, (Sequence, Tensor, np.ndarray))  # else indexing may load a file
    for entry in (entries[index] for index in range(count if held else 0)):
        items = sorted(entry.items()) if isinstance(entry, Mapping) else [("", entry)]
        for name, value in items:
            digest.update(str(name).encode() + _bytes(value))
    return hashlib.sha256(digest.digest() + checksum_of_values(data, key).encode()).hexdigest()


def checksum_of_values(data: Dataset, key: str) -> str:
    """SHA-256 over the values of a key in up to 32 entries evenly spread over the data, after transforms.

    Entries may hold paths, and transforms decide what is made of them: only the loaded values tell. MONAI's random transforms start
    from a fixed seed here; data that is random in another way is another data set every time.

    Args:
        data: the data set; its own random state is left as it is.
        key: the entries' key.

    Example:
        >>> from monai.data import Dataset
        >>> halved = Dataset([{"x": 2.0}], transform=lambda entry: {"x": entry["x"] / 2})
        >>> checksum_of_values(halved, "x") == checksum_of_values(Dataset([{"x": 1.0}]), "x")
        True
    """
    digest = hashlib.sha256()
    with seeded(torch.device("cpu"), 0):
        for entry in _spread(_repeatable(data)):
            digest.update(_bytes(entry[key]))
    return digest.hexdigest()


def _spread(data: Any) -> Iterator[Any]:
    count = size(data)
    places = np.unique(np.linspace(0, count - 1, min(count, _LOADED)).astype(int))
    return (data[index] for index in places.tolist())


def _repeatable(data: Dataset) -> Dataset:
    """The data set, with its random transforms as copies that start from a seed."""
    transform = getattr(data, "transform", None)
    if not isinstance(transform, Randomizable):
        return data
    view: Any = copy.copy(data)
    view.transform = copy.deepcopy(transform).set_random_state(0)
    return view


def checksum_of_module(module: nn.Module) -> str:
    """SHA-256 over the classes, the plain attributes, the parameters and the buffers of a module and all its parts.

    Example:
        >>> a, b = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, padding=1)
        >>> _ = b.load_state_dict(a.state_dict())
        >>> checksum_of_module(a) == checksum_of_module(b)  # the same weights in another network
        False
    """
    digest = hashlib.sha256()
    for name, part in module.named_modules():
        plain = {
            key: value
            for key, value in sorted(vars(part).items())
            if key not in ("training", "_is_full_backward_hook") and _is_plain(value)
        }
        digest.update(f"{name} {type(part).__qualname__} {plain}".encode())
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        digest.update(name.encode() + _bytes(tensor))
    return digest.hexdigest()


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _PLAIN)


def fingerprint(**settings: Any) -> str:
    """SHA-256 over named settings (numbers, texts, lists of them).

    Example:
        >>> fingerprint(seed=0, ratios=[0.25]) == fingerprint(ratios=[0.25], seed=0) != fingerprint(ratios=[0.25], seed=1)
        True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


class Finished(NamedTuple):
    """What an earlier run left of one network.

    Attributes:
        course: of its training.
        rows: its test, field -> number.
        images: numbers by image.
    """

    course: Course
    rows: list[dict[str, Any]]
    images: dict[str, Tensor]


class AuditStore:
    """A folder with one folder per trained network: its record, its weights, and numbers by image.

    The record is written last, so a network without one was not finished. Weights are plain state dicts.

    Args:
        folder: the folder; made when something is written.
        common: what all of its networks have in common: the fingerprint of policy, measurement and data.
    """

    def __init__(self, folder: Path, common: str = "") -> None:
        self.folder, self.common = folder, common

    def fingerprint(self, **settings: Any) -> str:
        """Of one network's settings and what it has in common with the others."""
        return fingerprint(common=self.common, **settings)

    def finished(self, name: str, wanted: str) -> Finished | None:
        """A network with this fingerprint; None if there is none, one of other settings, or one with a missing or damaged file."""
        path = self.folder / name / "record.json"
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            same = record["fingerprint"] == wanted
            found = Finished(
                Course(**_numbers(record["course"])), _numbers(record["rows"]), read_plain(path.parent / "images.pt")
            )
            read_plain(self.weights(name))
        except (ValueError, KeyError, TypeError, OSError) as error:
            _LOGGER.warning("%s: what an earlier run left is damaged (%s); it is trained anew", name, error)
            return None
        if not same:
            _LOGGER.info("%s: what an earlier run left belongs to other settings; it is trained anew", name)
            return None
        _LOGGER.info("%s: finished by an earlier run of the same settings, not trained again", name)
        return found

    def weights(self, name: str) -> Path:
        """File of a network's state dict."""
        return self.folder / name / "weights.pt"

    def save(self, name: str, network: nn.Module, settings: dict[str, Any], finished: Finished) -> None:
        """Write a finished network's three files.

        Args:
            name: of its folder.
            network: the trained network.
            settings: what else the record says; its ``fingerprint`` is what :meth:`finished` asks for.
            finished: how it went.
        """
        (self.folder / name / "record.json").unlink(missing_ok=True)  # unfinished while its other files are replaced
        weights = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
        for file, content in (("weights.pt", weights), ("images.pt", finished.images)):
            with atomic_path(self.folder / name / file) as part:
                torch.save(content, part)
        record = settings | {"course": _plain(finished.course._asdict()), "rows": _plain(finished.rows)}
        with atomic_path(self.folder / name / "record.json") as part:
            part.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """For JSON, which knows neither NaN nor infinity: these as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(value: Any) -> Any:
    """What :func:`_plain` was given."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float(value) if isinstance(value, str) else value
