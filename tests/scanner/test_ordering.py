"""Phase encodes: which, in which order, counted from where; as a table and back."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from helper import refuses, refuses_each
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from infomri_monai.scanner.ordering import ORDERINGS, phase_encode_table, phase_encodes, read_phase_encodes


def written(encodes, path, record=None):
    """The path of a file that holds their table."""
    path.write_text(phase_encode_table(encodes, record))
    return path


LINES = np.array([1, 0, 0, 1, 1, 0, 1, 1], np.uint8)  # DC is 4


@st.composite
def masks(draw):
    """A mask with one or two phase-encode axes, and its read-out axis."""
    positions = draw(
        hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=2, max_side=9), elements=st.integers(0, 1))
    )
    positions.flat[draw(st.integers(0, positions.size - 1))] = 1
    axis = draw(st.none() | st.integers(0, positions.ndim))
    if axis is None:
        return positions, None
    return np.repeat(np.expand_dims(positions, axis), draw(st.integers(1, 4)), axis), axis


@given(masks(), st.sampled_from(sorted(ORDERINGS)), st.data())
@settings(deadline=None)
def test_every_ordering_is_a_permutation_of_what_is_measured(drawn, ordering, data):
    mask, axis = drawn
    count = int(mask.sum()) // (1 if axis is None else mask.shape[axis])
    shots = data.draw(st.integers(min(2, count), count)) if ordering == "interleaved" else 1
    encodes = phase_encodes(mask, axis, ordering, shots)
    assert len(encodes.positions) == len(np.unique(encodes.positions, axis=0)) == count
    np.testing.assert_array_equal(encodes.mask, mask)
    np.testing.assert_array_equal(encodes.signed, encodes.positions - np.array(encodes.matrix) // 2)
    assert np.ptp(np.bincount(encodes.shot)) <= 1
    assert (np.diff(encodes.shot) >= 0).all()


@given(masks(), st.sampled_from(sorted(ORDERINGS)), st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_a_table_holds_the_mask_and_the_order(tmp_path_factory, drawn, ordering, seed):
    shots = 2 if ordering == "interleaved" and len(phase_encodes(*drawn).positions) > 1 else 1
    encodes = phase_encodes(*drawn, ordering=ordering, shots=shots, seed=seed)
    path = written(encodes, tmp_path_factory.mktemp("table") / "encodes.csv", {"policy": "any"})
    found = read_phase_encodes(path)
    np.testing.assert_array_equal(found.positions, encodes.positions)
    np.testing.assert_array_equal(found.shot, encodes.shot)
    np.testing.assert_array_equal(found.mask, drawn[0])
    assert found[2:] == encodes[2:]


def test_orders_along_one_axis():
    def signed(ordering, **more):
        return phase_encodes(LINES, ordering=ordering, **more).signed[:, 0].tolist()

    assert signed("sequential") == [-4, -1, 0, 2, 3]
    assert signed("centric") == [0, -1, 2, 3, -4]
    assert signed("interleaved", shots=2) == [-4, 0, 3, -1, 2]
    assert phase_encodes(LINES, ordering="interleaved", shots=2).shot.tolist() == [0, 0, 0, 1, 1]
    assert sorted(signed("random")) == signed("sequential")
    assert signed("random", seed=1) == signed("random", seed=1) != signed("random", seed=2)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_centric_starts_at_dc_and_alternates(n):
    expected = [0] + [sign * k for k in range(1, n // 2 + 1) for sign in (-1, 1)]
    encodes = phase_encodes(np.ones(n), ordering="centric")
    assert encodes.signed[:, 0].tolist() == expected[:n]
    assert encodes.positions[0, 0] == n // 2


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
def test_centric_grows_in_radius_from_dc_on_a_plane(shape):
    encodes = phase_encodes(np.ones(shape), ordering="centric")
    assert encodes.signed[0].tolist() == [0, 0]
    radius = np.hypot(*(encodes.signed / np.array(shape)).T)
    assert (np.diff(radius) >= -1e-12).all()


def test_the_read_out_axis_is_left_out():
    volume = np.broadcast_to(np.eye(3)[:, None], (3, 5, 3))
    encodes = phase_encodes(volume, readout_axis=1)
    assert (encodes.axes, encodes.matrix, encodes.grid) == ((0, 2), (3, 3), (3, 5, 3))
    assert encodes.positions.tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (np.zeros((4, 4)), {"readout_axis": 0}, "at least one position"),
        (np.full((4, 4), 0.5), {"readout_axis": 0}, "mask must hold 0 and 1 only"),
        (np.full((4, 4), np.nan), {"readout_axis": 0}, "mask must hold 0 and 1 only"),
        (np.eye(4), {"readout_axis": 0}, "single positions, not lines"),
        (np.ones((4, 4, 4)), {}, "1 or 2 phase-encode axes, got 3"),
        (np.ones(4), {"readout_axis": 0}, "1 or 2 phase-encode axes, got 0"),
        (np.ones((0, 4)), {"readout_axis": 1}, "at least one position"),
        (np.ones(4), {"ordering": "interleaved"}, "at least 2"),
        (np.ones(4), {"ordering": "centric", "shots": 2}, "interleaved"),
    ],
)
def test_bad_masks_and_options(mask, options, message):
    refuses(ValueError, message, phase_encodes, mask, **options)
    refuses_each(phase_encodes, {"mask": np.ones((4, 4))}, readout_axis=[2, -1], ordering=["spiral"], seed=[-1])
    refuses_each(phase_encodes, {"mask": np.ones(4), "ordering": "interleaved"}, shots=[5, 0])


def test_a_table_of_lines_and_of_a_plane(tmp_path):
    """As pandas reads it, and what the comments say."""
    encodes = phase_encodes(np.broadcast_to(LINES, (3, 8)), 0, "interleaved", shots=2)
    path = written(encodes, tmp_path / "lines.csv", {"policy": "Equispaced", "seed": 3})
    table = pd.read_csv(path, comment="#")
    assert list(table) == ["order", "shot", "line", "ky"]
    assert table.line.tolist() == [0, 4, 7, 3, 6]
    assert (table.ky == table.line - 4).all()
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert "DC is line 4" in comments[1]
    assert "1 / field of view" in comments[1]
    record = json.loads(comments[2].removeprefix("# record: "))
    assert (record["policy"], record["grid"]) == ("Equispaced", [3, 8])
    plane = pd.read_csv(written(phase_encodes(np.ones((2, 2))), tmp_path / "plane.csv"), comment="#")
    assert list(plane) == ["order", "shot", "line", "partition", "ky", "kz"]
    assert plane[["line", "partition"]].to_numpy().tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]  # along lines first
    assert plane.kz.tolist() == [-1, -1, 0, 0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0,0,0,-4\n", "", "count the rows"),
        ("4,0,7,3\n", "", "checksum"),
        ("0,0,0,-4", "0,0,0,4", "contradicts"),
        ("0,0,0,-4", "0,0,9,5", "outside the grid"),
        ("1,0,3,-1", "1,0,0,-4", "twice"),
        ("0,0,0,-4", "0,0,1,-3", "checksum"),
        ("0,0,0,-4", "0,0,x,-4", "damaged"),
        ("order,shot,line,ky", "a,b,c,d", "columns must be"),
        ("# record", "# note", "record"),
        ('"ordering": "sequential"', '"ordering": "other"', "ordering"),
        ('"grid"', '"size"', "damaged"),
    ],
)
def test_a_damaged_table_is_refused(old, new, message, tmp_path):
    path = written(phase_encodes(LINES), tmp_path / "lines.csv")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    refuses(ValueError, message, read_phase_encodes, path)
    path.write_text("")
    refuses(ValueError, "record", read_phase_encodes, path)
    refuses(FileNotFoundError, r"none\.csv", read_phase_encodes, tmp_path / "none.csv")
