"""The latent variable of the segmenter: its distributions given the measurement (and the label), and noise from integers alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Gaussian", "LatentDistribution", "latent_noise"]


def _hash(number: Tensor) -> Tensor:
    """Mix integers below the prime 2^31 - 1 by rounds of x -> (x + c)^5, each a permutation (5 does not divide 2^31 - 2).

    Sums, products and remainders of int64 are exact in every export; shifts, exclusive or and integer division are not.
    """
    for constant in (1640531527, 1013904223, 747796405, 1540483477):
        number = (number + constant) % 2147483647
        square = (number * number) % 2147483647
        number = (((square * square) % 2147483647) * number) % 2147483647
    return number


def latent_noise(seeds: Tensor, first: int, samples: int, channels: int, height: int, width: int) -> Tensor:
    """Independent standard normal numbers, each a hash of its seed, sample, channel and position.

    A generator's draws can neither be exported nor repeated on another device, and would have to be made for all samples at
    once; these can be made for any part of the samples. Uniform numbers of an integer hash become normal by Box and
    Muller's transform.

    Args:
        seeds: one non-negative integer for every image, int64, shape (batch,); equal seeds give equal noise.
        first: number of the first sample wanted.
        samples: how many.
        channels: latent channels.
        height: latent rows.
        width: latent columns.

    Returns:
        float32, shape (batch, samples, channels, height, width), on the device of ``seeds``.

    References:
        Albrecht et al., "MiMC", ASIACRYPT 2016 (the form of the hash). Box and Muller, "A note on the generation of random normal
        deviates", Annals of Mathematical Statistics 1958.

    Example:
        >>> import torch
        >>> whole = latent_noise(torch.tensor([7]), 0, 4, 2, 3, 3)
        >>> torch.equal(whole[:, 2:], latent_noise(torch.tensor([7]), 2, 2, 2, 3, 3))
        True
    """
    device = seeds.device
    sample = torch.arange(first, first + samples, device=device).reshape(1, -1, 1)
    position = torch.arange(channels * height * width, device=device).reshape(1, 1, -1)
    key = _hash(_hash(seeds.reshape(-1, 1, 1) % 2147483647) + sample)
    # a position is hashed before it is added: else keys that lie near each other would share their noise, shifted
    bits = _hash(key + _hash(2 * position))
    angle_bits = _hash(key + _hash(2 * position + 1))
    radius = torch.sqrt(-2.0 * torch.log((bits.to(torch.float32) + 1.0) / 2147483648.0))
    noise = radius * torch.cos(6.283185307179586 * (angle_bits.to(torch.float32) / 2147483648.0))
    return noise.reshape(seeds.shape[0], samples, channels, height, width)


class Gaussian(NamedTuple):
    """A diagonal Gaussian.

    Attributes:
        mean: (batch, latent, h, w).
        log_variance: the same shape.
    """

    mean: Tensor
    log_variance: Tensor


class LatentDistribution(nn.Module):
    """q(z|y) and q(z|y,t) from the features of E_y and E_t (equations 21 and 25).

    Where the noise varies over blocks of ``noise_stride`` b, z = mu(y) + up(sigma eps): the mean keeps its detail, prior and
    posterior compare on the blocks. :class:`LatentSegmenter` says why, and what the two forms of the posterior are.

    Args:
        channels: latent channels; the features have twice as many.
        form: ``"correction"`` or ``"paper"``.
        noise_stride: side b of the blocks of latent positions that share their noise.
        initial_log_variance: of the prior before training.
        hidden: channels of the two hidden convolutions that compare the encoders' features, for ``"correction"``.
        posterior: hold what only the posterior needs.

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> import torch
        >>> latent = LatentDistribution(2, noise_stride=2)
        >>> mean, scale = latent.prior(torch.randn(1, 4, 6, 8))
        >>> latent.draw(mean, scale, torch.tensor([0]), first=0, samples=3).shape
        torch.Size([3, 2, 6, 8])
    """

    def __init__(
        self,
        channels: int,
        form: str = "correction",
        noise_stride: int = 1,
        initial_log_variance: float = -2.0,
        hidden: int = 64,
        posterior: bool = True,
    ) -> None:
        super().__init__()
        if form not in ("correction", "paper"):
            raise ValueError(f"posterior_form must be 'correction' or 'paper', got {form!r}.")
        if noise_stride < 1 or (noise_stride > 1 and form == "paper"):
            raise ValueError(f"noise_stride must be >= 1, and 1 with posterior_form='paper', got {noise_stride}.")
        if not -8 < initial_log_variance < 8:
            raise ValueError(f"initial_log_variance must lie in (-8, 8), got {initial_log_variance}.")
        self.channels, self.noise_stride = channels, noise_stride
        self.head = nn.Conv2d(2 * channels, 2 * channels, 1)
        with torch.no_grad():
            self.head.get_parameter("bias")[channels:] = 8.0 * math.atanh(initial_log_variance / 8.0)
        self.posterior_head = _comparison(2 * channels, hidden) if posterior and form == "correction" else None

    def prior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of q(z|y) at every latent position, and its standard deviation in every block, from E_y's ``features``."""
        mean, log_variance = self.parameters_of(features)
        return mean, torch.exp(0.5 * self.coarse(log_variance))

    @torch.jit.unused
    def both(self, features: Tensor, seen: Tensor) -> tuple[Tensor, Gaussian, Gaussian]:
        """Mean of the prior at every position, and prior and posterior on the blocks.

        Args:
            features: of E_y, (batch, 2 * channels, h, w).
            seen: of E_t, which also saw the label.
        """
        mean, log_variance = self.parameters_of(features)
        prior = Gaussian(self.coarse(mean), self.coarse(log_variance))
        if self.posterior_head is None:
            return mean, prior, Gaussian(*self.parameters_of(seen))
        # the measurement's encoding is not bent to suit the comparison
        out = self.coarse(self.posterior_head(torch.cat([features.detach(), seen], dim=1)).float())
        shift, log_ratio = out[:, : self.channels], 4.0 * torch.tanh(out[:, self.channels :] / 4.0)
        scale = torch.exp(0.5 * prior.log_variance)
        return mean, prior, Gaussian(prior.mean + scale * shift, prior.log_variance + log_ratio)

    @torch.jit.unused
    def sample(self, mean: Tensor, prior: Gaussian, posterior: Gaussian, generator: torch.Generator | None) -> Tensor:
        """One draw of the posterior at all latent positions, differentiable in its parameters."""
        noise = torch.randn(posterior.mean.shape, generator=generator, device=mean.device)
        return mean + self.fine(posterior.mean + torch.exp(0.5 * posterior.log_variance) * noise - prior.mean)

    def draw(self, mean: Tensor, scale: Tensor, seeds: Tensor, first: int, samples: int) -> Tensor:
        """Samples ``first`` to ``first + samples`` of the prior, (batch * samples, channels, h, w).

        Args:
            mean: as :meth:`prior` returns it.
            scale: likewise.
            seeds: one for every image, int64, (batch,).
            first: number of the first sample.
            samples: how many.
        """
        noise = latent_noise(seeds, first, samples, scale.shape[1], scale.shape[2], scale.shape[3])
        return mean.repeat_interleave(samples, 0) + self.fine((scale.unsqueeze(1) * noise).flatten(0, 1))

    def parameters_of(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """D_z: mean and log-variance (between -8 and 8) from an encoder's features."""
        out = self.head(features).float()
        return out[:, : self.channels], 8.0 * torch.tanh(out[:, self.channels :] / 8.0)

    def coarse(self, latent: Tensor) -> Tensor:
        """Averages over the blocks that share their noise."""
        return latent if self.noise_stride == 1 else F.avg_pool2d(latent, self.noise_stride)

    def fine(self, noise: Tensor) -> Tensor:
        """Noise of the blocks, interpolated to all latent positions."""
        if self.noise_stride == 1:
            return noise
        size = [noise.shape[2] * self.noise_stride, noise.shape[3] * self.noise_stride]
        return F.interpolate(noise, size=size, mode="bilinear", align_corners=False)


def _comparison(features: int, hidden: int) -> nn.Sequential:
    """Convolutions from both encoders' features to the correction; a posterior equal to the prior at first."""
    last = nn.Conv2d(hidden, features, 1)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    first, second = nn.Conv2d(2 * features, hidden, 3, padding=1), nn.Conv2d(hidden, hidden, 3, padding=1)
    return nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)
