"""Files of ``torch.save`` and TorchScript hold checksums, which PyTorch writes but does not check."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

__all__ = ["check_intact"]

_BLOCK = 1 << 20


def check_intact(path: str | os.PathLike[str]) -> None:
    """Check the checksums in a file of ``torch.save`` or TorchScript: a disk may have changed weights.

    Args:
        path: what is no zip archive (a file of PyTorch before 1.6, or damaged in its frame) passes, and PyTorch judges it; so does
            content that was saved under ``torch.serialization.set_crc32_options(False)``, which has no checksums.

    Raises:
        ValueError: if a checksum does not fit.
        OSError: if the file cannot be read.

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
        if isinstance(error, OSError) and error.errno not in (
            None,
            errno.EINVAL,
        ):  # not of a place in the file, but of the disk
            raise
        raise ValueError(f"{Path(path)} is damaged: a checksum in it does not fit.") from None
