"""Raw data as cases: what the bundle reads is what the application gets; patient and geometry from the header; nothing leaks.

Of raw data that cannot be read only our own readers' messages are passed on; of other exceptions the type.
Every file below a folder is found once, whatever links lead to it, and no folder is lost in silence.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from damaged_raw import RAW_FAULTS
from derived_cases import measured
from fault_runs import closed, named
from faults import secrets
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from hospital.mr_series import write_example_series
from hospital.raw_scan import (
    EXAMPLE_SUBJECT,
    ExampleGeometry,
    example_head,
    example_header,
    write_example_fastmri,
    write_example_ismrmrd,
)
from infomri_monai.data import ReadCased, inference_cases
from infomri_monai.data.dicom.series import find_series
from infomri_monai.data.found_files import find_files
from infomri_monai.deploy.case import CaseSource, DeployError
from infomri_monai.deploy.cases import find_cases, raw_attributes
from infomri_monai.deploy.dicom.identity import series_attributes

GRID = (24, 20)
LINES = [2, 5, 8, 9, 10, 11, 12, 17]


def example(kind, path):
    """A file of raw data below the folder of a path; its folder."""
    head, file = example_head(2, GRID), path.with_suffix(".h5")
    if kind.startswith("fastmri"):
        write_example_fastmri(file, head, LINES, mask="mask" not in kind, coils=3 if "coils" in kind else 1)
        if "no header" in kind:
            with h5py.File(file, "a") as written:
                written["ismrmrd_header"][()] = "<rubbish"
    elif kind == "npz":
        np.savez(path.with_suffix(".npz"), kspace=head, mask=np.arange(20) % 2)
    elif kind == "npy":
        np.save(path.with_suffix(".npy"), head[0])
    else:
        geometry = None if "directions" in kind else ExampleGeometry()
        write_example_ismrmrd(file, head, LINES, geometry=geometry, coils=3 if "coils" in kind else 1)
    return path.parent


@pytest.mark.parametrize("kind", ["ismrmrd", "coils", "fastmri", "fastmri without mask", "fastmri coils", "npz", "npy"])
def test_a_case_is_what_the_bundle_reads(tmp_path, kind):
    folder = example(kind, tmp_path / "scan")
    case = find_cases(folder)[0][0](7)
    item = ReadCased()(inference_cases(folder, kind="kspace")[0])
    assert (case.number, case.domain) == (7, "kspace")
    assert case.data.dtype == torch.complex64
    wanted = item["kspace"] if item["kspace"].ndim == 4 else item["kspace"][..., None]
    assert torch.equal(case.data, wanted)
    mask = item.get("mask", (wanted != 0).float())
    assert torch.equal(case.mask.expand_as(case.data.real), mask)
    assert case.seconds["load"] > 0
    assert case.source.instances == ()


def test_geometry_and_patient_of_ismrmrd(tmp_path):
    geometry = ExampleGeometry(pixel=(1.5, 2.5), centre=(1.0, 2.0, 3.0))
    write_example_ismrmrd(tmp_path / "scan.h5", example_head(2, GRID), LINES, geometry=geometry)
    case = find_cases(tmp_path)[0][0](1)
    assert case.has_geometry
    assert case.warnings == ()
    assert np.allclose((case.affine @ [12, 10, 0, 1])[:3], [-1, -2, 3], atol=1e-4)
    assert np.allclose(np.linalg.norm(case.affine[:3, :3], axis=0), [1.5, 2.5, 5.0], atol=1e-5)
    found = case.source.attributes
    assert str(found.PatientName) == "EXAMPLE^RAW"
    assert [found.PatientID, found.PatientBirthDate, found.PatientSex] == ["EXAMPLE-0001", "19700102", "O"]
    assert [found.StudyDate, found.StudyTime, found.StudyID] == ["20240304", "101112", "EXAMPLE-1"]
    assert [found.AccessionNumber, str(found.ReferringPhysicianName)] == ["4711", "EXAMPLE^PHYSICIAN"]
    assert found.StudyInstanceUID == EXAMPLE_SUBJECT["studyInstanceUID"]
    assert found.FrameOfReferenceUID == EXAMPLE_SUBJECT["frameOfReferenceUID"]
    assert [found.PatientPosition, found.ProtocolName] == ["HFS", "example gradient echo"]
    assert found.Manufacturer == "InfoMRI example"


@pytest.mark.parametrize(
    ("kind", "pixel", "nameless"),
    [
        ("fastmri", (2.0, 2.0, 4.0), False),
        ("without directions", (2.0, 2.0, 4.0), False),
        ("fastmri, no header", (1.0, 1.0, 1.0), True),
        ("npz", (1.0, 1.0, 1.0), True),
        ("npy", (1.0, 1.0, 1.0), True),
    ],
)
def test_without_geometry_it_is_made_up_with_a_warning(tmp_path, kind, pixel, nameless):
    case = find_cases(example(kind, tmp_path / "scan"))[0][0](1)
    assert not case.has_geometry
    assert np.allclose(case.affine[:3, :3], np.diag(pixel) * [-1, -1, 1])
    assert np.allclose((case.affine @ [10, 12, 0, 1])[:3], 0)  # columns along phase encoding, the readout runs down
    assert "position and orientation are made up" in case.warnings[0]
    assert [text.startswith("the raw data name no patient: ") for text in case.warnings[1:]] == [True] * nameless
    found = case.source.attributes
    assert str(found.get("PatientName", "")) == ("" if nameless else "EXAMPLE^RAW")
    assert found.StudyInstanceUID
    assert found.FrameOfReferenceUID


@pytest.mark.parametrize("lines", [None, LINES], ids=["full", "undersampled"])
def test_coils_of_fastmri_and_ismrmrd_are_treated_alike(tmp_path, lines):
    """The same acquisition in both formats gives one case, with one warning."""
    head = example_head(2, GRID)
    write_example_fastmri(tmp_path / "a.h5", head, lines, coils=4)
    write_example_ismrmrd(tmp_path / "b.h5", head, lines, coils=4, oversampling=1)
    fastmri, ismrmrd = (read(1) for read in find_cases(tmp_path)[0])
    torch.testing.assert_close(fastmri.data, ismrmrd.data, rtol=1e-4, atol=1e-5)
    assert torch.equal(fastmri.mask, ismrmrd.mask)
    assert fastmri.warnings[0] == ismrmrd.warnings[0]
    assert fastmri.warnings[0].startswith("4 coils were combined by root-sum-of-squares")


def test_fastmri_keeps_the_oversampled_readout_and_its_pixel(tmp_path):
    """fastMRI's k-space is oversampled along the readout; the encoded field of view belongs to it."""
    write_example_fastmri(tmp_path / "knee.h5", example_head(1, (40, 20)))
    with h5py.File(tmp_path / "knee.h5", "a") as file:
        header = example_header((40, 20, 20), 1, ExampleGeometry((0.5, 0.6), 3.0), EXAMPLE_SUBJECT)
        file["ismrmrd_header"][()] = header
    case = find_cases(tmp_path)[0][0](1)
    assert case.data.shape == (1, 40, 20, 1)
    assert np.allclose(np.abs(np.diag(case.affine)), [0.6, 0.5, 3.0, 1.0])  # columns along phase encoding


BAD = {
    "PatientName": ("patientName", "X" * 65),
    "PatientID": ("patientID", "A\\B"),
    "PatientBirthDate": ("patientBirthdate", "yesterday"),
    "PatientSex": ("patientGender", "female"),
    "StudyDate": ("studyDate", "2024-13-01"),
    "StudyTime": ("studyTime", "25:00:00"),
    "StudyID": ("studyID", "seventeen letters"),
    "AccessionNumber": ("accessionNumber", "1" * 17),
    "ReferringPhysicianName": ("referringPhysicianName", "a^b^c^d^e^f"),
}


@pytest.mark.parametrize("keyword", sorted(BAD))
def test_values_that_dicom_cannot_hold_are_empty(keyword):
    name, value = BAD[keyword]
    header = example_header((8, 8, 8), 1, None, EXAMPLE_SUBJECT)
    changed = header.replace(f"<{name}>{EXAMPLE_SUBJECT[name]}<", f"<{name}>{value}<")
    assert changed != header
    found = raw_attributes(changed)
    assert keyword not in found
    others = [other for other in BAD if other != keyword]
    assert all(str(found[other].value) for other in others)


def test_text_is_kept_letter_by_letter():
    subject = {**EXAMPLE_SUBJECT, "patientName": "MÜLLER^ZOË=山田", "accessionNumber": "007"}
    found = raw_attributes(example_header((8, 8, 8), 1, None, subject))
    assert str(found.PatientName) == "MÜLLER^ZOË=山田"
    assert found.AccessionNumber == "007"
    assert found.SpecificCharacterSet == "ISO_IR 192"


def test_the_series_of_raw_data_is_named():
    """Results of several scans of one study are told apart by it."""
    subject = {**EXAMPLE_SUBJECT, "initialSeriesNumber": 12, "seriesDescription": "AX FLAIR"}
    source = CaseSource((), raw_attributes(example_header((8, 8, 8), 1, None, subject)))
    series = series_attributes(source, measured(), 9102, "SR")
    assert (series.SeriesNumber, series.SeriesDescription) == (129_102, f"{measured().title} of 12 AX FLAIR")


@pytest.mark.parametrize("xml", [None, "", b"", "<broken", "<h/>", b"\xff\xfe\x00"])
def test_no_header_gives_empty_attributes_and_new_uids(xml):
    first, second = raw_attributes(xml), raw_attributes(xml)
    assert all(str(first.get(keyword, "")) == "" for keyword in BAD)
    assert first.StudyInstanceUID.is_valid
    assert first.StudyInstanceUID != second.StudyInstanceUID
    assert first.FrameOfReferenceUID != second.FrameOfReferenceUID
    assert "PatientPosition" not in first


@pytest.mark.parametrize(
    ("uid", "kept"), [("1.2.840.1", True), ("1.02.3", True), ("1..3", True), ("1." + "2" * 63, False), ("x", False)]
)
def test_uids_that_are_none_are_new(uid, kept):
    """One with a leading zero or an empty component is kept: a PACS knows the study by it."""
    subject = {**EXAMPLE_SUBJECT, "studyInstanceUID": uid}
    found = raw_attributes(example_header((8, 8, 8), 1, None, subject)).StudyInstanceUID
    assert (found == uid) is kept
    assert kept or found.is_valid


def test_found_in_the_order_of_paths(tmp_path):
    for name in ("b/scan.npy", "a.npz", "b/.hidden.npy", ".cache/x.npy", "c.H5", "d.mrd", "notes.txt", "e.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.npz").mkdir()
    found, _ = find_cases(tmp_path)
    names = [
        Path(*case.about["files"]).relative_to(tmp_path).as_posix() for case in found[1:]
    ]  # the first is e.dcm, which is damaged
    assert names == ["a.npz", "b/scan.npy", "c.H5", "d.mrd"]
    assert find_cases(tmp_path / "a.npz")[0][0].about == {"files": [str(tmp_path / "a.npz")]}


@named([fault for fault in RAW_FAULTS if fault.name != "no overlap"])  # which only the network finds
def test_damaged_files_say_why_and_nothing_else(tmp_path, fault, capfd, caplog):
    fault.write(tmp_path)
    with pytest.raises(DeployError, match=re.escape(fault.message)) as caught:
        find_cases(tmp_path)[0][0](1)
    told = str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert [secret for secret in (*secrets(), str(tmp_path)) if secret in told] == []
    assert caught.value.__cause__ is None


def said_of(folder):
    with pytest.raises(DeployError) as caught:
        find_cases(folder)[0][0](1)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize("error", [ValueError, OSError, KeyError, RuntimeError])
@pytest.mark.parametrize("reader", ["is_ismrmrd", "read_kspace_file", "raw_attributes"])
def test_of_other_exceptions_the_type_is_named(tmp_path, monkeypatch, error, reader):
    def fail(*args):
        raise error("DOE^JANE")

    np.save(tmp_path / "DOE.npy", np.ones((2, 2), np.complex64))
    monkeypatch.setattr(f"infomri_monai.deploy.cases.{reader}", fail)
    assert said_of(tmp_path) == f"raw data: the file is damaged or of an unknown kind ({error.__name__})."


def test_a_message_that_names_a_file_is_of_another_type(tmp_path):
    np.save(tmp_path / "DOE.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"DOE\.npy cannot be used: kspace must be complex") as caught:
        inference_cases(tmp_path, kind="kspace", unreadable="raise")
    assert type(caught.value) is ValueError


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
    closed(monkeypatch, tmp_path / name)
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


LOST = "raw data: the file cannot be read (No such file or directory)."


def test_a_lost_file_of_a_series_and_a_lost_scan_are_one_failure_each(tmp_path):
    paths = write_example_series(tmp_path / "series", slices=3)
    paths[2].unlink()
    paths[2].symlink_to(tmp_path / "DOE_JANE")
    (tmp_path / "scan.h5").symlink_to(tmp_path / "DOE_JANE")
    cases, _ = find_cases(tmp_path)
    assert len(cases) == 2
    for case, words in zip(cases, ("1 of 3 files cannot be used: ", LOST), strict=True):
        with pytest.raises(DeployError) as error:
            case(1)
        assert str(error.value).startswith(words)
        assert "DOE" not in str(error.value)


def test_a_folder_that_cannot_be_read_is_a_case_that_fails(tmp_path, monkeypatch):
    write_example_series(tmp_path / "a", slices=2)
    write_example_series(tmp_path / "a/DOE_JANE", "enhanced", slices=2)
    write_example_series(tmp_path / "b", slices=2, seed=1)
    (tmp_path / ".trash").mkdir()
    closed(monkeypatch, tmp_path / "a/DOE_JANE", tmp_path / ".trash")
    words = "a folder of the input cannot be read (Permission denied)."
    assert [candidate.problem for candidate in find_series(tmp_path).candidates] == [words, "", ""]
    cases, _ = find_cases(tmp_path)
    refuses(DeployError, r"^a folder of the input cannot be read \(Permission denied\)\.$", cases[0], 1)
    assert cases[1](2).domain == "image"
