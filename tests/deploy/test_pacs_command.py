"""The command: what it prints, what it does not, and its exit codes."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from pacs_helper import assert_same, new_study, secrets, study_of
from pydicom import Dataset
from stub_pacs import stub

from infomri_monai.deploy.case import EXIT_CASE_FAILED, EXIT_NOTHING_TO_DO, EXIT_OK, EXIT_USAGE
from infomri_monai.deploy.pacs import command
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
    """A study of a patient of its own, and the folder of its files, which are called by the patient's name."""
    datasets = new_study(3)
    patient = f"DOE-{os.urandom(6).hex()}"
    for dataset in datasets:
        dataset.PatientID = patient
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


def test_what_is_not_dicom_is_passed_over(
    where: list[str], study: tuple[list[Dataset], Path], capsys: Captured
) -> None:
    """A folder as an application leaves it, with its summary; a file that claims to be DICOM and is cut off still fails."""
    datasets, folder = study
    (folder / "summary.json").write_text("{}")
    assert main(["push", *where, str(folder)]) == EXIT_OK
    assert main(["push", *where, *map(str, folder.iterdir())]) == EXIT_OK
    assert capsys.readouterr().out == "passed over 1 file that is not DICOM\n3 of 3 instances stored\n" * 2
    assert main(["find", *where, "--study", study_of(datasets)]) == EXIT_OK
    assert capsys.readouterr().out == "1\tMR\t3 instances\n"
    (folder / "notes").write_text("none either")
    cut = folder / "DOE_JANE_1.dcm"
    cut.write_bytes(cut.read_bytes()[:140])
    assert main(["push", *where, str(folder)]) == EXIT_CASE_FAILED
    out, err = capsys.readouterr()
    assert out == "passed over 2 files that are not DICOM\n2 of 3 instances stored\n"
    assert err.startswith("error: the PACS did not store 1 of 3 instances (instance 2: ")
    assert "DOE" not in out + err


def test_find_by_date_and_modality(
    where: list[str], study: tuple[list[Dataset], Path], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every way of writing them that is taken; what is not is refused at once; nothing that is found says so."""
    datasets, folder = study
    main(["push", *where, str(folder)])
    monkeypatch.setenv("INFOMRI_PACS_PATIENT_ID", datasets[0].PatientID)
    day = datasets[0].StudyDate
    iso = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    capsys.readouterr()
    for date in (["--date", day], ["--date", iso], [f"--date=-{iso}"], ["--date", f"{iso}-{day}"], []):
        for modality in (["--modality", "mr"], ["--modality", "MR"], []):
            assert main(["find", *where, *date, *modality]) == EXIT_OK
            assert capsys.readouterr().out == "1\tMR\t1 series\t3 instances\n"
    one = ["--study", study_of(datasets)]
    for more in (["--date", "19500101"], ["--modality", "ct"], ["--date", "1950-01-01-1950-12-31"]):
        assert main(["find", *where, *more]) == EXIT_OK
        assert capsys.readouterr() == ("0 studies\n", "")
    assert main(["find", *where, *one, "--modality", "mr"]) == EXIT_OK
    assert main(["find", *where, *one, "--modality", "ct"]) == EXIT_OK
    assert main(["find", *where, "--study", "1.2.3.4"]) == EXIT_OK
    assert capsys.readouterr() == ("1\tMR\t3 instances\n0 series\n0 series\n", "")
    for wrong in (["--date", "heute"], ["--modality", "mr,ct"], [*one, "--date", day], [*one, "--modality", "mr,ct"]):
        assert main(["find", *where, *wrong]) == EXIT_USAGE
    monkeypatch.setenv("INFOMRI_PACS_PATIENT_ID", "DOE" * 30)
    assert main(["find", *where]) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert (out, err.count("error: "), err.count("\n")) == ("", 5, 5)
    assert not any(word in err for word in ("heute", "mr,ct", "DOE", day))


def test_a_modality_in_small_letters_is_fetched(
    where: list[str], study: tuple[list[Dataset], Path], tmp_path: Path
) -> None:
    datasets, folder = study
    main(["push", *where, str(folder)])
    pull = ["pull", *where, "--study", study_of(datasets), "--modality"]
    assert main([*pull, "mr", str(tmp_path / "mr")]) == EXIT_OK
    assert_same((tmp_path / "mr").iterdir(), datasets)
    assert main([*pull, "m*", str(tmp_path / "any")]) == EXIT_USAGE


def test_more_studies_than_are_listed(
    where: list[str], study: tuple[list[Dataset], Path], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MOST_STUDIES", 1)
    datasets, folder = study
    (other,) = new_study(1)
    other.PatientID = datasets[0].PatientID
    other.save_as(folder / "other.dcm", enforce_file_format=True)
    main(["push", *where, str(folder)])
    monkeypatch.setenv("INFOMRI_PACS_PATIENT_ID", other.PatientID)
    capsys.readouterr()
    assert main(["find", *where]) == EXIT_OK
    row, note = capsys.readouterr().out.splitlines()
    assert row.startswith("1\tMR\t1 series\t")
    assert note == "there are more than 1 studies: ask for fewer by --date, --modality or INFOMRI_PACS_PATIENT_ID"


def test_a_defect_shows_no_value(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(pacs: object) -> None:
        raise KeyError("DOE^JANE")

    monkeypatch.setattr("infomri_monai.deploy.pacs.dimse.DimsePacs.echo", broken)
    assert main(["echo", "--dicom", "127.0.0.1:104"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the command failed (KeyError) at\n")
    assert "_echo" in err
    assert "JANE" not in err.replace('KeyError("DOE^JANE")', "")


class Closed(io.StringIO):
    """Standard output that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_who_reads_the_output_has_enough(
    where: list[str],
    study: tuple[list[Dataset], Path],
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As head has: no defect, and what was done to files and PACS is said."""
    datasets, folder = study
    monkeypatch.setattr("sys.stdout", Closed())
    assert main(["push", *where, str(folder)]) == 141
    assert main(["find", *where]) == 141
    assert main(["pull", *where, "--study", study_of(datasets), str(tmp_path / "all")]) == 141
    assert_same((tmp_path / "all").iterdir(), datasets)
    assert capsys.readouterr().err.splitlines() == [
        "the output was closed; instances that were stored before stay in the PACS.",
        "the output was closed; the folder holds all of the study, or nothing.",
    ]


def test_a_closed_pipe_ends_the_process_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with stub({}) as archive, os.fdopen(writing, "wb") as pipe:
        where = ["--dicom", f"127.0.0.1:{archive.peer.port}", "--aet", "STUB"]
        done = subprocess.run(
            [sys.executable, "-u", "-m", "infomri_monai.deploy.pacs", "echo", *where],
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_exit_codes_are_told_in_the_same_words(capsys: Captured) -> None:
    """By the help and the page."""
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    page = (Path(__file__).parents[2] / "docs/deploy.md").read_text()
    rows = page.split("| exit code of `pacs` | |")[1].split("\n\n")[0].splitlines()[2:]
    told = {code.strip(): words.split(":")[0].strip() for _, code, words, _ in (row.split("|") for row in rows)}
    assert all(f"{code} {told[code]}" in said for code in ("2", "3"))
    assert all(code.strip() in said for code in told)


def test_failures(where: list[str], study: tuple[list[Dataset], Path], tmp_path: Path, capsys: Captured) -> None:
    datasets, folder = study
    (folder / "DOE_JANE_9.dcm").write_text("no DICOM")
    assert main(["push", *where, str(folder)]) == EXIT_CASE_FAILED
    assert main(["push", *where, str(folder), str(tmp_path / "DOE")]) == EXIT_USAGE
    (tmp_path / "empty").mkdir()
    assert main(["push", *where, str(tmp_path / "empty")]) == EXIT_USAGE
    uid = study_of(datasets)
    assert main(["pull", *where, "--study", uid, "--modality", "CT", str(tmp_path / "ct")]) == EXIT_NOTHING_TO_DO
    assert main(["pull", *where, "--study", "1.2.3.4", str(tmp_path / "none")]) == EXIT_NOTHING_TO_DO
    assert main(["pull", *where, "--study", "DOE", str(tmp_path / "none")]) == EXIT_USAGE
    assert main(["pull", *where, "--study", uid, str(folder)]) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "error: the PACS did not store 1 of 4 instances (instance 4: not a readable DICOM file (InvalidDicomError)).",
        "error: path 2 of 2 is neither a file nor a folder.",
        "error: there is no DICOM file.",
        "error: the study has 1 series, none of modality CT.",
        "error: the PACS holds no study of this UID, or does not show it to this AE.",
        "error: study_uid must be a DICOM UID: numbers joined by dots, at most 64 characters.",
        "error: folder must be new or empty, got a file or a folder with files in it.",
    ]
    table = (Path(__file__).parents[2] / "docs/deploy_errors.md").read_text()
    assert [line for line in err.splitlines() if line.removeprefix("error: ") not in table] == []
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
    """The process ends with the code, and says why and nothing else, also under the usual stack limit."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    done = subprocess.run(
        [sys.executable, "-m", "infomri_monai.deploy.pacs", "echo", "--dicom", f"127.0.0.1:{free_port()}"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (8 * 2**20, hard)),
        env={key: value for key, value in os.environ.items() if key != "INFOMRI_STACK_RAISED"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == EXIT_CASE_FAILED
    assert (
        done.stderr
        == "error: the PACS cannot be reached: nothing answers there, or not as a DICOM server without TLS.\n"
    )
    assert done.stdout == ""


def test_help_says_what_find_prints_and_how_it_ends(capsys: Captured) -> None:
    for arguments in ([], ["echo"], ["find"], ["pull"], ["push"]):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--help"])
        assert ended.value.code == 0
        said = capsys.readouterr().out
        assert "exit codes" in said if not arguments else "--timeout SECONDS" in said
        if arguments == ["find"]:
            assert 'studies  number, modalities joined by "/", series, instances' in said
            assert "YYYY-MM-DD" in said
