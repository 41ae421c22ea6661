"""Three front doors, one reader: training (``image_slices``), inference (``ReadCased``) and the hospital give the same pixels.

Every kind of file is a row: what each door makes of it, the image or the refusal. The table is that of docs/conventions.md.
"""

import logging
import shutil

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from helper import refuses
from image_files import PATIENT, random_kspace, write_dicom_series, write_nifti, write_png
from monai.transforms import Compose
from PIL import Image
from pydicom.data import get_testdata_file
from torch.utils.data import DataLoader

from infomri_monai.data import CaseDataset, ReadCased, image_slices, inference_cases
from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.cases import find_cases

VOLUME = np.random.default_rng(0).integers(0, 120, (5, 6, 3))
PLANE = VOLUME[..., 0]
AFFINE = np.diag([2.0, 3, 4, 1])
OTHER = ">" if np.little_endian else "<"


def nifti(array, slope=None):
    def write(folder):
        order = array.dtype.newbyteorder(OTHER if array.dtype.byteorder == OTHER else "=")
        image = nibabel.Nifti1Image(
            array, AFFINE, nibabel.Nifti1Header(endianness=OTHER if order.byteorder == OTHER else "<")
        )
        image.set_data_dtype(array.dtype.newbyteorder("="))
        if slope is not None:
            image.header.set_slope_inter(*slope)
            image = nibabel.Nifti1Image(array, AFFINE, image.header)
        image.to_filename(folder / "a.nii.gz")

    return write


def picture(name, array, mode=None):
    return lambda folder: Image.fromarray(array, mode).save(folder / name)


def palette(folder):
    Image.fromarray(PLANE.astype(np.uint8)).convert("P").save(folder / "a.png")


def rgb_nifti(folder):
    colours = np.zeros((5, 6, 3), np.dtype([(c, "u1") for c in "RGB"]))
    nibabel.Nifti1Image(colours, AFFINE).to_filename(folder / "a.nii")


def dicom(folder, **changes):
    """A series of VOLUME: rows run along the second axis."""
    write_dicom_series(folder, (3, 6, 5))
    for index, path in enumerate(sorted(folder.glob("*.dcm"), reverse=True)):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = np.ascontiguousarray(VOLUME[..., index].T, np.uint16).tobytes()
        for name, value in changes.items():
            setattr(dataset, name, value)
        dataset.save_as(path)


def cut_dicom(folder):
    dicom(folder)
    path = folder / "IM0001.dcm"
    path.write_bytes(path.read_bytes()[:700])


def other_dicom(folder):
    """A series beside what is no image: the folder's index, a report, a presentation state, a plan; and the Mac's files."""
    dicom(folder)
    for number, (modality, storage) in enumerate((("SR", "88.11"), ("PR", "11.1"), ("RTPLAN", "481.5"))):
        dataset = pydicom.dcmread(next(folder.glob("IM*.dcm")))
        dataset.Modality, dataset.SeriesInstanceUID = modality, f"1.2.{number}"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{storage}"
        for name in ("PixelData", "Rows", "Columns"):
            delattr(dataset, name)
        dataset.save_as(folder / f"X{number}")
    shutil.copy(get_testdata_file("DICOMDIR"), folder / "DICOMDIR")
    for name in ("._IM0001.dcm", "._a.nii.gz", ".DS_Store", "Thumbs.db"):
        (folder / name).write_bytes(b"\0\5\26\7" * 40)


def arrays(name, kspace, **more):
    def write(folder):
        if name.endswith("npz"):
            np.savez(folder / name, kspace=kspace, **more)
        elif name.endswith("npy"):
            np.save(folder / name, kspace)
        else:
            with h5py.File(folder / name, "w") as file:
                file["kspace"] = kspace

    return write


KSPACE = random_kspace(3, 5, 6)
IMAGES, MEASURED = ("training", "inference"), ("k-space", "hospital")
COLOURS = np.zeros((6, 5, 3), np.uint8)
#: kind: (how it is written, doors that it is for, what they give or the words of the refusal)
KINDS = {
    **{f"nifti {t}": (nifti(VOLUME.astype(t)), IMAGES, VOLUME) for t in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8")},
    "nifti other byte order": (nifti(VOLUME.astype(f"{OTHER}i2")), IMAGES, VOLUME),
    "nifti complex64": (nifti((VOLUME + 2j).astype("c8")), IMAGES, VOLUME + 2j),
    "nifti complex128": (nifti((VOLUME + 2j).astype("c16")), IMAGES, VOLUME + 2j),
    "nifti scaled": (nifti(VOLUME.astype("i2"), (0.5, 7)), IMAGES, VOLUME),
    "nifti 2D": (nifti(PLANE.astype("f4")), IMAGES, PLANE),
    "nifti trailing axes": (nifti(VOLUME.astype("f4")[..., None, None]), IMAGES, VOLUME),
    "nifti 4D": (nifti(np.zeros((5, 6, 3, 2), "f4")), IMAGES, "two or three axes"),
    "nifti colours": (rgb_nifti, IMAGES, "must be greyscale, got the colours R, G, B"),
    "nifti NaN": (nifti(np.full((5, 6, 3), np.nan, "f4")), IMAGES, "NaN or Inf"),
    "png 8": (picture("a.png", PLANE.T.astype(np.uint8)), IMAGES, PLANE),
    "png 16": (picture("a.png", 256 * PLANE.T.astype(np.uint16)), IMAGES, 256 * PLANE),
    "png bits": (picture("a.png", PLANE.T > 60), IMAGES, PLANE > 60),
    "jpg": (picture("a.JPG", np.full((6, 5), 77, np.uint8)), IMAGES, np.full((5, 6), 77)),
    "png colours": (picture("a.png", COLOURS), IMAGES, "must be greyscale, got the bands"),
    "jpg colours": (picture("a.jpeg", COLOURS), IMAGES, "must be greyscale, got the bands"),
    "png alpha": (picture("a.png", COLOURS[..., :2]), IMAGES, "must be greyscale, got the bands"),
    "png palette": (palette, IMAGES, "must be greyscale, got the bands"),
    "dicom": (dicom, (*IMAGES, "hospital"), VOLUME),
    "dicom and others": (other_dicom, (*IMAGES, "hospital"), VOLUME),
    "dicom scaled": (lambda f: dicom(f, RescaleSlope=2, RescaleIntercept=-3), (*IMAGES, "hospital"), 2 * VOLUME - 3),
    "dicom phase": (lambda f: dicom(f, ImageType=["ORIGINAL", "PRIMARY", "P"]), (*IMAGES, "hospital"), "found phase"),
    "dicom cut": (cut_dicom, (*IMAGES, "hospital"), "truncated"),
    **{f"{n} complex64": (arrays(f"a.{n}", KSPACE), MEASURED, KSPACE) for n in ("npz", "npy", "h5")},
    **{f"{n} other order": (arrays(f"a.{n}", KSPACE.astype(f"{OTHER}c16")), MEASURED, KSPACE) for n in ("npz", "npy", "h5")},
    "npz objects": (arrays("a.npz", np.array([{}])), MEASURED, "must be complex, got object"),
    "npy real": (arrays("a.npy", np.ones((4, 4))), MEASURED, "must be complex, got float64"),
    "h5 axes": (arrays("a.h5", random_kspace(1, 2, 3, 4, 5)), MEASURED, "must have shape"),
    "npz NaN": (arrays("a.npz", KSPACE * np.nan), MEASURED, "NaN or Inf"),
    "npz mask 255": (arrays("a.npz", KSPACE, mask=np.full(6, 255)), MEASURED, "0 and 1 only"),
}  # fmt: skip


def through(door, folder):
    """What a door gives, in the order of axes of an image on disk, slices last."""
    if door == "training":
        slices = image_slices(folder)
        stack = np.stack([entry["image"][0].numpy() for entry in slices], -1)
        return stack if len(slices) > 1 else stack[..., 0], slices[0]["image"].affine.numpy()
    if door == "hospital":
        (case,), _ = find_cases(folder)
        loaded = case(1)
        return loaded.data[0].numpy(), loaded.affine
    (case,) = inference_cases(folder, kind="kspace" if door == "k-space" else "image")
    item = ReadCased()(case)
    image = item["kspace" if door == "k-space" else "image"]
    return image[0].numpy(), getattr(image, "affine", torch.zeros(0)).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_every_door_gives_the_same_pixels_or_the_same_refusal(tmp_path, kind):
    write, doors, wanted = KINDS[kind]
    write(tmp_path)
    affines = []
    for door in doors:
        if isinstance(wanted, str):
            refuses((OSError, ValueError, DeployError), wanted, through, door, tmp_path)
            continue
        pixels, affine = through(door, tmp_path)
        truth = np.moveaxis(wanted, 0, -1) if "k-space" in doors else wanted
        assert np.allclose(pixels, truth, rtol=1e-6), door
        assert (pixels.dtype.kind == "c") == np.iscomplexobj(wanted), door
        affines.append(affine)
    if affines and "k-space" not in doors:
        assert all(np.allclose(affine, affines[0]) for affine in affines)


@pytest.mark.parametrize(
    "kind", [k for k, row in KINDS.items() if "hospital" not in row[1] and not isinstance(row[2], str)]
)
def test_the_hospital_passes_images_over_that_are_not_its_own(tmp_path, kind):
    KINDS[kind][0](tmp_path)
    cases, notes = find_cases(tmp_path)
    assert (cases, notes) == ([], ["passed over 1 file that is not DICOM"])


def broken_folder(folder):
    data, _ = write_nifti(folder / "good.nii")
    write_png(folder / "plane.png", (6, 7))
    data[1, 2, 1] = np.nan
    nibabel.Nifti1Image(data, np.eye(4)).to_filename(folder / "DOE_JANE.nii")
    (folder / "DOE_JOHN.nii").write_bytes(b"nothing" * 99)
    Image.fromarray(COLOURS).save(folder / "DOE_COLOUR.png")


def test_one_unreadable_file_does_not_refuse_the_folder(tmp_path, caplog):
    """Training stops or leaves it out; inference lists it as a case that fails. Logs say how many and why, never a name."""
    broken_folder(tmp_path)
    refuses(ValueError, "DOE_COLOUR.png must be greyscale", image_slices, tmp_path)
    refuses(ValueError, "DOE_COLOUR.png must be greyscale", inference_cases, tmp_path, unreadable="raise")
    refuses(ValueError, "unreadable must be", image_slices, tmp_path, unreadable="fail")
    with caplog.at_level(logging.INFO):
        kept = image_slices(tmp_path, unreadable="skip")
        assert {entry["volume"] for entry in kept} == {"good", "plane"}
        left = inference_cases(tmp_path, unreadable="skip")
    assert [case["name"] for case in left] == ["DOE_JANE", "good", "plane"]
    assert caplog.text.count("2 of 5") == 2
    assert "must be greyscale" in caplog.text
    assert "DOE" not in caplog.text
    dataset = CaseDataset(inference_cases(tmp_path), Compose([ReadCased()]))
    failures = {item["name"]: item["failure"] for item in DataLoader(dataset, batch_size=None)}
    assert [name for name, failure in failures.items() if not failure] == ["good", "plane"]
    assert failures["DOE_COLOUR.png"].startswith("ValueError: the image must be greyscale")
    assert failures["DOE_JOHN.nii"].startswith("OSError: the image is not a readable NIfTI file")
    assert "DOE" not in "".join(failures.values()) + PATIENT[3:]


def test_paths_are_not_given_where_monai_would_read_something_else(tmp_path):
    nifti((VOLUME + 2j).astype("c8"))(tmp_path)
    refuses(ValueError, "a is complex, and LoadImaged drops the imaginary part", image_slices, tmp_path, eager=False)
