"""What a training owes to the machine it runs on: mixed precision where it pays, and memory that is freed and needed again.

Nothing here may suit one kind of machine only. ``benchmarks/precision_and_waiting.py`` measures these choices on yours.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from ignite import distributed as idist
from monai.inferers import SimpleInferer
from torch import Tensor, nn

__all__ = ["AutocastInferer", "MixedPrecision", "faster_in_bfloat16", "keep_freed_memory"]

_LOGGER = logging.getLogger(__name__)
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h
#: oneDNN's names for what has no bfloat16 instructions (ONEDNN_MAX_CPU_ISA); above AVX2 it would emulate them
_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
_MARGIN = 1.2  # bfloat16 has to be this many times faster where it is timed: noise must not decide


class MixedPrecision:
    """Whether networks run under bfloat16 autocast: as told, or where the hardware is faster with it.

    ``"auto"`` asks :func:`faster_in_bfloat16` once and logs the answer. Several processes use bfloat16 only if all of them are
    faster with it. The object goes into a checkpoint: a resumed ``"auto"`` keeps the precision it started with, whatever the
    machine; True and False are orders.

    Args:
        setting: ``"auto"``, True or False.
        device: where the network is.

    Attributes:
        enabled: whether it is on.

    Raises:
        ValueError: if the setting is something else.

    Example:
        >>> print(MixedPrecision(False))
        False
        >>> with MixedPrecision(True).autocast("cpu"):
        ...     torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype
        torch.bfloat16
    """

    def __init__(self, setting: bool | Literal["auto"] = "auto", device: str | torch.device = "cpu") -> None:
        if not isinstance(setting, bool) and setting != "auto":
            raise ValueError(
                f"mixed_precision must be 'auto', True or False (on a command line with a capital letter), got {setting!r}."
            )
        self.automatic = setting == "auto"
        if setting == "auto":
            self.enabled, reason = faster_in_bfloat16(torch.device(device))
            if idist.get_world_size() > 1:
                self.enabled = bool(idist.all_reduce(int(self.enabled), "MIN"))
            _LOGGER.info("mixed precision (auto): %s, %s", "bfloat16" if self.enabled else "float32", reason)
        else:
            self.enabled = setting

    @classmethod
    def of(cls, value: bool | MixedPrecision, name: str) -> MixedPrecision:
        """An argument that is a bool or a training's precision.

        Raises:
            ValueError: if it is neither.
        """
        if isinstance(value, MixedPrecision):
            return value
        if not isinstance(value, bool):
            raise ValueError(
                f"{name} must be True or False (on a command line with a capital letter) or a MixedPrecision, got {value!r}."
            )
        return cls(value)

    def autocast(self, device: str | torch.device) -> torch.autocast:
        """The context in which a network on this device runs."""
        return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=self.enabled)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"enabled": self.enabled}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the precision of a checkpoint, unless the precision was ordered."""
        if bool(state["enabled"]) != self.enabled:
            name = "bfloat16" if state["enabled"] else "float32"
            kept = "keeps it" if self.automatic else "was ordered to change it"
            _LOGGER.warning("the training started in %s and %s", name, kept)
        if self.automatic:
            self.enabled = bool(state["enabled"])

    def __str__(self) -> str:
        return str(self.enabled)


class AutocastInferer(SimpleInferer):
    """MONAI's ``SimpleInferer`` under bfloat16 autocast of the input's device.

    MONAI's ``amp`` switch is written for CUDA; this one works on a CPU too. bfloat16 has the range of float32 and needs no gradient
    scaling. Fourier transforms, data consistency and the loss stay in float32.

    Args:
        enabled: the switch of mixed precision, a bool or the :class:`MixedPrecision` of a training.

    Raises:
        ValueError: if ``enabled`` is neither.

    Example:
        >>> import torch
        >>> AutocastInferer(True)(torch.ones(1, 2), torch.nn.Linear(2, 2)).dtype
        torch.bfloat16
    """

    def __init__(self, enabled: bool | MixedPrecision = False) -> None:
        super().__init__()
        self.precision = MixedPrecision.of(enabled, "enabled")

    @property
    def enabled(self) -> bool:
        """Whether autocast is on."""
        return self.precision.enabled

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return ``network(inputs, *args, **kwargs)``."""
        with self.precision.autocast(inputs.device):
            return super().__call__(inputs, network, *args, **kwargs)


def faster_in_bfloat16(device: torch.device) -> tuple[bool, str]:
    """Whether a network of convolutions is faster in bfloat16 on this device, and why.

    The answer must be the same every time, or one seed would give two models. Where the instructions decide, they are asked for,
    not timed: a GPU's by torch; on x86 AVX512-BF16 or AMX and that oneDNN may use them (``ONEDNN_MAX_CPU_ISA`` may forbid it;
    oneDNN then accepts bfloat16 and emulates it, several times slower). Arm's bfloat16 depends on how torch was built: it is timed.

    Returns:
        The answer, and the reason for the log.

    Example:
        >>> on, reason = faster_in_bfloat16(torch.device("cpu"))
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return native, f"the GPU has {'' if native else 'no '}bfloat16 of its own"
    if device.type != "cpu":
        return False, f"bfloat16 is untried on {device.type}"
    if not _onednn_takes_bfloat16():
        return False, "oneDNN has no bfloat16 on this processor"
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return _timed_faster()
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
    if limit in _WITHOUT_BFLOAT16:
        return False, f"ONEDNN_MAX_CPU_ISA={limit} forbids the instructions"
    native = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return native, f"the processor has {'AVX512-BF16 or AMX' if native else 'neither AVX512-BF16 nor AMX'}"


def _onednn_takes_bfloat16() -> bool:
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # torch built without oneDNN
        return False


def _timed_faster() -> tuple[bool, str]:
    """Time a few training steps of small convolutions in turn; the fastest of each counts, so that other work hardly tells."""
    with torch.random.fork_rng([]):
        layer = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
        images = torch.rand(8, 16, 96, 96).contiguous(memory_format=torch.channels_last)
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(6):  # the first of each warms up and is never the fastest
        for enabled, taken in times.items():
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                result = layer(images)
            result.float().square().mean().backward()
            taken.append(time.perf_counter() - start)
    full, half = (1e3 * min(taken) for taken in times.values())
    return full > _MARGIN * half, f"timed: {full:.1f} ms a step in float32, {half:.1f} ms in bfloat16"


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the process's next allocation, instead of handing it back to the system.

    PyTorch has no cache of its own on a CPU. glibc maps every block above 32 MiB anew, and the system clears it page by page; the
    features of 16 images of 256 x 256 are such blocks, and a training step then spends most of its time there
    (``benchmarks/training_step.py``). That is Linux' doing, whatever the processor. The process keeps its peak memory until it
    ends, and gains nothing where the network is on a GPU. Elsewhere (musl, macOS, Windows) nothing happens.

    Returns:
        Whether it was done; False where the C library is not glibc.

    References:
        mallopt(3): M_MMAP_MAX, M_TRIM_THRESHOLD.

    Example:
        >>> kept = keep_freed_memory()  # doctest: +SKIP
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc; Windows does not take None
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
