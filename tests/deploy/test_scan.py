"""Which files make which case, what is passed over, and that one bad series does not stop the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from series_files import assert_no_identifier, save_series

from hospital.mr_series import example_datasets, write_example_series
from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.dicom.identity import MANUFACTURER
from infomri_monai.deploy.dicom.scan import find_series
from infomri_monai.deploy.dicom.slices import slice_headers, stack_slices

pydicom = pytest.importorskip("pydicom")
SMALL = {"slices": 3, "grid": (32, 32)}


def problems(folder):
    return [candidate.problem for candidate in find_series(folder).candidates]


def test_series_are_found_in_any_nesting_and_under_any_name(tmp_path):
    for number, path in enumerate(write_example_series(tmp_path / "x", **SMALL)):
        target = tmp_path / "deep" / f"folder{number}" / f"IM_{number}"
        target.parent.mkdir(parents=True)
        path.rename(target)
    (tmp_path / "x" / "readme.txt").write_text("no image")
    write_example_series(tmp_path / "another", "enhanced", **SMALL)
    scan = find_series(tmp_path)
    assert [(c.number, len(c.files), c.problem) for c in scan.candidates] == [(1, 1, ""), (2, 3, "")]
    assert scan.notes == ("passed over 1 file that is not DICOM",)
    assert str(tmp_path) not in repr(scan)


def test_what_this_software_made_is_no_input(tmp_path):
    write_example_series(tmp_path / "source", **SMALL)
    own = example_datasets(seed=1, **SMALL)
    for dataset in own:
        dataset.Manufacturer = MANUFACTURER
    save_series(own, tmp_path / "result")
    scan = find_series(tmp_path)
    assert [len(c.files) for c in scan.candidates] == [3]
    assert scan.notes == ("passed over series that are no MR images to process: 1 MR made by infomri_monai",)


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
    assert scan.notes == ("passed over series that are no MR images to process: 1 SEG, 1 SR, 1 localizer",)


def test_one_bad_series_does_not_stop_the_others(tmp_path):
    save_series(example_datasets(**SMALL), tmp_path / "b")
    bad = example_datasets(seed=1, **SMALL)
    bad[0].EchoTime = 99
    save_series(bad, tmp_path / "a")
    assert [bool(p) for p in problems(tmp_path)] == [True, False]


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


def test_text_called_dcm_is_no_readable_dicom(tmp_path):
    (tmp_path / "DOE.dcm").write_text("DOE^JANE")
    assert problems(tmp_path) == ["the file cannot be used: no readable DICOM file (InvalidDicomError)."]


def test_copies_and_second_acquisitions_at_the_same_positions(tmp_path):
    datasets = example_datasets(**SMALL)
    folder = save_series([*datasets, datasets[0]], tmp_path / "copy")
    assert problems(folder) == ["1 of 4 files are copies of others; keep one of each."]
    again = example_datasets(**SMALL)
    for number, d in enumerate(again):
        d.SOPInstanceUID = f"1.2.3.{number}"
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
    folder = save_series([*datasets, *again], tmp_path / "twice")
    (problem,) = problems(folder)
    assert problem.startswith(
        "each position must hold one image; 3 of 6 images lie where another one does (first at slice 1)"
    )


def test_several_multi_frame_images_in_one_series(tmp_path):
    datasets = [example_datasets("enhanced", seed=seed, **SMALL)[0] for seed in (0, 1)]
    datasets[1].SeriesInstanceUID = datasets[0].SeriesInstanceUID
    folder = save_series(datasets, tmp_path)
    assert problems(folder) == ["a series must hold single-frame images or one multi-frame image, found 2 files."]


def test_frames_of_several_echoes_and_a_wrong_number_of_frames(tmp_path):
    (dataset,) = example_datasets("enhanced", **SMALL)
    echo = pydicom.Dataset()
    echo.EffectiveEchoTime = 80.0
    dataset.PerFrameFunctionalGroupsSequence[1].MREchoSequence = [echo]
    (problem,) = problems(save_series([dataset], tmp_path / "a"))
    assert "its 3 images differ in echo time (2 values)" in problem
    (dataset,) = example_datasets("enhanced", **SMALL)
    dataset.NumberOfFrames = 2
    (problem,) = problems(save_series([dataset], tmp_path / "b"))
    assert "must describe each of its 2 frames, found 3 descriptions" in problem


def test_empty_folder_and_missing_folder(tmp_path):
    assert find_series(tmp_path) == ((), ())
    with pytest.raises(DeployError, match="must be an existing folder") as caught:
        find_series(tmp_path / "DOE")
    assert caught.value.code == EXIT_USAGE
    assert "DOE" not in str(caught.value)


def test_spacing_of_the_header_tells_that_every_second_slice_is_missing():
    """Only where it cannot be the gap between slices, which some scanners write there."""
    with pytest.raises(DeployError, match="missing slices: gap of 1 between slice 1 and 2"):
        stack_slices(HEADERS[::2])
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
    with pytest.raises(DeployError, match=f"gap of {gaps[place] - 1} between slice {place + 1} and {place + 2}"):
        stack_slices([HEADERS[n] for n in kept])
