"""README.md runs: every python block, in order, beside one NIfTI slice; and it shows the two commands of the set-up."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def slice_in_folder(tmp_path, monkeypatch):
    y, x = np.mgrid[-1:1:64j, -1:1:60j]
    nib.save(nib.Nifti1Image((x**2 + y**2 < 0.6).astype(np.float32) * 700, np.eye(4)), tmp_path / "slice.nii.gz")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("slice_in_folder")
def test_python_blocks_run():
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    sample = names["sample"]
    assert {"kspace", "mask", "ratio", "zero_filled"} <= set(sample)
    assert float(sample["ratio"]) == pytest.approx(0.125, abs=1 / (64 * 60))


def test_set_up_is_shown():
    assert "make demo" in README
    assert "make test" in README


def test_relative_links_exist():
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    missing = [link for link in links if not (root / link).exists()]
    assert not missing
