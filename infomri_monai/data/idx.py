"""Reader of ``idx`` files, the format MNIST is published in, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_idx"]

_UNSIGNED_BYTE = 8


def read_idx(path: str | Path, axes: int) -> NDArray[np.uint8]:
    """Read an ``idx`` file of unsigned bytes.

    The header is two zero bytes, the type (8 for unsigned bytes), the number of axes, and a big-endian 32-bit size of each axis.

    Args:
        path: the file; gzipped where its first two bytes are gzip's, whatever its name.
        axes: number of axes it must have: 3 for images, 1 for labels.

    Returns:
        The array.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, is no ``idx`` file of unsigned bytes with so many axes, or holds fewer or more values
            than its header says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train-labels-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> read_idx(path, axes=1).tolist()
        [7, 2, 1]

    References:
        LeCun Y., Cortes C., Burges C., "The MNIST database of handwritten digits", 1998.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {path}.")
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path.name} is truncated or a damaged gzip file.") from error
    start = 4 + 4 * axes
    if content[:4] != bytes([0, 0, _UNSIGNED_BYTE, axes]) or len(content) < start:
        raise ValueError(
            f"{path.name} is no idx file of unsigned bytes with {axes} axes: it must begin with "
            f"{bytes([0, 0, _UNSIGNED_BYTE, axes]).hex()} and {axes} sizes, it begins with {content[:4].hex() or 'nothing'}."
        )
    shape = tuple(np.frombuffer(content, dtype=">u4", count=axes, offset=4).tolist())
    values = int(np.prod(shape, dtype=np.int64))
    if len(content) - start != values:
        raise ValueError(
            f"{path.name} is truncated or damaged: shape {shape} needs {values} values, got {len(content) - start}."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
