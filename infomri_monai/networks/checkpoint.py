"""Trained weights: loaded strictly, without executing anything from the file, and refused where an option differs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from infomri_monai.files import read_plain

__all__ = ["KeepsOptions", "fill_network", "load_network"]

_OPTION = "option_"


class KeepsOptions(nn.Module):
    """A network whose state dict holds its options as buffers, so that weights of another option are refused when loaded.

    Example:
        >>> network, other = KeepsOptions(), KeepsOptions()
        >>> network.keep_option("real_valued", 1); other.keep_option("real_valued", 0)
        >>> other.load_state_dict(network.state_dict())
        Traceback (most recent call last):
        ValueError: the weights were trained with real_valued=1, the network has real_valued=0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(_refuse_other_options)

    def keep_option(self, name: str, value: int) -> None:
        """Keep an option in the state dict; loading compares it."""
        self.register_buffer(_OPTION + name, torch.tensor(int(value)))


def _refuse_other_options(module: nn.Module, state: dict[str, Tensor], prefix: str, *others: object) -> None:
    for name, own in module.named_buffers(recurse=False):
        saved = state.get(prefix + name)
        if name.startswith(_OPTION) and saved is not None and int(saved) != int(own):
            option = name.removeprefix(_OPTION)
            raise ValueError(
                f"the weights were trained with {option}={int(saved)}, the network has {option}={int(own)}."
            )


def load_network(
    network: nn.Module,
    path: str | os.PathLike[str],
    map_location: str | torch.device = "cpu",
    ignore: Sequence[str] = (),
) -> nn.Module:
    """Load a plain state dict into a network of the same architecture.

    Args:
        network: the network to fill, in place; only changed if everything fits.
        path: file of its state dict, as ``torch.save(network.state_dict(), path)`` writes it.
        map_location: device of the returned network.
        ignore: beginnings of names that the file may have beyond the network's, e.g. ``("reconstruction_decoder.",)`` for a task
            model built without its reconstruction.

    Returns:
        The network on that device, in evaluation mode.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the file cannot be read: a right is missing, or the disk fails.
        ValueError: if the file is damaged (also where only a checksum tells), holds anything but tensors and plain types (a pickle
            that would execute code), is not a state dict, belongs to another architecture (the tensors that differ are named) or
            holds NaN or Inf.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(nn.Linear(2, 3).state_dict(), f"{folder}/model.pt")
        ...     load_network(nn.Linear(2, 3), f"{folder}/model.pt").training
        False
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"network checkpoint {path} does not exist or is not a file.")
    return fill_network(network, _read(path), str(path), map_location, ignore)


def fill_network(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    map_location: str | torch.device = "cpu",
    ignore: Sequence[str] = (),
) -> nn.Module:
    """Put a state dict into a network of the same architecture.

    Args:
        network: the network to fill, in place; only changed if everything fits.
        weights: the state dict.
        source: what the weights came from, for messages.
        map_location: device of the returned network.
        ignore: as in :func:`load_network`.

    Returns:
        The network on that device, in evaluation mode.

    Raises:
        ValueError: if the weights belong to another architecture (the tensors that differ are named) or hold NaN or Inf.

    Example:
        >>> fill_network(nn.Linear(2, 3), nn.Linear(2, 4).state_dict(), "a file")
        Traceback (most recent call last):
        ValueError: a file is the checkpoint of another architecture than Linear as configured: it has weight of shape (4, 2) ...
    """
    expected = network.state_dict()
    state = {k: v for k, v in weights.items() if k in expected or not k.startswith(tuple(ignore))}
    problems = [f"lacks {name}" for name in expected if name not in state]
    problems += [f"has an unknown {name}" for name in state if name not in expected]
    problems += [
        f"has {name} of shape {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems += [
        f"has {name} of {state[name].dtype} instead of {tensor.dtype}"
        for name, tensor in expected.items()
        if name in state and _kind(state[name]) != _kind(tensor)
    ]
    if problems:
        raise ValueError(
            f"{source} is the checkpoint of another architecture than {type(network).__name__} as configured: it "
            f"{', '.join(problems[:3])}{f' and {len(problems) - 3} more' if len(problems) > 3 else ''}."
        )
    # in the network's precision, which may not hold them
    bad = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor.to(expected[name].dtype)).all())]
    if bad:
        raise ValueError(
            f"{source} holds NaN or Inf in {', '.join(bad[:3])}: the training diverged or the file is damaged."
        )
    network.load_state_dict(state)
    return network.to(map_location).eval()


def _kind(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "complex" if tensor.is_complex() else "float" if tensor.is_floating_point() else "integer"


def _read(path: Path) -> dict[str, Tensor]:
    content = read_plain(path)
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        found = ", ".join(sorted(map(str, content))[:4]) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} is not a plain state dict (names to tensors), it holds {found or 'nothing'}.")
    return content
