"""Normal numbers that are a function of a seed and a position: the same in Python, TorchScript, ONNX, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["latent_noise"]


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
