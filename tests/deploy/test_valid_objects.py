"""Files of other projects through whole applications: what is written is valid by ``dciodvfy``, or the file is refused by name.

Also UIDs that pydicom calls invalid: they are a PACS's only name for its images, and are referred to letter by letter.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from application_runs import APPLICATIONS
from pydicom.data import get_testdata_file
from validate import assert_valid_dicom

from hospital.mr_series import example_datasets, write_example_series
from infomri_monai.deploy.case import EXIT_CASE_FAILED, EXIT_OK

NIBABEL = Path(nibabel.__file__).parent / "nicom/tests/data"
#: number of slices, or what is said of it; MR_small is there nine times: encoded in other ways, all but one are its copies
EXPECTED = {
    "mr_small": 1,
    "mr_truncated": "the pixel data of an image are truncated",
    "mr_overlay": 1,
    "mosaic": 48,
    "philips": 3,
    "projection": "found a projection or rendering",
    "headless": "truncated: its header ends before the pixel data",
    "nameless": "must have a SeriesInstanceUID and a SOPInstanceUID",
    "classic": 3,
    "enhanced": 3,
}
#: of the folder that pydicom's DICOMDIR lists: single scouts, which nothing in their headers calls so
SCOUTS = ("4919", "5641", "15820", "15970")


def philips(folder):
    """nibabel's file has pixels of zero: three of its frames, with a head in them."""
    dataset = pydicom.dcmread(io.BytesIO(gzip.decompress((NIBABEL / "philips_mprage.dcm.gz").read_bytes())))
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[80:83]
    head = np.zeros((3, int(dataset.Rows), int(dataset.Columns)), np.uint16)
    head[:, 60:200, 80:180] = np.random.default_rng(0).integers(300, 900, (3, 140, 100))
    dataset.NumberOfFrames, dataset.PixelData = 3, head.tobytes()
    dataset.save_as(folder / "philips.dcm")


def mosaic(folder):
    """All pixels of nibabel's file are zero, too: all but the tile after the last of 48 slices get values."""
    dataset = pydicom.dcmread(io.BytesIO(gzip.decompress((NIBABEL / "siemens_dwi_1000.dcm.gz").read_bytes())))
    values = np.random.default_rng(0).integers(1, 4096, (896, 896)).astype(np.uint16)
    values[768:, 768:] = 0
    dataset.PixelData = values.tobytes()
    dataset.save_as(folder / "a.dcm")


def write_input(root):
    """A folder of each of ``EXPECTED``, and the scouts."""
    for name in (*EXPECTED, "scouts"):
        (root / name).mkdir(parents=True)
    for path in Path(get_testdata_file("MR_small.dcm")).parent.glob("MR_small*.dcm"):
        (root / "mr_small" / path.name).write_bytes(path.read_bytes())
    whole = pydicom.dcmread(get_testdata_file("MR_small.dcm"), stop_before_pixels=True)
    raw = Path(get_testdata_file("MR_truncated.dcm")).read_bytes()
    for uid in {whole.SeriesInstanceUID, whole.SOPInstanceUID}:  # a series of its own
        raw = raw.replace(uid.encode(), uid[:-1].encode() + bytes([uid.encode()[-1] ^ 1]))
    (root / "mr_truncated/a.dcm").write_bytes(raw)
    (root / "mr_overlay/a.dcm").write_bytes(Path(get_testdata_file("examples_overlay.dcm")).read_bytes())
    philips(root / "philips")
    mosaic(root / "mosaic")
    names = {"projection": "slicethickness_empty_string", "headless": "csa_slice_norm", "nameless": "decimal_rescale"}
    for name, file in names.items():
        (root / name / "a.dcm").write_bytes((NIBABEL / f"{file}.dcm").read_bytes())
    for kind in ("classic", "enhanced"):
        write_example_series(root / kind, kind, 3, (72, 60))
    scouts = Path(get_testdata_file("DICOMDIR")).parent / "98892003"
    for path in (path for path in scouts.rglob("*") if path.name in SCOUTS):
        (root / "scouts" / path.name).write_bytes(path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_what_is_made_of_other_projects_files_is_valid_dicom(place, name):
    write_input(place.input)
    listed = place.root / "cases.json"
    done = place.run("--case-list", listed, name=name)
    assert done.code == EXIT_CASE_FAILED, done.said
    rows = json.loads(listed.read_text())
    folders = [Path(row["files"][0]).parent.name for row in rows]
    assert sorted(folders) == sorted([*EXPECTED, *["scouts"] * len(SCOUTS)])
    for folder, case in zip(folders, done.summary["cases"], strict=True):
        expected = EXPECTED.get(folder, 1)
        if isinstance(expected, str):
            assert (case["status"], case["objects"]) == ("failed", [])
            assert expected in case["reason"]
            continue
        assert (folder, case["status"], case["slices"]) == (folder, "written", expected)
        for path in case["objects"]:
            assert_valid_dicom(place.output / path)


#: a leading zero, more than 64 characters, and an empty component
INVALID = ("1.2.840.00123.4", f"1.2.{'3' * 70}", "1.2..3")
KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


def references(dataset):
    """All UIDs of instances and series that a data set refers to."""
    found = []
    dataset.walk(lambda _, element: found.append((element.keyword, str(element.value))) if element.VR == "UI" else None)
    return {value for keyword, value in found if keyword in ("ReferencedSOPInstanceUID", "SeriesInstanceUID")}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of writing and reading such files; an application silences its own
@pytest.mark.parametrize("name", APPLICATIONS)
def test_invalid_uids_are_referred_to_letter_by_letter(place, name):
    """In the three applications, of classic and enhanced images; all together, and nothing fails after the network has run."""
    place.input.mkdir()
    for number, uid in enumerate(INVALID):
        for kind in ("classic", "enhanced"):
            (dataset,) = example_datasets(kind, slices=1, grid=(64, 64))
            for keyword in KEYWORDS:
                setattr(dataset, keyword, f"{uid}{number}{KEYWORDS.index(keyword)}{len(kind)}")
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.preamble = bytes(128)
            dataset.save_as(place.input / f"{number}{kind}.dcm")
    done = place.run("-l", "DEBUG", name=name)
    done.assert_says(EXIT_OK, hidden=place.input)
    assert not any(uid in done.said for uid in INVALID)
    sources = [pydicom.dcmread(path) for path in sorted(place.input.iterdir())]
    for source, case in zip(sources, done.summary["cases"], strict=True):
        made = [pydicom.dcmread(place.output / path) for path in case["objects"]]
        assert {str(dataset.StudyInstanceUID) for dataset in made} == {str(source.StudyInstanceUID)}
        frames = {str(dataset.FrameOfReferenceUID) for dataset in made if "FrameOfReferenceUID" in dataset}
        assert frames <= {str(source.FrameOfReferenceUID)}
        assert all(str(source.SOPInstanceUID) in references(dataset) for dataset in made)
