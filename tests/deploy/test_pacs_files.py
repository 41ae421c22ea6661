"""Which files are stored in a PACS: none that is not DICOM, none that is half written, and none is left out silently."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hospital.mr_series import write_example_series
from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.pacs.instance_files import InstanceFiles, instance_files
from infomri_monai.deploy.pacs.transfer import new_folder


def names(found: InstanceFiles) -> list[str]:
    return [path.name for path in found.files]


def test_by_content_or_suffix_in_the_order_of_paths(tmp_path: Path) -> None:
    (image,) = write_example_series(tmp_path / "b", slices=1)
    image.rename(tmp_path / "b/no-suffix")
    (tmp_path / "b/damaged.DCM").write_bytes(b"")
    (tmp_path / "c/d").mkdir(parents=True)
    (tmp_path / "c/d/dicomdir").write_bytes(bytes(128) + b"DICM")
    for path in ("summary.json", "c/notes.txt", "c/d/short"):
        (tmp_path / path).write_text("{}")
    found = instance_files([tmp_path])
    assert names(found) == ["damaged.DCM", "no-suffix"]
    assert found.passed == 3
    other = tmp_path / "a.ima"
    other.write_bytes(b"")
    assert names(instance_files([tmp_path / "b", other, tmp_path / "summary.json"])) == [*names(found), "a.ima"]


def test_half_a_case_in_a_hidden_folder_is_left_out(tmp_path: Path) -> None:
    """As an application that was killed leaves it."""
    write_example_series(tmp_path / "case_0001", slices=2)
    write_example_series(tmp_path / ".0123456789ab/case_0002", slices=2)
    (tmp_path / "case_0001/.hidden.dcm").write_bytes(b"")
    found = instance_files([tmp_path])
    assert (len(found.files), found.passed) == (2, 0)
    assert all(".0123456789ab" not in path.parts for path in found.files)
    assert len(instance_files([tmp_path / ".0123456789ab"]).files) == 2  # asked for


def test_links_are_followed_once(tmp_path: Path) -> None:
    write_example_series(tmp_path / "elsewhere", slices=2)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "in")
    assert len(instance_files([tmp_path / "in"]).files) == 2
    (tmp_path / "in/nowhere.dcm").symlink_to(tmp_path / "gone")
    (tmp_path / "in/nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "in/pipe.dcm")
    assert len(instance_files([tmp_path / "in"]).files) == 4  # they fail when they are stored


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "summary.json").write_text("{}")
    image = write_example_series(tmp_path / "DOE_JANE/deep", slices=1)[0]
    with pytest.raises(DeployError, match="path 2 of 2 is neither a file nor a folder") as raised:
        instance_files([image, tmp_path / "DOE"])
    assert raised.value.code == EXIT_USAGE
    with pytest.raises(DeployError, match=r"^there is no DICOM file\.$") as raised:
        instance_files([tmp_path / "summary.json"])
    assert raised.value.code == EXIT_USAGE
    scandir = os.scandir

    def locked(path: str) -> object:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(DeployError) as raised:
        instance_files([tmp_path])
    assert str(raised.value) == "a folder cannot be read (Permission denied); nothing was sent."
    assert raised.value.code == EXIT_USAGE


def test_a_path_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is too long, a folder above that is closed: words instead of a defect, and no path in them."""
    image = write_example_series(tmp_path / "DOE_JANE", slices=1)[0]
    with pytest.raises(DeployError) as raised:
        instance_files([image, tmp_path / ("DOE" * 100)])
    assert (str(raised.value), raised.value.code) == ("path 2 of 2 cannot be read (File name too long).", EXIT_USAGE)

    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(DeployError) as raised:
        instance_files([image])
    assert (str(raised.value), raised.value.code) == ("path 1 of 1 cannot be read (Permission denied).", EXIT_USAGE)


@pytest.mark.parametrize("name", ["DOE" * 100, "file/DOE"])
def test_a_folder_that_cannot_be_made(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    words = r"^folder cannot be made or looked into \([A-Z][a-z ]+\)\.$"
    with pytest.raises(DeployError, match=words) as raised, new_folder(tmp_path / name):
        pass
    assert raised.value.code == EXIT_USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", closed)
    words = r"^folder cannot be made or looked into \(Permission denied\)\.$"
    with pytest.raises(DeployError, match=words) as raised, new_folder(tmp_path):
        pass
    assert raised.value.code == EXIT_USAGE


def test_a_file_that_may_not_be_opened_is_kept_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").write_bytes(b"")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert names(instance_files([tmp_path])) == ["locked"]


@pytest.mark.parametrize("kind", ["empty", "link", "here"])
def test_a_folder_that_is_there_already_is_filled_in_place(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a mounted volume, whose name cannot be given to another folder."""
    real = tmp_path / "volume"
    real.mkdir()
    target = {"empty": real, "link": tmp_path / "link", "here": Path()}[kind]
    if kind == "link":
        target.symlink_to(real)
    elif kind == "here":
        monkeypatch.chdir(real)
    before = real.stat().st_ino
    with new_folder(target) as part:
        for name in ("00001.dcm", "00002.dcm"):
            (part / name).write_bytes(b"1")
        assert [path for path in real.iterdir() if not path.name.startswith(".")] == []
    assert sorted(path.name for path in real.iterdir()) == ["00001.dcm", "00002.dcm"]
    assert real.stat().st_ino == before


def test_a_folder_that_cannot_be_filled_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, moved = os.replace, []

    def full(source: Path, target: Path) -> None:
        if moved:
            raise OSError(28, "No space left on device")
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    filling = new_folder(tmp_path)
    part = filling.__enter__()
    for name in ("00001.dcm", "00002.dcm"):
        (part / name).write_bytes(b"1")
    with pytest.raises(DeployError, match=r"cannot be moved to folder \(No space left on device\)"):
        filling.__exit__(None, None, None)
    assert len(moved) == 1
    assert list(tmp_path.iterdir()) == []
