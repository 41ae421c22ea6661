"""The names of what a bundle segments or classifies, as its configuration or a user's setting has them."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["class_names"]

#: task -> key of inference.json, and the network's attribute that says how many names there are
_KEYS = {"segmentation": ("structures", "structures"), "classification": ("labels", "num_classes")}


def class_names(task: str, config: Any, network: nn.Module) -> tuple[str, ...]:
    """Check the names: they become segments and codes of the DICOM objects.

    Args:
        task: "reconstruction", "segmentation" or "classification".
        config: has ``get_parsed_content``, as MONAI's ConfigParser.
        network: the bundle's network.

    Returns:
        One name for every structure of a segmentation (the background has none) or class of a classification; else none.

    Raises:
        ValueError: if they are not a list of different texts, one each; the message begins with the key.

    Example:
        >>> from types import SimpleNamespace
        >>> config = SimpleNamespace(get_parsed_content={"structures": "csf"}.get)
        >>> class_names("segmentation", config, SimpleNamespace(structures=3))
        Traceback (most recent call last):
        ValueError: structures must be a list of 3 different names, got 'csf'.
    """
    if task not in _KEYS:
        return ()
    key, attribute = _KEYS[task]
    names, number = config.get_parsed_content(key), int(getattr(network, attribute))
    texts = isinstance(names, (list, tuple)) and all(isinstance(name, str) and name.strip() for name in names)
    if not texts or len({name.strip() for name in names}) != number or len(names) != number:
        what = "1 name" if number == 1 else f"{number} different names"
        raise ValueError(f"{key} must be a list of {what}, got {names!r}.")
    return tuple(names)
