"""Shared by all tests. Its presence puts this folder on the import path, so that ``from helper import ...`` works.

The folders of tiny runs of the bundles are made once a session; a test that takes one is parametrised by ``bundle`` and leaves
it as it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from filelock import FileLock

if TYPE_CHECKING:
    from bundle_table import Bundle

Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fill a folder the first time that one of pytest-xdist's workers asks for its name."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, fill: Callable[[Path], None]) -> Path:
        done = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                unfinished = tmp_path_factory.mktemp(name)
                fill(unfinished)
                unfinished.rename(done)
        return done

    return folder


@pytest.fixture
def trained(bundle: Bundle, once: Once) -> Path:
    """A tiny training run of four epochs, every checkpoint kept."""

    from running import train  # tests/bundles is on the path where this is used

    def fill(folder: Path) -> None:
        every_checkpoint: dict[str, Any] = {"checkpoint#saver#n_saved": 10}
        train(bundle, folder, max_epochs=4, mixed_precision=False, **every_checkpoint)

    return once(f"trained_{bundle.name}", fill)


@pytest.fixture
def evaluated(bundle: Bundle, trained: Path, once: Once) -> Path:
    """A copy of ``trained``, evaluated, with the evaluation's log in evaluate.log."""

    from running import evaluate, succeeded

    def fill(folder: Path) -> None:
        shutil.copytree(trained, folder, dirs_exist_ok=True)
        (folder / "evaluate.log").write_text(succeeded(evaluate(bundle, folder)))

    return once(f"evaluated_{bundle.name}", fill)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator of its own for every test."""
    return torch.Generator().manual_seed(0)
