"""Rules that choose series, as the App SDK's selector judges them, and the list that says which case is which series."""

from __future__ import annotations

import json
import stat

import pytest
from faults import PATIENT
from helper import refusals
from series_files import save_series

from hospital.mr_series import example_datasets
from infomri_monai.data.dicom.series import find_series
from infomri_monai.deploy.case import EXIT_CASE_FAILED, EXIT_NOTHING_TO_DO, EXIT_OK, EXIT_USAGE, DeployError
from infomri_monai.deploy.selection import check_rules, rules_of, selected


def two_series(folder, **options):
    """T1 of number 3 and FLAIR of number 12, of one study."""
    for name, number in (("T1 mprage", 3), ("AX T2 FLAIR", 12)):
        datasets = example_datasets(slices=2, grid=(64, 64), patient=PATIENT, **options)
        for place, dataset in enumerate(datasets):
            dataset.SeriesInstanceUID = f"1.2.3.{number}"
            dataset.SOPInstanceUID = f"1.2.3.{number}.{place}"
            dataset.SeriesNumber, dataset.SeriesDescription = number, name
        save_series(datasets, folder / f"s{number:02d}")
    return folder


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({}, [3, 12]),
        ({"SeriesDescription": ""}, [3, 12]),
        ({"SeriesDescription": "ax t2 flair"}, [12]),
        ({"SeriesDescription": "T[12]"}, [3, 12]),
        ({"SeriesDescription": "^T1", "Modality": "(?i)mr"}, [3]),
        ({"SeriesNumber": 12}, [12]),
        ({"SeriesNumber": "3"}, [3]),
        ({"SeriesNumber": [1, 5]}, [3]),
        ({"SeriesNumber": [3, ">"]}, [12]),
        ({"SeriesNumber": [12, "!="]}, [3]),
        ({"SeriesInstanceUID": r"1\.2\.3\.12"}, [12]),
        ({"ImageType": ["primary", "original"]}, [3, 12]),
        ({"ImageType": ["!primary"]}, []),
        # one value, a list of terms: no pattern "['flair']" of single letters
        ({"SeriesDescription": ["flair"]}, [12]),
        ({"SeriesDescription": ["!flair"]}, [3]),
        ({"SeriesInstanceUID": "1.2.3.12"}, [12]),
        ({"SeriesInstanceUID": "1.2.3.1"}, []),
        ({"ImageOrientationPatient": "Axial"}, [3, 12]),
        ({"ImageOrientationPatient": "Coronal"}, []),
        ({"ContrastBolusAgent": "Gd"}, []),
    ],
)
def test_a_series_is_selected_as_the_sdk_selects_it(tmp_path, conditions, numbers):
    candidates = find_series(two_series(tmp_path)).candidates
    assert [c.series_number for c in candidates if selected(c, [{"conditions": conditions}])] == numbers


test_rules_that_are_none_are_refused = refusals(
    (lambda: rules_of(["T2"]), "select: must be KEYWORD=VALUE or a JSON file .* \\(No such file", DeployError),
    (lambda: rules_of(["SeriesDescripton=T2"]), "'SeriesDescripton' is no keyword of DICOM", DeployError),
    (lambda: rules_of(["SeriesDescription=(T2"]), "pattern of SeriesDescription is no regular", DeployError),
    (lambda: check_rules([{"SeriesNumber": 3}]), "every selection must be a mapping with 'conditions'", DeployError),
    (lambda: check_rules([{"conditions": {"EchoTime": [1, 2, 3]}}]), "EchoTime must be a number, .low", DeployError),
    (lambda: check_rules([{"conditions": {"EchoTime": [1, [2]]}}]), "EchoTime must be a number, .low", DeployError),
    (lambda: check_rules([{"conditions": {"EchoTime": {"low": 1}}}]), "a text, a number or a list", DeployError),
    (lambda: check_rules([{"conditions": {"SeriesNumber": True}}]), "or a list of them, got bool", DeployError),
)


def test_a_number_of_many_digits_is_compared_in_full(tmp_path):
    """As vendors number derived series."""
    datasets = example_datasets(slices=2, grid=(64, 64))
    for dataset in datasets:
        dataset.SeriesNumber = 12345678
    save_series(datasets, tmp_path)
    (candidate,) = find_series(tmp_path).candidates
    assert [selected(candidate, rules_of([f"SeriesNumber={n}"])) for n in (12345678, 12345679)] == [True, False]


def test_an_application_processes_what_is_selected_and_lists_it(place):
    """By rules of a file; the results carry the source's number and description."""
    two_series(place.input)
    rules, listed = place.root / "rules.json", place.root / "cases.json"
    rules.write_text(json.dumps({"selections": [{"name": "flair", "conditions": {"SeriesDescription": "FLAIR"}}]}))
    done = place.run("--select", rules, "--case-list", listed, name="privacy_classification")
    done.assert_says(EXIT_OK, "the case list holds identifiers", "passed over 1 series", hidden=place.input)
    (row,) = json.loads(listed.read_text())
    assert (row["case"], row["SeriesNumber"], row["SeriesDescription"]) == (1, 12, "AX T2 FLAIR")
    assert len(row["files"]) == 2
    assert stat.S_IMODE(listed.stat().st_mode) == 0o600
    assert len(done.summary["cases"]) == 1


@pytest.mark.parametrize("broken", ["slice01.dcm", "other.dcm"])
def test_what_cannot_be_read_is_not_passed_over_by_rules(place, broken):
    """A damaged first file of the series that is wanted; a file of which nobody knows whose it is."""
    folder = two_series(place.input) / ("s12" if broken == "slice01.dcm" else "unknown")
    folder.mkdir(exist_ok=True)
    (folder / broken).write_bytes(b"no image")
    done = place.run("-s", "SeriesNumber=12", "-l", "DEBUG", name="privacy_classification")
    done.assert_says(EXIT_CASE_FAILED, "no readable DICOM file (InvalidDicomError)", hidden=place.input)
    assert "a file's header cannot be read: InvalidDicomError at" in done.said
    statuses = ["failed"] if broken == "slice01.dcm" else ["written", "failed"]
    assert [case["status"] for case in done.summary["cases"]] == statuses


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--select", "SeriesNumber=7"], EXIT_NOTHING_TO_DO, "input: no DICOM series is what the rules select."),
        (["--case-list", "out/cases.json"], EXIT_USAGE, "case-list: it holds identifiers and must lie outside of the"),
        (["--case-list", "taken.json"], EXIT_USAGE, "case-list: the file exists; give a new one."),
        (["--case-list", "none/cases.json"], EXIT_USAGE, "case-list: the file cannot be written ("),
        (["-c", "mine.yaml"], EXIT_USAGE, "settings: dicom has no setting 'empty_frames'; there are selections"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(place, arguments, code, words):
    two_series(place.input)
    (place.root / "taken.json").write_text("[]")
    (place.root / "mine.yaml").write_text("dicom: {empty_frames: true}")
    place.run(*arguments).assert_says(code, words, hidden=place.input)
    assert not place.output.exists()
