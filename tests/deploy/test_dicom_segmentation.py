"""Segmentations: valid, read back exactly by highdicom, where the source lies, and about the source's slices."""

import copy
import json
from functools import partial
from pathlib import Path

import highdicom
import numpy as np
import pytest
import torch
from derived_cases import DERIVATION, GRID, MODEL, image_case, measured, raw_case
from helper import refuses
from pydicom.sr.codedict import codes
from validate import assert_valid_dicom

from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.dicom.segmentation import binary_segmentation, fractional_segmentation, segment_code

KINDS = [("classic", 4), ("enhanced", 4), ("classic", 1), ("enhanced", 1)]
NAMES = ["csf", "grey", "white"]


def labels(shape, highest=3, seed=0):
    return np.random.default_rng(seed).integers(0, highest + 1, shape).astype(np.uint8)


def write(function, array, case, path, names=NAMES, derivation=DERIVATION):
    """The segmentation, valid, as it is read from its file."""
    made = function(array, names, case.affine, case.source, derivation, 902)
    made.save_as(path, enforce_file_format=True)
    assert_valid_dicom(path)
    return highdicom.seg.segread(path)


def pixels(read, case):
    """Pixels (segment, column, row, slice) by the source's slices, which are those of the segmentation's references."""
    options = {"assert_missing_frames_are_empty": True, "ignore_spatial_locations": False}
    if read.SegmentationType == "FRACTIONAL":
        options["rescale_fractional"] = True
    if case.source.frames:
        uid, frames = case.instances[0].SOPInstanceUID, list(case.source.frames)
        found = read.get_pixels_by_source_frame(uid, frames, **options)
    else:
        found = read.get_pixels_by_source_instance([d.SOPInstanceUID for d in case.instances], **options)
    return found.T


def one_hot(array, structures=3):
    return np.stack([array == number for number in range(1, structures + 1)])


@pytest.mark.parametrize(("kind", "slices"), KINDS)
def test_majority_is_read_back_exactly(kind, slices, tmp_path):
    case = image_case(kind, slices)
    array = labels(case.shape)
    read = write(binary_segmentation, torch.from_numpy(array), case, tmp_path / "seg.dcm")
    np.testing.assert_array_equal(pixels(read, case), one_hot(array))
    uids = [dataset.SOPInstanceUID for dataset in case.instances]
    assert [item.ReferencedSOPInstanceUID for item in read.SourceImageSequence] == uids
    assert read.ReferencedSeriesSequence[0].SeriesInstanceUID == case.instances[0].SeriesInstanceUID
    assert read.FrameOfReferenceUID == case.source.attributes.FrameOfReferenceUID
    assert read.SegmentsOverlap == "NO"
    assert read.SeriesDescription.startswith("InfoMRI segmentation 8x SIMULATED of ")
    assert read.DerivationDescription.startswith("SIMULATED")
    assert read.ContentDescription == "SIMULATED: Most probable class by the samples' mean"


def test_overlapping_masks_of_a_multi_label_network(tmp_path):
    case = image_case("classic")
    masks = np.random.default_rng(1).integers(0, 2, (2, *case.shape)).astype(bool)
    read = write(binary_segmentation, masks, case, tmp_path / "seg.dcm", ["inner", "outer"])
    np.testing.assert_array_equal(pixels(read, case), masks)
    assert read.SegmentsOverlap == "YES"
    assert read.ContentDescription == "SIMULATED: Mean probability over the samples above 1/2"


@pytest.mark.parametrize(("kind", "slices"), KINDS)
@pytest.mark.parametrize("background", [0, 1])
def test_probabilities_are_off_by_half_a_step_at_most(kind, slices, background, tmp_path):
    case = image_case(kind, slices)
    array = np.random.default_rng(2).random((3 + background, *case.shape)).astype(np.float32)
    array[:, :2] = np.array([0, 1])[:, None, None]  # certain
    read = write(fractional_segmentation, torch.from_numpy(array), case, tmp_path / "seg.dcm")
    found = pixels(read, case)
    np.testing.assert_allclose(found, array[background:], rtol=0, atol=1 / 510 + 1e-6)
    np.testing.assert_array_equal(found[:, :2], array[background:, :2])
    assert (read.SegmentationFractionalType, read.MaximumFractionalValue) == ("PROBABILITY", 255)
    assert read.ContentDescription == "SIMULATED: Mean probability over the samples, step 1/255"


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_a_voxel_lies_in_the_patient_where_the_affine_puts_it(kind, tmp_path):
    """highdicom's own volume, whose axes run otherwise, against ours."""
    case = image_case(kind)
    array = np.zeros(case.shape, np.uint8)
    index = (19, 4, 2)
    array[index] = 1
    read = write(binary_segmentation, array, case, tmp_path / "seg.dcm", ["tumour"])
    volume = read.get_volume(combine_segments=True, allow_missing_positions=True)
    found = np.argwhere(volume.array)
    assert len(found) == 1
    lps = volume.map_indices_to_reference(found)[0]
    np.testing.assert_allclose(lps * (-1, -1, 1), (case.affine @ (*index, 1))[:3], atol=1e-4)


def test_raw_kspace_is_segmented_by_its_reconstruction(tmp_path):
    case = raw_case()
    array = labels(case.shape)
    read = write(binary_segmentation, array, case, tmp_path / "seg.dcm", derivation=measured())
    np.testing.assert_array_equal(pixels(read, case), one_hot(array))
    assert read.SeriesDescription == "InfoMRI segmentation 8x"
    assert "SIMULATED" not in read.DerivationDescription
    assert (read.StudyInstanceUID, read.PatientID) == (case.source.attributes.StudyInstanceUID, "RAW-SECRET")


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
@pytest.mark.parametrize("present", [[], [1], [3]])
def test_structures_without_a_pixel_are_described_all_the_same(kind, present, tmp_path):
    case = image_case(kind)
    array = np.zeros(case.shape, np.uint8)
    for number in present:
        array[number, 2:5, 1] = number
    read = write(binary_segmentation, array, case, tmp_path / "seg.dcm")
    assert [segment.SegmentLabel for segment in read.SegmentSequence] == NAMES
    np.testing.assert_array_equal(pixels(read, case), one_hot(array))
    assert int(read.NumberOfFrames) == (1 if present else 3 * 4)


@pytest.mark.parametrize(("kind", "slices"), KINDS)
@pytest.mark.parametrize("function", [binary_segmentation, fractional_segmentation])
def test_frames_without_a_pixel_are_kept_if_so_wanted(kind, slices, function, tmp_path):
    """One for every structure and slice, each referring to its own."""
    case = image_case(kind, slices)
    array = np.zeros(case.shape, np.uint8)
    array[3, 2:5, 0] = 1
    given = array if function is binary_segmentation else one_hot(array).astype(float)
    read = write(partial(function, keep_empty=True), given, case, tmp_path / "seg.dcm")
    assert int(read.NumberOfFrames) == 3 * slices
    np.testing.assert_array_equal(pixels(read, case), one_hot(array))


def test_probabilities_below_half_a_step_are_an_empty_segmentation(tmp_path):
    case = image_case("classic")
    read = write(fractional_segmentation, np.full((3, *case.shape), 0.9 / 510), case, tmp_path / "seg.dcm")
    assert not pixels(read, case).any()


def test_segments_say_what_they_are_and_who_drew_them(tmp_path):
    case = image_case("classic")
    names = ["csf", "grey", "white", "tumour", "anterior hippocampus", "Hippocampus-Posterior", "posterior", "Tumör"]
    read = write(binary_segmentation, labels(case.shape, 8), case, tmp_path / "seg.dcm", names)
    found = {}
    for segment in read.SegmentSequence:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        modifier = [m.CodeMeaning for m in kind.get("SegmentedPropertyTypeModifierCodeSequence", [])]
        category = segment.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning
        found[segment.SegmentLabel] = (category, kind.CodeValue, kind.CodingSchemeDesignator, *modifier)
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (MODEL.name, MODEL.version)
        assert MODEL.checksum in algorithm.AlgorithmParameters
    assert found == {
        "csf": ("Anatomical Structure", "65216001", "SCT"),
        "grey": ("Anatomical Structure", "389081007", "SCT"),
        "white": ("Anatomical Structure", "389080008", "SCT"),
        "tumour": ("Morphologically Abnormal Structure", "108369006", "SCT"),
        "anterior hippocampus": ("Anatomical Structure", "5366008", "SCT", "Anterior"),
        "Hippocampus-Posterior": ("Anatomical Structure", "5366008", "SCT", "Posterior"),
        "posterior": ("Tissue", "85756007", "SCT"),
        "Tumör": ("Tissue", "85756007", "SCT"),
    }
    assert len({segment.TrackingUID for segment in read.SegmentSequence}) == len(names)


def test_the_hippocampus_bundle_names_what_it_segments():
    """Both structures of its overlay have codes of their own, which those of "anterior" alone would not be."""
    path = Path(__file__).parents[2] / "bundles/infomri_segmentation/configs/data/hippocampus_200.json"
    found = [segment_code(name) for name in json.loads(path.read_text())["structures"]]
    assert [code.type for code in found] == [codes.SCT.Hippocampus] * 2
    assert [code.modifier for code in found] == [codes.SCT.Anterior, codes.SCT.Posterior]


def test_a_header_that_highdicom_refuses_keeps_its_patient_and_says_nothing(tmp_path, silent):
    case = image_case("classic")
    datasets = copy.deepcopy(list(case.instances))
    for dataset in datasets:
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName = "Müller-Geheim"  # one component: highdicom warns and quotes it
        dataset.PatientSex = "X"
        del dataset.StudyDate, dataset.ReferringPhysicianName
    own = case._replace(source=CaseSource(tuple(datasets), datasets[0]), instances=datasets)
    read = write(binary_segmentation, labels(case.shape), own, tmp_path / "seg.dcm")
    assert str(read.PatientName) == "Müller-Geheim"
    for keyword in ("PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber", "StudyID"):
        assert read[keyword].value == datasets[0][keyword].value
    silent(datasets)


SHAPE = (*GRID, 4)


@pytest.mark.parametrize(
    ("make", "array", "names", "message"),
    [
        (binary_segmentation, np.zeros(GRID, np.uint8), NAMES, "segmentation must have the shape"),
        (binary_segmentation, np.zeros((2, *SHAPE), np.uint8), NAMES, "with 3 structures"),
        (binary_segmentation, np.full(SHAPE, 4, np.uint8), NAMES, r"must lie in 0..3, got 4..4"),
        (binary_segmentation, np.full(SHAPE, -1), NAMES, r"must lie in 0..3"),
        (binary_segmentation, np.full((3, *SHAPE), 2, np.uint8), NAMES, r"must lie in 0..1"),
        (binary_segmentation, np.zeros(SHAPE), NAMES, "integers or booleans"),
        (binary_segmentation, np.zeros(SHAPE, np.uint8), ["a", "a"], "different names"),
        (binary_segmentation, np.zeros(SHAPE, np.uint8), [], "names of 1 to 64"),
        (binary_segmentation, np.zeros(SHAPE, np.uint8), ["x" * 65], "names of 1 to 64"),
        (binary_segmentation, np.zeros(SHAPE, np.uint8), ["a\\b"], "backslash"),
        (binary_segmentation, np.zeros((*GRID, 3), np.uint8), NAMES, "source.instances"),
        (binary_segmentation, np.zeros((GRID[1], GRID[0], 4), np.uint8), NAMES, "rows and columns"),
        (fractional_segmentation, np.zeros(SHAPE), NAMES, "must be real and of the shape"),
        (fractional_segmentation, np.zeros((5, *SHAPE)), NAMES, "must be real and of the shape"),
        (fractional_segmentation, np.zeros((3, *SHAPE), complex), NAMES, "must be real"),
        (fractional_segmentation, np.full((3, *SHAPE), 1.1), NAMES, r"in \[0, 1\], got 1.1"),
        (fractional_segmentation, np.full((3, *SHAPE), np.nan), NAMES, r"in \[0, 1\], got nan"),
    ],
)
def test_what_does_not_fit_is_refused(make, array, names, message):
    case = image_case("classic")
    refuses(ValueError, message, make, array, names, case.affine, case.source, DERIVATION, 902)
