"""A bundle's archive (``make bundles``) is what ``python -m monai.bundle download`` unpacks, and MONAI loads it from there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import load

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("infomri_recon", "infomri_segmentation", "infomri_privacy_classification")


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    make = ["make", "--silent", "bundles", f"DIST={folder}", f"PYTHON={sys.executable}"]
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def downloaded(archives, tmp_path_factory) -> Path:
    """What MONAI's own command makes of the archives, fetched from an address."""
    place = tmp_path_factory.mktemp("downloaded")
    for name in NAMES:
        (archive,) = archives.glob(f"{name}_v*.zip")
        words = f"--name {name} --url {archive.as_uri()} --bundle_dir {place} --progress False"
        command = [sys.executable, "-m", "monai.bundle", "download", *words.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    return place


# MONAI's advice to trust what one runs
@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_monai_loads_what_is_committed_from_an_archive_of_name_and_version(archives, downloaded, name):
    version = json.loads((ROOT / "bundles" / name / "configs" / "metadata.json").read_text())["version"]
    assert (archives / f"{name}_v{version}.zip").exists()
    command = ["git", "ls-tree", "-r", "--name-only", f"HEAD:bundles/{name}"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    unpacked = [path for path in (downloaded / name).rglob("*") if path.is_file()]
    assert {path.relative_to(downloaded / name).as_posix() for path in unpacked} == set(listed)
    network = load(name, bundle_dir=str(downloaded), workflow_type="inference")
    shipped = torch.load(downloaded / name / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, shipped[key]) for key, value in network.state_dict().items())
    page = ROOT / "bundles" / name / "docs" / "README.md"
    assert "](../../" not in page.read_text(encoding="utf-8")  # no link leaves the bundle
