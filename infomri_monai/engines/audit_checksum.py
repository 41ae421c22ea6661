"""Checksums by which a continued audit recognises its data, its policy and its networks."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable
from torch import Tensor, nn
from torch.utils.data import Dataset

from infomri_monai.engines.audit_data import raw_entries, size
from infomri_monai.engines.training_budget import seeded

__all__ = ["checksum_of_data", "checksum_of_module", "checksum_of_values"]

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
