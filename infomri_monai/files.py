"""Files written completely or not at all, and read only if they are intact and plain; numbers for JSON, which knows no NaN."""

from __future__ import annotations

import errno
import math
import os
import pickle
import tempfile
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import torch

__all__ = [
    "atomic_folder",
    "atomic_path",
    "check_intact",
    "is_of_disk",
    "null_unless_finite",
    "read_plain",
    "system_words",
    "writable_folder",
]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends well and vanishes when it does not.

    Args:
        path: the file to write; its folder is made if absent. A reader sees the old file or the new one, never a part.

    Yields:
        Temporary path in the same folder, with the same suffix (writers that choose a format by suffix keep working).

    Raises:
        IsADirectoryError: if ``path`` is a folder.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "table.csv"
        >>> with atomic_path(target) as part:
        ...     _ = part.write_text("ratio,psnr")
        >>> [file.name for file in target.parent.iterdir()]
        ['table.csv']
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"path must name a file, got the folder {target}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:12]}{target.suffix}")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder whose files all move to ``folder`` when the block ends well, and vanish when it does not.

    Args:
        folder: made if absent, and taken away again where nothing is written; files of the same names in it are replaced.

    Yields:
        Temporary folder inside ``folder``.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp())
        >>> with atomic_folder(target) as part:
        ...     _, _ = (part / "table.csv").write_text("1"), (part / "table.json").write_text("[1]")
        >>> sorted(file.name for file in target.iterdir())
        ['table.csv', 'table.json']
    """
    target = Path(folder)
    new = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=target, prefix=".part-") as part:
            yield Path(part)
            for file in sorted(Path(part).iterdir()):
                os.replace(file, target / file.name)
    except BaseException:
        if new and not any(target.iterdir()):
            target.rmdir()
        raise


_BLOCK = 1 << 20


def writable_folder(path: str | os.PathLike[str], name: str) -> Path:
    """The path, if a folder of this name can be written to or made; nothing is made.

    Args:
        path: the folder.
        name: of the argument, for the message.

    Raises:
        OSError: if something of it is a file, or the folder that it would be made in may not be written to.

    Example:
        >>> writable_folder("/dev/null/out", "output_dir")
        Traceback (most recent call last):
        OSError: output_dir: /dev/null/out cannot be written: /dev/null is no folder.
    """
    there = next(parent for parent in (Path(path).absolute(), *Path(path).absolute().parents) if parent.exists())
    if not there.is_dir():
        raise OSError(f"{name}: {path} cannot be written: {there} is no folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OSError(f"{name}: {path} cannot be written: {there} is write-protected.")
    return Path(path)


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


def read_plain(path: str | os.PathLike[str], map_location: str | torch.device = "cpu") -> Any:
    """Read tensors and plain types; nothing in the file is executed, and every complaint about its content names the file.

    Args:
        path: file of ``torch.save``.
        map_location: device of the tensors.

    Returns:
        The content.

    Raises:
        OSError: if the file cannot be read: there is none, a right is missing, or the disk fails.
        ValueError: if the file is damaged (also where only a checksum tells) or holds anything else (a pickle that would execute
            code).

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "model.pt"
        >>> torch.save({"power": 4.0}, path)
        >>> read_plain(path)
        {'power': 4.0}
        >>> _ = path.write_text("rubbish")
        >>> read_plain(path)
        Traceback (most recent call last):
        ValueError: ...model.pt is ...
    """
    path = Path(path)
    check_intact(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.load warns about archives that it then refuses
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is not a plain checkpoint: it is damaged or holds objects that would execute code; it is refused."
        ) from error
    except Exception as error:  # torch.load passes on what its zip and pickle readers raise
        if is_of_disk(error):
            raise
        raise ValueError(f"{path} is damaged or not a PyTorch checkpoint ({type(error).__name__}).") from error


def null_unless_finite(value: Any) -> Any:
    """The value, or None (null in JSON) in the place of NaN and of either infinity.

    Args:
        value: a number; anything else stays as it is.

    Example:
        >>> [null_unless_finite(value) for value in (0.5, 3, float("nan"), float("-inf"), None, "nan", True)]
        [0.5, 3, None, None, None, 'nan', True]
    """
    return None if isinstance(value, float) and not math.isfinite(value) else value


def system_words(error: OSError) -> str:
    """What the operating system says is wrong, of the error or of what led to it; else the error's type.

    The error's own text may name a file, as h5py's does, or quote a header, as pydicom's does.

    Example:
        >>> system_words(OSError(28, "DOE_JANE.h5 has no space", "DOE_JANE.h5"))
        'No space left on device'
        >>> system_words(OSError("DOE_JANE.h5 is broken"))
        'OSError'
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
