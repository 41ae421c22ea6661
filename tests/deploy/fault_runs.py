"""Runs of the applications in the test's own process, and the check that a fault left nothing and said nothing it must not."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from application_runs import APPLICATIONS, ROOT
from faults import EXECUTED, secrets

from infomri_monai.data.dicom.quiet import LOGGERS
from infomri_monai.deploy.command import run_application


class Outcome(NamedTuple):
    """What a run left.

    Attributes:
        code: exit code.
        said: all that was printed or logged.
        output: the output folder.
    """

    code: int
    said: str
    output: Path

    @property
    def files(self) -> set[str]:
        """Everything in the output folder, folders too."""
        return {path.relative_to(self.output).as_posix() for path in self.output.rglob("*")}

    @property
    def summary(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.output / "summary.json").read_text())
        return content

    def assert_says(self, code: int, *words: str, hidden: Path) -> None:
        """This exit code and these words, and no identifier."""
        assert self.code == code, self.said
        assert [text for text in words if text not in self.said] == []
        self.assert_silent(hidden)

    def assert_silent(self, *hidden: Path) -> None:
        """No identifier, and none of these paths, stands in anything that was said or written, or in a name."""
        summary = self.output / "summary.json"
        told = self.said + (summary.read_text() if summary.is_file() else "")
        told += " ".join(self.files) if self.output.is_dir() else ""
        for secret in [*secrets(), *map(str, hidden)]:
            assert secret not in told


class Place:
    """Folders of a test: input, models, output, and the only one where temporary files can go.

    Args:
        root: an empty folder; the working directory while applications run.
        monkeypatch: the fixture.
        capfd: the fixture.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.root, self.monkeypatch, self.capfd = root, monkeypatch, capfd
        self.input, self.output, self.temporary = root / "DOE_JANE_STUDY", root / "out", root / "temporary"
        self.temporary.mkdir()
        monkeypatch.chdir(root)
        monkeypatch.setattr(tempfile, "tempdir", str(self.temporary))
        monkeypatch.setenv("TMPDIR", str(self.temporary))
        monkeypatch.setenv("HOLOSCAN_LOG_LEVEL", "ERROR")
        for key in ("INPUT", "OUTPUT", "MODEL"):
            monkeypatch.delenv(f"HOLOSCAN_{key}_PATH", raising=False)

    def models(self, name: str = "segmentation") -> Path:
        """The shipped bundle of an application."""
        return ROOT / "bundles" / APPLICATIONS[name]

    def run(self, *more: object, name: str = "segmentation", models: Path | None = None) -> Outcome:
        """Run an application on the input, with further arguments."""
        return self.call("-i", self.input, "-o", self.output, "-m", models or self.models(name), *more, name=name)

    def call(self, *arguments: object, name: str = "segmentation") -> Outcome:
        """Run an application with just these arguments, and check that models, input and temporary files are as before."""
        watched = [self.input, *(path for path in arguments if isinstance(path, Path) and path.is_dir())]
        before = [_checksums(path) for path in watched if path != self.output]
        self.monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        self.capfd.readouterr()
        with logging_as_before(), pytest.raises(SystemExit) as caught:
            run_application(name)
        assert [_checksums(path) for path in watched if path != self.output] == before
        assert not any(self.temporary.iterdir())
        assert not (self.root / EXECUTED).exists()
        assert isinstance(caught.value.code, int)
        return Outcome(caught.value.code, "".join(self.capfd.readouterr()), self.output)


def _checksums(folder: Path) -> dict[str, str]:
    """Checksums of all files below a folder, and their time stamps."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.stat().st_mtime_ns}" for p in files}


@contextmanager
def logging_as_before() -> Iterator[None]:
    """An application sets up the logging of its process."""
    root, names = logging.getLogger(), ("infomri_monai", *LOGGERS)
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, value in levels.items():
            logging.getLogger(name).setLevel(value)


def closed(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Folders that cannot be listed, whoever runs the test."""

    def refusing(listing: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def refuse(path: Any = ".") -> Any:
            if str(path) in map(str, folders):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return listing(path)

        return refuse

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


def named(faults: Sequence[Any]) -> pytest.MarkDecorator:
    """Run a test for every fault."""
    return pytest.mark.parametrize("fault", faults, ids=[fault.name for fault in faults])
