"""All files below a folder, whatever they are, and the folders that cannot be looked into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from infomri_monai.files import system_words

__all__ = ["FoundFiles", "find_files"]

#: what file systems keep at the top of a volume, often closed to all users but one
_SYSTEM = {"lost+found", "system volume information", "$recycle.bin"}


class FoundFiles(NamedTuple):
    """What lies below a folder.

    Attributes:
        files: in the order of their paths.
        unreadable: folders that cannot be looked into, in the order of their paths, and why, in words without identifiers.
    """

    files: tuple[Path, ...]
    unreadable: tuple[tuple[Path, str], ...]


def find_files(root: Path) -> FoundFiles:
    """Find all files below a folder, also those in folders that are links.

    A folder that is reached in several ways counts once, by the first of its paths; one that holds the root, where a link leads
    upwards, not at all. Files and folders whose name begins with a dot are passed over, as are pipes, sockets and devices,
    and what file systems keep at the top of a volume: ``lost+found``, ``System Volume Information`` and ``$RECYCLE.BIN``. A
    link to nothing counts as a file, so that whoever opens it says that it is missing.

    Args:
        root: existing folder.

    Returns:
        The files, and the folders that cannot be looked into.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "a").mkdir(), (root / "b").symlink_to(root / "a"), (root / "a/scan.h5").touch(), (root / ".hidden").touch()
        (None, None, None, None)
        >>> [path.relative_to(root).as_posix() for path in find_files(root).files]
        ['a/scan.h5']
    """
    files: list[Path] = []
    unreadable: list[tuple[Path, str]] = []
    seen = {_identity(folder) for folder in root.resolve().parents}
    pending = [root]
    while pending:
        folder = pending.pop()
        if (identity := _identity(folder)) in seen:
            continue
        seen.add(identity)
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            unreadable.append((folder, system_words(error)))
            continue
        for path, is_folder in _kinds(entries):
            (pending if is_folder else files).append(path)
    return FoundFiles(tuple(sorted(files)), tuple(sorted(unreadable)))


def _kinds(entries: list[os.DirEntry[str]]) -> Iterator[tuple[Path, bool]]:
    """Paths of folders and files, and whether they are folders."""
    for entry in entries:
        if entry.name.startswith(".") or entry.name.casefold() in _SYSTEM:
            continue
        try:
            if entry.is_dir():
                yield Path(entry.path), True
            elif entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):
                yield Path(entry.path), False
        except OSError:  # what it is cannot be told: whoever opens it will be told why
            yield Path(entry.path), False


def _identity(path: Path) -> tuple[int, int] | str:
    """Device and inode of a folder, or its path if they cannot be told."""
    try:
        status = os.stat(path)
    except OSError:
        return str(path)
    return status.st_dev, status.st_ino
