"""Which files make which case, what is passed over, and that one bad series does not stop the others.

DICOM series as cases: MONAI's ITK reader is the oracle of pixels and geometry, and every fault says what it is.
"""

from __future__ import annotations

import logging
import re
import shutil

import numpy as np
import pydicom
import pytest
from damaged_series import SERIES_FAULTS, changed, every, of_one
from fault_runs import named
from faults import Fault, secrets
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import ITKReader
from series_files import assert_no_identifier, save_series

from hospital.mr_series import example_datasets, write_example_series
from infomri_monai.data.dicom.quiet import DicomError
from infomri_monai.data.dicom.series import find_series
from infomri_monai.data.dicom.slices import slice_headers, stack_slices
from infomri_monai.deploy.case import EXIT_CASE_FAILED, DeployError
from infomri_monai.deploy.dicom.series import read_case

SMALL, SERIES = {"slices": 3, "grid": (32, 32)}, {"slices": 4, "grid": (48, 32)}


def problems(folder):
    return [candidate.problem for candidate in find_series(folder).candidates]


def test_series_are_found_in_any_nesting_and_under_any_name(tmp_path):
    for number, path in enumerate(write_example_series(tmp_path / "x", **SMALL)):
        target = tmp_path / "deep" / f"folder{number}" / f"IM_{number}"
        target.parent.mkdir(parents=True)
        path.rename(target)
    for name in ("readme.txt", "notes.txt"):
        (tmp_path / "x" / name).write_text("no image")
    write_example_series(tmp_path / "another", "enhanced", **SMALL)
    scan = find_series(tmp_path)
    assert [(c.number, len(c.files), c.problem) for c in scan.candidates] == [(1, 1, ""), (2, 3, "")]
    assert scan.notes == ("passed over 2 files that are not DICOM",)
    assert str(tmp_path) not in repr(scan)


def test_two_series_in_one_folder_are_two_cases(tmp_path):
    first, second = example_datasets(**SMALL), example_datasets(seed=1, **SMALL)
    save_series([d for pair in zip(first, second, strict=True) for d in pair], tmp_path)
    scan = find_series(tmp_path)
    assert [len(c.files) for c in scan.candidates] == [3, 3]
    assert problems(tmp_path) == ["", ""]


def test_companions_localizers_and_dicomdir_are_passed_over(tmp_path):
    save_series(example_datasets(**SMALL), tmp_path / "images")
    others = example_datasets(seed=1, **SMALL)
    others[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    report, segmentation = others[1:]
    report.SOPClassUID, report.Modality, report.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "SR", "1.2.3"
    del report.Rows, report.PixelData
    segmentation.SOPClassUID, segmentation.Modality = "1.2.840.10008.5.1.4.1.1.66.4", "SEG"
    segmentation.SeriesInstanceUID = "1.2.4"
    save_series(others, tmp_path / "others")
    directory = pydicom.Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    directory.preamble = bytes(128)
    pydicom.dcmwrite(tmp_path / "DICOMDIR", directory)
    scan = find_series(tmp_path)
    assert [c.problem for c in scan.candidates] == [""]
    assert scan.notes == ("passed over series that are no MR images to process: 1 DICOMDIR, 1 SEG, 1 SR, 1 localizer",)


def test_every_truncation_of_a_header_is_a_problem_of_its_series(tmp_path):
    """Wherever a file ends before its pixels, its series fails: a stack without that slice would look complete."""
    paths = write_example_series(tmp_path / "series", **SMALL)
    write_example_series(tmp_path / "whole", "enhanced", **SMALL)
    raw = paths[2].read_bytes()
    header = raw.index(b"\xe0\x7f\x10\x00OW")
    for length in [0, 50, 131, 132, 140, 153, *range(160, header, 97), header]:
        paths[2].write_bytes(raw[:length])
        first, second = problems(tmp_path)
        assert first.startswith("1 of 3 files cannot be used: "), length
        assert second == ""
        assert_no_identifier(first, [pydicom.dcmread(paths[0])])


def test_damaged_file_among_several_series_is_a_case_of_its_own(tmp_path):
    paths = write_example_series(tmp_path, **SMALL)
    (broken,) = save_series(example_datasets("enhanced", **SMALL), tmp_path / "x").iterdir()
    broken.rename(tmp_path / "z.dcm")
    (tmp_path / "y.dcm").write_bytes(paths[0].read_bytes()[:200])
    first, second, third = problems(tmp_path)
    assert (first, third) == ("", "")
    assert second == "the file cannot be used: truncated: its header ends before the pixel data."


def test_empty_folder_and_missing_folder(tmp_path):
    assert find_series(tmp_path) == ((), ())
    refuses(DicomError, "^the input must be an existing folder of DICOM files.$", find_series, tmp_path / "DOE")


def test_spacing_of_the_header_tells_that_every_second_slice_is_missing():
    """Only where it cannot be the gap between slices, which some scanners write there."""
    refuses(DicomError, "missing slices: gap of 1 between slice 1 and 2", stack_slices, HEADERS[::2])
    gap_declared = [h._replace(spacing=2.0, thickness=6.0) for h in HEADERS]
    assert "declares 2 mm between slices" in stack_slices(gap_declared).warnings[0]


HEADERS = [slice_headers(d)[0] for d in example_datasets(slices=8, grid=(16, 16))]


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(8)), st.sets(st.integers(1, 6), max_size=4))
def test_order_is_recovered_and_holes_are_found(order, holes):
    kept = [n for n in order if n not in holes]
    if not holes:
        stack = stack_slices([HEADERS[n] for n in kept])
        assert [kept[n] for n in stack.order] == list(range(8))
        return
    present = sorted(kept)
    gaps = np.diff(present)
    place = int(np.argmax(gaps > 1))
    with pytest.raises(DicomError, match=f"gap of {gaps[place] - 1} between slice {place + 1} and {place + 2}"):
        stack_slices([HEADERS[n] for n in kept])


def read(folder):
    (candidate,) = find_series(folder).candidates
    return read_case(candidate)


def itk_read(folder):
    reader = ITKReader()
    array, meta = reader.get_data(reader.read(str(folder)))
    return np.asarray(array, dtype=np.float32), np.asarray(meta["affine"])


def assert_equals_itk(folder, case=None):
    case = read(folder) if case is None else case
    array, affine = itk_read(folder)
    np.testing.assert_array_equal(case.data[0], array)
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in array.shape), 1]]).T
    np.testing.assert_allclose(case.affine, affine, atol=1e-5)
    np.testing.assert_allclose(case.affine @ corners, affine @ corners, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{}, {"oblique": False}, {"aspect": 1.5, "spacing": 3.7}, {"grid": (31, 50)}, {"slices": 2}, {"slices": 1}],
)
def test_classic_series_is_what_itk_reads(tmp_path, options):
    write_example_series(tmp_path, **{**SERIES, **options})
    assert_equals_itk(tmp_path)


def rounded(decimals):
    def change(d, number):
        d.ImageOrientationPatient = [round(x, decimals) for x in d.ImageOrientationPatient]

    return change


def rescaled(d, number):
    d.RescaleSlope, d.RescaleIntercept, d.RescaleType = f"{0.25 * (number + 1)}", "12.5", "US"


def inverted(d, number):
    d.PhotometricInterpretation, d.RescaleSlope, d.RescaleIntercept = "MONOCHROME1", "0.5", "3"


def signed(d, number):
    d.PixelRepresentation, d.PixelData = 1, (d.pixel_array.astype(np.int16) - 2048).tobytes()


def with_unused_high_bits(d, number):
    d.PixelData = (d.pixel_array | 0x8000).astype("<u2").tobytes()


@pytest.mark.parametrize("change", [rounded(3), rounded(6), rescaled, inverted, signed, with_unused_high_bits])
def test_a_changed_series_with_its_files_in_any_order_is_what_itk_reads(tmp_path, change):
    datasets = example_datasets(**SERIES)
    for number, d in enumerate(datasets):
        change(d, number)
    folder = save_series([datasets[n] for n in (2, 0, 3, 1)], tmp_path)
    assert_equals_itk(folder)
    words = "the image holds negative values; magnitudes have none."
    assert (words in read(folder).warnings) == (change is signed)


def test_enhanced_equals_classic_in_any_order_of_frames(tmp_path):
    write_example_series(tmp_path / "classic", **SERIES)
    classic = read(tmp_path / "classic")
    (enhanced,) = example_datasets("enhanced", **SERIES)
    order = [2, 0, 3, 1]
    enhanced.PixelData = enhanced.pixel_array[order].tobytes()
    groups = enhanced.PerFrameFunctionalGroupsSequence
    enhanced.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    case = read(save_series([enhanced], tmp_path / "enhanced"))
    np.testing.assert_array_equal(case.data, classic.data)
    np.testing.assert_allclose(case.affine, classic.affine, atol=1e-12)
    assert case.source.frames == (2, 4, 1, 3)
    assert len(case.source.instances) == 1
    assert classic.source.frames == ()


def test_case_has_type_source_and_slices_in_order(tmp_path):
    datasets = example_datasets(**SERIES)
    case = read(save_series(datasets[::-1], tmp_path))
    assert (case.number, case.domain, case.has_geometry, case.warnings, case.mask) == (1, "image", True, (), None)
    assert str(case.data.dtype) == "torch.float32"
    assert case.affine.dtype == np.float64
    assert tuple(case.data.shape) == (1, 48, 32, 4)
    assert case.seconds["load"] > 0
    assert [i.SOPInstanceUID for i in case.source.instances] == [d.SOPInstanceUID for d in datasets]
    assert not any("PixelData" in i for i in case.source.instances)
    for k, dataset in enumerate(datasets):
        np.testing.assert_array_equal(case.data[0, :, :, k], dataset.pixel_array.T)
        lps = case.affine @ [0, 0, k, 1] * [-1, -1, 1, 1]
        np.testing.assert_allclose(lps[:3], np.array(dataset.ImagePositionPatient, float), atol=1e-4)


def test_attributes_are_the_sources(tmp_path):
    datasets = example_datasets(**SERIES)
    for d in datasets:
        del d.StudyID, d.FrameOfReferenceUID
        d.SpecificCharacterSet, d.PatientName = "ISO_IR 192", "MÜLLER^ÅSA"
    case = read(save_series(datasets, tmp_path))
    attributes = case.source.attributes
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert attributes[keyword].value == datasets[0][keyword].value
    assert str(attributes.PatientName) == "MÜLLER^ÅSA"
    assert attributes.SpecificCharacterSet == "ISO_IR 192"
    assert "StudyID" not in attributes
    assert attributes.FrameOfReferenceUID.is_valid
    assert {i.FrameOfReferenceUID for i in case.source.instances} == {attributes.FrameOfReferenceUID}
    assert case.warnings == ("FrameOfReferenceUID was missing and is made new.",)


def test_per_frame_rescaling_of_an_enhanced_image(tmp_path):
    (enhanced,) = example_datasets("enhanced", **SERIES)
    (group,) = enhanced.SharedFunctionalGroupsSequence
    del group.PixelValueTransformationSequence
    for k, frame in enumerate(enhanced.PerFrameFunctionalGroupsSequence):
        item = pydicom.Dataset()
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = str(k + 1), "-1", "US"
        frame.PixelValueTransformationSequence = [item]
    expected = enhanced.pixel_array * np.arange(1, 5)[:, None, None] - 1.0
    np.testing.assert_array_equal(read(save_series([enhanced], tmp_path)).data[0], expected.T)


def test_padding_becomes_zero(tmp_path):
    datasets = example_datasets(**SERIES)
    for d in datasets:
        values = d.pixel_array.copy()
        values[:3] = 4000
        d.PixelData, d.PixelPaddingValue, d.PixelPaddingRangeLimit = values.tobytes(), 4000, 4095
        d.RescaleSlope, d.RescaleIntercept = "1", "10"
    expected = np.stack([d.pixel_array for d in datasets]).astype(float)
    expected = np.where(expected >= 4000, 0, expected + 10)
    np.testing.assert_array_equal(read(save_series(datasets, tmp_path)).data[0], expected.T)


def test_thickness_of_a_single_slice(tmp_path):
    (dataset,) = example_datasets(slices=1)
    del dataset.SpacingBetweenSlices  # ITK then takes 1 mm
    assert np.linalg.norm(read(save_series([dataset], tmp_path / "a")).affine[:3, 2]) == pytest.approx(7.2)
    del dataset.SliceThickness
    case = read(save_series([dataset], tmp_path / "b"))
    assert np.linalg.norm(case.affine[:3, 2]) == pytest.approx(1)
    assert "1 mm is taken" in case.warnings[0]


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless"])
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_lossless_compression_gives_the_same_values(tmp_path, syntax, kind):
    uid = getattr(pydicom.uid, syntax)
    if not pydicom.pixels.get_encoder(uid).is_available:
        pytest.skip("no encoder")
    expected = read(save_series(example_datasets(kind, **SERIES), tmp_path / "plain")).data
    datasets = example_datasets(kind, **SERIES)
    for d in datasets:
        d.compress(uid, generate_instance_uid=False)
    np.testing.assert_array_equal(read(save_series(datasets, tmp_path / "compressed")).data, expected)


def test_zeros_and_odd_headers_are_warned_about(tmp_path):
    datasets = example_datasets(**SERIES)
    datasets[2].PixelData = bytes(len(datasets[2].PixelData))
    for number, d in enumerate(datasets):
        d.SpacingBetweenSlices, d.InstanceNumber = "1", number + 3
    case = read(save_series(datasets, tmp_path / "a"))
    assert case.warnings[0].startswith("the header declares 1 mm between slices, their positions are 8 mm apart")
    assert case.warnings[1] == "instance numbers run up to 6, 4 are there: slices at an end may be missing."
    assert case.warnings[2] == "1 of 4 slices are all zero."
    for d in datasets:
        d.PixelData = bytes(len(d.PixelData))
    assert "all pixels are zero." in read(save_series(datasets, tmp_path / "b")).warnings


def shifted(series):
    for k, d in enumerate(series):
        row = np.array(d.ImageOrientationPatient[:3], float)
        d.ImagePositionPatient = [round(x, 6) for x in np.array(d.ImagePositionPatient, float) + 3 * k * row]


def uneven(series):
    before, place = (np.array(d.ImagePositionPatient, float) for d in series[1:3])
    series[2].ImagePositionPatient = [round(x, 6) for x in 0.7 * place + 0.3 * before]


def of_two_echoes(series):
    series[0].PerFrameFunctionalGroupsSequence[1].MREchoSequence = [pydicom.Dataset()]
    series[0].PerFrameFunctionalGroupsSequence[1].MREchoSequence[0].EffectiveEchoTime = 80.0


def of_two_images(series):
    series += example_datasets("enhanced", seed=1, **SMALL)
    series[1].SeriesInstanceUID = series[0].SeriesInstanceUID


def without(keyword):
    return changed(lambda series: delattr(series[1], keyword))


#: beside those that the applications are given
FAULTS = (
    Fault("spacing", of_one(PixelSpacing=[2, 2]), "differ in pixel spacing (2 values)"),
    Fault("echo", of_one(EchoTime=80, EchoNumbers=2), "echo time (2 values), echo number (2 values)"),
    Fault("contrast", of_one(ContrastBolusAgent="Gd"), "differ in contrast agent (2 values)"),
    Fault("echo of a frame", changed(of_two_echoes, "enhanced"), "its 4 images differ in echo time (2 values)"),
    Fault("two images", changed(of_two_images, "enhanced"), "or one multi-frame image, found 2 files."),
    Fault("uneven", changed(uneven), "must be evenly spaced; the gaps range from"),
    Fault("sheared", changed(shifted), "stacked along their normal"),
    Fault("CT", every(Modality="CT"), "must hold MR images, found CT"),
    Fault("invented modality", every(Modality="DOE4711"), "must hold MR images, found another modality"),
    Fault("signed", every(PhotometricInterpretation="MONOCHROME1", PixelRepresentation=1), "MONOCHROME1 with signed"),
    Fault("no bits", without("BitsAllocated"), "cannot be decoded (AttributeError)"),
    Fault("no pixel spacing", without("PixelSpacing"), "1 of 4 files cannot be used: an image must have PixelSp"),
    Fault("no pixel data", without("PixelData"), "1 of 4 files cannot be used: truncated"),
    Fault("no UID", without("SOPInstanceUID"), "must have a SeriesInstanceUID and a SOPInstanceUID"),
    Fault("skew", every(ImageOrientationPatient=[1, 0, 0, 0.5, 0.5, 0]), "two orthogonal unit vectors"),
    Fault("flat", every(PixelSpacing=[0, 1]), "PixelSpacing must be positive"),
)


@named([*SERIES_FAULTS, *FAULTS])
def test_faults_say_what_is_wrong_and_quote_nothing(tmp_path, caplog, capfd, recwarn, fault):
    fault.write(tmp_path)
    caplog.clear(), capfd.readouterr(), recwarn.clear()
    caplog.set_level(logging.DEBUG)
    with pytest.raises(DeployError, match=re.escape(fault.message)) as caught:
        read(tmp_path)
    assert caught.value.code == EXIT_CASE_FAILED
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    told = str(caught.value) + caplog.text + "".join(capfd.readouterr()) + repr(find_series(tmp_path))
    assert not recwarn.list
    assert [secret for secret in (*secrets(), str(tmp_path)) if secret in told] == []


def test_damaged_value_of_a_tag_is_neither_logged_nor_warned_about(tmp_path, caplog, capfd, recwarn):
    """pydicom quotes invalid values when it decodes them; an element that cannot be decoded is dropped from the source."""
    folder = save_series(example_datasets(**SERIES), tmp_path / "series")
    for path in folder.iterdir():
        raw = path.read_bytes()
        assert raw.count(b"19470229") == raw.count(b"HFS ") == 1
        path.write_bytes(raw.replace(b"19470229", b"DOE^1947").replace(b"ISO_IR 100", b"ISO_IR DOE"))
    caplog.set_level(logging.DEBUG)
    case = read(folder)
    str(case.source.attributes)
    output = capfd.readouterr()
    assert not recwarn.list
    assert "DOE" not in caplog.text + output.out + output.err
    assert len(case.source.instances) == 4


def test_pixels_that_vanish_between_scan_and_reading(tmp_path):
    folder = save_series(example_datasets(**SERIES), tmp_path / "series")
    (candidate,) = find_series(folder).candidates
    shutil.rmtree(folder)
    refuses(DeployError, r"^the series cannot be read \(FileNotFoundError\)\.$", read_case, candidate)


def test_a_frame_of_reference_with_the_uid_of_its_study_is_made_new(tmp_path):
    """As in pydicom's own test data; results of several series of the study still share one."""
    made = set()
    for name in ("a", "b"):
        datasets = example_datasets(**SMALL)
        for dataset in datasets:
            dataset.StudyInstanceUID = dataset.FrameOfReferenceUID = "1.2.3"
        case = read(save_series(datasets, tmp_path / name))
        assert case.warnings == (
            "FrameOfReferenceUID was that of the study or series, which is invalid, and is made new.",
        )
        made |= {str(dataset.FrameOfReferenceUID) for dataset in case.source.instances}
    assert len(made) == 1
    assert "1.2.3" not in made
