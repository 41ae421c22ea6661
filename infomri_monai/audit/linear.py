"""The linear MMSE attack in closed form: the best affine estimate of an image from the samples, of training images' moments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.data import DataLoader
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from infomri_monai.acquisition.fourier import image_to_kspace, kspace_to_image
from infomri_monai.acquisition.measurement import FourierMeasurement
from infomri_monai.acquisition.symmetry import conjugate_partner, hermitian_completion
from infomri_monai.audit.scene import Budget, Scene, size
from infomri_monai.engines.prepare import seeded_generator
from infomri_monai.networks.gaussian import channels_to_complex
from infomri_monai.systems.reconstruction import ReconstructionSystem

__all__ = ["LINEAR", "LinearMMSE", "linear_attack", "noise_variance"]

#: name of the attack
LINEAR = "linear MMSE"
#: up to so many unknowns the covariance is kept whole; beyond, ``_IMAGES`` training images stand for it
_WHOLE = 4096
_IMAGES = 1024
#: shares of the diagonal in the covariance among which validation chooses
_SHARES = (0.0, 1e-3, 1e-2, 0.05, 0.2, 0.5, 1.0)
_CHOOSING = 16  # validation images that choose
_NOISY = 512  # training images of which the noise's variance is taken


class LinearMMSE(nn.Module):
    """E[x] + Cov(x, y) Cov(y, y)^-1 (y - E[y]) of the measured samples' real and imaginary parts, for every image's own mask.

    No linear attacker does better, and for Gaussian images no attacker at all. A real image is told by N real numbers: of a
    conjugate pair of samples the real and the imaginary part, which a measured partner tells a second time. Covariances of few
    images are singular: a share of the off-diagonal covariance in k-space is taken away (1: independent samples).

    Args:
        images: training images, (n, 1, H, W), float64 or complex128 in computation; real ones are known to be real.
        noise: variance of the noise per real component at every position, (H, W).
        ratios: which a share is kept for; an image is treated as the ratio nearest to its mask's.

    Attributes:
        share: of the diagonal, one per ratio; see :func:`linear_attack`, which chooses it.

    References:
        Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, theorem 12.1 (Bayesian Gauss-Markov).

    Example:
        >>> images = torch.randn(400, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> attack = LinearMMSE(images, torch.zeros(4, 4), [1.0])
        >>> x = torch.cat([images[:1], 0 * images[:1]], 1)  # complete data of a real image, as two channels
        >>> torch.allclose(attack(x, torch.ones(1, 1, 4, 4))[:, :1], images[:1], atol=1e-4)
        True
    """

    def __init__(self, images: Tensor, noise: Tensor, ratios: Sequence[float]) -> None:
        super().__init__()
        self.real_valued = not images.is_complex()
        self.grid, self.noise = tuple(images.shape[2:]), noise.double().flatten()
        index = torch.arange(math.prod(self.grid))
        self.partner = conjugate_partner(index.reshape(self.grid)).flatten()
        self.first, self.own = index < self.partner, index == self.partner
        self.ratios, self.share = torch.tensor(list(ratios)), torch.zeros(len(list(ratios)))
        known = self._coefficients(image_to_kspace(images.to(torch.complex128), 2).flatten(1))
        self.mean = known.mean(0)
        deviation = (known - self.mean) / math.sqrt(len(known))
        self.power = deviation.square().sum(0)
        whole = known.shape[1] <= _WHOLE
        self.covariance = deviation.T @ deviation if whole else None
        self.factor = None if whole else deviation

    def _coefficients(self, kspace: Tensor) -> Tensor:
        """Orthonormal real coefficients, (batch, D), of flat k-space: D is N for real images, else 2 N."""
        if not self.real_valued:
            return torch.cat([kspace.real, kspace.imag], 1)
        pair = math.sqrt(2) * torch.where(self.first, kspace.real, kspace.imag[:, self.partner])
        return torch.where(self.own, kspace.real, pair)

    def _image(self, coefficients: Tensor) -> Tensor:
        """The images of coefficients, complex, (batch, 1, H, W)."""
        if self.real_valued:
            other = coefficients[:, self.partner]
            of_pair = torch.where(self.first, torch.complex(coefficients, other), torch.complex(other, -coefficients))
            kspace = torch.where(self.own, coefficients.to(of_pair.dtype), of_pair / math.sqrt(2))
        else:
            kspace = torch.complex(*coefficients.chunk(2, 1))
        return kspace_to_image(kspace.reshape(-1, 1, *self.grid), 2)

    def _variance(self, mask: Tensor) -> Tensor:
        """Of the noise in every coefficient, (batch, D); infinite where nothing was measured."""
        if not self.real_valued:
            return (self.noise / mask).repeat(1, 2) + torch.where(mask > 0, 0.0, math.inf).repeat(1, 2)
        total = mask * self.noise
        times = (
            mask + mask[:, self.partner]
        )  # a position that is its own partner counts twice, as its imaginary part is 0
        return torch.where(times > 0, 2 * (total + total[:, self.partner]) / times.clamp_min(1).square(), math.inf)

    def forward(self, zero_filled: Tensor, mask: Tensor) -> Tensor:
        """Reconstruct.

        Args:
            zero_filled: real and imaginary part, (batch, 2, H, W).
            mask: 0/1, broadcasts to (batch, 1, H, W).

        Returns:
            Mean (real, imaginary) and a log-variance of 0, float32, (batch, 3, H, W).
        """
        where, batch = zero_filled.device, len(zero_filled)
        mask = mask.detach().cpu().double().expand(batch, 1, *self.grid)
        kspace = image_to_kspace(channels_to_complex(zero_filled.detach().cpu().double()), 2) * mask
        if self.real_valued:
            kspace, _ = hermitian_completion(kspace, mask)
        samples, variance = self._coefficients(kspace.flatten(1)), self._variance(mask.flatten(1))
        shares = self.share[(mask.flatten(1).mean(1, keepdim=True) - self.ratios).abs().argmin(1)]
        found = [self._estimate(y, v, float(s)) for y, v, s in zip(samples, variance, shares, strict=True)]
        image = self._image(torch.stack(found))
        return torch.cat([image.real, image.imag, torch.zeros_like(image.real)], 1).float().to(where)

    def _estimate(self, samples: Tensor, variance: Tensor, share: float) -> Tensor:
        """Coefficients of one image: the covariance is a diagonal plus (1 - share) times that of the training images."""
        kept = variance.isfinite().nonzero()[:, 0]
        residual = (samples - self.mean)[kept]
        diagonal = share * self.power + 1e-9 * self.power.mean() + 1e-30
        load = diagonal[kept] + variance[kept]
        if self.covariance is not None:
            gram = (1 - share) * self.covariance[kept[:, None], kept] + torch.diag(load)
            weights = torch.cholesky_solve(residual[:, None], torch.linalg.cholesky(gram))[:, 0]
            spread = torch.zeros_like(self.mean).index_copy(0, kept, weights) @ self.covariance * (1 - share)
        else:
            assert self.factor is not None
            part = math.sqrt(1 - share) * self.factor[:, kept]  # few rows: Woodbury's identity
            inner = torch.eye(len(part), dtype=part.dtype) + (part / load) @ part.T
            of_images = torch.linalg.solve(inner, part @ (residual / load))
            weights = (residual - of_images @ part) / load
            spread = math.sqrt(1 - share) * (of_images @ self.factor)
        return self.mean + spread.index_add(0, kept, diagonal[kept] * weights)


def noise_variance(measurement: FourierMeasurement, images: Tensor, seed: int) -> Tensor:
    """Mean square per real component of what the defender's noise adds at every position to these images' k-space, (H, W).

    Example:
        >>> noise_variance(FourierMeasurement(), torch.ones(2, 1, 4, 4), seed=0).sum()
        tensor(0.)
    """
    kspace = measurement.fully_sampled(images)
    noisy = kspace if measurement.noise is None else measurement.noise(kspace, seeded_generator(images.device, seed))
    return ((noisy - kspace).abs().square().mean(0)[0] / 2).cpu()


def linear_attack(scene: Scene, ratios: Sequence[float], budget: Budget) -> LinearMMSE:
    """The attack from the training images' moments; per ratio, validation images choose the diagonal's share.

    Args:
        scene: what it meets, a single coil.
        ratios: which it is for.
        budget: for the seed, the device and the batches.
    """
    device = budget.device
    first = scene.image()
    whole = first.numel() * (1 + first.is_complex()) <= _WHOLE
    images = _images(scene.data.train, None if whole else _IMAGES, scene.image_key, budget.batch_size)
    noisy = images[:: math.ceil(len(images) / _NOISY)].to(device)
    attack = LinearMMSE(images, noise_variance(scene.measurement, noisy, budget.seed), ratios)
    system = ReconstructionSystem(scene.policy, scene.measurement, attack).eval()
    chosen = _images(scene.data.validation, _CHOOSING, scene.image_key, budget.batch_size).to(device)
    best = []
    for ratio in ratios:
        errors = []
        for share in _SHARES:
            attack.share.fill_(share)
            with torch.no_grad():
                result = system(chosen, ratio, seeded_generator(device, budget.seed, 1))
            errors.append(float((result.mean - chosen).abs().square().mean()))
        best.append(_SHARES[errors.index(min(errors))])
    attack.share = torch.tensor(best)
    return attack


def _images(data: Dataset, most: int | None, key: str, batch_size: int) -> Tensor:
    """Images of a data set, at most so many, evenly spread."""
    count = size(data)
    places = torch.linspace(0, count - 1, min(count, most or count)).long().tolist()
    loader = DataLoader(Subset(data, places), batch_size=batch_size)
    return torch.cat([torch.as_tensor(batch[key]) for batch in loader])
