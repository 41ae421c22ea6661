"""Which pictures of MR are slices of a magnitude, how files are recognised and copies told, and mosaics as nibabel unpacks them."""

from __future__ import annotations

import gzip
import io
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from helper import refuses

from hospital.mr_series import example_datasets
from infomri_monai.data.dicom.quiet import DicomError
from infomri_monai.data.dicom.series import find_series
from infomri_monai.data.dicom.volume import read_series

NIBABEL = Path(nibabel.__file__).parent / "nicom/tests/data"
SMALL = {"slices": 3, "grid": (32, 32)}


def save(datasets, folder, **values):
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)
    return folder


def mosaic(folder, change=None):
    """nibabel's diffusion mosaic: 48 slices of 128 x 128 in a picture of 896 x 896; its pixels are all 0, so they get values."""
    dataset = pydicom.dcmread(io.BytesIO(gzip.decompress((NIBABEL / "siemens_dwi_1000.dcm.gz").read_bytes())))
    values = np.random.default_rng(0).integers(1, 4096, (896, 896)).astype(np.uint16)
    values[768:, 768:] = 0  # the tile after the last slice
    dataset.PixelData = values.tobytes()
    if change is not None:
        change(dataset)
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / "mosaic.dcm")
    return dataset


def only(folder):
    (candidate,) = find_series(folder).candidates
    return candidate


def test_a_mosaic_is_unpacked_as_nibabel_does(tmp_path):
    dataset = mosaic(tmp_path / "a")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import wrapper_from_data

        oracle = wrapper_from_data(dataset)
        data = np.asarray(oracle.get_data())  # (row, column, slice), LPS
        affine = np.diag([-1, -1, 1, 1]) @ oracle.affine[:, [1, 0, 2, 3]]
    volume = read_series(only(tmp_path / "a"))
    assert volume.pixels.shape == (128, 128, 48)
    turned = np.sign(np.linalg.det(affine[:3, :3])) != np.sign(np.linalg.det(volume.affine[:3, :3]))
    if turned:  # ours follow the normal of rows and columns, nibabel's the scanner's
        affine = affine @ [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 47], [0, 0, 0, 1]]
        data = data[..., ::-1]
    np.testing.assert_array_equal(volume.pixels, data.swapaxes(0, 1))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-3)


def no_csa(dataset):
    del dataset[0x0029, 0x1010]


def damaged_csa(dataset):
    dataset[0x0029, 0x1010].value = dataset[0x0029, 0x1010].value[:3000]


def filled(dataset):
    pixels = dataset.pixel_array.copy()
    pixels[-1, -1] = 7
    dataset.PixelData = pixels.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_csa, "is a Siemens mosaic .*, and its private header does not say how many slices"),
        (damaged_csa, "is a Siemens mosaic .*, and its private header does not say"),
        (lambda d: delattr(d, "SpacingBetweenSlices"), "is a Siemens mosaic without SpacingBetweenSlices"),
        (lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0, 0, 1]), "states another slice normal"),
        (filled, "holds more than the 48 slices"),
    ],
)
def test_a_mosaic_that_cannot_be_unpacked_is_refused_by_name(tmp_path, change, message):
    mosaic(tmp_path / "a", change)
    refuses(DicomError, message, read_series, only(tmp_path / "a"))


def test_two_mosaics_are_two_volumes(tmp_path):
    mosaic(tmp_path / "a").save_as(tmp_path / "first.dcm")
    (tmp_path / "first.dcm").rename(tmp_path / "a/first.dcm")
    mosaic(tmp_path / "a", lambda d: setattr(d, "SOPInstanceUID", "1.2.3"))
    refuses(DicomError, "holds 2 Siemens mosaics, each a volume", read_series, only(tmp_path / "a"))


def private(group, creator, offset, vr, value):
    def change(dataset):
        dataset.private_block(group, creator, create=True).add_new(offset, vr, value)

    return change


def typed(*values):
    return lambda dataset: setattr(dataset, "ImageType", [*values])


PARTS, MAP, PROJECTION = (
    "found phase, real or imaginary parts",
    "found a computed map",
    "found a projection or rendering",
)


@pytest.mark.parametrize(
    ("change", "problem", "warning"),
    [
        (typed("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"), "", ""),
        (typed("ORIGINAL", "PRIMARY", "OTHER", "ND", "P"), PARTS, ""),
        (typed("ORIGINAL", "PRIMARY", "PHASE MAP", "P", "SE"), PARTS, ""),
        (typed("ORIGINAL", "PRIMARY", "DIXON", "IN_PHASE"), "", ""),
        (typed("DERIVED", "PRIMARY", "IP", "IP", "DERIVED"), "", ""),
        (typed("DERIVED", "PRIMARY", "ANGIO", "MAX_IP"), PROJECTION, ""),
        (typed("DERIVED", "PRIMARY", "PHASE_DIFFERENCE"), PARTS, ""),
        *[(typed("DERIVED", "PRIMARY", word), MAP, "") for word in ("R2_STAR", "FAT_FRACTION", "TEMPERATURE")],
        *[(private(0x43, "GEMS_PARM_01", 0x2F, "SS", n), PARTS if n else "", "") for n in range(4)],
        (private(0x2005, "Philips MR Imaging DD 001", 0x11, "CS", "I"), PARTS, ""),
        (private(0x51, "SIEMENS MR HEADER", 0x16, "LO", "P/ND/NORM"), PARTS, ""),
        (private(0x51, "SIEMENS MR HEADER", 0x16, "LO", "M/ND/NORM"), "", ""),
        (lambda d: setattr(d, "ComplexImageComponent", "REAL"), PARTS, ""),
        (typed("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"), MAP, ""),
        (typed("DERIVED", "PRIMARY", "DIFFUSION", "FA"), MAP, ""),
        (typed("DERIVED", "PRIMARY", "M", "ND", "T1 MAP"), MAP, ""),
        (typed("DERIVED", "PRIMARY", "VELOCITY MAP", "P", "PCA"), PARTS, ""),
        (typed("DERIVED", "SECONDARY", "PROJECTION IMAGE", "CSA MIP", "", "M", "ND"), PROJECTION, ""),
        (typed("DERIVED", "SECONDARY", "M", "MNIP", "SWI"), PROJECTION, ""),
        (typed("DERIVED", "SECONDARY", "MPR", "CSA MPR"), "", "were computed from others"),
        (typed("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"), "", "were computed from others"),
    ],
)
@pytest.mark.parametrize("syntax", [pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian])
def test_all_of_the_image_type_and_vendors_tags_count(tmp_path, change, problem, warning, syntax):
    datasets = example_datasets(**SMALL)
    for dataset in datasets:
        change(dataset)
        dataset.file_meta.TransferSyntaxUID = syntax
    candidate = only(save(datasets, tmp_path / "a"))
    assert (problem in candidate.problem) if problem else candidate.problem == ""
    assert any(warning in w for w in candidate.warnings) if warning else candidate.warnings == ()


def test_a_frame_of_philips_says_privately_that_it_is_a_phase(tmp_path):
    (enhanced,) = example_datasets("enhanced", **SMALL)
    for frame in enhanced.PerFrameFunctionalGroupsSequence:
        item = pydicom.Dataset()
        private(0x2005, "Philips MR Imaging DD 001", 0x11, "CS", "P")(item)
        private(0x2005, "Philips MR Imaging DD 005", 0x0F, "SQ", [item])(frame)
    assert PARTS in only(save([enhanced], tmp_path / "a")).problem


@pytest.mark.parametrize("each", [1, 3])
def test_few_slices_of_several_planes_are_a_localizer(tmp_path, each):
    planes = ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])
    datasets = [d for n, _ in enumerate(planes) for d in example_datasets(slices=each, grid=(32, 32), seed=n)]
    for number, dataset in enumerate(datasets):
        dataset.ImageOrientationPatient = planes[number // each]
    save(datasets, tmp_path / "scout", SeriesInstanceUID="1.2.3", StudyInstanceUID="1.2", FrameOfReferenceUID="1.4")
    scan = find_series(tmp_path)
    assert (scan.candidates, scan.notes) == ((), ("passed over series that are no MR images to process: 1 localizer",))


def bare(path):
    path.write_bytes(path.read_bytes()[132:])


def without_meta(path):
    dataset = pydicom.dcmread(path)
    pydicom.filewriter.dcmwrite(path, dataset_only(dataset), implicit_vr=True, little_endian=True)


def dataset_only(dataset):
    plain = pydicom.Dataset()
    plain.update(dataset)
    return plain


def without_syntax(path):
    dataset = pydicom.dcmread(path)
    raw = path.read_bytes()
    at = raw.index(b"\x02\x00\x10\x00UI")
    length = 8 + int.from_bytes(raw[at + 6 : at + 8], "little")
    group = int.from_bytes(raw[140:144], "little") - length
    path.write_bytes(raw[:140] + group.to_bytes(4, "little") + raw[144:at] + raw[at + length :])
    assert "TransferSyntaxUID" not in pydicom.dcmread(path).file_meta
    return dataset


@pytest.mark.parametrize("change", [bare, without_meta, without_syntax])
@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_files_without_preamble_or_transfer_syntax_are_read(tmp_path, change, suffix):
    expected = read_series(only(save(example_datasets(**SMALL), tmp_path / "whole")))
    for path in sorted((tmp_path / "whole").iterdir()):
        change(path)
        path.rename(path.with_suffix(suffix))
    np.testing.assert_array_equal(read_series(only(tmp_path / "whole")).pixels, expected.pixels)


def test_what_is_no_dicom_without_preamble_says_so(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00" + b"\xff" * 300)
    assert only(tmp_path).problem.startswith("the file cannot be used: no preamble, and ")


def test_copies_are_one(tmp_path):
    """To the byte, or compressed another way; the note names them by their place."""
    folder = save(example_datasets(**SMALL), tmp_path / "a")
    expected = read_series(only(folder))
    (folder / "x.dcm").write_bytes((folder / "001.dcm").read_bytes())
    dataset = pydicom.dcmread(folder / "002.dcm")
    dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    dataset.save_as(folder / "y.dcm")
    candidate = only(folder)
    assert candidate.notes == ("of 5 files (in the order of their names), 4, 5 are copies of others",)
    assert (candidate.problem, candidate.warnings, len(candidate.files)) == ("", (), 3)
    np.testing.assert_array_equal(read_series(candidate).pixels, expected.pixels)


def test_a_slope_of_zero_is_refused(tmp_path):
    save(example_datasets(**SMALL), tmp_path / "a", RescaleSlope="0", RescaleIntercept="0", RescaleType="US")
    assert "RescaleSlope must not be 0" in only(tmp_path / "a").problem


def test_a_series_says_what_it_is_to_whoever_asks(tmp_path):
    candidate = only(save(example_datasets(**SMALL), tmp_path / "a"))
    assert (candidate.series_number, candidate.description) == (3, "Example classic MR")
    assert candidate.uid == example_datasets(**SMALL)[0].SeriesInstanceUID
    assert "Example" not in repr(candidate)


def test_a_copy_that_cannot_be_read_is_named(tmp_path):
    folder = save(example_datasets(**SMALL), tmp_path / "a")
    (folder / "x.dcm").write_bytes((folder / "001.dcm").read_bytes()[:-40])
    message = "files 2 and 4 of 4 .* have one SOPInstanceUID, and one of them cannot be read: .* truncated"
    refuses(DicomError, message, read_series, only(folder))
