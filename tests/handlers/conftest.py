"""Fixtures that several tests of handlers share."""

from __future__ import annotations

import pytest


@pytest.fixture
def caught(monkeypatch):
    """Name without suffix -> figure, of all figures that a sweep's handlers save; none is written."""
    figures = {}
    keep = lambda figure, path: figures.update({path.stem: figure})  # noqa: E731
    monkeypatch.setattr("infomri_monai.handlers.sweep.save_figure", keep)
    return figures
