"""Faults of inputs and disks injected into the applications: each has its message, leaves nothing partial, names no patient.

Wrong arguments, settings, outputs and models: each has its message and exit code before anything is written.
"""

from __future__ import annotations

import errno
import resource
import subprocess
import sys

import pydicom
import pytest
from application_runs import APPLICATIONS, environment
from damaged_models import BUNDLE, MODEL_FAULTS, ROOT
from damaged_raw import RAW_FAULTS, four_coils
from damaged_series import SERIES_FAULTS, good
from fault_runs import Outcome, closed, named
from faults import FILE, FOLDER, PATIENT

from infomri_monai.deploy.case import EXIT_CASE_FAILED, EXIT_NOTHING_TO_DO, EXIT_USAGE

#: inputs that make a case fail
FAULTS = (*SERIES_FAULTS, *RAW_FAULTS)
SEGMENTATION = {"segmentation.dcm", "probability.dcm", "entropy.dcm", "triage.dcm"}


@named(FAULTS)
def test_damaged_input(place, fault):
    fault.write(place.input)
    outcome = place.run("-l", "DEBUG")
    assert outcome.said.count("case 1 of 1 failed: ") == 1
    (row,) = outcome.summary["cases"]
    assert (row["status"], row["objects"]) == ("failed", [])
    assert fault.message in row["reason"]
    loaded = fault.name == "no overlap"  # all others fail while they are read
    assert [row["domain"], row["slices"]] == (["kspace", 2] if loaded else [None, None])
    assert any("position and orientation are made up" in text for text in row["warnings"]) is loaded
    assert outcome.files == {"summary.json"}
    outcome.assert_says(EXIT_CASE_FAILED, "case 1 of 1 failed: ", fault.message, hidden=place.input)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_one_bad_series_does_not_stop_the_good_one(place, name):
    (fault,) = [fault for fault in FAULTS if fault.name == "truncated pixels"]
    fault.write(place.input / "a")
    good(place.input / "b")
    outcome = place.run(name=name)
    bad, complete = outcome.summary["cases"]
    assert (bad["status"], complete["status"]) == ("failed", "written")
    assert not (outcome.output / "case_0001").exists()
    assert {path for path in outcome.files if path.endswith(".dcm")} == set(complete["objects"])
    for path in complete["objects"]:
        assert pydicom.dcmread(outcome.output / path).PatientID == PATIENT.identifier
    outcome.assert_says(EXIT_CASE_FAILED, "case 1 of 2 failed", "case 2 of 2 written", hidden=place.input)


def test_full_disk_while_writing(place):
    """The kernel refuses bytes beyond a limit: the first object of the case fits, the next does not."""
    good(place.input)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        outcome = place.run("-l", "DEBUG")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (outcome.summary["cases"][0]["domain"], outcome.summary["cases"][0]["slices"]) == ("image", 4)
    assert outcome.files == {"summary.json"}
    outcome.assert_says(
        EXIT_CASE_FAILED, "case 1 of 1 failed: writing the DICOM files failed: File too large.", hidden=place.input
    )


def test_disk_that_is_full_for_the_summary_too(place):
    good(place.input)

    def full(path):
        raise OSError(errno.ENOSPC, f"no space for {FOLDER}", str(path))

    place.monkeypatch.setattr("infomri_monai.deploy.journal.atomic_path", full)
    place.monkeypatch.setattr("infomri_monai.deploy.dicom.save._write", lambda dataset, path, name: full(path))
    outcome = place.run()
    words = "failed: No space left on device.", "output: summary.json cannot be written (No space left on device)."
    outcome.assert_says(EXIT_CASE_FAILED, *words, hidden=place.input)
    assert outcome.files == set()


STEPS = (
    "deploy.cases.read_case",
    "deploy.bundle.DeployBundle.__call__",
    "engines.SegmentationInferer.infer",  # Ignite logs what stopped its engine
    "deploy.operators.save_objects",
)


@pytest.mark.parametrize("step", STEPS)
def test_defects_quote_nothing(place, step):
    """What no one foresaw, with a message that quotes the header, and causes that do, too."""
    good(place.input)

    def fail(*args, **kwargs):
        try:
            raise KeyError(PATIENT.name)
        except KeyError as error:
            raise TypeError(f"{PATIENT.identifier} in {place.input}") from error

    place.monkeypatch.setattr(f"infomri_monai.{step}", fail)
    outcome = place.run("-l", "DEBUG")
    assert outcome.files == {"summary.json"}
    outcome.assert_says(EXIT_CASE_FAILED, "failed (TypeError).", hidden=place.input)


@pytest.mark.slow
def test_all_faults_in_one_study(place):
    """In a process of its own, as a user starts it, with all that C libraries print."""
    for number, fault in enumerate(FAULTS, 1):
        fault.write(place.input / f"{number:02d}")
    good(place.input / "98")
    four_coils(place.input / "99")
    command = [sys.executable, "-m", "infomri_monai.deploy.segmentation", "-l", "DEBUG"]
    command += ["-i", str(place.input), "-o", str(place.output), "-m", str(place.models())]
    done = subprocess.run(command, cwd=place.root, env=environment(), capture_output=True, text=True, timeout=600)
    outcome = Outcome(done.returncode, done.stdout + done.stderr, place.output)
    assert outcome.code == EXIT_CASE_FAILED, outcome.said
    rows = outcome.summary["cases"]
    reasons = [row["reason"] for row in rows if row["status"] == "failed"]
    assert len(reasons) == len(FAULTS)
    assert [fault.name for fault in FAULTS if not any(fault.message in reason for reason in reasons)] == []
    written = {f"case_{row['case']:04d}": row for row in rows if row["status"] == "written"}
    assert [row["domain"] for row in written.values()] == ["image", "kspace"]
    assert {path for path in outcome.files if "/" not in path} == {"summary.json", *written}
    for folder, row in written.items():
        assert {f"{folder}/{name}" for name in SEGMENTATION} <= set(row["objects"]) <= outcome.files
    assert not any(place.temporary.iterdir())
    outcome.assert_silent(place.input)


@named(MODEL_FAULTS)
def test_damaged_model(place, fault):
    good(place.input)
    fault.write(place.root / "models")
    outcome = place.run("-l", "DEBUG", models=place.root / "models")
    assert not place.output.exists()
    outcome.assert_says(EXIT_USAGE, fault.message, hidden=place.input)


def arguments_of(place, source=None, output=None, models=BUNDLE):
    return ["-i", source or place.input, "-o", output or place.output, "-m", models]


def only(*suffixes):
    """An input of files that are no images."""

    def arguments(place):
        (place.input / FOLDER).mkdir(parents=True)
        for suffix in suffixes:
            (place.input / FOLDER / f"{FILE}{suffix}").write_text(PATIENT.name)
        return arguments_of(place)

    return arguments


def given(*more, output=None):
    """A good input, and further arguments."""

    def arguments(place):
        good(place.input)
        return [*arguments_of(place, output=output), *more]

    return arguments


def settings(text):
    def arguments(place):
        (place.root / "app.yaml").write_text(text)
        return given("-c", place.root / "app.yaml")(place)

    return arguments


def a_file_of_a_series(place):
    good(place.input)
    return arguments_of(place, next(place.input.rglob("*.dcm")))


def only_weights(place):
    good(place.input)
    return arguments_of(place, models=BUNDLE / "models/model.pt")


def beside_a_file(output):
    def arguments(place):
        (place.root / "file").write_text("mine")
        return given(output=place.root / output)(place)

    return arguments


def results_of_another_run(place):
    (place.root / "earlier/case_0002").mkdir(parents=True)
    return given(output=place.root / "earlier")(place)


USAGE = {
    "no arguments": (lambda place: [], "input, output and model must be given"),
    "no model": (lambda place: ["-i", "JANE", "-o", "DOE"], "model must be given, as -m or by HOLOSCAN_MODEL"),
    "empty input": (given("-i", ""), "argument -i/--input does not fit this usage"),
    "empty output": (given("-o", " "), "argument -o/--output does not fit this usage"),
    "input missing": (lambda place: arguments_of(place, "/JANE"), "input: the path does not exist"),
    "folder empty": (only(), "input: there is no DICOM series and no raw k-space"),
    "only text": (only(".txt"), "passed over 1 file that is not DICOM"),
    "only packed": (only(".dcm.gz", ".zip", ".nii"), "are DICOM MR images under any name, but not packed"),
    "one slice": (a_file_of_a_series, "input: must be a folder, or a file of raw k-space ("),
    "only weights": (only_weights, "models: the file holds no bundle (found: none), it may be the weights"),
    "unknown option": (given("--inputt", "JANE"), "do not fit this usage (unknown: --inputt)"),
    "unknown option with value": (given("--inputt=JANE", "-DOE"), "(unknown: --inputt); see --help."),
    "words too many": (given("JANE", FOLDER), "the arguments do not fit this usage"),
    "unknown level": (given("-l", "QUINCY"), "argument -l/--log-level does not fit this usage"),
    "no settings": (given("-c", "JANE.yaml"), "config: the file cannot be read (FileNotFoundError)"),
    "broken settings": (settings("bundle: ["), "config: the file cannot be read (ParserError)"),
    "odd settings": (settings("bundle: 3"), "config: 'bundle' must be a mapping"),
    "empty settings": (settings("# ratio: 1"), "config: the file is empty; settings of the bundle stand"),
    "setting at the top": (settings("ratio: 0.25"), "config: there is no key 'ratio' at the top of the file"),
    "setting of another kind": (settings("bundle: {ratio: '0,25'}"), "settings: ratio must be a number, got '0,25'"),
    "unknown setting": (settings("bundle: {rati: 1}"), "settings: the bundle has no setting 'rati'; there are"),
    "wrong setting": (settings("bundle: {ratio: 2}"), "settings: ratio must lie in (0, 1]"),
    "output is a file": (beside_a_file("file"), "output: the path is a file"),
    "name too long": (given(output="o" * 300), "output: the path cannot be read (File name too long)."),
    "output below a file": (beside_a_file("file/out"), "output: the path cannot be read (Not a directory)."),
    "one name": (settings("bundle: {structures: csf}"), "settings: structures must be a list, got 'csf'."),
    "names too few": (
        settings("bundle: {structures: [csf, white]}"),
        "structures must be a list of 3 different names, ",
    ),
    "broken expression": (settings("bundle: {ratio: '@foo'}"), "ratio cannot be evaluated (ValueError), got '@foo'."),
    "output not empty": (results_of_another_run, "output: the folder holds results of an earlier run"),
    "output read-only": (given(output="/proc/out"), "output: the folder cannot be made or written to ("),
}


@pytest.mark.parametrize("kind", USAGE)
def test_wrong_usage(place, kind):
    arguments, message = USAGE[kind]
    code = EXIT_NOTHING_TO_DO if kind in ("folder empty", "only text", "only packed") else EXIT_USAGE
    place.call(*arguments(place)).assert_says(code, message, hidden=place.input)
    assert not place.output.exists()
    assert not (place.root / "file").exists() or (place.root / "file").read_text() == "mine"


@pytest.mark.parametrize("what", ["input", "output"])
def test_a_folder_that_cannot_be_read(place, what):
    """Whether an output holds results of another patient cannot be told."""
    good(place.input)
    if what == "output":
        (place.output / "case_0001").mkdir(parents=True)
    closed(place.monkeypatch, getattr(place, what))
    place.monkeypatch.setattr("fault_runs._checksums", lambda folder: {})
    outcome = place.run()
    assert place.output.exists() == (what == "output")
    outcome.assert_says(EXIT_USAGE, f"{what}: the path cannot be read (Permission denied).", hidden=place.input)


def test_an_empty_variable_is_none(place):
    place.monkeypatch.setenv("HOLOSCAN_OUTPUT_PATH", "")
    message = "output must be given, as -o or by HOLOSCAN_OUTPUT_PATH."
    place.call("-i", place.input, "-m", BUNDLE).assert_says(EXIT_USAGE, message, hidden=place.input)


def test_every_message_is_in_the_table_for_hospitals():
    table = (ROOT / "docs/deploy_errors.md").read_text()
    said = [fault.message for fault in (*FAULTS, *MODEL_FAULTS)] + [message for _, message in USAGE.values()]
    assert [message for message in said if message not in table] == []
