"""Structured reports: valid, read back with the numbers given, about the right objects, and without a pixel."""

import copy
import math

import numpy as np
import pytest
import torch

highdicom = pytest.importorskip("highdicom")

from derived_cases import DERIVATION, MODEL, image_case, measured, raw_case  # noqa: E402
from pydicom import Dataset  # noqa: E402
from pydicom.sr.codedict import codes  # noqa: E402
from reading_objects import evaluations, evidence, numbers, own  # noqa: E402
from validate import assert_valid_dicom  # noqa: E402

from infomri_monai.deploy.case import DeployError  # noqa: E402
from infomri_monai.deploy.dicom.report import classification_report, report_text, triage_report  # noqa: E402
from infomri_monai.deploy.dicom.segmentation import binary_segmentation  # noqa: E402
from infomri_monai.engines.slice_acquisition import AcquisitionRecord  # noqa: E402
from infomri_monai.engines.volume_classification import VolumeClassification  # noqa: E402
from infomri_monai.triage import ReviewThreshold, StructureVolume, WorklistEntry  # noqa: E402

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


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def result(masks=2, multi_label=False, simulated=True):
    """Of two slices, the second one without signal."""
    nan = math.nan
    record = AcquisitionRecord(simulated, *(None,) * 7, (28, 20), "native", (0, 0))
    return VolumeClassification(
        probabilities=tensor(1 / 3, 2 / 3),
        entropy=0.6365141682948128,
        mutual_information=0.0123456789012345,
        slice_probabilities=tensor([1 / 3, 2 / 3], [nan, nan]),
        slice_entropy=tensor(0.6365, nan),
        slice_mutual_information=tensor(0.0123, nan),
        ratio=tensor(0.12, 0.13),
        ratio_of_all_masks=tensor(0.2, 0.25),
        masks=masks,
        multi_label=multi_label,
        case_rule="mean",
        record=record,
    )


def triage(case, entry=ENTRY, threshold=THRESHOLD, derivation=DERIVATION, samples=16, **options):
    array = np.zeros(case.shape, np.uint8)
    array[4:9, 3:7] = 1  # the tumour has no pixel
    where = (case.source, case.instances, derivation)
    segmentation = binary_segmentation(array, NAMES, case.affine, *where, 902)
    return segmentation, triage_report(entry, samples, segmentation, *where, 903, threshold=threshold, **options)


def read(report, path):
    """The report as highdicom reads it from its file, after the validator."""
    report.save_as(path, enforce_file_format=True)
    assert_valid_dicom(path)
    found = highdicom.sr.srread(path)
    assert "PixelData" not in found
    assert not any(element.tag.group == 0x7FE0 for element in found.iterall())
    return found


@pytest.mark.parametrize(("kind", "slices"), [("classic", 4), ("enhanced", 4), ("classic", 1)])
def test_triage_holds_the_numbers_of_the_worklist(kind, slices, tmp_path):
    case = image_case(kind, slices)
    segmentation, report = triage(case)
    found = read(report, tmp_path / "report.dcm")
    groups = found.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == list(NAMES)
    for number, (group, volume) in enumerate(zip(groups, ENTRY.volumes, strict=True), start=1):
        assert numbers(group) == {
            ("Volume", "Median"): (volume.median, "mm3"),
            ("Volume", "5th percentile"): (volume.low, "mm3"),
            ("Volume", "95th percentile"): (volume.high, "mm3"),
        }
        segment = group.referenced_segment
        assert segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID
        assert segment[0].referenced_segment_numbers == [number]
        assert segment.source_series_for_segmentation.value == case.instances[0].SeriesInstanceUID
        assert group.tracking_uid == segmentation.SegmentSequence[number - 1].TrackingUID
    assert [group.finding_type for group in groups] == [codes.SCT.CerebrospinalFluid, codes.SCT.Neoplasm]
    (whole,) = found.content.get_image_measurement_groups()
    assert {name: value for (name, _), value in numbers(whole).items()} == {
        "Agreement: mean pairwise Dice coefficient of the samples": (ENTRY.agreement, "1"),
        "Mean predictive entropy per pixel": (ENTRY.mean_entropy, "{nat}/{pixel}"),
        "Number of posterior samples": (16, "1"),
        "Sampling ratio, mean over slices and masks": (1 / 7.9, "1"),
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
            "A person must review this segmentation: its samples agree too little. This is no diagnosis of the images. Agreement "
            "of this case: 0.5123. Cases",
        ),
        (False, THRESHOLD._replace(threshold=0.5), codes.SCT.No, "agree well enough for it not to need review"),
        (None, None, codes.SCT.Undetermined, "not decided whether a person must review this segmentation"),
        (True, THRESHOLD._replace(threshold=math.inf), codes.SCT.Yes, "every case goes to review"),
    ],
)
def test_triage_says_whether_a_person_must_look_and_why(review, threshold, code, words, tmp_path):
    _, report = triage(image_case("classic"), ENTRY._replace(review=review), threshold)
    found = read(report, tmp_path / "report.dcm")
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
    case = image_case("classic")
    segmentation, _ = triage(case, ENTRY._replace(review=False), THRESHOLD._replace(threshold=0.5))
    where = (segmentation, case.source, case.instances, DERIVATION, 903)
    entry = ENTRY._replace(review=True)
    with pytest.raises(ValueError, match="review must be True for a case with a warning, got False"):
        triage_report(ENTRY._replace(review=False), 16, *where, threshold=threshold, warnings=["all pixels are zero."])
    report = triage_report(entry, 16, *where, threshold=threshold, warnings=["all pixels are zero."])
    found = read(report, tmp_path / "report.dcm")
    (whole,) = found.content.get_image_measurement_groups()
    assert evaluations(whole)["A person must review the segmentation"] == codes.SCT.Yes
    assert f"must review this segmentation: {why}." in report_text(found)


@pytest.mark.parametrize(
    ("ratio", "seen"), [(0.25, "of undersampled k-space, in"), (1.0, "which is the whole image, in")]
)
def test_the_report_says_whether_the_network_saw_the_whole_image(ratio, seen):
    complete = result()._replace(ratio=torch.full((2,), ratio), ratio_of_all_masks=torch.full((2,), ratio))
    text = report_text(
        classification_report(complete, ["left", "right"], image_case("classic").source, DERIVATION, 904)
    )
    assert seen in text
    assert ("Nothing was withheld from the network" in text) is (ratio == 1)


def test_a_single_sample_has_no_spread(tmp_path):
    nan = math.nan
    volumes = tuple(StructureVolume(name, 12.5, nan, nan) for name in NAMES)
    entry = ENTRY._replace(agreement=nan, acceleration=nan, volumes=volumes)
    found = read(triage(image_case("classic"), entry, samples=1)[1], tmp_path / "report.dcm")
    assert [numbers(g) for g in found.content.get_volumetric_roi_measurement_groups()] == [
        {("Volume", "Median"): (12.5, "mm3")}
    ] * 2
    (whole,) = found.content.get_image_measurement_groups()
    assert {name for name, _ in numbers(whole)} == {
        "Mean predictive entropy per pixel",
        "Number of posterior samples",
    }
    text = report_text(found)
    assert "Agreement of this case: not known." in text
    assert "those of a single sample of the segmentation, of which there is neither spread nor agreement" in text
    assert "90 %" not in text


def test_triage_of_raw_kspace_refers_to_its_reconstruction_and_counts_voxels(tmp_path):
    case = raw_case()
    segmentation, report = triage(case, derivation=measured(), volume_unit="voxels", warnings=["made-up geometry"])
    found = read(report, tmp_path / "report.dcm")
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
        "Volume (5th percentile): 250.1 mm3",
        "Volume (95th percentile): 412.7 mm3",
        "Agreement: mean pairwise Dice coefficient of the samples: 0.512346",
        "Mean predictive entropy per pixel: 0.0333333 nat/pixel",
        "Acceleration: 7.9",
        "A person must review the segmentation: Yes",
        "(5th to 95th percentile) over 16 samples of the segmentation",
        "SIMULATED from magnitude images, not acquired.",
        "Warning: first",
        "Warning: second",
        f"Algorithm Name: {MODEL.name}",
        f"Algorithm Version: {MODEL.version}",
        "Source of Measurement: 4 x MR Image Storage",
    ):
        assert words in text
    assert ENTRY.name not in text
    print(text)
    silent([*case.instances, segmentation, report])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("kind", ["raw", "classic", "enhanced"])
def test_classification_holds_the_numbers_and_no_pixel(kind, multi_label, tmp_path):
    case = raw_case() if kind == "raw" else image_case(kind)
    derivation = measured() if kind == "raw" else DERIVATION
    labels = ["left", "right side, behind"]
    given = result(multi_label=multi_label, simulated=kind != "raw")
    report = classification_report(given, labels, case.source, derivation, 904, warnings=["two masks"])
    found = read(report, tmp_path / "report.dcm")
    *of_labels, whole = found.content.get_image_measurement_groups()
    assert [group.finding_type.meaning for group in of_labels] == labels
    assert [numbers(group) for group in of_labels] == [
        {("Probability", None): (1 / 3, "1")},
        {("Probability", None): (2 / 3, "1")},
    ]
    assert {name: value for (name, _), value in numbers(whole).items()} == {
        "Predictive entropy": (given.entropy, "{nat}"),
        "Mutual information of label and mask": (given.mutual_information, "{nat}"),
        "Number of sampling masks": (2, "1"),
        "Sampling ratio, mean over slices and masks": (0.125, "1"),
        "Acceleration": (8, "1"),
        "Sampling ratio of all masks together": (0.225, "1"),
    }
    answer = evaluations(whole)["Label of a probability above one half" if multi_label else "Most probable label"]
    assert answer == of_labels[1].finding_type
    assert evidence(found) == own(case.source.instances)
    assert (found.StudyInstanceUID, found.PatientID) == (
        case.source.attributes.StudyInstanceUID,
        case.source.attributes.PatientID,
    )
    assert (found.CompletionFlag, found.VerificationFlag, found.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )


@pytest.mark.parametrize(
    ("rule", "multi_label", "masks", "words"),
    [
        (
            "mean",
            False,
            2,
            "add up to 1: for the case, the mean over the slices, averaged over 2 sampling masks. The entropy",
        ),
        ("mean", False, 1, "for the case, the mean over the slices, from one sampling mask."),
        ("max", False, 2, "for the case, those of the slice in which 'none' is least probable, averaged over 2"),
        ("max", True, 2, "each by itself from 0 to 1: for the case, the highest of all slices, averaged over 2"),
        ("max", True, 1, "from one sampling mask. The entropy is that of these probabilities, summed over the labels."),
    ],
)
def test_classification_says_what_its_probabilities_are(rule, multi_label, masks, words):
    given = result(masks, multi_label)._replace(case_rule=rule)
    report = classification_report(given, ["none", "tumour"], image_case("classic").source, DERIVATION, 904)
    assert words in report_text(report)


def test_a_part_of_a_structure_is_a_finding_site_with_a_modifier(tmp_path):
    """The finding is the hippocampus in both groups; which part of it was measured, the site says."""
    names = ("anterior hippocampus", "posterior hippocampus")
    case = image_case("classic")
    where = (case.source, case.instances, DERIVATION)
    segmentation = binary_segmentation(np.ones(case.shape, np.uint8), names, case.affine, *where, 902)
    entry = ENTRY._replace(volumes=tuple(StructureVolume(name, 1.0, 1.0, 1.0) for name in names))
    found = read(triage_report(entry, 16, segmentation, *where, 903, threshold=THRESHOLD), tmp_path / "report.dcm")
    groups = found.content.get_volumetric_roi_measurement_groups()
    assert [group.finding_type for group in groups] == [codes.SCT.Hippocampus] * 2
    sites = [group.finding_sites[0] for group in groups]
    assert [site.value for site in sites] == [codes.SCT.Hippocampus] * 2
    assert [site.topographical_modifier for site in sites] == [codes.SCT.Anterior, codes.SCT.Posterior]


def test_raw_classification_refers_to_nothing(tmp_path):
    report = classification_report(result(simulated=False), ["no", "yes"], raw_case().source, measured(), 904)
    found = read(report, tmp_path / "report.dcm")
    assert not [element for element in found.iterall() if element.keyword == "ReferencedSOPInstanceUID"]


def test_classification_as_text(silent):
    case = image_case("classic")
    report = classification_report(result(), ["left", "right"], case.source, DERIVATION, 904, warnings=["a warning"])
    text = report_text(report)
    lines = [line.strip() for line in text.splitlines()]
    assert "Privacy: No image was reconstructed or stored" in text
    assert "SIMULATED from magnitude images, not acquired." in text
    assert "Probability: 0.333333" in lines
    assert "Predictive entropy: 0.636514 nat" in lines
    assert "Mutual information of label and mask: 0.0123457 nat" in lines
    assert "Most probable label: right" in lines
    table = lines.index("Values of every slice: slice; left; right; entropy/nat; mutual information/nat; ratio")
    assert lines[table + 1 : table + 3] == ["1; 0.3333; 0.6667; 0.6365; 0.0123; 0.12", "2; -; -; -; -; 0.13"]
    assert "Warning: a warning" in lines
    print(text)
    silent([*case.instances, report])


def test_one_mask_has_no_mutual_information(tmp_path):
    report = classification_report(result(masks=1), ["a", "b"], image_case("classic").source, DERIVATION, 904)
    found = read(report, tmp_path / "report.dcm")
    whole = found.content.get_image_measurement_groups()[-1]
    assert "Mutual information of label and mask" not in {name for name, _ in numbers(whole)}


def test_labels_that_are_not_ascii_survive_a_source_that_is(tmp_path):
    labels = ["Läsion 脳", "MOST_PROBABLE"]
    report = classification_report(result(), labels, image_case("classic").source, DERIVATION, 904)
    found = read(report, tmp_path / "report.dcm")
    groups = found.content.get_image_measurement_groups()[:2]
    assert [group.finding_type.meaning for group in groups] == labels
    assert groups[1].finding_type.value != "MOST_PROBABLE"  # that is one of our own codes


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
    with pytest.raises(ValueError, match=message):
        triage(image_case("classic"), **change)


@pytest.mark.parametrize("labels", [["one"], ["a", "a"], "ab", ["", "b"], ["x" * 65, "b"]])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be 2 different names"):
        classification_report(result(), labels, image_case("classic").source, DERIVATION, 904)


def test_a_report_does_not_contradict_its_result():
    with pytest.raises(ValueError, match="simulated must be the result's, True"):
        classification_report(result(), ["a", "b"], image_case("classic").source, measured(), 904)


def test_a_broken_header_gives_an_error_without_identifiers():
    case = image_case("classic")
    datasets = copy.deepcopy(list(case.instances))
    del datasets[1].SeriesInstanceUID
    source = copy.copy(case.source)
    object.__setattr__(source, "instances", tuple(datasets))
    with pytest.raises(DeployError, match="making the report failed: KeyError") as caught:
        classification_report(result(), ["a", "b"], source, DERIVATION, 904)
    assert caught.value.__cause__ is None
    assert datasets[0].StudyInstanceUID not in str(caught.value)


def test_text_of_what_is_no_report_is_refused():
    with pytest.raises(DeployError, match="reading the report failed"):
        report_text(Dataset())
