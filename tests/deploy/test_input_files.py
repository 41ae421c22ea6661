"""Every file below a folder is found once, whatever links lead to it, and no folder is lost in silence."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pydicom")
from hospital.mr_series import write_example_series
from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.cases import find_cases
from infomri_monai.deploy.dicom.scan import find_files, find_series


def found(root):
    return [path.relative_to(root).as_posix() for path in find_files(root).files]


@settings(max_examples=30, deadline=None)
@given(st.sets(st.lists(st.sampled_from(["a", "b", ".c", "d.e", "é"]), min_size=1, max_size=4).map(tuple), max_size=12))
def test_without_links_it_is_what_pathlib_finds(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("tree")
    for *above, name in names:
        folder = root.joinpath(*(f"folder_{part}" if part[0] != "." else part for part in above))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}_file").touch()
    wanted = [path for path in sorted(root.rglob("*")) if path.is_file()]
    hidden = [any(part.startswith(".") for part in path.relative_to(root).parts) for path in wanted]
    assert list(find_files(root).files) == [path for path, skip in zip(wanted, hidden, strict=True) if not skip]


def test_links_are_followed_and_loops_end(tmp_path):
    root, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    (root / "b/c").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (root / "b/c/one", elsewhere / "two", tmp_path / "outside"):
        path.touch()
    (root / "a").symlink_to(elsewhere)  # as a disk that is mounted elsewhere
    (root / "b/again").symlink_to(elsewhere)  # which is there already
    (elsewhere / "back").symlink_to(root)
    (root / "b/c/loop").symlink_to(root / "b")
    (root / "up").symlink_to("..")
    (root / "b/file").symlink_to(tmp_path / "outside")
    assert found(root) == ["a/two", "b/c/one", "b/file"]
    (tmp_path / "link").symlink_to(root)
    assert found(tmp_path / "link") == ["a/two", "b/c/one", "b/file"]


def test_what_is_no_file_is_left_out_but_a_link_to_nothing_is_not(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(tmp_path)  # names of sockets are short
        made.bind("socket")
        os.chdir(before)
    (tmp_path / "lost.dcm").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert found(tmp_path) == ["circle", "lost.dcm"]


@pytest.mark.parametrize("name", ["lost+found", "System Volume Information", "$RECYCLE.BIN", "$Recycle.Bin"])
def test_what_a_file_system_keeps_for_itself_is_passed_over(name, tmp_path, monkeypatch):
    """A volume that is mounted as the input has a folder that only its administrator may look into."""
    write_example_series(tmp_path / "series", slices=2)
    np.save(tmp_path / "scan.npy", np.ones((4, 4), np.complex64))
    (tmp_path / name).mkdir()
    (tmp_path / name / "deleted.npy").touch()
    cases, notes = find_cases(tmp_path)
    assert (len(cases), notes) == (2, [])
    locked(monkeypatch, name)
    assert find_files(tmp_path).unreadable == ()
    assert len(find_cases(tmp_path)[0]) == 2
    (tmp_path / f"my {name}").mkdir()
    (tmp_path / f"my {name}/a").touch()
    assert f"my {name}/a" in found(tmp_path)


def test_the_input_is_walked_once(tmp_path, monkeypatch):
    """A folder on a slow network drive may hold a hundred thousand files."""
    write_example_series(tmp_path / "a/b", slices=2)
    np.save(tmp_path / "a/scan.npy", np.ones((4, 4), np.complex64))
    listed, scandir = [], os.scandir

    def counting(path):
        listed.append(Path(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counting)
    cases, _ = find_cases(tmp_path)
    assert len(cases) == 2
    assert sorted(listed) == [tmp_path, tmp_path / "a", tmp_path / "a/b"]


@pytest.mark.parametrize(("number", "words"), [(1, "1 file that is"), (2, "2 files that are")])
def test_passed_over_in_words(number, words, tmp_path):
    for index in range(number):
        (tmp_path / f"{index}.txt").write_text("text")
    assert find_series(tmp_path).notes == (f"passed over {words} not DICOM",)


def test_a_series_behind_a_link_is_a_case(tmp_path):
    write_example_series(tmp_path / "elsewhere", slices=2)
    np.save(tmp_path / "elsewhere/scan.npy", np.ones((4, 4), np.complex64))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/study").symlink_to(tmp_path / "elsewhere")
    cases, notes = find_cases(tmp_path / "in")
    assert [case(number).domain for number, case in enumerate(cases, 1)] == ["image", "kspace"]
    assert notes == []


def test_a_lost_file_of_a_series_and_a_lost_scan_are_one_failure_each(tmp_path):
    paths = write_example_series(tmp_path / "series", slices=3)
    paths[2].unlink()
    paths[2].symlink_to(tmp_path / "DOE_JANE")
    (tmp_path / "scan.h5").symlink_to(tmp_path / "DOE_JANE")
    cases, _ = find_cases(tmp_path)
    assert len(cases) == 2
    for case, words in zip(cases, ("1 of 3 files cannot be used: ", "raw data: "), strict=True):
        with pytest.raises(DeployError) as error:
            case(1)
        assert str(error.value).startswith(words)
        assert "DOE" not in str(error.value)


def locked(monkeypatch, *names):
    """Folders of these names cannot be listed, whoever runs the test."""
    listed = os.scandir

    def scandir(path):
        if isinstance(path, (str, Path)) and Path(path).name in names:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_cannot_be_read_is_a_case_that_fails(tmp_path, monkeypatch):
    write_example_series(tmp_path / "a", slices=2)
    write_example_series(tmp_path / "a/DOE_JANE", "enhanced", slices=2)
    write_example_series(tmp_path / "b", slices=2, seed=1)
    (tmp_path / ".trash").mkdir()
    locked(monkeypatch, "DOE_JANE", ".trash")
    words = "a folder of the input cannot be read (Permission denied)."
    assert [candidate.problem for candidate in find_series(tmp_path).candidates] == [words, "", ""]
    cases, _ = find_cases(tmp_path)
    with pytest.raises(DeployError, match=r"^a folder of the input cannot be read \(Permission denied\)\.$"):
        cases[0](1)
    assert cases[1](2).domain == "image"


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is closed to root")
def test_a_folder_without_rights(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o000)
    try:
        assert [reason for _, reason in find_files(tmp_path).unreadable] == ["Permission denied"]
    finally:
        (tmp_path / "closed").chmod(0o700)
