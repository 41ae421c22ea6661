"""Smooth random fields: unit variance, their wavelength, independent fields."""

import numpy as np
import pytest

from infomri_monai.transforms import smooth_field


@pytest.mark.parametrize("wavelength", [1.5, 4.0, 40.0])
def test_random_fields_have_unit_variance_and_their_wavelength(wavelength):
    draw = np.random.default_rng(0)
    fields = np.stack([smooth_field((40, 61), wavelength, draw) for _ in range(400)])
    assert fields.shape == (400, 40, 61)
    assert np.allclose(fields.var(0), 1, atol=0.4)
    assert fields.var() == pytest.approx(1, abs=0.1)
    neighbours = (fields[:, :-1] * fields[:, 1:]).mean()
    assert (neighbours > 0.9) == (wavelength == 40.0)
    assert (abs(neighbours) < 0.05) == (wavelength == 1.5)


def test_several_fields_are_independent_and_one_is_what_it_was():
    fields = smooth_field((30, 20), 9.0, np.random.default_rng(0), (40, 3))
    assert fields.shape == (40, 3, 30, 20)
    assert abs((fields[:, 0] * fields[:, 1]).mean()) < 0.2
    first = smooth_field((30, 20), 9.0, np.random.default_rng(0))
    np.testing.assert_allclose(fields[0, 0], first, atol=1e-5)
