"""The protocol of a 2D gradient echo: its numbers, units and limits, checked before a sequence is built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from monai.utils import OptionalImportError, optional_import

__all__ = ["BLOCK_RASTER_NS", "GAMMA_HZ_PER_MT", "TIME_BANDWIDTH", "GradientEcho", "load_pypulseq"]

#: block durations and gradient timings are whole multiples of this (Pulseq's default raster)
BLOCK_RASTER_NS = 10_000
#: Hz/m of a gradient of 1 mT/m (protons)
GAMMA_HZ_PER_MT = 42_576.0
#: time-bandwidth product of the excitation
TIME_BANDWIDTH = 4.0


def load_pypulseq() -> Any:
    """The package pypulseq.

    Raises:
        OptionalImportError: if it is not installed.
    """
    pypulseq, found = optional_import("pypulseq")
    if not found:
        raise OptionalImportError("Pulseq files need pypulseq: pip install 'infomri-monai[deploy]'.")
    return pypulseq


@dataclass(frozen=True)
class GradientEcho:
    """A spoiled 2D gradient echo, one line per excitation.

    The default limits leave room for oblique slices: three axes at full strength together stay below 39 mT/m and
    139 T/m/s on one physical axis (a factor of √3).

    Args:
        fov_mm: field of view along both axes of the grid, mm, at most 1000.
        te_ms: from the centre of the excitation to the sample at k = 0, ms; realised to half a microsecond.
        tr_ms: from excitation to excitation, ms, a multiple of 0.01.
        flip_angle_deg: flip angle, degrees, in (0, 90].
        slice_thickness_mm: thickness of the excited slice, mm.
        dwell_us: time per sample of the read-out, us, a multiple of 0.1; the samples are not oversampled.
        rf_ms: duration of the excitation (a sinc of time-bandwidth product 4, Hann-weighted by 0.5), ms, a multiple of
            0.01.
        dummies: excitations without read-out before the first line, to approach the steady state, 0 to 10000.
        max_grad: limit of every logical gradient axis, mT/m.
        max_slew: limit of its slew rate, T/m/s.
        rf_dead_us: pause the transmitter needs before a pulse, us.
        rf_ringdown_us: pause it needs after a pulse, us.
        adc_dead_us: pause the receiver needs before and after a read-out, us.

    Raises:
        ValueError: if an argument is out of range, or the slice needs more than ``max_grad``.

    Example:
        >>> GradientEcho(fov_mm=(220, 220), te_ms=4, tr_ms=9).flip_angle_deg
        10.0
    """

    fov_mm: tuple[float, float]
    te_ms: float = 5.0
    tr_ms: float = 12.0
    flip_angle_deg: float = 10.0
    slice_thickness_mm: float = 5.0
    dwell_us: float = 10.0
    rf_ms: float = 2.0
    dummies: int = 0
    max_grad: float = 22.0
    max_slew: float = 80.0
    rf_dead_us: float = 100.0
    rf_ringdown_us: float = 30.0
    adc_dead_us: float = 10.0

    def __post_init__(self) -> None:
        fov = tuple(float(size) for size in self.fov_mm)
        if len(fov) != 2 or not all(0 < size <= 1000 for size in fov):
            raise ValueError(f"fov_mm must be two sizes in (0, 1000] mm, got {self.fov_mm}.")
        object.__setattr__(self, "fov_mm", fov)
        _check_numbers(self)
        object.__setattr__(self, "dummies", int(self.dummies))
        _check_slice(self)

    def system(self) -> Any:
        """The limits as pypulseq's ``Opts``."""
        return load_pypulseq().Opts(
            max_grad=self.max_grad,
            grad_unit="mT/m",
            max_slew=self.max_slew,
            slew_unit="T/m/s",
            gamma=GAMMA_HZ_PER_MT * 1e3,
            rf_dead_time=self.rf_dead_us * 1e-6,
            rf_ringdown_time=self.rf_ringdown_us * 1e-6,
            adc_dead_time=self.adc_dead_us * 1e-6,
            rf_raster_time=1e-6,
            adc_raster_time=1e-7,
            grad_raster_time=BLOCK_RASTER_NS * 1e-9,
            block_duration_raster=BLOCK_RASTER_NS * 1e-9,
        )


def _check_numbers(protocol: GradientEcho) -> None:
    """Ranges and rasters of the numbers."""
    for name in ("te_ms", "tr_ms", "flip_angle_deg", "slice_thickness_mm", "dwell_us", "rf_ms", "max_grad", "max_slew"):
        value = getattr(protocol, name)
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite number > 0, got {value}.")
    if protocol.flip_angle_deg > 90:
        raise ValueError(f"flip_angle_deg must lie in (0, 90], got {protocol.flip_angle_deg}.")
    for name in ("rf_dead_us", "rf_ringdown_us", "adc_dead_us"):
        if not 0 <= getattr(protocol, name) <= 10_000:
            raise ValueError(f"{name} must lie in [0, 10000] us, got {getattr(protocol, name)}.")
    if not 0 <= protocol.dummies <= 10_000 or protocol.dummies != int(protocol.dummies):
        raise ValueError(f"dummies must be a whole number in [0, 10000], got {protocol.dummies}.")
    for name, raster in {"tr_ms": 0.01, "rf_ms": 0.01, "dwell_us": 0.1, "rf_dead_us": 1, "rf_ringdown_us": 1}.items():
        steps = getattr(protocol, name) / raster
        if abs(steps - round(steps)) > 1e-6 or (steps and round(steps) == 0):
            raise ValueError(f"{name} must be a multiple of {raster}, got {getattr(protocol, name)}.")


def _check_slice(protocol: GradientEcho) -> None:
    """Strength of the slice-selection gradient, which no longer repetition can lower."""
    selection = TIME_BANDWIDTH / (protocol.rf_ms * 1e-3) / (protocol.slice_thickness_mm * 1e-3) / GAMMA_HZ_PER_MT
    if selection > protocol.max_grad:
        thinnest = math.ceil(protocol.slice_thickness_mm * selection / protocol.max_grad * 100) / 100
        raise ValueError(
            f"slice_thickness_mm={protocol.slice_thickness_mm:g} with rf_ms={protocol.rf_ms:g} needs a gradient of "
            f"{selection:.3g} mT/m, above max_grad={protocol.max_grad:g}; the thinnest slice is {thinnest:g} mm."
        )
