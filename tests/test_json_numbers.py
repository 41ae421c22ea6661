"""What JSON cannot hold becomes null, and nothing else changes."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infomri_monai.files import null_unless_finite


@given(st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none()))
def test_json_can_hold_it_and_nothing_else_changes(value):
    kept = null_unless_finite(value)
    json.dumps(kept, allow_nan=False)
    assert (kept is None) if isinstance(value, float) and not math.isfinite(value) else kept is value


def test_numpys_double_is_a_float():
    assert null_unless_finite(np.float64("nan")) is None
    assert null_unless_finite(np.float64(0.5)) == 0.5
