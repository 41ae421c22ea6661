"""Finding the one bundle for a task; everything else in a models folder is passed over or refused in words."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from fault_runs import closed

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.model_files import INFERERS, find_bundle, sha256

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = {
    "reconstruction": "infomri_recon",
    "segmentation": "infomri_segmentation",
    "classification": "infomri_privacy_classification",
}
every_task = pytest.mark.parametrize("task", INFERERS)


def directory(path, task):
    """A bundle's directory with nothing but what is looked for."""
    (path / "configs").mkdir(parents=True)
    for name in ("inference.json", "metadata.json"):
        shutil.copy(BUNDLES / NAMES[task] / "configs" / name, path / "configs")
    return path


def archive(path, task):
    """What ``monai.bundle ckpt_export`` makes, as far as it is looked at here; that of MONAI itself is in test_applications.py."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name in ("inference.json", "metadata.json"):
            file.write(BUNDLES / NAMES[task] / "configs" / name, f"{path.stem}/extra/{name}")
    return path


def refusal(path, task):
    with pytest.raises(DeployError) as error:
        find_bundle(path, task)
    assert error.value.code == EXIT_USAGE
    return str(error.value)


@every_task
def test_the_shipped_folder_holds_one_bundle_for_every_task(task):
    found, alone = find_bundle(BUNDLES, task), find_bundle(BUNDLES / NAMES[task], task)
    assert found == alone
    assert (found.root, found.archive, found.task) == (BUNDLES / NAMES[task], None, task)
    assert found.config == json.loads((found.root / "configs/inference.json").read_text())
    assert found.metadata == json.loads((found.root / "configs/metadata.json").read_text())


@every_task
@pytest.mark.parametrize("suffix", [".ts", ".pt", ".pth", ".torchscript"])
def test_an_archive_by_its_path_its_folder_and_the_folder_above(tmp_path, task, suffix):
    path = archive(tmp_path / "models/seg" / f"any name{suffix}", task)
    torch.save({"weight": torch.ones(2)}, path.parent / "policy.pt")  # a plain checkpoint is no bundle
    (path.parent / "triage.json").write_text("{}")
    for given in (path, path.parent, tmp_path / "models"):
        found = find_bundle(given, task)
        assert (found.archive, found.root, found.task) == (path, path.parent, task)
        assert found.metadata["name"].startswith("InfoMRI")


def test_a_bundles_own_files_are_not_searched(tmp_path):
    root = directory(tmp_path / "bundle", "segmentation")
    archive(root / "models/model.ts", "segmentation")
    archive(root / "other.ts", "segmentation")
    assert find_bundle(root, "segmentation").archive is None
    assert find_bundle(tmp_path, "segmentation").archive is None


def test_nothing_there(tmp_path):
    assert refusal(tmp_path / "absent", "segmentation") == "models: the path does not exist."
    assert "holds no bundle (found: none) for segmentation" in refusal(tmp_path, "segmentation")
    (tmp_path / "notes.txt").write_text("no model")
    archive(tmp_path / "a/b/too/deep.ts", "segmentation")
    assert "holds no bundle (found: none)" in refusal(tmp_path, "segmentation")


def test_several(tmp_path):
    directory(tmp_path / "a", "segmentation")
    archive(tmp_path / "b/model.ts", "segmentation")
    archive(tmp_path / "c.ts", "reconstruction")
    assert "holds 2 bundles for segmentation; give one" in refusal(tmp_path, "segmentation")
    assert find_bundle(tmp_path, "reconstruction").archive == tmp_path / "c.ts"


@pytest.mark.parametrize(
    "inferer", [None, "VolumeInferer", {"_target_": "monai.inferers.SimpleInferer"}, {"inferer": 3}, "ours"]
)
def test_another_makers_bundle_has_no_task(tmp_path, inferer):
    """Ours has one, wrapped for the handlers or not."""
    root = directory(tmp_path / "a", "segmentation")
    config = json.loads((root / "configs/inference.json").read_text())
    config["inferer"] = config["inferer"]["inferer"] if inferer == "ours" else inferer
    (root / "configs/inference.json").write_text(json.dumps(config))
    if inferer == "ours":
        assert find_bundle(root, "segmentation").task == "segmentation"
    else:
        assert "(found: None)" in refusal(root, "segmentation")


@pytest.mark.parametrize("kept", [0, 20, 0.5, 0.9, 1.0])
def test_a_damaged_archive(tmp_path, kept):
    path = archive(tmp_path / "model.ts", "segmentation")
    content = bytearray(path.read_bytes())
    if kept == 1.0:
        content[200:260] = bytes(60)  # in the stored configuration, whose checksum is no longer right
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    assert "model.ts is damaged, or no TorchScript archive" in refusal(tmp_path, "segmentation")


@pytest.mark.parametrize("content", ["{", "", "\udcff", "[]", "3", "null", '"text"'])
def test_a_configuration_that_cannot_be_read(tmp_path, content):
    root = directory(tmp_path / "bundle", "segmentation")
    (root / "configs/inference.json").write_bytes(content.encode(errors="surrogateescape"))
    assert "configuration of bundle cannot be read (" in refusal(tmp_path, "segmentation")
    (root / "configs/metadata.json").unlink()
    assert "cannot be read (" in refusal(root, "segmentation")
    (root / "configs/inference.json").unlink()
    assert "holds no bundle" in refusal(tmp_path, "segmentation")


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    closed(monkeypatch, tmp_path)
    assert refusal(tmp_path, "segmentation") == "models: the path cannot be read (Permission denied)."


def test_checksum(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
