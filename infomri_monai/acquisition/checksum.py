"""Checksum that tells which images something was computed from."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

__all__ = ["ImageChecksum"]

_BITS = 256


class ImageChecksum:
    """Checksum of a set of images: values, shapes and types, whatever their order and their batches.

    The SHA-256 digests of the single images are added modulo 2^256, as the statistics of a set do not depend on its order
    either. Images that occur twice count twice.

    Args:
        start: checksum to continue from, as :meth:`hexdigest` gave it.

    References:
        Bellare and Micciancio, "A new paradigm for collision-free hashing: incrementality at reduced cost",
        EUROCRYPT 1997, section 5 (AdHash).

    Example:
        >>> import torch
        >>> a, b = ImageChecksum(), ImageChecksum()
        >>> images = torch.arange(8.0).reshape(2, 1, 2, 2)
        >>> a.update(images)
        >>> b.update(images[1:])
        >>> b.update(images[:1])
        >>> a.hexdigest() == b.hexdigest()
        True
    """

    def __init__(self, start: str = "0") -> None:
        self._sum = int(start, 16)

    def update(self, images: Tensor) -> None:
        """Add images.

        Args:
            images: any dtype, shape (batch, channel, *spatial).
        """
        for image in images.detach().cpu():
            self._add(int.from_bytes(_digest(image.resolve_conj().resolve_neg().contiguous()), "big"))

    def merge(self, other: ImageChecksum) -> None:
        """Add the images of another checksum."""
        self._add(other._sum)

    def hexdigest(self) -> str:
        """The checksum so far, 64 hexadecimal digits; zeros where there is no image yet."""
        return f"{self._sum:0{_BITS // 4}x}"

    def _add(self, value: int) -> None:
        self._sum = (self._sum + value) % (1 << _BITS)


def _digest(image: Tensor) -> bytes:
    """SHA-256 of type, shape and values."""
    digest = hashlib.sha256(f"{image.dtype} {tuple(image.shape)} ".encode())
    digest.update(image.view(torch.uint8).numpy().data)
    return digest.digest()
