"""The demonstration's output folder: filled when all is done, or left as it was."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infomri_monai.deploy.case import EXIT_USAGE, DeployError

__all__ = ["RECORD", "workspace"]

#: by this file a former demonstration is known
RECORD = "demo.json"


@contextmanager
def workspace(output: Path) -> Iterator[Path]:
    """A temporary folder beside ``output``; what it holds moves there when the block ends well, and vanishes when it does not.

    Only its owner can read it, and ``output`` if that is new: a user's own series may be a patient's.

    Args:
        output: new or empty, or with the ``RECORD`` of a former demonstration, whose files of the same names are replaced.

    Yields:
        Where to write.

    Raises:
        DeployError: if ``output`` is a file or holds something else, before anything is written, or if it cannot be made.

    Example:
        >>> with tempfile.TemporaryDirectory() as above:
        ...     with workspace(Path(above) / "demo") as part:
        ...         _ = (part / RECORD).write_text("{}")
        ...     [path.name for path in Path(above).rglob("*")]
        ['demo', 'demo.json']
    """
    output = output.absolute()
    if output.exists() and not (output.is_dir() and ((output / RECORD).exists() or not any(output.iterdir()))):
        raise DeployError(
            "output must be new or empty, or the folder of a former demonstration; it is a file, or a folder with other files.",
            EXIT_USAGE,
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".demo-", dir=output.parent))
    except OSError as error:
        raise DeployError(f"output cannot be made ({error.strerror}).", EXIT_USAGE) from None
    try:
        yield part
        output.mkdir(mode=0o700, exist_ok=True)
        for path in sorted(
            part.iterdir(), key=lambda path: path.name == RECORD
        ):  # the record last: it says all is there
            target = output / path.name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(path, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
