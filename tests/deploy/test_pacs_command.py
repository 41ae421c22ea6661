"""The command: what it prints, what it does not, and its exit codes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from pacs_helper import assert_same, new_study, secrets, study_of
from pydicom import Dataset

from infomri_monai.deploy.case import EXIT_CASE_FAILED, EXIT_NOTHING_TO_DO, EXIT_OK, EXIT_USAGE
from infomri_monai.deploy.pacs.command import main
from infomri_monai.deploy.pacs.orthanc import LocalPacs, free_port

Captured = pytest.CaptureFixture[str]


@pytest.fixture(params=["get", "move", "web"])
def where(request: pytest.FixtureRequest, orthanc: LocalPacs) -> list[str]:
    """Options that say where the PACS is."""
    if request.param == "web":
        return ["--dicomweb", orthanc.dicomweb_url]
    dicom = ["--dicom", f"127.0.0.1:{orthanc.dicom_port}", "--aet", orthanc.ae_title]
    return dicom if request.param == "get" else [*dicom, "--retrieve", "move", "--move-port", str(orthanc.move_port)]


@pytest.fixture
def study(tmp_path: Path) -> tuple[list[Dataset], Path]:
    """A study, and the folder of its files, which are called by the patient's name."""
    datasets = new_study(3)
    folder = tmp_path / "sent"
    folder.mkdir()
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / f"DOE_JANE_{number}.dcm", enforce_file_format=True)
    return datasets, folder


def test_there_and_back(
    where: list[str],
    study: tuple[list[Dataset], Path],
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datasets, folder = study
    assert main(["echo", *where]) == EXIT_OK
    assert main(["push", *where, str(folder)]) == EXIT_OK
    assert main(["find", *where, "--modality", "MR"]) == EXIT_OK
    assert main(["find", *where, "--study", study_of(datasets)]) == EXIT_OK
    assert main(["pull", *where, "--study", study_of(datasets), str(tmp_path / "all")]) == EXIT_OK
    monkeypatch.setattr("sys.stdin", io.StringIO(study_of(datasets) + "\n"))
    assert main(["pull", *where, "--study", "-", "--modality", "MR", str(tmp_path / "mr")]) == EXIT_OK
    out, err = capsys.readouterr()
    assert "the PACS answers\n3 of 3 instances stored\n" in out
    assert "\n1\tMR\t3 instances\n3 instances fetched\n3 instances fetched\n" in out
    assert err == ""
    assert not any(secret in out for secret in secrets(datasets))
    assert "DOE" not in out
    assert_same((tmp_path / "all").iterdir(), datasets)
    assert_same((tmp_path / "mr").iterdir(), datasets)


def test_identifiers_on_request(
    where: list[str], study: tuple[list[Dataset], Path], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets, folder = study
    main(["push", *where, str(folder)])
    monkeypatch.setenv("INFOMRI_PACS_PATIENT_ID", datasets[0].PatientID)
    assert main(["find", *where, "--show-identifiers"]) == EXIT_OK
    assert main(["find", *where, "--show-identifiers", "--study", study_of(datasets)]) == EXIT_OK
    out = capsys.readouterr().out
    assert all(str(datasets[0][name].value) in out for name in ("StudyInstanceUID", "PatientID", "SeriesInstanceUID"))


def test_failures(where: list[str], study: tuple[list[Dataset], Path], tmp_path: Path, capsys: Captured) -> None:
    datasets, folder = study
    (folder / "DOE_JANE_9.txt").write_text("no DICOM")
    assert main(["push", *where, str(folder)]) == EXIT_CASE_FAILED
    assert main(["push", *where, str(folder), str(tmp_path / "DOE")]) == EXIT_USAGE
    (tmp_path / "empty").mkdir()
    assert main(["push", *where, str(tmp_path / "empty")]) == EXIT_NOTHING_TO_DO
    uid = study_of(datasets)
    assert main(["pull", *where, "--study", uid, "--modality", "CT", str(tmp_path / "ct")]) == EXIT_NOTHING_TO_DO
    assert main(["pull", *where, "--study", "1.2.3.4", str(tmp_path / "none")]) == EXIT_NOTHING_TO_DO
    assert main(["pull", *where, "--study", "DOE", str(tmp_path / "none")]) == EXIT_USAGE
    assert main(["pull", *where, "--study", uid, str(folder)]) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "error: the PACS did not store 1 of 4 instances (instance 4: not a readable DICOM file (InvalidDicomError)).",
        "error: path 2 of 2 is neither a file nor a folder.",
        "error: the folders hold no files.",
        "error: the study has 1 series, none of modality CT.",
        "error: the PACS holds no study of this UID, or does not show it to this AE.",
        "error: study_uid must be a DICOM UID: numbers joined by dots, at most 64 characters.",
        "error: folder must be new or empty, got a file or a folder with files in it.",
    ]
    assert out == "3 of 4 instances stored\n"
    assert {path.name for path in tmp_path.iterdir()} == {"sent", "empty"}


def test_usage_does_not_repeat_what_was_given(capsys: Captured) -> None:
    for arguments in (["pull", "--dicom", "h:1", "--study", "DOE", "a", "DOE"], ["find", "--date", "DOE"], ["DOE"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == EXIT_USAGE
    for address in ("pacs", "pacs:", ":104", "pacs:dicom"):
        assert main(["echo", "--dicom", address]) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert "DOE" not in out + err
    assert "usage:" in err


def test_as_a_module() -> None:
    """The process ends with the code, and says why."""
    command = [sys.executable, "-m", "infomri_monai.deploy.pacs", "echo", "--dicom", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == EXIT_CASE_FAILED
    assert (
        done.stderr.splitlines()[-1]
        == "error: the PACS cannot be reached: nothing answers there, or not as a DICOM server without TLS."
    )
    assert done.stdout == ""
