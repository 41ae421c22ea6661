"""The three applications end to end, from DICOM and from raw k-space: what they leave, and that it is true of its source."""

from __future__ import annotations

import json

import pydicom
import pytest
import yaml
from application_runs import APPLICATIONS, CASES, DICOM, LINES, RAW, ROOT, SHAPES, WAYS
from pacs_helper import secrets
from reading_objects import datasets
from series_files import assert_no_identifier
from validate import assert_valid_dicom

from hospital.raw_scan import EXAMPLE_SUBJECT
from infomri_monai.deploy.cases import find_cases
from infomri_monai.deploy.model_files import sha256

every_application = pytest.mark.parametrize("name", APPLICATIONS)
every_way = pytest.mark.parametrize("way", WAYS)
every_case = pytest.mark.parametrize("case", CASES)
#: objects of one file, beside the slices of an image
OBJECTS = {
    "reconstruction": {"sigma.dcm"},
    "segmentation": {"segmentation.dcm", "probability.dcm", "entropy.dcm", "triage.dcm"},
    "privacy_classification": {"report.dcm"},
}
#: keywords, and what the header of raw data calls them
IDENTITY = {
    "PatientName": "patientName",
    "PatientID": "patientID",
    "StudyInstanceUID": "studyInstanceUID",
    "StudyID": "studyID",
    "AccessionNumber": "accessionNumber",
}


def expected(name, case):
    """Names of a case's objects."""
    images = {"reconstruction": "reconstruction", "segmentation": "zero_filled" if case in RAW else ""}.get(name)
    return OBJECTS[name] | {f"{images}/slice_{k:04d}.dcm" for k in range(1, SHAPES[case][2] + 1) if images}


@every_way
@every_application
def test_every_case_is_written_and_nothing_else(runs, name, way):
    run = runs.application(name, way)
    assert run.code == 0, run.log
    found = {path.relative_to(run.output).as_posix() for path in run.output.rglob("*") if path.is_file()}
    wanted = {case: {f"{run.case(case).name}/{o}" for o in expected(name, case)} for case in CASES}
    assert found == {"summary.json", *(path for paths in wanted.values() for path in paths)}
    for case, row in zip(CASES, run.summary["cases"], strict=True):
        assert set(row["objects"]) == wanted[case]


@every_way
@every_application
def test_the_summary_says_what_happened(runs, name, way):
    run = runs.application(name, way)
    summary, bundle = run.summary, ROOT / "bundles" / APPLICATIONS[name]
    weights = bundle / "models/model.pt" if way == "module" else runs.archives / APPLICATIONS[name] / "model.ts"
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert summary["application"] == name
    assert summary["model"] == {
        "name": metadata["name"],
        "version": metadata["version"],
        "checksum": sha256(weights),
        "policy_checksum": sha256(bundle / "models/policy.pt"),
        "triage_checksum": sha256(bundle / "models/triage.json") if name == "segmentation" else "",
    }
    assert summary["settings"] == yaml.safe_load((ROOT / f"infomri_monai/deploy/{name}/app.yaml").read_text())["bundle"]
    rows = dict(zip(CASES, summary["cases"], strict=True))
    for case, row in rows.items():
        known = {"case": CASES[case], "status": "written", "reason": "", "slices": SHAPES[case][2]}
        assert row.items() >= {**known, "domain": "image" if case in DICOM else "kspace"}.items()
    spent = [value for row in rows.values() for value in row["seconds"].values()]
    assert min(spent) >= 0
    assert 0 < sum(spent) < summary["seconds"]
    assert rows["classic"]["warnings"] == rows["enhanced"]["warnings"] == []
    said = {case: " ".join(rows[case]["warnings"]) for case in RAW}
    assert ("made up" in said["fastmri"], "made up" in said["ismrmrd"]) == (True, False)
    assert ("is extrapolated" in said["fastmri"], "is extrapolated" in said["ismrmrd"]) == (False, True)
    assert not any("model was trained on" in text for text in said.values())  # near enough: a note in the log
    assert "k-space of grid (76, 66), but the model was trained on" in run.log
    lines = [line for line in run.log.splitlines() if "is extrapolated" in line or "model was trained on" in line]
    assert all(any(f" case {CASES[case]}: " in line for case in RAW) for line in lines)
    assert [f"WARNING case {CASES['ismrmrd']}: " in line for line in lines if "is extrapolated" in line] == [True]


@every_way
def test_results_in_the_input_are_no_input(runs, way, tmp_path):
    """An output folder inside of the input does no harm: a second run finds the same cases."""
    (tmp_path / "source").symlink_to(runs.source)
    before, _ = find_cases(tmp_path)
    for name in APPLICATIONS:
        (tmp_path / name).symlink_to(runs.application(name, way).output)
    cases, notes = find_cases(tmp_path)
    assert len(cases) == len(before) == len(CASES)
    assert [case(n).domain for n, case in enumerate(cases, 1)] == ["image"] * 2 + ["kspace"] * 2
    assert "MR made by infomri_monai" in notes[0]


@every_application
def test_nothing_that_is_printed_names_a_patient(runs, name):
    run = runs.application(name)
    said = run.log + (run.output / "summary.json").read_text()
    known = [dataset for folder in "ab" for dataset in datasets(runs.source / folder)]
    assert_no_identifier(said, known, runs.source)
    for secret in secrets(known) | {value for value in EXAMPLE_SUBJECT.values() if len(value) > 3}:
        assert secret not in said
    assert "case 4 of 4 written" in said


@every_application
def test_every_object_is_valid(runs, name):
    for path in runs.application(name).output.rglob("*.dcm"):
        assert_valid_dicom(path)


@every_case
@every_application
def test_every_object_belongs_to_its_source(runs, name, case):
    """Patient and study are the source's, and only its images and the case's own objects are referred to."""
    run = runs.application(name)
    source = datasets(runs.source / ("a" if case == "classic" else "b")) if case in DICOM else []
    wanted = {
        keyword: source[0][keyword].value if source else EXAMPLE_SUBJECT[key] for keyword, key in IDENTITY.items()
    }
    made = {path: pydicom.dcmread(path) for path in run.case(case).rglob("*.dcm")}
    known = {dataset.SOPInstanceUID for dataset in (*source, *made.values())}
    series = set()
    for path, found in made.items():
        assert {keyword: found[keyword].value for keyword in wanted} == wanted
        assert found.Manufacturer == "infomri_monai"
        named = {element.value for element in found.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
        assert named <= known
        assert named or case in RAW
        series.add((found.SeriesInstanceUID, path.parent if path.name.startswith("slice_") else path))
    uids = {uid for uid, _ in series}
    assert len(uids) == len(series)
    assert uids.isdisjoint(dataset.SeriesInstanceUID for dataset in source)


@every_case
@every_application
def test_every_object_says_whether_kspace_was_simulated(runs, name, case):
    run = runs.application(name)
    (row,) = [row for row in run.summary["cases"] if row["case"] == CASES[case]]
    for path in run.case(case).rglob("*.dcm"):
        found = pydicom.dcmread(path)
        texts = " ".join(str(element.value) for element in found.iterall() if element.VR in ("UT", "ST"))
        marked = "SIMULATED from magnitude images, not acquired." in texts
        assert ("SIMULATED" in found.SeriesDescription, marked) == (case in DICOM, case in DICOM)
        if case in RAW:
            assert found.Modality == "SR" or "SIMULATED" not in str(found).upper()
            ratio = len(LINES[case]) / SHAPES[case][1]
            assert f"k-space was measured by the scanner at {100 * ratio:.4g} % of its positions" in texts
        if found.Modality == "SR":
            assert all(warning in texts for warning in row["warnings"])


@every_case
def test_the_privacy_application_leaves_no_pixel(runs, case):
    run = runs.application("privacy_classification")
    (path,) = run.case(case).rglob("*")
    found = pydicom.dcmread(path)
    assert found.SOPClassUID == pydicom.uid.ComprehensiveSRStorage
    for element in found.iterall():
        assert element.tag.group not in (0x0028, 0x5400, 0x7FE0)
        assert element.VR not in ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
    assert max(len(str(e.value)) for e in found.iterall() if e.VR != "SQ") < 600
