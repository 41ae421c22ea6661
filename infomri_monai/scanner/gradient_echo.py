"""A 2D spoiled gradient echo: its protocol, and the events of one repetition, which pypulseq makes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from monai.utils import OptionalImportError, optional_import

__all__ = [
    "BLOCK_RASTER_NS",
    "GAMMA_HZ_PER_MT",
    "TIME_BANDWIDTH",
    "Geometry",
    "GradientEcho",
    "Repetition",
    "design_repetition",
    "load_pypulseq",
]

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
        raise OptionalImportError(
            "Pulseq files need pypulseq: pip install pypulseq, or the extra infomri-monai[deploy]."
        )
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


_START_RASTER_NS = 1000  # a read-out may start on the raster of the pulses
_SLICE_SPOILER = 4  # cycles over the slice thickness at the end of every repetition
_READ_SPOILER = 1  # cycles over a pixel, besides the half that the read-out leaves


class Geometry(NamedTuple):
    """Positions along the read-out and the phase-encode axis; fields of view and slice thickness in m."""

    read: int
    phase: int
    read_fov: float
    phase_fov: float
    thickness: float


class Repetition(NamedTuple):
    """pypulseq's events of the four blocks of a repetition.

    Attributes:
        excitation: pulse, slice selection and a pause up to the raster.
        prephase: read prephaser and slice rephaser.
        phase: the phase encode of the outermost line ``n // 2``, to be scaled.
        read: the read-out gradient.
        adc: the receiver.
        spoilers: along the read-out and the slice axis.
        encoding: pause that gives the second block its duration, and TE.
        spoiling: pause that gives the fourth block its duration, and TR.
        te: realised echo time, s.
    """

    excitation: tuple[Any, Any, Any]
    prephase: tuple[Any, Any]
    phase: Any
    read: Any
    adc: Any
    spoilers: tuple[Any, Any]
    encoding: Any
    spoiling: Any
    te: float


class _Readout(NamedTuple):
    """A read-out gradient (Hz/m), and the time from its plateau's start to the sample at k = 0 of an unshifted receiver."""

    gradient: Any
    ramp_ns: int
    dwell_ns: int
    to_echo_ns: float

    def moment(self, shift_ns: float) -> float:
        """Its moment until the sample at k = 0, 1/m, if the receiver starts ``shift_ns`` after the plateau."""
        return float(self.gradient.amplitude) * (self.ramp_ns / 2 + shift_ns + self.to_echo_ns) * 1e-9


def design_repetition(pp: Any, geometry: Geometry, protocol: GradientEcho) -> Repetition:
    """Design the events of one repetition.

    TE is met by lengthening the second block in steps of the raster and starting the receiver up to one raster later;
    the prephaser makes up for the latter, so that a sample lies exactly at k = 0. TR is met by the last block.

    Args:
        pp: the package pypulseq.
        geometry: sizes.
        protocol: the protocol.

    Raises:
        ValueError: if TE, TR or the dwell time is too short; the message holds the shortest.
    """
    system = protocol.system()
    pulse, selection = _excitation(pp, system, geometry, protocol)
    excitation_ns = _up(pp.calc_duration(pulse, selection))
    readout = _readout(pp, system, geometry, protocol)
    outermost = max(geometry.phase // 2, 1) / geometry.phase_fov
    areas = {"x": -readout.moment(BLOCK_RASTER_NS), "y": outermost, "z": -float(selection.area) / 2}
    shortest = {axis: pp.make_trapezoid(axis, area=area, system=system) for axis, area in areas.items()}
    least_ns = _up(max(map(pp.calc_duration, shortest.values())))
    fixed_ns = excitation_ns - round((pulse.delay + pulse.center) * 1e9) + readout.ramp_ns + readout.to_echo_ns
    encoding_ns, shift_ns = _encoding_time(protocol.te_ms, fixed_ns, least_ns)

    def encode(axis: str, area: float) -> Any:
        ramp = shortest[axis].rise_time
        flat = round(least_ns - 2e9 * ramp) * 1e-9
        return pp.make_trapezoid(axis, area=area, rise_time=ramp, flat_time=flat, system=system)

    phase = encode("y", outermost)
    spoilers = (
        pp.make_trapezoid("x", area=_READ_SPOILER * geometry.read / geometry.read_fov, system=system),
        pp.make_trapezoid("z", area=_SLICE_SPOILER / geometry.thickness, system=system),
    )
    used_ns = excitation_ns + encoding_ns + _up(pp.calc_duration(readout.gradient))
    spoiling_ns = _spoiling_time(protocol.tr_ms, used_ns, _up(max(map(pp.calc_duration, (phase, *spoilers)))))
    start_ns = readout.ramp_ns + shift_ns
    return Repetition(
        excitation=(pulse, selection, pp.make_delay(excitation_ns * 1e-9)),
        prephase=(encode("x", -readout.moment(shift_ns)), encode("z", areas["z"])),
        phase=phase,
        read=readout.gradient,
        adc=pp.make_adc(geometry.read, dwell=readout.dwell_ns * 1e-9, delay=start_ns * 1e-9, system=system),
        spoilers=spoilers,
        encoding=pp.make_delay(encoding_ns * 1e-9),
        spoiling=pp.make_delay(spoiling_ns * 1e-9),
        te=(fixed_ns + encoding_ns + shift_ns) * 1e-9,
    )


def _up(seconds: float) -> int:
    """A duration rounded up to the raster of the blocks, ns."""
    return math.ceil(round(seconds * 1e9, 3) / BLOCK_RASTER_NS) * BLOCK_RASTER_NS


def _excitation(pp: Any, system: Any, geometry: Geometry, protocol: GradientEcho) -> tuple[Any, Any]:
    """Pulse and slice-selection gradient."""
    pulse, selection, _ = pp.make_sinc_pulse(
        flip_angle=math.radians(protocol.flip_angle_deg),
        duration=protocol.rf_ms * 1e-3,
        delay=system.rf_dead_time,
        slice_thickness=geometry.thickness,
        apodization=0.5,
        time_bw_product=TIME_BANDWIDTH,
        system=system,
        return_gz=True,
        use="excitation",
    )
    return pulse, selection


def _readout(pp: Any, system: Any, geometry: Geometry, protocol: GradientEcho) -> _Readout:
    """Read-out gradient whose plateau has one raster to spare, for shifting the receiver."""
    dwell_ns = round(protocol.dwell_us * 1e3)
    amplitude = 1e9 / (geometry.read_fov * dwell_ns)  # one step of 1 / field of view per sample
    if amplitude > system.max_grad:
        least_us = math.ceil(round(protocol.dwell_us * amplitude / system.max_grad * 10, 6)) / 10
        raise ValueError(
            f"dwell_us={protocol.dwell_us:g} with a field of view of {geometry.read_fov * 1e3:g} mm needs a read-out gradient "
            f"of {amplitude / GAMMA_HZ_PER_MT:.3g} mT/m, above max_grad={protocol.max_grad:g}; dwell_us must be at least "
            f"{least_us:g}."
        )
    ramp_ns = max(_up(amplitude / system.max_slew), _up(system.adc_dead_time), BLOCK_RASTER_NS)
    flat_ns = _up(geometry.read * dwell_ns * 1e-9) + BLOCK_RASTER_NS
    gradient = pp.make_trapezoid(
        "x", amplitude=amplitude, flat_time=flat_ns * 1e-9, rise_time=ramp_ns * 1e-9, system=system
    )
    return _Readout(gradient, ramp_ns, dwell_ns, (geometry.read // 2 + 0.5) * dwell_ns)


def _encoding_time(te_ms: float, fixed_ns: float, least_ns: int) -> tuple[int, int]:
    """Duration of the second block, and by how much the receiver starts later than the plateau, ns."""
    wait_ns = round((te_ms * 1e6 - fixed_ns) / _START_RASTER_NS) * _START_RASTER_NS
    if wait_ns < least_ns:
        least_ms = math.ceil(round((fixed_ns + least_ns) / _START_RASTER_NS, 3)) * _START_RASTER_NS / 1e6
        raise ValueError(f"te_ms={te_ms:g} is too short; the shortest of this protocol is {least_ms:g}.")
    encoding_ns = wait_ns // BLOCK_RASTER_NS * BLOCK_RASTER_NS
    return encoding_ns, wait_ns - encoding_ns


def _spoiling_time(tr_ms: float, used_ns: int, least_ns: int) -> int:
    """Duration of the last block, ns."""
    left_ns = round(tr_ms * 1e6) - used_ns
    if left_ns < least_ns:
        least_ms = (used_ns + least_ns) / 1e6
        raise ValueError(f"tr_ms={tr_ms:g} is too short; the shortest of this protocol is {least_ms:g}.")
    return left_ns
