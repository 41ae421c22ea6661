"""Classification reports: valid, read back with the numbers given, about the right objects, and without a pixel."""

import math
from dataclasses import replace

import pytest
import torch
from derived_cases import DERIVATION, image_case, measured, raw_case
from helper import refuses
from reading_objects import evaluations, evidence, numbers, own, read_report, six

from hospital.report import report_text
from infomri_monai.deploy.privacy_classification.objects import classification_report
from infomri_monai.engines.case import AcquisitionRecord
from infomri_monai.engines.classification import VolumeClassification

IDENTITY = ("StudyInstanceUID", "PatientID")


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


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("kind", ["raw", "classic", "enhanced"])
def test_classification_holds_the_numbers_and_no_pixel(kind, multi_label, tmp_path):
    source = replace(raw_case().source, instances=()) if kind == "raw" else image_case(kind).source
    derivation = measured() if kind == "raw" else DERIVATION
    labels = ["left", "right side, behind"]
    given = result(multi_label=multi_label, simulated=kind != "raw")
    report = classification_report(given, labels, source, derivation, 904, warnings=["two masks"])
    found = read_report(report, tmp_path / "report.dcm")
    *of_labels, whole = found.content.get_image_measurement_groups()
    assert [group.finding_type.meaning for group in of_labels] == labels
    assert [numbers(group) for group in of_labels] == [
        {("Probability", None): (six(1 / 3), "1")},
        {("Probability", None): (six(2 / 3), "1")},
    ]
    assert {name: value for (name, _), value in numbers(whole).items()} == {
        "Predictive entropy": (six(given.entropy), "{nat}"),
        "Mutual information of label and mask": (six(given.mutual_information), "{nat}"),
        "Number of sampling masks": (2, "1"),
        "Sampling ratio, mean over slices and masks": (0.125, "1"),
        "Acceleration": (8, "1"),
        "Sampling ratio of all masks together": (six(0.225), "1"),
    }
    answer = evaluations(whole)["Label of a probability above one half" if multi_label else "Most probable label"]
    assert answer == of_labels[1].finding_type
    assert evidence(found) == own(source.instances)
    assert [found[name].value for name in IDENTITY] == [source.attributes[name].value for name in IDENTITY]
    flags = (found.CompletionFlag, found.VerificationFlag, found.PreliminaryFlag)
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")


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
@pytest.mark.parametrize(
    ("ratio", "seen"), [(0.25, "of undersampled k-space, in"), (1.0, "which is the whole image, in")]
)
def test_classification_says_what_its_probabilities_are(rule, multi_label, masks, words, ratio, seen):
    given = result(masks, multi_label)._replace(
        case_rule=rule, ratio=torch.full((2,), ratio), ratio_of_all_masks=torch.full((2,), ratio)
    )
    report = classification_report(given, ["none", "tumour"], image_case("classic").source, DERIVATION, 904)
    text = report_text(report)
    assert words in text
    assert seen in text
    assert ("Nothing was withheld from the network" in text) is (ratio == 1)
    assert ("Mutual information of label and mask" in text) == (masks > 1)


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


def test_labels_that_are_not_ascii_survive_a_source_that_is(tmp_path):
    labels = ["Läsion 脳", "MOST_PROBABLE"]
    report = classification_report(result(), labels, image_case("classic").source, DERIVATION, 904)
    found = read_report(report, tmp_path / "report.dcm")
    groups = found.content.get_image_measurement_groups()[:2]
    assert [group.finding_type.meaning for group in groups] == labels
    assert groups[1].finding_type.value != "MOST_PROBABLE"  # that is one of our own codes


@pytest.mark.parametrize("labels", [["one"], ["a", "a"], "ab", ["", "b"], ["x" * 65, "b"]])
def test_labels_that_do_not_fit_are_refused(labels):
    source, message = image_case("classic").source, "labels must be 2 different names"
    refuses(ValueError, message, classification_report, result(), labels, source, DERIVATION, 904)
    message = "simulated must be the result's, True"  # and nor may the derivation contradict the result
    refuses(ValueError, message, classification_report, result(), ["a", "b"], source, measured(), 904)
