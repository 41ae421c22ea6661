"""Faults of inputs and disks injected into the applications: each has its message, leaves nothing partial, names no patient."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys

import pytest

pytest.importorskip("highdicom")
pytest.importorskip("holoscan")
pytest.importorskip("ismrmrd")
import pydicom
import yaml
from damaged_inputs import FAULTS
from damaged_models import ROOT
from damaged_raw import four_coils
from damaged_series import good
from fault_runs import BUNDLES, Outcome, closed, environment, named
from faults import FOLDER, PATIENT

from infomri_monai.deploy.case import EXIT_CASE_FAILED, EXIT_OK

SEGMENTATION = {"segmentation.dcm", "probability.dcm", "entropy.dcm", "triage.dcm"}


@named(FAULTS)
def test_damaged_input(place, fault):
    fault.write(place.input)
    outcome = place.run("-l", "DEBUG")
    assert outcome.code == EXIT_CASE_FAILED
    assert outcome.said.count("case 1 of 1 failed: ") == 1
    assert fault.message in outcome.said
    (row,) = outcome.summary["cases"]
    assert (row["status"], row["objects"]) == ("failed", [])
    assert fault.message in row["reason"]
    loaded = fault.name == "no overlap"  # all others fail while they are read
    assert [row["domain"], row["slices"]] == (["kspace", 2] if loaded else [None, None])
    assert any("position and orientation are made up" in text for text in row["warnings"]) is loaded
    assert outcome.files == {"summary.json"}
    outcome.assert_silent(place.input)


def test_a_part_of_the_input_that_cannot_be_read(place):
    """The other part is complete, what is lacking is told, and a user's setting leaves those of app.yaml."""
    good(place.input / "a")
    good(place.input / "b")
    closed(place, place.input / "b" / FOLDER)
    place.monkeypatch.setattr("fault_runs._checksums", lambda folder: {})
    (place.root / "mine.yaml").write_text("bundle: {samples: 3}")
    outcome = place.run("-c", place.root / "mine.yaml")
    assert outcome.code == EXIT_CASE_FAILED
    words = "a folder of the input cannot be read (Permission denied)."
    assert f"case 2 of 2 failed: {words}" in outcome.said
    complete, lacking = outcome.summary["cases"]
    assert (complete["status"], lacking["status"], lacking["reason"]) == ("written", "failed", words)
    shipped = yaml.safe_load((ROOT / "infomri_monai/deploy/segmentation/app.yaml").read_text())["bundle"]
    assert outcome.summary["settings"] == {**shipped, "samples": 3}
    outcome.assert_silent(place.input)


def test_several_coils_are_combined_with_a_warning(place):
    four_coils(place.input)
    outcome = place.run()
    assert outcome.code == EXIT_OK
    warning = "4 coils were combined by root-sum-of-squares"
    assert f"WARNING case 1 of 1: {warning}" in outcome.said
    assert any(warning in text for text in outcome.summary["cases"][0]["warnings"])
    report = pydicom.dcmread(outcome.output / "case_0001/triage.dcm")
    assert any(warning in element.value for element in report.iterall() if element.VR == "UT")
    outcome.assert_silent(place.input)


@pytest.mark.parametrize("name", BUNDLES)
def test_one_bad_series_does_not_stop_the_good_one(place, name):
    (fault,) = [fault for fault in FAULTS if fault.name == "truncated pixels"]
    fault.write(place.input / "a")
    good(place.input / "b")
    outcome = place.run(name=name)
    assert outcome.code == EXIT_CASE_FAILED
    assert "case 1 of 2 failed" in outcome.said
    assert "case 2 of 2 written" in outcome.said
    bad, complete = outcome.summary["cases"]
    assert (bad["status"], complete["status"]) == ("failed", "written")
    assert not (outcome.output / "case_0001").exists()
    assert {path for path in outcome.files if path.endswith(".dcm")} == set(complete["objects"])
    for path in complete["objects"]:
        assert pydicom.dcmread(outcome.output / path).PatientID == PATIENT.identifier
    outcome.assert_silent(place.input)


def test_full_disk_while_writing(place):
    """The kernel refuses bytes beyond a limit: the first object of the case fits, the next does not."""
    good(place.input)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        outcome = place.run("-l", "DEBUG")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert outcome.code == EXIT_CASE_FAILED
    assert "case 1 of 1 failed: writing the DICOM files failed: File too large." in outcome.said
    assert (outcome.summary["cases"][0]["domain"], outcome.summary["cases"][0]["slices"]) == ("image", 4)
    assert outcome.files == {"summary.json"}
    outcome.assert_silent(place.input)


def test_disk_that_is_full_for_the_summary_too(place):
    good(place.input)

    def full(path):
        raise OSError(errno.ENOSPC, f"no space for {FOLDER}", str(path))

    place.monkeypatch.setattr("infomri_monai.deploy.journal.atomic_path", full)
    place.monkeypatch.setattr("infomri_monai.deploy.dicom.save._write", lambda dataset, path, name: full(path))
    outcome = place.run()
    assert outcome.code == EXIT_CASE_FAILED
    assert "writing the DICOM files failed: No space left on device." in outcome.said
    assert "output: summary.json cannot be written (No space left on device)." in outcome.said
    assert outcome.files == set()
    outcome.assert_silent(place.input)


@pytest.mark.parametrize("step", ["cases.read_series", "bundle.DeployBundle.__call__", "operators.save_objects"])
def test_defects_quote_nothing(place, step):
    """What no one foresaw, with a message that quotes the header, and causes that do, too."""
    good(place.input)

    def fail(*args, **kwargs):
        try:
            raise KeyError(PATIENT.name)
        except KeyError as error:
            raise TypeError(f"{PATIENT.identifier} in {place.input}") from error

    place.monkeypatch.setattr(f"infomri_monai.deploy.{step}", fail)
    outcome = place.run("-l", "DEBUG")
    assert outcome.code == EXIT_CASE_FAILED
    assert "failed (TypeError)." in outcome.said
    assert outcome.files == {"summary.json"}
    outcome.assert_silent(place.input)


def test_messages_of_libraries_are_not_shown(place):
    """Ignite logs what stopped its engine; whoever logs with a handler of the root would be heard."""
    good(place.input)

    def fail(*args, **kwargs):
        raise KeyError(PATIENT.name)

    place.monkeypatch.setattr("infomri_monai.engines.SegmentationInferer.infer", fail)
    outcome = place.run("-l", "DEBUG")
    assert outcome.code == EXIT_CASE_FAILED
    assert "inference failed (KeyError)." in outcome.said
    outcome.assert_silent(place.input)


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
    for fault in FAULTS:
        assert any(fault.message in reason for reason in reasons), fault.name
    written = {f"case_{row['case']:04d}": row for row in rows if row["status"] == "written"}
    assert [row["domain"] for row in written.values()] == ["image", "kspace"]
    assert {path for path in outcome.files if "/" not in path} == {"summary.json", *written}
    for folder, row in written.items():
        assert {f"{folder}/{name}" for name in SEGMENTATION} <= set(row["objects"]) <= outcome.files
    assert not any(place.temporary.iterdir())
    outcome.assert_silent(place.input)
