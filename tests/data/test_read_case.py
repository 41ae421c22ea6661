"""Reading a case with its in-plane axes swapped, and k-space that is in memory already."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, MetaTensor
from test_folder import write_dicom_series, write_nifti, write_png

from infomri_monai.data import CaseDataset, ReadCased, inference_cases

AFFINE = np.array([[0.1, 2.0, 0, 7], [1.5, 0.2, 0.3, -4], [0, 0.1, 3.0, 11], [0, 0, 0, 1]])


def kspace(*shape, seed=0):
    draw = np.random.default_rng(seed)
    return (draw.normal(size=shape) + 1j * draw.normal(size=shape)).astype(np.complex64)


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


def test_a_dicom_series_and_a_picture_stand_upright(tmp_path):
    """Rows first: pixels as they are stored."""
    series, pixels = write_dicom_series(tmp_path / "scan"), write_png(tmp_path / "plane.png")
    plane, scan = (ReadCased(swap_axes=True)(case)["image"] for case in inference_cases(tmp_path))
    assert np.array_equal(scan[0], series.transpose(1, 2, 0))
    assert np.array_equal(plane[0], pixels)


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


@pytest.mark.parametrize("name", ["magnitude", "swap_axes"])
@pytest.mark.parametrize("value", ["true", 1, None])
def test_options_must_be_booleans(name, value):
    with pytest.raises(ValueError, match=f"{name} must be True or False"):
        ReadCased(**{name: value})


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


def test_kspace_in_memory_and_in_a_file_are_one_case(tmp_path):
    data, mask = kspace(3, 7, 6), np.array([1, 0, 0, 1, 1, 0])
    np.savez(tmp_path / "scan.npz", kspace=data, mask=mask)
    (of_file,) = (ReadCased()(case) for case in inference_cases(tmp_path, kind="kspace"))
    in_memory = ReadCased()({"kspace": np.moveaxis(data, 0, -1)[None].astype(np.complex128)})
    assert torch.equal(of_file["kspace"], in_memory["kspace"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((1, 7, 6), np.float32), "must be complex"),
        (kspace(7, 6), "must have shape"),
        (kspace(1, 0, 6), "empty"),
        (kspace(1, 7, 6) * np.nan, "NaN or Inf"),
    ],
)
def test_bad_kspace_in_memory_is_the_cases_failure(data, message):
    entries = [{"kspace": data, "name": "bad", "index": 1}, {"kspace": kspace(1, 7, 6), "name": "good", "index": 2}]
    bad, good = DataLoader(CaseDataset(entries, ReadCased()), batch_size=1, num_workers=0)
    assert message in bad["failure"][0]
    assert good["failure"] == [""]
    assert good["kspace"].shape == (1, 1, 7, 6)
