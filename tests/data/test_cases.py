"""Cases for inference: found, checked before any work, read with their geometry; a broken one stays alone.

Reading a case with its in-plane axes swapped, and k-space that is in memory already.
"""

from __future__ import annotations

import pickle

import h5py
import nibabel
import numpy as np
import pytest
import torch
from helper import refuses, refuses_each
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import PATIENT, write_dicom_series, write_nifti, write_png
from image_files import random_kspace as kspace
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose

from infomri_monai.data import CaseDataset, ReadCased, embedded_subjects, inference_cases
from infomri_monai.data.embedded import embedded_lesions
from infomri_monai.data.kspace_file import check_kspace_file, read_kspace


def read(folder, **options):
    return [ReadCased()(case) for case in inference_cases(folder, **options)]


def write_kspace(path, **arrays):
    """The arrays as .npz or .h5, or the k-space alone as .npy."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".npy":
        np.save(path, arrays["kspace"])
    else:
        with h5py.File(path, "w") as file:
            file.attrs["patient_id"] = PATIENT
            for name, array in arrays.items():
                file[name] = array


def test_a_folder_of_images_is_one_case_a_volume(tmp_path):
    volume, affine = write_nifti(tmp_path / "sub-1" / "t1.nii.gz")
    pixels = write_png(tmp_path / "plane.png")
    series = write_dicom_series(tmp_path / "scan")
    cases = inference_cases(tmp_path)
    assert [(case["name"], case["index"]) for case in cases] == [("plane", 1), ("scan/series0", 2), ("sub-1/t1", 3)]
    plane, scan, t1 = (ReadCased()(case) for case in cases)
    assert np.array_equal(plane["image"][0], pixels.T)
    assert np.array_equal(scan["image"][0], series.transpose(2, 1, 0))
    assert np.array_equal(t1["image"][0], volume)
    assert np.allclose(t1["image"].affine, affine)
    assert np.allclose(np.abs(np.diag(scan["image"].affine)), [0.7, 0.9, 4.0, 1.0])
    assert all(item["image"].dtype == torch.float32 for item in (plane, scan, t1))
    assert all("reader" not in item for item in (plane, scan, t1))
    assert PATIENT not in str(scan["image"].meta)
    assert [item["has_geometry"] for item in (plane, scan, t1)] == [False, True, True]
    assert torch.equal(plane["image"].affine, torch.eye(4, dtype=torch.float64))


def test_complex_and_2d_nifti(tmp_path):
    data, affine = kspace(6, 5), np.array([[0, 0, 3, 1], [2, 0.5, 0, 2], [0.5, 2, 0, 3], [0, 0, 0, 1.0]])
    nibabel.Nifti1Image(data, affine).to_filename(tmp_path / "plane.nii.gz")
    (item,) = read(tmp_path)
    assert item["image"].dtype == torch.complex64
    assert np.array_equal(item["image"][0], data)
    assert np.allclose(item["image"].affine, affine)


def test_files_and_lists_of_files(tmp_path):
    for patient in ("a", "b[1]"):
        write_nifti(tmp_path / patient / "t1.nii.gz")
    write_dicom_series(tmp_path / "c" / "scan")
    paths = [tmp_path / "b[1]" / "t1.nii.gz", tmp_path / "a" / "t1.nii.gz", tmp_path / "c"]
    assert [case["name"] for case in inference_cases(paths)] == ["a/t1", "b[1]/t1", "c/scan/series0"]
    assert [case["name"] for case in inference_cases(str(paths[0]))] == ["t1"]
    assert [case["name"] for case in inference_cases(tmp_path, pattern="a/*.nii.gz")] == ["a/t1"]


@pytest.mark.parametrize("name", ["", "embedded"])
def test_embedded_cases_are_two_subjects(name):
    first, second = inference_cases(name)
    slices = [entry["image"] for entry in embedded_subjects("test", subjects=1)]
    item = ReadCased()(first)
    assert item["image"].dtype == torch.complex64
    assert np.array_equal(item["image"], np.stack(slices, -1))
    assert (first["index"], second["index"], item["has_geometry"]) == (1, 2, False)
    assert first["name"] != second["name"]


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".h5"])
@pytest.mark.parametrize("shape", [(7, 6), (3, 7, 6)])
def test_kspace_files(tmp_path, suffix, shape):
    data, columns = kspace(*shape), np.array([1, 0, 0, 1, 1, 0])
    write_kspace(tmp_path / f"scan{suffix}", kspace=data, mask=columns)
    (item,) = read(tmp_path, kind="kspace")
    assert item["kspace"].dtype == torch.complex64
    data = data if suffix == ".npy" else data * columns
    assert np.array_equal(item["kspace"][0], data if data.ndim == 2 else data.transpose(1, 2, 0))
    assert ("mask" in item) == (suffix != ".npy")
    if "mask" in item:
        assert item["mask"].shape == item["kspace"].shape
        assert np.array_equal(item["mask"].numpy().reshape(7, 6, -1)[2, :, 0], columns)
    assert (item["name"], item["has_geometry"]) == ("scan", False)
    assert PATIENT not in str(item)


@pytest.mark.parametrize(
    ("suffix", "name", "array", "message"),
    [
        (".npz", "image", kspace(4, 4), "no array 'kspace'"),
        (".h5", "image", kspace(4, 4), "no array 'kspace'"),
        (".npz", "kspace", np.ones((4, 4)), "must be complex, got float64"),
        (".h5", "kspace", np.ones((4, 4)), "must be complex, got float64"),
        (".h5", "kspace", kspace(2, 3, 4, 4, 2), "must have shape"),
        (".npz", "kspace", kspace(0, 4, 4), "must have shape"),
        (".npz", "kspace", kspace(2, 3, 4, 4), "single coil"),
    ],
)
def test_bad_kspace_headers_are_found_before_any_work(tmp_path, suffix, name, array, message):
    write_kspace(tmp_path / f"scan{suffix}", **{name: array})
    refuses(ValueError, f"scan{suffix}.*{message}", inference_cases, tmp_path, kind="kspace", unreadable="raise")


@pytest.mark.parametrize("name", ["scan.npz", "scan.npy", "scan.h5", "broken.nii.gz"])
def test_unreadable_files_are_found_before_any_work(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x93NUMPY nonsense")
    refuses(OSError, name, inference_cases, tmp_path, kind="kspace" if "scan" in name else "image", unreadable="raise")


def test_bad_choices(tmp_path):
    refuses(FileNotFoundError, "no NIfTI, PNG, JPEG or DICOM", inference_cases, tmp_path)
    np.save(tmp_path / "scan.npy", kspace(4, 4))
    refuses(FileNotFoundError, "kind='image'", inference_cases, tmp_path)
    refuses(FileNotFoundError, "matches", inference_cases, tmp_path, pattern="*.h5", kind="kspace")
    for missing in (tmp_path / "absent", [tmp_path / "absent.nii"]):
        refuses(FileNotFoundError, r"there is no .*absent", inference_cases, missing)
    refuses(FileNotFoundError, "empty list", inference_cases, [])
    refuses(ValueError, "kind must be", inference_cases, tmp_path, kind="raw")
    refuses(ValueError, "unreadable must be", inference_cases, tmp_path, unreadable="ignore")
    refuses(ValueError, "embedded data are images", inference_cases, "embedded", kind="kspace")
    write_png(tmp_path / "a.png")
    write_nifti(tmp_path / "a.nii")
    refuses(ValueError, "several files, the first is 'a'", inference_cases, tmp_path)
    refuses(ValueError, "one channel", ReadCased(), {"image": np.ones((3, 4, 4))})
    refuses_each(ReadCased, {}, magnitude=["true", 1, None], swap_axes=["true", 1, None])


def test_a_pickle_in_kspace_is_not_executed(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    np.savez(tmp_path / "scan.npz", kspace=np.array([Malicious()], dtype=object))
    refuses(ValueError, "must be complex, got object", check_kspace_file, tmp_path / "scan.npz")
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Malicious()))
    refuses(OSError, r"truncated or no \.npy", check_kspace_file, tmp_path / "raw.npy")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.ones(5), "does not broadcast"), (np.full(6, 0.5), "0 and 1 only"), (kspace(6), "mask must be real")],
)
def test_bad_masks(tmp_path, mask, message):
    np.savez(tmp_path / "scan.npz", kspace=kspace(7, 6), mask=mask)
    refuses(ValueError, message, read_kspace, tmp_path / "scan.npz")


def test_a_mask_beside_a_file_with_a_mask_is_refused(tmp_path):
    """One of the two would be lost."""
    write_kspace(tmp_path / "scan.npz", kspace=kspace(2, 4, 8), mask=np.arange(8) % 2)
    (case,) = inference_cases(tmp_path, kind="kspace")
    refuses(ValueError, "leave out one of them", ReadCased(), {**case, "mask": torch.ones(1, 4, 8, 2)})
    write_kspace(tmp_path / "scan.npz", kspace=kspace(2, 4, 8))
    assert ReadCased()({**case, "mask": torch.ones(1, 4, 8, 2)})["mask"].shape == (1, 4, 8, 2)


def test_a_broken_case_stays_alone_and_unnamed(tmp_path):
    data, _ = write_nifti(tmp_path / "good.nii")
    data[1, 2, 1] = np.nan
    nibabel.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / "DOE_JANE.nii")
    cut = tmp_path / "DOE_JOHN.nii"
    write_nifti(cut)
    cut.write_bytes(cut.read_bytes()[:-50])
    dataset = CaseDataset(inference_cases(tmp_path), Compose([ReadCased()]))
    items = {batch["name"][0]: batch for batch in DataLoader(dataset, batch_size=1, num_workers=0)}
    assert items["DOE_JANE"]["failure"] == ["ValueError: image holds NaN or Inf, first at index (1, 2, 1)."]
    assert items["DOE_JOHN"]["failure"][0].startswith("OSError: image cannot be read")
    assert items["good"]["failure"] == [""]
    assert items["good"]["image"].shape == (1, 1, 7, 6, 3)
    assert isinstance(items["good"]["image"], MetaTensor)
    assert all("DOE" not in batch["failure"][0] for batch in items.values())
    assert [int(batch["index"][0]) for batch in items.values()] == [1, 2, 3]


def test_what_a_transform_raises_is_the_cases_failure(tmp_path):
    write_nifti(tmp_path / "good.nii")

    def broken(entry):
        raise KeyError("a site's own transform")

    # MONAI wraps what a transform raises; the reason says which error it was
    assert CaseDataset(inference_cases(tmp_path), broken)[0]["failure"].startswith("KeyError: ")


AFFINE = np.array([[0.1, 2.0, 0, 7], [1.5, 0.2, 0.3, -4], [0, 0.1, 3.0, 11], [0, 0, 0, 1]])


def assert_swapped(swapped, image):
    """Axes are exchanged, and every voxel keeps its place in the patient and its value."""
    assert isinstance(swapped, MetaTensor)
    assert swapped.dtype == image.dtype
    assert swapped.is_contiguous()
    assert torch.equal(swapped.as_tensor(), image.as_tensor().transpose(1, 2))
    index = np.stack(np.meshgrid(*map(np.arange, (*image.shape[1:], 1)[:3]), indexing="ij"), -1).reshape(-1, 3)
    places = [
        np.c_[i, np.ones(len(i))] @ np.asarray(a.affine).T for i, a in ((index[:, [1, 0, 2]], swapped), (index, image))
    ]
    assert np.allclose(*places, rtol=0, atol=1e-9)


@pytest.mark.parametrize("write", [write_nifti, write_dicom_series, write_png])
def test_images_of_files_are_swapped_with_their_affine(write, tmp_path):
    name = {write_nifti: "t1.nii.gz", write_dicom_series: "scan", write_png: "plane.png"}[write]
    write(tmp_path / name)
    (case,) = inference_cases(tmp_path)
    image, swapped = (ReadCased(swap_axes=swap)(case) for swap in (False, True))
    assert_swapped(swapped["image"], image["image"])
    assert swapped["has_geometry"] is image["has_geometry"] is (write is not write_png)
    assert swapped.keys() == image.keys()


@settings(deadline=None)
@given(st.sampled_from([(4, 6), (4, 6, 3), (5, 5, 1)]), st.booleans(), st.booleans())
def test_images_in_memory_are_swapped_if_they_have_an_affine(shape, is_complex, magnitude):
    data = kspace(1, *shape)
    array = torch.from_numpy(data if is_complex else data.real.copy())
    located = {"image": MetaTensor(array, affine=torch.as_tensor(AFFINE))}
    image, swapped = (ReadCased(magnitude, swap)(located)["image"] for swap in (False, True))
    assert_swapped(swapped, image)
    assert swapped.is_complex() is (is_complex and not magnitude)
    assert np.allclose(image.affine, AFFINE)
    bare = [ReadCased(magnitude, swap)({"image": array})["image"] for swap in (False, True)]
    assert torch.equal(*bare)


def test_embedded_cases_and_kspace_are_never_swapped(tmp_path):
    np.savez(tmp_path / "scan.npz", kspace=kspace(3, 7, 6), mask=np.array([1, 0, 0, 1, 1, 0]))
    for case in (inference_cases("embedded", embedded_grid=(32, 48))[0], inference_cases(tmp_path, kind="kspace")[0]):
        plain, swapped = (ReadCased(swap_axes=swap)(case) for swap in (False, True))
        assert plain.keys() == swapped.keys()
        for key in {"image", "kspace", "mask"} & plain.keys():
            assert torch.equal(torch.as_tensor(plain[key]), torch.as_tensor(swapped[key]))


@pytest.mark.parametrize("shape", [(1, 7, 6), (1, 7, 6, 3)])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda array: MetaTensor(torch.from_numpy(array))])
def test_kspace_in_memory_is_taken_as_it_is(shape, kind):
    data, mask = kspace(*shape), torch.ones(1, 1, 6, *shape[3:])
    item = ReadCased(magnitude=True, swap_axes=True)({"kspace": kind(data), "mask": mask, "name": "a", "index": 4})
    assert type(item["kspace"]) is torch.Tensor
    assert item["kspace"].dtype == torch.complex64
    assert np.array_equal(item["kspace"], data)
    assert item["mask"] is mask
    assert (item["has_geometry"], item["name"], item["index"]) == (False, "a", 4)
    assert ReadCased()({"kspace": kind(data), "has_geometry": True})["has_geometry"] is True


def test_bad_kspace_in_memory_is_the_cases_failure():
    good = kspace(1, 7, 6)
    data = {
        "must be complex": np.ones((1, 7, 6), np.float32),
        "must have shape": good[0],
        "empty": good[:, :0],
        "NaN or Inf": good * np.nan,
    }
    entries = [{"kspace": array, "name": "a", "index": 1} for array in [good, *data.values()]]
    first, *others = DataLoader(CaseDataset(entries, ReadCased()), batch_size=1, num_workers=0)
    assert first["failure"] == [""]
    assert first["kspace"].shape == (1, 1, 7, 6)
    assert all(message in item["failure"][0] for message, item in zip(data, others, strict=True))


def test_embedded_cases_have_the_grid_magnitude_and_lesions_asked_for():
    (case, _) = inference_cases(embedded_grid=(32, 48))
    assert case["image"].shape == (1, 32, 48, 4)
    read, magnitude = ReadCased()(case)["image"], ReadCased(magnitude=True)(case)["image"]
    assert read.is_complex()
    assert magnitude.dtype == torch.float32
    torch.testing.assert_close(magnitude.as_tensor(), read.as_tensor().abs())
    cases = inference_cases(embedded_grid=(32, 48), embedded_lesions=True)
    slices = np.stack([e["image"][0] for e in embedded_lesions("test", subjects=4, grid=(32, 48))], -1)
    assert [case["name"] for case in cases] == [f"subject_{subject:03d}" for subject in (2, 5, 8, 11)]
    assert np.array_equal(np.concatenate([case["image"] for case in cases], -1)[0], slices)
