"""Shared by all tests. Its presence puts this folder on the import path, so that ``from helper import ...`` works."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator of its own for every test."""
    return torch.Generator().manual_seed(0)
