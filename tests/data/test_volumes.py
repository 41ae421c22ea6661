"""Folders of NIfTI, DICOM and PNG: written by nibabel, pydicom and Pillow, read back through MONAI."""

import nibabel
import numpy as np
import pytest
import torch
from helper import refuses
from image_files import PATIENT, write_dicom_series, write_nifti, write_png
from monai.data import Dataset, MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image

from infomri_monai.data import ExtractSliced, extract_slice, image_slices


def lazily(entries, axis=2, reader=None):
    load = [LoadImaged("image", reader=reader, image_only=True), EnsureChannelFirstd("image")]
    return Dataset(entries, Compose([*load, ExtractSliced("image", axis=axis)]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nifti_slices_keep_pixels_and_geometry(tmp_path, axis):
    volume, affine = write_nifti(tmp_path / "sub-1" / "t1.nii.gz")
    entries = image_slices(tmp_path, axis=axis)
    kept = [a for a in range(3) if a != axis]
    assert [(entry["volume"], entry["slice"]) for entry in entries] == [
        ("sub-1/t1", i) for i in range(volume.shape[axis])
    ]
    for index, entry in enumerate(entries):
        image = entry["image"]
        assert isinstance(image, MetaTensor)
        assert np.array_equal(image[0], volume.take(index, axis))
        assert np.allclose(image.meta["spacing"], np.linalg.norm(affine[:3, [*kept, axis]], axis=0))
        corner = np.zeros(4)
        corner[kept], corner[axis], corner[3] = (2, 1), index, 1
        assert np.allclose(image.affine.numpy() @ [2, 1, 0, 1], affine @ corner)


@pytest.mark.parametrize("axis", [0, 2])
def test_paths_read_through_monai_give_the_same_slices(tmp_path, axis):
    write_nifti(tmp_path / "a.nii.gz")
    write_nifti(tmp_path / "b.nii", seed=1)
    eager = image_slices(tmp_path, axis=axis)
    lazy = lazily(image_slices(tmp_path, axis=axis, eager=False), axis)
    for one, two in zip(eager, lazy, strict=True):
        assert torch.equal(one["image"].as_tensor(), two["image"].as_tensor())
        assert torch.allclose(one["image"].affine, two["image"].affine)
        assert (one["volume"], one["slice"]) == (two["volume"], two["slice"])


def test_dicom_series_is_one_volume_in_order_of_position(tmp_path):
    pixels = write_dicom_series(tmp_path / "scan")
    entries = image_slices(tmp_path)
    assert [(entry["volume"], entry["slice"]) for entry in entries] == [("scan/series0", i) for i in range(3)]
    for index, entry in enumerate(entries):
        assert np.array_equal(entry["image"][0].numpy().T, pixels[index])
        assert np.allclose(entry["image"].affine.diagonal(), [-0.7, -0.9, 4, 1])
        assert np.allclose(entry["image"].meta["spacing"], [0.7, 0.9, 4])
        assert np.allclose(entry["image"].affine[:3, 3], [-10, -20, 30 + 4 * index])  # RAS from LPS
    lazy = lazily(image_slices(tmp_path, eager=False), reader="ITKReader")
    for one, two in zip(entries, lazy, strict=True):
        assert torch.equal(one["image"].as_tensor(), two["image"].as_tensor())
        assert torch.allclose(one["image"].affine, two["image"].affine)


def test_several_series_in_one_folder_and_files_without_suffix(tmp_path):
    first = write_dicom_series(tmp_path, number=1, prefix="A", suffix="")
    second = write_dicom_series(tmp_path, number=2, prefix="B", suffix="", shape=(2, 6, 8))
    entries = image_slices(tmp_path)
    assert [entry["volume"] for entry in entries] == ["./series0"] * 3 + ["./series1"] * 2
    assert np.array_equal(np.stack([entry["image"][0].numpy().T for entry in entries]), np.concatenate([first, second]))
    refuses(ValueError, "several DICOM series", image_slices, tmp_path, eager=False)


def test_no_patient_in_lists_logs_or_errors(tmp_path, caplog, capfd):
    write_dicom_series(tmp_path / "scan")
    eager = image_slices(tmp_path)
    lazy = list(lazily(image_slices(tmp_path, eager=False), reader="ITKReader"))
    seen = repr([(entry, entry["image"].meta) for entry in eager + lazy])
    path = tmp_path / "scan" / "IM0002.dcm"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"scan") as error:
        image_slices(tmp_path)
    seen += str(error.value) + caplog.text + "".join(capfd.readouterr())
    for secret in (PATIENT, "DOE", "secret-4711"):
        assert secret not in seen


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_png_slices(tmp_path, depth):
    pixels = [write_png(tmp_path / "case" / f"{i}.png", depth=depth, seed=i) for i in range(3)]
    entries = image_slices(tmp_path)
    assert [(entry["volume"], entry["slice"]) for entry in entries] == [(f"case/{i}", 0) for i in range(3)]
    for entry, plane, other in zip(entries, pixels, lazily(image_slices(tmp_path, eager=False)), strict=True):
        assert np.array_equal(entry["image"][0].numpy().T, plane)
        assert torch.equal(entry["image"].as_tensor(), other["image"].as_tensor())


def test_mixed_sizes_are_listed_before_anything_is_read(tmp_path):
    write_nifti(tmp_path / "a.nii.gz")
    write_nifti(tmp_path / "b.nii.gz", shape=(7, 6, 5))
    assert len(image_slices(tmp_path)) == 8  # the number of slices may differ
    write_nifti(tmp_path / "c.nii.gz", shape=(9, 6, 3))
    refuses(ValueError, r"\(7, 6\) in 2 volumes, \(9, 6\) in 1 volumes", image_slices, tmp_path, eager=False)
    assert {entry["volume"] for entry in image_slices(tmp_path, "[ab].nii.gz")} == {"a", "b"}


def test_colours_time_series_bad_axes_and_empty_folders(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    refuses(FileNotFoundError, "no NIfTI, DICOM, PNG or JPEG", image_slices, tmp_path)
    refuses(FileNotFoundError, "no folder", image_slices, tmp_path / "absent")
    refuses(ValueError, "axis", image_slices, tmp_path, axis=3)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "colour.png")
    refuses(ValueError, r"colour\.png must be greyscale", image_slices, tmp_path)
    (tmp_path / "colour.png").unlink()
    write_nifti(tmp_path / "series.nii", shape=(4, 4, 3, 2))
    refuses(ValueError, "three axes", image_slices, tmp_path)


def test_extract_slice_bad_input():
    volume = MetaTensor(torch.zeros(1, 4, 5, 6))
    for arguments, named in (((volume, 6), "index=6"), ((volume, -1), "index=-1"), ((volume, 0, 3), "axis")):
        refuses(ValueError, named, extract_slice, *arguments)
    refuses(ValueError, "volume", extract_slice, torch.zeros(4, 5), 0)
    refuses(ValueError, "axis", ExtractSliced, "image", axis=3)


@pytest.mark.parametrize("name", ["bad.nii", "bad.nii.gz", "bad.png", "bad.dcm"])
def test_unreadable_and_truncated_files_are_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"nothing that a reader knows" * 20)
    refuses((OSError, ValueError), rf"{name}.*(is not a|no) readable", image_slices, tmp_path)
    if not name.endswith("dcm"):
        write_png(path, (60, 80)) if name.endswith("png") else write_nifti(path, (30, 30, 4))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        refuses(OSError, "bad", image_slices, tmp_path)


def test_values_of_a_volume(tmp_path):
    """Zeros alone pass; a value that is no number names the volume."""
    volume = np.zeros((4, 5, 2), np.float32)
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "bad.nii")
    assert not any(entry["image"].any() for entry in image_slices(tmp_path))
    volume[1, 2, 1] = np.nan
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "bad.nii")
    refuses(ValueError, r"bad holds NaN or Inf, first at index \(1, 2, 1\)", image_slices, tmp_path)
