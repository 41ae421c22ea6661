"""README.md runs: every python block, in order, beside one NIfTI slice (its commands: docs/test_commands.py); and it is short."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def slice_in_folder(tmp_path, monkeypatch):
    y, x = np.mgrid[-1:1:64j, -1:1:60j]
    nib.save(nib.Nifti1Image((x**2 + y**2 < 0.6).astype(np.float32) * 700, np.eye(4)), tmp_path / "slice.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("slice_in_folder")
def test_python_blocks_run():
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    sample, masks, wider = names["sample"], names["masks"], names["wider"]
    assert {"kspace", "mask", "ratio", "zero_filled"} <= set(sample)
    assert float(sample["ratio"]) == pytest.approx(0.125, abs=1 / (64 * 60))
    assert masks.mask.shape == (2, 1, 64, 64)
    assert masks.ratio.tolist() == pytest.approx([0.1, 0.25], abs=1 / 64**2)
    assert tuple(wider.grid) == (96, 80)


def test_it_is_short_and_shows_the_set_up():
    assert "make demo" in README
    assert "make test" in README
    assert len(README.encode()) <= 8192
    tables = re.findall(r"<!-- table: \w+ -->\n(.*?)<!-- /table -->", README, flags=re.DOTALL)
    assert len(tables) == 3
    assert all(2 < len(re.findall(r"^\|", table, flags=re.MULTILINE)) <= 8 + 2 for table in tables)


def test_relative_links_exist():
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
