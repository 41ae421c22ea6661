"""Files of ``torch.save`` and TorchScript hold checksums, which PyTorch writes but does not check."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path
from typing import TypeGuard

__all__ = ["check_intact", "is_of_disk"]

_BLOCK = 1 << 20


def check_intact(path: str | os.PathLike[str]) -> None:
    """Check the checksums in a file of ``torch.save`` or TorchScript: a disk may have changed weights.

    Args:
        path: what is no zip archive (a file of PyTorch before 1.6, or damaged in its frame) passes, and PyTorch judges it; so does
            content that was saved under ``torch.serialization.set_crc32_options(False)``, which has no checksums.

    Raises:
        ValueError: if a checksum does not fit.
        OSError: if the file cannot be read, with its name.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "model.pt"
        >>> torch.save({"weight": torch.ones(99)}, path)
        >>> check_intact(path)
        >>> _ = path.write_bytes(path.read_bytes().replace(torch.ones(9).numpy().tobytes(), bytes(36)))
        >>> check_intact(path)
        Traceback (most recent call last):
        ValueError: ... is damaged: a checksum in it does not fit.

    References:
        PKWARE, ".ZIP File Format Specification", 2022, 4.4.7 (CRC-32).
    """
    _read_a_byte(path)  # is_zipfile takes what cannot be read for no archive
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                if record.CRC:
                    with archive.open(record) as stream:  # which checks at the end
                        while stream.read(_BLOCK):
                            pass
    except Exception as error:  # flipped bits in the archive's headers lead to errors of many kinds
        if is_of_disk(error):
            raise
        raise ValueError(f"{Path(path)} is damaged: a checksum in it does not fit.") from None


def _read_a_byte(path: str | os.PathLike[str]) -> None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from None


def is_of_disk(error: BaseException) -> TypeGuard[OSError]:
    """Whether an error says that a file cannot be read (a right is missing, the disk fails), not that its content is wrong.

    Args:
        error: whatever reading it raised.

    Returns:
        True for the errors of the operating system, but for EINVAL, which damaged offsets in a file lead to.

    Example:
        >>> is_of_disk(PermissionError(13, "Permission denied")), is_of_disk(OSError(22, "a place before the file's begin"))
        (True, False)
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
