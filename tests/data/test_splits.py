"""The rule that divides cases: disjoint, complete, sizes, order, and the same on every machine."""

from __future__ import annotations

from helper import refuses
from hypothesis import given
from hypothesis import strategies as st

from infomri_monai.data.prepare import check_split, split_cases

PARTS = {"train": 0.7, "validation": 0.15, "test": 0.15}


@given(number=st.integers(0, 300), seed=st.none() | st.integers(0, 1000))
def test_disjoint_complete_ordered_and_of_the_right_size(number, seed):
    parts = split_cases(range(number), PARTS, seed)
    assert sorted(case for part in parts.values() for case in part) == list(range(number))
    for name, cases in parts.items():
        assert cases == sorted(cases)
        assert abs(len(cases) - PARTS[name] * number) <= 1
    assert parts == split_cases(range(number), PARTS, seed)


def test_blocks_and_seeds():
    assert split_cases(range(200), PARTS)["test"] == list(range(170, 200))
    assert split_cases("abcde", {"a": 0.6, "b": 0.4}, 0) == {"a": ["b", "c", "e"], "b": ["a", "d"]}  # on any machine
    assert len({tuple(split_cases(range(20), PARTS, seed)["test"]) for seed in range(10)}) > 5


def test_bad_arguments():
    refuses(ValueError, "sum to 1", split_cases, "ab", {"a": 0.5, "b": 0.6})
    refuses(ValueError, "at least 0", split_cases, "ab", {"a": 1.5, "b": -0.5})
    refuses(ValueError, "seed", split_cases, "ab", {"a": 1.0}, -1)
    refuses(ValueError, r"split must be one of \('a', 'b'\), got 'c'", check_split, "c", "ab")
