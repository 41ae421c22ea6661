"""The sequence of a mask: read back from its gradients, with the timing and the signal that were asked for."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from helper import refuses, refuses_each
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.utils import OptionalImportError

from infomri_monai.scanner import gradient_echo as protocol_module
from infomri_monai.scanner import pulseq as pulseq_module
from infomri_monai.scanner.gradient_echo import GradientEcho
from infomri_monai.scanner.ordering import phase_encodes
from infomri_monai.scanner.pulseq import gradient_echo_sequence, read_pulseq_lines, write_pulseq

pypulseq = pytest.importorskip("pypulseq")

PROTOCOL = GradientEcho(fov_mm=(220, 180))
LINES = [0, 3, 5, 6, 9]  # of 11, DC is 5
GAMMA = 42.576e6


def line_mask(grid, readout_axis, lines):
    positions = np.isin(np.arange(grid[1 - readout_axis]), lines)
    return np.broadcast_to(np.expand_dims(positions, readout_axis), grid)


def encodes_of(grid=(8, 11), readout_axis=0, lines=LINES, ordering="sequential", **more):
    return phase_encodes(line_mask(grid, readout_axis, lines), readout_axis, ordering, **more)


def read_back(path, protocol=PROTOCOL):
    sequence = pypulseq.Sequence(protocol.system())
    sequence.read(str(path))
    return sequence


@pytest.fixture
def written(tmp_path):
    return write_pulseq(encodes_of(), PROTOCOL, tmp_path / "lines.seq", {"Policy": "any", "Ratio": 5 / 11})


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_the_trajectory_measures_the_mask(tmp_path_factory, data):
    grid = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    axis = data.draw(st.integers(0, 1))
    lines = data.draw(st.sets(st.integers(0, grid[1 - axis] - 1), min_size=1))
    ordering = data.draw(st.sampled_from(["sequential", "centric", "interleaved", "random"]))
    shots = data.draw(st.integers(min(2, len(lines)), len(lines))) if ordering == "interleaved" else 1
    fov = data.draw(st.tuples(st.floats(150, 500), st.floats(150, 500)))
    encodes = encodes_of(grid, axis, sorted(lines), ordering, shots=shots)
    protocol = GradientEcho(fov, te_ms=8, tr_ms=20, dummies=data.draw(st.integers(0, 2)))
    found = read_pulseq_lines(write_pulseq(encodes, protocol, tmp_path_factory.mktemp("pulseq") / "lines.seq"))
    np.testing.assert_array_equal(found.mask, line_mask(grid, axis, sorted(lines)))
    np.testing.assert_array_equal(found.positions, encodes.positions)
    np.testing.assert_array_equal(found.shot, encodes.shot)
    assert found[2:] == encodes[2:]


@pytest.mark.parametrize(("grid", "axis"), [((16, 11), 0), ((15, 8), 1)])
def test_the_trajectory_spans_matrix_over_field_of_view(grid, axis, tmp_path):
    encodes = encodes_of(grid, axis, range(grid[1 - axis]))
    kx, ky, kz = read_back(write_pulseq(encodes, PROTOCOL, tmp_path / "all.seq")).calculate_kspace()[0]
    for k, n, fov in ((kx, grid[axis], PROTOCOL.fov_mm[axis]), (ky, grid[1 - axis], PROTOCOL.fov_mm[1 - axis])):
        expected = (np.arange(n) - n // 2) / (fov * 1e-3)
        assert np.abs(np.unique(np.rint(k * fov * 1e-3)) / (fov * 1e-3) - expected).max() < 1e-9
        assert np.abs(k * fov * 1e-3 - np.rint(k * fov * 1e-3)).max() < 1e-3
        assert np.ptp(k) == pytest.approx((n - 1) / (fov * 1e-3), rel=1e-4)
    assert np.abs(kz).max() * PROTOCOL.slice_thickness_mm * 1e-3 < 1e-4


@pytest.mark.parametrize("axis", [0, 1])
def test_the_signal_along_the_trajectory_is_the_masked_kspace(axis, tmp_path, generator):
    """The Fourier integral of an image at the file's trajectory, placed by its labels, is our centred transform."""
    grid = (10, 9)
    image = torch.randn(grid, generator=generator, dtype=torch.complex128).numpy()
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho"))
    encodes = encodes_of(grid, axis, [1, 2, 4, 7], "centric")
    sequence = read_back(write_pulseq(encodes, PROTOCOL, tmp_path / "lines.seq"))
    along, across = sequence.calculate_kspace()[0][:2]
    k = (along, across) if axis == 0 else (across, along)
    cell = [PROTOCOL.fov_mm[i] * 1e-3 / grid[i] for i in (0, 1)]
    x = [(np.arange(grid[i]) - grid[i] // 2) * cell[i] for i in (0, 1)]
    waves = [np.exp(-2j * np.pi * np.outer(k[i], x[i])) for i in (0, 1)]
    signal = np.einsum("sa,ab,sb->s", waves[0], image, waves[1]) / np.sqrt(image.size)
    measured = np.zeros(grid, complex)
    lines = sequence.evaluate_labels(evolution="adc")["LIN"]
    for line, readout in zip(lines, signal.reshape(len(lines), -1), strict=True):
        measured[(slice(None), line) if axis == 0 else (line, slice(None))] = readout
    np.testing.assert_allclose(measured, kspace * encodes.mask, atol=2e-3)
    assert np.abs(measured).max() > 1


@pytest.mark.parametrize(("te", "tr"), [(5.0, 12.0), (4.317, 9.99), (9.0005, 25.25)])
@pytest.mark.parametrize("grid", [(32, 11), (31, 11)])
@pytest.mark.parametrize("dwell", [10.0, 12.3])
def test_te_tr_and_flip_angle_are_those_asked_for(te, tr, grid, dwell, tmp_path):
    protocol = replace(PROTOCOL, te_ms=te, tr_ms=tr, dwell_us=dwell, flip_angle_deg=25, dummies=2)
    sequence = read_back(write_pulseq(encodes_of(grid), protocol, tmp_path / "lines.seq"), protocol)
    k, _, excitations, _, samples = sequence.calculate_kspace()
    np.testing.assert_allclose(np.diff(excitations), tr * 1e-3, atol=1e-9)
    echoes = samples.reshape(len(LINES), -1)[:, grid[0] // 2]
    assert np.abs(k[0].reshape(len(LINES), -1)[:, grid[0] // 2]).max() * PROTOCOL.fov_mm[0] * 1e-3 < 1e-3
    np.testing.assert_allclose(echoes - excitations[2:], te * 1e-3, atol=0.5001e-6)
    np.testing.assert_allclose(echoes - excitations[2:], sequence.definitions["TE"], atol=1e-9)
    assert sequence.duration()[0] == pytest.approx((2 + len(LINES)) * tr * 1e-3)
    report = sequence.test_report()
    assert float(re.search(r"Flip angle: ([\d.]+)", report)[1]) == pytest.approx(25, abs=0.05)
    assert float(re.search(r"TR: ([\d.]+)", report)[1]) == pytest.approx(tr * 1e-3, abs=1e-6)


@pytest.mark.parametrize("limits", [{}, {"max_grad": 15, "max_slew": 40}, {"adc_dead_us": 200, "rf_ringdown_us": 333}])
def test_timing_and_gradients_stay_within_the_limits(limits, tmp_path):
    protocol = replace(PROTOCOL, te_ms=8, tr_ms=20, **limits)
    encodes = encodes_of((64, 64), 0, [0, 1, 30, 31, 32, 63])
    sequence = read_back(write_pulseq(encodes, protocol, tmp_path / "lines.seq"), protocol)
    assert sequence.check_timing() == (True, [])
    for times, amplitudes in sequence.waveforms():
        assert np.abs(amplitudes).max() <= protocol.max_grad * 1e-3 * GAMMA * (1 + 1e-5)
        slews = np.diff(amplitudes) / np.maximum(np.diff(times), 1e-9)
        assert np.abs(slews[np.abs(np.diff(amplitudes)) > 1]).max() <= protocol.max_slew * GAMMA * (1 + 1e-4)


def test_spoiling_is_quadratic_and_the_receiver_follows(tmp_path):
    protocol = replace(PROTOCOL, dummies=3)
    sequence = read_back(write_pulseq(encodes_of((16, 16), 0, range(16)), protocol, tmp_path / "lines.seq"))
    blocks = [sequence.get_block(number) for number in sequence.block_events]
    pulses = np.array([block.rf.phase_offset for block in blocks if block.rf is not None])
    receivers = np.array([block.adc.phase_offset for block in blocks if block.adc is not None])
    assert len(pulses) == 19
    np.testing.assert_allclose(receivers, pulses[3:], atol=1e-5)
    turns = np.diff(np.unwrap(pulses), 2) / np.radians(117)
    np.testing.assert_allclose(np.exp(1j * np.radians(117) * (turns - 1)), 1, atol=1e-4)


def test_every_repetition_ends_with_the_same_moments(tmp_path):
    sequence = read_back(write_pulseq(encodes_of(), PROTOCOL, tmp_path / "lines.seq"))
    moments = {"gx": 0.0, "gy": 0.0, "gz": 0.0}
    ends = []
    for number in sequence.block_events:
        block = sequence.get_block(number)
        for channel in moments:
            gradient = getattr(block, channel)
            if gradient is not None:
                moments[channel] += gradient.amplitude * (gradient.rise_time + gradient.flat_time)  # rise = fall
        if number % 4 == 0:
            ends.append(list(moments.values()))
    steps = np.diff(ends, axis=0)
    np.testing.assert_allclose(steps - steps[0], 0, atol=1e-3)
    assert abs(np.array(ends)[:, 1]).max() < 1e-9  # the phase encode is rewound
    assert steps[0, 0] * PROTOCOL.fov_mm[0] * 1e-3 / 8 > 1  # more than a cycle over a pixel
    assert steps[0, 2] * PROTOCOL.slice_thickness_mm * 1e-3 > 4  # and over the slice


def test_definitions_say_what_it_is(written, tmp_path):
    """And the same mask gives the same file."""
    found = read_back(written).definitions
    np.testing.assert_allclose(found["FOV"], [0.22, 0.18, 0.005])
    assert found["Matrix"].tolist() == [8, 11]
    assert (found["Name"], found["Policy"], found["Ordering"]) == ("infomri_gre", "any", "sequential")
    assert found["Ratio"] == pytest.approx(5 / 11)
    assert (found["kSpaceCenterLine"], found["kSpaceCenterSample"], found["ReadoutAxis"]) == (5, 4, 0)
    assert found["PhaseResolution"] == pytest.approx((220 / 8) / (180 / 11))
    digest = hashlib.sha256(line_mask((8, 11), 0, LINES).astype(np.uint8).tobytes()).hexdigest()
    assert found["MaskChecksum"] == f"sha256:{digest}"
    again = write_pulseq(encodes_of(), PROTOCOL, tmp_path / "again.seq", {"Policy": "any", "Ratio": 5 / 11})
    assert again.read_bytes() == written.read_bytes()
    assert read_back(written).signature_value in written.read_text()


@pytest.mark.parametrize(
    ("name", "start", "step"),
    [("te_ms", 0.5, 0.001), ("tr_ms", 2.0, 0.01), ("dwell_us", 1.0, 0.1), ("slice_thickness_mm", 0.2, 0.01)],
)
def test_the_shortest_that_an_error_names_is_the_shortest(name, start, step):
    text = name.removesuffix("_thickness_mm")
    lowest = "(?:shortest of this protocol is|at least|thinnest slice is) ([0-9.]+[0-9])"
    with pytest.raises(ValueError, match=text) as error:
        gradient_echo_sequence(encodes_of(), replace(PROTOCOL, **{name: start}))
    least = float(re.search(lowest, str(error.value))[1])
    room = {} if name in ("te_ms", "tr_ms") else {"te_ms": 10, "tr_ms": 30}
    gradient_echo_sequence(encodes_of(), replace(PROTOCOL, **{name: least, **room}))
    with pytest.raises(ValueError, match=text):
        gradient_echo_sequence(encodes_of(), replace(PROTOCOL, **{name: round(least - step, 6), **room}))


def test_a_protocol_out_of_range():
    bad = {
        "fov_mm": [(0, 200), (200, -1), (200,), (2000, 200), (float("nan"), 200)],
        "te_ms": [0],
        "tr_ms": [float("inf")],
        "flip_angle_deg": [91, -5],
        "slice_thickness_mm": [0],
        "max_grad": [0],
        "rf_dead_us": [-1],
        "adc_dead_us": [float("nan")],
        "dummies": [-1, 1.5],
    }
    refuses_each(GradientEcho, {"fov_mm": (220, 180)}, **bad)
    for name, value, step in (("tr_ms", 12.345, 0.01), ("rf_ms", 1.001, 0.01), ("dwell_us", 10.05, 0.1)):
        refuses(ValueError, f"{name} must be a multiple of {step}", replace, PROTOCOL, **{name: value})
    refuses(ValueError, "rf_dead_us must be a multiple of 1", replace, PROTOCOL, rf_dead_us=0.5)
    refuses(ValueError, "max_grad=22", replace, PROTOCOL, slice_thickness_mm=0.5)


def test_only_lines_of_a_2d_grid_can_be_measured():
    refuses(ValueError, "whole lines", gradient_echo_sequence, phase_encodes(np.eye(8)), PROTOCOL)
    refuses(ValueError, "whole lines", gradient_echo_sequence, phase_encodes(np.ones((4, 4, 4)), 0), PROTOCOL)
    empty = encodes_of()._replace(positions=np.empty((0, 1), np.int64), shot=np.empty(0, np.int64))
    refuses(ValueError, "at least one line", gradient_echo_sequence, empty, PROTOCOL)
    for record in ({"two words": 1}, {"": 1}, {"Note": "two\nlines"}):  # would break the file
        refuses(ValueError, "record", gradient_echo_sequence, encodes_of(), PROTOCOL, record)


def test_a_file_that_measures_other_lines_is_not_written(tmp_path, monkeypatch):
    other = gradient_echo_sequence(encodes_of(lines=[0, 3]), PROTOCOL)
    monkeypatch.setattr(pulseq_module, "gradient_echo_sequence", lambda *_: other)
    refuses(ValueError, "does not measure the lines", write_pulseq, encodes_of(), PROTOCOL, tmp_path / "lines.seq")
    refuses(ValueError, r"\.seq", write_pulseq, encodes_of(), PROTOCOL, tmp_path / "lines.txt")
    assert list(tmp_path.iterdir()) == []


def test_without_pypulseq(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol_module, "optional_import", lambda name: (None, False))
    with pytest.raises(OptionalImportError, match=r"infomri-monai\[deploy\]"):
        write_pulseq(encodes_of(), PROTOCOL, tmp_path / "lines.seq")


def signed(text):
    """A valid signature for a changed sequence, as an attacker or an editor with good intentions would add it."""
    body = text[: text.rindex("\n[SIGNATURE]")]
    return f"{body}\n[SIGNATURE]\nType md5\nHash {hashlib.md5(body.encode()).hexdigest()}\n"


def without(name):
    return lambda text: signed(re.sub(rf"^{name} .*\n", "", text, flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "no signature"),
        (lambda text: text.replace("Policy any", "Policy new"), "changed or damaged"),
        (lambda text: signed("not a sequence\n\n[SIGNATURE]"), "cannot be read"),
        (lambda text: signed(re.sub(r"(?m)^(\d+ )3 LIN", r"\g<1>4 LIN", text)), "labels LIN"),
        (lambda text: signed(text.replace("MaskChecksum sha256:", "MaskChecksum sha256:0")), "checksum"),
        (lambda text: signed(text.replace("FOV 0.22 0.18", "FOV 0.22 0.17")), "between two lines"),
        (lambda text: signed(text.replace("FOV 0.22 0.18", "FOV 0.21 0.18")), "run along one line"),
        (lambda text: signed(text.replace("FOV 0.22 0.18", "FOV 0.22 0.00")), "positive"),
        (lambda text: signed(text.replace("Matrix 8 11", "Matrix 9 11")), "9 samples"),
        (lambda text: signed(text.replace("Matrix 8 11", "Matrix 8 5")), "outside the grid"),
        (lambda text: signed(text.replace("ReadoutAxis 0", "ReadoutAxis 2")), "readout_axis"),
        (without("Matrix"), "define Matrix"),
    ],
)
def test_a_damaged_or_changed_sequence_is_refused(change, message, written):
    text = change(written.read_text())
    assert text != written.read_text()
    written.write_text(text)
    refuses(ValueError, message, read_pulseq_lines, written)


def test_sequences_by_another_hand(tmp_path):
    """A line twice, no read-out, none, and the older format that docs/scanner.md offers to programmers of interpreters."""
    path, given = tmp_path / "lines.seq", {"grid": (8, 11), "fov_mm": (220, 180), "readout_axis": 0}
    refuses(FileNotFoundError, r"lines\.seq", read_pulseq_lines, path)
    gradient_echo_sequence(encodes_of(), PROTOCOL).write(str(path), v141_compat=True)
    np.testing.assert_array_equal(read_pulseq_lines(path).mask, line_mask((8, 11), 0, LINES))
    sequence = gradient_echo_sequence(encodes_of(lines=[3]), PROTOCOL)
    for number in list(sequence.block_events):
        sequence.add_block(sequence.get_block(number))
    sequence.write(str(path))
    refuses(ValueError, "twice", read_pulseq_lines, path)
    sequence = pypulseq.Sequence(PROTOCOL.system())
    sequence.add_block(pypulseq.make_delay(0.01))
    sequence.write(str(path))
    refuses(ValueError, "8 samples", read_pulseq_lines, path, **given)


def test_sizes_can_be_given_instead_of_believed(written):
    for name in ("Matrix", "FOV", "ReadoutAxis", "MaskChecksum"):
        written.write_text(without(name)(written.read_text()))
    found = read_pulseq_lines(written, grid=(8, 11), fov_mm=(220, 180), readout_axis=0)
    np.testing.assert_array_equal(found.mask, line_mask((8, 11), 0, LINES))
    turned = read_pulseq_lines(written, grid=(11, 8), fov_mm=(180, 220), readout_axis=1)
    np.testing.assert_array_equal(turned.mask, line_mask((11, 8), 1, LINES))
    wrong = {"fov_mm": (220, 200), "readout_axis": 0}
    refuses(ValueError, "between two lines", read_pulseq_lines, written, grid=(8, 11), **wrong)
    refuses(ValueError, "grid", read_pulseq_lines, written, grid=(8,), **wrong)
