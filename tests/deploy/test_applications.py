"""The three applications end to end, from DICOM and from raw k-space: what they leave, and that it is true of its source."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("highdicom")
pytest.importorskip("holoscan")
pytest.importorskip("ismrmrd")
import highdicom
import pydicom
import yaml
from application_runs import APPLICATIONS, CASES, DICOM, LINES, RAW, ROOT, SHAPES, WAYS
from pacs_helper import secrets
from reading_objects import LPS_TO_RAS, Grid, datasets, evidence, grid_of, on_grid, own, slices, volume
from series_files import assert_no_identifier
from validate import assert_valid_dicom

from hospital.raw_scan import EXAMPLE_SUBJECT, ExampleGeometry
from infomri_monai.deploy.cases import find_cases
from infomri_monai.deploy.model_files import sha256

every_application = pytest.mark.parametrize("name", APPLICATIONS)
every_way = pytest.mark.parametrize("way", WAYS)
every_case = pytest.mark.parametrize("case", CASES)
#: objects of one file, and the folder of a series, beside the structured reports
IMAGES = {
    "reconstruction": {"dicom": ("reconstruction", "sigma.dcm"), "raw": ("reconstruction", "sigma.dcm")},
    "segmentation": {
        "dicom": ("segmentation.dcm", "probability.dcm", "entropy.dcm"),
        "raw": ("zero_filled", "segmentation.dcm", "probability.dcm", "entropy.dcm"),
    },
}
REPORTS = {"segmentation": ("triage.dcm",), "privacy_classification": ("report.dcm",)}
every_image = pytest.mark.parametrize(
    ("name", "case", "image"),
    [(n, c, i) for n, kinds in IMAGES.items() for c in CASES for i in kinds["dicom" if c in DICOM else "raw"]],
)
every_report = pytest.mark.parametrize(
    ("name", "case", "report"), [(n, c, r) for n, reports in REPORTS.items() for c in CASES for r in reports]
)
IDENTITY = (
    "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID StudyDate StudyTime AccessionNumber"
)


def expected(name, case):
    """Names of a case's objects."""
    images = IMAGES.get(name, {}).get("dicom" if case in DICOM else "raw", ())
    found = {image for image in images if image.endswith(".dcm")} | set(REPORTS.get(name, ()))
    series = [image for image in images if not image.endswith(".dcm")]
    return found | {f"{s}/slice_{k:04d}.dcm" for s in series for k in range(1, SHAPES[case][2] + 1)}


def source_of(runs, run, name, case):
    """Datasets that the objects of a case are derived from: its own, or of raw k-space those of the image made of it."""
    if case in DICOM:
        return datasets(runs.source / ("a" if case == "classic" else "b"))
    return datasets(run.case(case) / ("reconstruction" if name == "reconstruction" else "zero_filled"))


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
    assert [row["case"] for row in rows.values()] == list(CASES.values())
    assert all((row["status"], row["reason"]) == ("written", "") for row in rows.values())
    assert [row["domain"] for row in rows.values()] == ["image", "image", "kspace", "kspace"]
    assert [row["slices"] for row in rows.values()] == [shape[2] for shape in SHAPES.values()]
    assert all(row["seconds"].keys() == {"load", "acquire", "network", "write"} for row in rows.values())
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


@every_application
def test_an_archive_in_a_package_gives_the_same(runs, name):
    """Pixels to the byte, reports to the last digit."""
    module, package = (runs.application(name, way) for way in WAYS)
    for path in sorted(module.output.rglob("*.dcm")):
        a, b = (pydicom.dcmread(p) for p in (path, package.output / path.relative_to(module.output)))
        for keyword in ("PixelData", "FloatPixelData", "RescaleSlope", "RescaleIntercept", "DerivationDescription"):
            assert a.get(keyword) == b.get(keyword)
        values = [[element.value for element in d.iterall() if element.VR in ("DS", "FD", "FL", "UT")] for d in (a, b)]
        checksums = [run.summary["model"]["checksum"] for run in (module, package)]
        texts = [str(v).replace(checksum, "") for v, checksum in zip(values, checksums, strict=True)]
        assert texts[0] == texts[1]


@every_case
@every_application
def test_patient_study_and_frame_of_reference_are_the_sources(runs, name, case):
    run = runs.application(name)
    if case in DICOM:
        header = source_of(runs, run, name, case)[0]
        wanted = {keyword: header[keyword].value for keyword in [*IDENTITY.split(), "FrameOfReferenceUID"]}
    else:
        given = EXAMPLE_SUBJECT
        values = [given[key] for key in ("patientName", "patientID", "patientBirthdate", "patientGender")]
        values += [given[key] for key in ("studyInstanceUID", "studyID", "studyDate", "studyTime", "accessionNumber")]
        wanted = dict(zip(IDENTITY.split(), values, strict=True))
        wanted["FrameOfReferenceUID"] = given["frameOfReferenceUID"]
        for keyword in ("PatientBirthDate", "StudyDate", "StudyTime"):
            wanted[keyword] = wanted[keyword].replace("-", "").replace(":", "")
    series = set()
    for path in run.case(case).rglob("*.dcm"):
        found = pydicom.dcmread(path)
        for keyword, value in wanted.items():
            if keyword != "FrameOfReferenceUID" or found.Modality != "SR":
                assert found[keyword].value == value, keyword
        assert found.Manufacturer == "infomri_monai"
        series.add((found.SeriesInstanceUID, path.parent if path.name.startswith("slice_") else path))
    assert len({uid for uid, _ in series}) == len(series)
    if case in DICOM:
        assert header.SeriesInstanceUID not in {uid for uid, _ in series}


@every_image
def test_geometry_agrees_with_the_source(runs, name, case, image):
    run = runs.application(name)
    grid = grid_of(source_of(runs, run, name, case)) if case in DICOM else raw_grid(case)
    assert grid.shape == (SHAPES[case] if case != "fastmri" else (66, 76, 2))
    oblique = np.abs(grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0))
    assert (oblique.max(0) < 0.999).all() or case == "fastmri"
    values, distance = on_grid(volume(run.case(case) / image), grid)
    assert distance < 1e-4
    assert values.any()


def raw_grid(case):
    """What the header of the raw data says, or of fastMRI's, which has no geometry: axial about the origin."""
    columns, rows, count = SHAPES[case]
    geometry = ExampleGeometry()
    if case == "fastmri":  # the readout runs down
        columns, rows = rows, columns
        geometry = geometry._replace(spacing=geometry.thickness, centre=(0.0, 0.0, 0.0), pixel=geometry.pixel[::-1])
        axes = np.eye(3)
    else:
        axes = geometry.axes()
    affine = np.eye(4)
    affine[:3, :3] = axes * [*geometry.pixel, geometry.spacing]
    affine[:3, 3] = np.array(geometry.centre) - affine[:3, :2] @ [columns // 2, rows // 2]
    return Grid(LPS_TO_RAS @ affine, (columns, rows, count))


@every_image
def test_every_slice_refers_to_the_one_it_was_derived_from(runs, name, case, image):
    run = runs.application(name)
    path = run.case(case) / image
    own_images = datasets(path) if path.is_dir() else [pydicom.dcmread(path)]
    if case in RAW and path.is_dir():  # there is nothing to refer to
        assert not any("SourceImageSequence" in instance for instance in own_images)
        return
    source = source_of(runs, run, name, case)
    known = {tuple(np.round(place["position"], 3) + 0.0): place["reference"] for place in slices(source)}
    if path.is_dir():
        items = [instance.SourceImageSequence for instance in own_images]
    else:
        frames = own_images[0].PerFrameFunctionalGroupsSequence
        items = [frame.DerivationImageSequence[0].SourceImageSequence for frame in frames]
        (series,) = own_images[0].ReferencedSeriesSequence
        assert series.SeriesInstanceUID == source[0].SeriesInstanceUID
        named = series.ReferencedInstanceSequence
        assert {item.ReferencedSOPInstanceUID for item in named} == {instance.SOPInstanceUID for instance in source}
    for (item,), place in zip(items, slices(own_images), strict=True):
        uid, frame = known[tuple(np.round(place["position"], 3) + 0.0)]
        assert item.ReferencedSOPInstanceUID == uid
        assert item.get("ReferencedFrameNumber") == frame
        assert item.ReferencedSOPClassUID == source[0].SOPClassUID


@every_report
def test_reports_refer_to_what_they_are_about(runs, name, case, report):
    run = runs.application(name)
    found = highdicom.sr.srread(run.case(case) / report)
    about = source_of(runs, run, name, case) if name == "segmentation" or case in DICOM else []
    if name == "segmentation":
        majority = pydicom.dcmread(run.case(case) / "segmentation.dcm")
        for number, group in enumerate(found.content.get_volumetric_roi_measurement_groups(), 1):
            assert group.referenced_segment.referenced_sop_instance_uid == majority.SOPInstanceUID
            assert group.referenced_segment[0].referenced_segment_numbers == [number]
        about = [*about, majority]
    assert evidence(found) == own(about)


@every_image
def test_the_simulation_is_marked_in_every_image(runs, name, case, image):
    path = runs.application(name).case(case) / image
    for instance in datasets(path) if path.is_dir() else [pydicom.dcmread(path)]:
        marked = instance.DerivationDescription.startswith("SIMULATED from magnitude images, not acquired.")
        assert ("SIMULATED" in instance.SeriesDescription, marked) == (case in DICOM, case in DICOM)
        if path.is_dir():
            assert instance.ImageType == ["DERIVED", "SECONDARY", "OTHER", *["SIMULATED"] * (case in DICOM)]
        else:
            assert instance.ImageType[0] == "DERIVED"
        if case in RAW:
            assert "SIMULATED" not in str(instance).upper()
            ratio = len(LINES[case]) / SHAPES[case][1]
            words = f"k-space was measured by the scanner at {100 * ratio:.4g} % of its positions"
            assert words in instance.DerivationDescription
        if case in RAW and image == "reconstruction":
            (row,) = [row for row in runs.application(name).summary["cases"] if row["case"] == CASES[case]]
            assert all(warning.rstrip(".") in instance.DerivationDescription for warning in row["warnings"])


@every_report
def test_the_simulation_is_marked_in_every_report(runs, name, case, report):
    run = runs.application(name)
    found = highdicom.sr.srread(run.case(case) / report)
    assert ("SIMULATED" in found.SeriesDescription) == (case in DICOM)
    texts = [element.value for element in found.iterall() if element.VR == "UT"]
    assert any("SIMULATED from magnitude images" in text for text in texts) == (case in DICOM)
    assert sum(text.count("k-space was measured") for text in texts) == (case in RAW)
    (group,) = [g for g in found.content.get_image_measurement_groups() if g.tracking_identifier == "case"]
    answers = {e.name.value: e.value.meaning for e in group.get_qualitative_evaluations()}
    assert answers["SIMULATED"] == ("Yes" if case in DICOM else "No")
    (row,) = [row for row in run.summary["cases"] if row["case"] == CASES[case]]
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
