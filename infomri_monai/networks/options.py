"""What a network was trained with and no tensor's shape shows, kept in its state dict."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["KeepsOptions"]

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
