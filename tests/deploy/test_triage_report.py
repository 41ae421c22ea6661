"""Triage reports: valid, read back with the numbers given, about the right objects, and without a pixel."""

import math

import numpy as np
import pytest
from derived_cases import DERIVATION, MODEL, image_case, measured, raw_case
from helper import refuses
from pydicom import Dataset
from pydicom.sr.codedict import codes
from reading_objects import evaluations, evidence, numbers, own, read_report, six

from hospital.report import report_text
from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.dicom.segmentation import binary_segmentation
from infomri_monai.deploy.segmentation.objects import triage_report
from infomri_monai.triage import ReviewThreshold, StructureVolume, WorklistEntry

NAMES = ("csf", "tumour")


THRESHOLD = ReviewThreshold(0.6, 0.05, 0.0, 0.75, 40, 0.7)


ENTRY = WorklistEntry(
    case=3,
    name="name-of-a-file",
    agreement=0.51234567890123,
    mean_entropy=1 / 30,
    volumes=(StructureVolume("csf", 1000 / 3, 250.1, 412.7), StructureVolume("tumour", 0.0, 0.0, 2.25)),
    acceleration=7.9,
    review=True,
)


def triage(case, entry=ENTRY, threshold=THRESHOLD, derivation=DERIVATION, samples=16, **options):
    array = np.zeros(case.shape, np.uint8)
    array[4:9, 3:7] = 1  # the tumour has no pixel
    where = (case.source, derivation)
    segmentation = binary_segmentation(array, NAMES, case.affine, *where, 902)
    return segmentation, triage_report(entry, samples, segmentation, *where, 903, threshold=threshold, **options)


@pytest.mark.parametrize(("kind", "slices"), [("classic", 4), ("enhanced", 4), ("classic", 1)])
def test_triage_holds_the_numbers_of_the_worklist(kind, slices, tmp_path):
    case = image_case(kind, slices)
    segmentation, report = triage(case)
    found = read_report(report, tmp_path / "report.dcm")
    groups = found.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == list(NAMES)
    for number, (group, volume) in enumerate(zip(groups, ENTRY.volumes, strict=True), start=1):
        assert numbers(group) == {
            ("Volume", "Median"): (six(volume.median), "mm3"),
            ("Volume", "5th percentile"): (six(volume.low), "mm3"),
            ("Volume", "95th percentile"): (six(volume.high), "mm3"),
        }
        segment = group.referenced_segment
        assert segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID
        assert segment[0].referenced_segment_numbers == [number]
        assert segment.source_series_for_segmentation.value == case.instances[0].SeriesInstanceUID
        assert group.tracking_uid == segmentation.SegmentSequence[number - 1].TrackingUID
    assert [group.finding_type for group in groups] == [codes.SCT.CerebrospinalFluid, codes.SCT.Neoplasm]
    (whole,) = found.content.get_image_measurement_groups()
    assert {name: value for (name, _), value in numbers(whole).items()} == {
        "Agreement: mean pairwise Dice coefficient of the samples": (six(ENTRY.agreement), "1"),
        "Mean predictive entropy per pixel": (six(ENTRY.mean_entropy), "{nat}/{pixel}"),
        "Number of posterior samples": (16, "1"),
        "Sampling ratio, mean over slices and masks": (six(1 / 7.9), "1"),
        "Acceleration": (7.9, "1"),
    }
    assert [image.referenced_sop_instance_uid for image in whole.source_images] == [
        dataset.SOPInstanceUID for dataset in case.instances
    ]
    assert evidence(found) == own([*case.instances, segmentation])
    assert not any(keyword in found for keyword in ("FrameOfReferenceUID", "BodyPartExamined", "PatientPosition"))


@pytest.mark.parametrize(
    ("review", "threshold", "code", "words"),
    [
        (
            True,
            THRESHOLD,
            codes.SCT.Yes,
            "its samples agree too little. This is no diagnosis of the images. Agreement of",
        ),
        (False, THRESHOLD._replace(threshold=0.5), codes.SCT.No, "agree well enough for it not to need review"),
        (None, None, codes.SCT.Undetermined, "not decided whether a person must review this segmentation"),
        (True, THRESHOLD._replace(threshold=math.inf), codes.SCT.Yes, "every case goes to review"),
    ],
)
def test_triage_says_whether_a_person_must_look_and_why(review, threshold, code, words, tmp_path):
    _, report = triage(image_case("classic"), ENTRY._replace(review=review), threshold)
    found = read_report(report, tmp_path / "report.dcm")
    (whole,) = found.content.get_image_measurement_groups()
    assert evaluations(whole)["A person must review the segmentation"] == code
    assert words in report_text(found)
    assert threshold is None or str(threshold) in report_text(found)


@pytest.mark.parametrize(
    ("threshold", "why"),
    [
        (THRESHOLD._replace(threshold=0.5), "there is a warning below"),
        (THRESHOLD, "its samples agree too little, and there is a warning below"),
        (None, "there is a warning below"),
    ],
)
def test_a_case_with_a_warning_is_reviewed_whatever_its_samples_agree_on(threshold, why, tmp_path):
    case, warnings = image_case("classic"), ["all pixels are zero."]
    message = "review must be True for a case with a warning, got False"
    refuses(ValueError, message, triage, case, ENTRY._replace(review=False), threshold, warnings=warnings)
    _, report = triage(case, ENTRY, threshold, warnings=warnings)
    found = read_report(report, tmp_path / "report.dcm")
    (whole,) = found.content.get_image_measurement_groups()
    assert evaluations(whole)["A person must review the segmentation"] == codes.SCT.Yes
    assert f"must review this segmentation: {why}." in report_text(found)


def test_a_single_sample_has_no_spread(tmp_path):
    nan = math.nan
    volumes = tuple(StructureVolume(name, 12.5, nan, nan) for name in NAMES)
    entry = ENTRY._replace(agreement=nan, acceleration=nan, volumes=volumes)
    found = read_report(triage(image_case("classic"), entry, samples=1)[1], tmp_path / "report.dcm")
    assert [numbers(g) for g in found.content.get_volumetric_roi_measurement_groups()] == [
        {("Volume", "Median"): (12.5, "mm3")}
    ] * 2
    (whole,) = found.content.get_image_measurement_groups()
    assert {name for name, _ in numbers(whole)} == {"Mean predictive entropy per pixel", "Number of posterior samples"}
    text = report_text(found)
    assert "Agreement of this case: not known." in text
    assert "those of a single sample of the segmentation, of which there is neither spread nor agreement" in text
    assert "90 %" not in text


def test_triage_of_raw_kspace_refers_to_its_reconstruction_and_counts_voxels(tmp_path):
    case = raw_case()
    segmentation, report = triage(case, derivation=measured(), volume_unit="voxels", warnings=["made-up geometry"])
    found = read_report(report, tmp_path / "report.dcm")
    assert evidence(found) == own([*case.instances, segmentation])
    (whole,) = found.content.get_image_measurement_groups()
    assert evaluations(whole)["k-space was simulated from images"] == codes.SCT.No
    text = report_text(found)
    assert "Volume (Median): 333.333 voxels" in text
    assert "Acquisition: k-space was measured by the scanner at 12.5 % of its positions (8x undersampled).\n" in text
    assert text.count("k-space was measured") == 1
    assert "Warning: made-up geometry" in text
    assert "SIMULATED" not in text + found.SeriesDescription


def test_triage_as_text_holds_everything_but_identifiers(silent):
    case = image_case("classic")
    segmentation, report = triage(case, warnings=["first", "second"])
    text = report_text(report)
    for words in (
        "Volume (Median): 333.333 mm3",
        "Mean predictive entropy per pixel: 0.0333333 nat/pixel",
        "A person must review the segmentation: Yes",
        "(5th to 95th percentile) over 16 samples of the segmentation",
        "SIMULATED from magnitude images, not acquired.",
        "Warning: second",
        f"Algorithm Name: {MODEL.name}",
        f"Algorithm Version: {MODEL.version}",
        "Source of Measurement: 4 x MR Image Storage",
    ):
        assert words in text
    assert ENTRY.name not in text
    print(text)
    silent([*case.instances, segmentation, report])


def test_a_part_of_a_structure_is_a_finding_site_with_a_modifier(tmp_path):
    """The finding is the hippocampus in both groups; which part of it was measured, the site says."""
    names = ("anterior hippocampus", "posterior hippocampus")
    case = image_case("classic")
    where = (case.source, DERIVATION)
    segmentation = binary_segmentation(np.ones(case.shape, np.uint8), names, case.affine, *where, 902)
    entry = ENTRY._replace(volumes=tuple(StructureVolume(name, 1.0, 1.0, 1.0) for name in names))
    found = read_report(
        triage_report(entry, 16, segmentation, *where, 903, threshold=THRESHOLD), tmp_path / "report.dcm"
    )
    groups = found.content.get_volumetric_roi_measurement_groups()
    assert [group.finding_type for group in groups] == [codes.SCT.Hippocampus] * 2
    sites = [group.finding_sites[0] for group in groups]
    assert [site.value for site in sites] == [codes.SCT.Hippocampus] * 2
    assert [site.topographical_modifier for site in sites] == [codes.SCT.Anterior, codes.SCT.Posterior]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volume_unit": "ml"}, "volume_unit must be one of"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"threshold": THRESHOLD._replace(threshold=0.2)}, "review must be what the threshold says"),
        ({"entry": ENTRY._replace(volumes=(StructureVolume("other", 1, 1, 1),))}, r"it lacks \['other'\]"),
    ],
)
def test_triage_that_does_not_fit_is_refused(change, message):
    refuses(ValueError, message, triage, image_case("classic"), **change)


def test_text_of_what_is_no_report_is_refused():
    refuses(DeployError, "reading the report failed", report_text, Dataset())
