"""The linear MMSE attack against an explicit matrix, a regression on simulated pairs, and the theory of Gaussian images."""

from __future__ import annotations

import pytest
import torch
from audits import run

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement, PoissonNoise
from infomri_monai.audit import linear
from infomri_monai.audit.linear import LINEAR, LinearMMSE, noise_variance
from infomri_monai.networks.gaussian import complex_to_channels

SIGMA = 0.2


def correlated(count, grid, seed, complex_valued=False):
    """Gaussian images with a mean and a covariance that no Fourier basis makes diagonal."""
    generator = torch.Generator().manual_seed(seed)
    n = grid[0] * grid[1]
    mixing = torch.randn(n, n, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / n**0.5
    parts = [torch.randn(count, n, generator=generator, dtype=torch.float64) @ mixing + 0.5 for _ in range(2)]
    image = torch.complex(parts[0], parts[0] - parts[1]) if complex_valued else parts[0]
    return image.reshape(count, 1, *grid)


def measured(images, seed, share=0.4):
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(len(images), 1, *images.shape[2:], generator=generator) < share).double()
    noise = ComplexGaussianNoise(SIGMA, reference="absolute")
    return complex_to_channels(FourierMeasurement(noise=noise).zero_filled(images, mask, generator)), mask


def attack_on(images, **changes):
    grid = images.shape[2:]
    return LinearMMSE(images, torch.full(grid, SIGMA**2), changes.get("ratios", [0.4]))


def explicit(images, zero_filled, mask, share):
    """Every measured sample's real and imaginary part as a row, conjugate partners and empty parts with them."""
    grid, n = images.shape[2:], images[0].numel()
    complex_valued = images.is_complex()
    basis = torch.eye(n, dtype=torch.complex128).reshape(n, 1, *grid)
    fourier = FourierMeasurement().fully_sampled(basis).reshape(n, n).T  # column j: k-space of pixel j
    rows = torch.cat([fourier.real, fourier.imag])
    flat = images.flatten(1)
    if complex_valued:
        rows = torch.cat([rows, torch.cat([-fourier.imag, fourier.real])], 1)
        flat = torch.cat([flat.real, flat.imag], 1)
    mean, covariance = flat.mean(0), torch.cov(flat.T, correction=0)
    in_kspace = rows @ covariance @ rows.T
    if complex_valued:
        diagonal = rows.T @ torch.diag(in_kspace.diagonal()) @ rows
        covariance = (1 - share) * covariance + share * diagonal
    else:
        assert share == 0
    found = []
    for image, m in zip(zero_filled, mask, strict=True):
        kspace = FourierMeasurement().fully_sampled(torch.complex(*image[:, None])[None]).flatten()
        kept = torch.cat([m.flatten(), m.flatten()]) > 0
        y, a = torch.cat([kspace.real, kspace.imag])[kept], rows[kept]
        gram = a @ covariance @ a.T + SIGMA**2 * torch.eye(len(y), dtype=torch.float64)
        found.append(mean + covariance @ a.T @ torch.linalg.solve(gram, y - a @ mean))
    return torch.stack(found)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("grid", "complex_valued", "share"), [((4, 6), False, 0.0), ((5, 4), False, 0.0), ((4, 5), True, 0.3)]
)
def test_it_is_the_explicit_matrix_solve_of_every_images_own_mask(monkeypatch, grid, complex_valued, share, whole):
    if not whole:
        monkeypatch.setattr(linear, "_WHOLE", 0)
    images = correlated(60, grid, 0, complex_valued)
    attack = attack_on(images)
    attack.share.fill_(share)
    zero_filled, mask = measured(correlated(7, grid, 1, complex_valued), 2)
    expected = explicit(images, zero_filled, mask, share)
    found = attack(zero_filled, mask)[:, : 1 + complex_valued].flatten(1).double()
    assert torch.allclose(found, expected, atol=1e-5)


def test_of_gaussian_images_it_is_what_a_regression_on_many_pairs_finds():
    """One mask; 40,000 pairs of samples and image; the error is that of the theory."""
    grid, count = (4, 4), 40_000
    images = correlated(count, grid, 3)
    attack = attack_on(images)
    _, mask = measured(images[:1], 5)
    noise = FourierMeasurement(noise=ComplexGaussianNoise(SIGMA, reference="absolute"))
    kspace = noise(images, mask, torch.Generator().manual_seed(6))
    seen = torch.cat([kspace.real, kspace.imag], 1).flatten(1)
    seen = torch.cat([seen[:, seen.abs().sum(0) > 0], torch.ones(count, 1)], 1)
    regression = seen @ torch.linalg.lstsq(seen, images.flatten(1)).solution
    found = attack(complex_to_channels(noise.adjoint(kspace[:200])), mask)[:, :1].flatten(1).double()
    assert float((found - regression[:200]).abs().max()) < 0.05
    assert (found - images[:200].flatten(1)).square().mean() == pytest.approx(
        float((regression[:200] - images[:200].flatten(1)).square().mean()), rel=0.02
    )


def test_few_images_are_regularised():
    """Of 30 images for 64 unknowns the unshrunk covariance is worse than the share that validation would choose."""
    images, other = correlated(30, (8, 8), 0), correlated(200, (8, 8), 1)
    attack, (zero_filled, mask) = attack_on(images), measured(other, 2)
    errors = {}
    for share in (0.0, 0.5):
        attack.share.fill_(share)
        errors[share] = float((attack(zero_filled, mask)[:, :1] - other).square().mean())
    assert errors[0.5] < 0.9 * errors[0.0]


def test_every_ratio_has_its_share():
    attack = attack_on(correlated(30, (8, 8), 0), ratios=[0.25, 0.5])
    attack.share = torch.tensor([0.0, 1.0])
    x, mask = measured(correlated(2, (8, 8), 1), 2)
    both = [attack(x * 0, torch.zeros_like(mask).index_fill(3, torch.arange(n), 1.0)) for n in (2, 4)]
    attack.share.fill_(1.0)
    other = [attack(x * 0, torch.zeros_like(mask).index_fill(3, torch.arange(n), 1.0)) for n in (2, 4)]
    assert [torch.equal(a, b) for a, b in zip(both, other, strict=True)] == [False, True]


def test_the_noise_is_the_measurements():
    images = torch.rand(2000, 1, 8, 8)
    white = noise_variance(FourierMeasurement(noise=ComplexGaussianNoise(SIGMA, reference="absolute")), images, 0)
    assert float(white.mean()) == pytest.approx(SIGMA**2, rel=0.01)
    poisson = noise_variance(FourierMeasurement(noise=PoissonNoise(100.0)), images, 0)
    assert float(poisson[4, 4]) > 4 * float(poisson[0, 0])


@pytest.mark.parametrize("complex_valued", [False, True])
def test_it_stands_in_every_audit(tmp_path, complex_valued):
    changes = {"complex_valued": True, "grid": (32, 32), "attackers": {}} if complex_valued else {}
    if complex_valued:
        from infomri_monai.networks import UnrolledReconstructor

        changes["attackers"] = {"unrolled": UnrolledReconstructor(phases=1, channels=4)}
    report = run(tmp_path, images=(64, 16, 24), **changes).report
    attack = report.attackers[-1]
    assert (attack.name, attack.courses) == (LINEAR, [])
    assert [row.ratio for row in attack.rows] == [0.25, 0.5]
    assert attack.rows[1].psnr > report.floors["mean training image"][0]
    text = report.markdown()
    assert f"| {LINEAR} |" in text
    assert f"**{LINEAR}**" in text
    assert report.metrics()[f"{LINEAR}_psnr_at_0.5000"] == attack.rows[1].psnr
