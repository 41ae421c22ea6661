"""What phase does to the marginal entropy: the benchmark's estimates on synthetic images whose answer is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from infomri_monai.acquisition import image_to_kspace

PATH = Path(__file__).parents[2] / "benchmarks" / "entropy_phase.py"
SPECIFICATION = importlib.util.spec_from_file_location("entropy_phase", PATH)
benchmark = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(benchmark)

GRID, COUNT = (16, 16), 4000


def rows(kind: str, phase: float) -> dict[str, dict]:
    """Rows at 4x of images of white noise with a phase that differs from pixel to pixel, by kind of mask."""
    generator = torch.Generator().manual_seed(0)
    real = 1 + torch.randn(COUNT, 1, *GRID, generator=generator, dtype=torch.float64)
    angle = phase * torch.randn(COUNT, 1, *GRID, generator=generator, dtype=torch.float64)
    images = real if kind == "magnitude" else torch.polar(torch.ones_like(real), angle) * real
    return {row["masks"]: row for row in benchmark.rows_of(images, kind, 5e-3) if row["acceleration"] == 4}


def test_real_images_have_the_papers_entropy():
    """rows_of asserts paper = components; with 4,000 uncorrelated samples real and imaginary parts are independent too."""
    for row in rows("magnitude", 0).values():
        assert row["gaussian"] == pytest.approx(row["paper"], abs=0.01)
        assert row["paper"] < row["independent"]


def test_images_of_random_phase_have_no_redundant_pairs():
    for row in rows("complex", 10.0).values():
        assert row["gaussian"] == pytest.approx(row["independent"], abs=0.01)
    symmetric = rows("complex", 10.0)["symmetric"]
    assert symmetric["redundancy"] > 0.9
    assert symmetric["paper"] < symmetric["gaussian"] - 1


def test_covariance_is_that_of_the_pair():
    images = torch.randn(9, 5, 6, dtype=torch.complex128)
    kspace = image_to_kspace(images)
    covariance = benchmark.pair_covariance(kspace)
    first, partner = kspace[:, 1, 2].numpy(), kspace[:, 3, 4].numpy()
    expected = np.cov([first.real, first.imag, partner.real, partner.imag], bias=True)
    np.testing.assert_allclose(covariance[1, 2].numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(8, 8), (7, 9)])
def test_symmetric_masks_are_symmetric(shape):
    mask = benchmark.symmetric(0.25, shape, torch.Generator().manual_seed(0))
    assert torch.equal(mask, benchmark.conjugate_partner(mask))
    assert float((mask.mean((1, 2, 3)) - 0.25).abs().max()) <= 1.5 / mask[0].numel()
