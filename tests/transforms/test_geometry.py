"""Geometry in metadata: what MONAI writes and nibabel reads is where the voxels are, and no output shares another's metadata."""

import nibabel
import numpy as np
import pytest
import torch
from helper import refuses
from kspace_transforms import EVERY, Flat, many_raters, real_image
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    Invertd,
    LoadImage,
    LoadImaged,
    SaveImage,
    Spacing,
    Spacingd,
)

from infomri_monai import transforms as t
from infomri_monai.data import extract_slice

AFFINE = np.array([[2, 0, 0, -7], [0, 3, 0, 5], [0, 0, 4, 1], [0, 0, 0, 1.0]])
TURNED = np.array([[0, 0, 4, -7], [-2, 0, 0, 5], [0, 3, 0, 1], [0, 0, 0, 1.0]])


@pytest.fixture(params=[AFFINE, TURNED], ids=["axial", "turned"])
def image(request, tmp_path):
    """A volume as MONAI reads it: a Gaussian blob, so that its place can be told at any resolution."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in (24, 20, 6)), indexing="ij")
    blob = np.exp(-((x - 14.5) ** 2) / 18 - (y - 8) ** 2 / 12.5 - (z - 2) ** 2 / 4)
    nibabel.Nifti1Image(blob.astype(np.float32), request.param).to_filename(tmp_path / "blob.nii")
    return EnsureChannelFirst()(LoadImage()(tmp_path / "blob.nii"))


def saved(tmp_path, array, **options):
    SaveImage(tmp_path / "out", print_log=False, separate_folder=False, **options)(array)
    return nibabel.load(tmp_path / "out" / "blob_trans.nii.gz")


def centre(file):
    """Centre of mass in the world, mm."""
    values = np.asarray(file.dataobj, dtype=np.float64).clip(0)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in values.shape), indexing="ij"))
    return nibabel.affines.apply_affine(file.affine, (index * values).sum((1, 2, 3)) / values.sum())


def test_a_crop_of_kspace_is_where_it_was_with_larger_voxels(image, tmp_path):
    cropped = t.CropKSpace((12, 10), domain="image")(image)
    file, source = saved(tmp_path, cropped, resample=False), nibabel.load(tmp_path / "blob.nii")
    assert file.shape == (12, 10, 6)
    steps = nibabel.affines.voxel_sizes(source.affine) * [2, 2, 1]
    np.testing.assert_allclose(file.header.get_zooms(), steps)
    np.testing.assert_allclose(cropped.pixdim, steps)
    np.testing.assert_allclose(file.affine, cropped.affine)
    np.testing.assert_allclose(centre(file), centre(source), atol=0.05)
    on_the_source = saved(tmp_path, cropped, resample=True)  # as after Spacing
    assert on_the_source.shape == source.shape
    np.testing.assert_allclose(on_the_source.affine, source.affine)
    stale = {str(key) for key in cropped.meta} & {"dim", "pixdim", "srow_x", "quatern_b", "qoffset_x", "qform_code"}
    assert not stale
    whole = t.CropKSpace(-1, domain="image")(image)
    assert {str(key) for key in whole.meta} == {str(key) for key in image.meta}


def test_a_crop_of_kspace_carries_its_affine_to_the_image(image):
    crop = t.CropKSpace((9, 13))(t.ImageToKSpace()(image))
    assert torch.equal(crop.affine, t.CropKSpace((9, 13), domain="image")(image).affine)
    assert crop.meta["spatial_shape"].tolist() == [9, 13, 6]
    np.testing.assert_array_equal(crop.meta["original_affine"], crop.affine)
    assert torch.equal(t.KSpaceToImage()(crop).affine, crop.affine)


def test_a_slices_own_spacing_follows_a_crop(image):
    cut = extract_slice(image, 2, axis=0)
    cropped = t.CropKSpace((10, 3), domain="image")(cut)
    assert cut.meta["spacing"] == pytest.approx(cut.affine[:3, :3].norm(dim=0).tolist())
    assert cropped.meta["spacing"] == pytest.approx(np.multiply(cut.meta["spacing"], [2, 2, 1]))


def test_masks_and_kspace_are_never_interpolated(image, tmp_path):
    """SaveImage(resample=True) goes to the grid that was read: right of an image, not of a mask, whose values it would change."""
    coarse = Spacing((4, 6, 4))(image)
    result = t.SimulateAcquisition(Flat(), 0.5, spatial_dims=3).set_random_state(0)(coarse)
    mask = t.RandSampleMask(Flat(), 0.5, spatial_dims=3).set_random_state(0)(coarse)
    for one in (result.mask, mask.mask, result.kspace.abs(), t.ImageToKSpace(3)(coarse).abs()):
        file = saved(tmp_path, one, resample=True)
        assert file.shape == tuple(coarse.shape[1:])
        np.testing.assert_allclose(file.dataobj, one[0], rtol=1e-5)
        np.testing.assert_allclose(file.affine, coarse.affine)
    assert saved(tmp_path, result.zero_filled[:1], resample=True).shape == tuple(image.shape[1:])  # an image


def test_nothing_is_inverted_through_a_crop(tmp_path):
    """Invertd would take the operations before the crop for the last ones, and pad or resample to a wrong place."""
    nibabel.Nifti1Image(np.ones((24, 20, 6), np.float32), AFFINE).to_filename(tmp_path / "blob.nii")
    before = Compose([LoadImaged("x"), EnsureChannelFirstd("x"), Spacingd("x", (4, 6, 4))])
    d = before({"x": tmp_path / "blob.nii"})
    assert Invertd("x", before)(dict(d))["x"].shape == (1, 24, 20, 6)
    refuses(RuntimeError, ".", Invertd("x", before), t.CropKSpaced("x", 4, domain="image")(d))
    assert len(t.SimulateAcquisition(Flat(), 0.5)(d["x"]).zero_filled.applied_operations) == 1


@pytest.mark.parametrize(("transform", "data"), EVERY)
def test_outputs_share_no_metadata(transform, data, image):
    steps = Spacing((4, 6, 4))(image)
    results = transform((steps if data is real_image else steps + 0j) if data is not many_raters else steps.int())
    outputs = [part for part in (results if isinstance(results, tuple) else (results,)) if isinstance(part, MetaTensor)]
    before = steps.affine.clone(), image.affine.clone()
    for number, part in enumerate(outputs):
        part.affine[0, 0] = 90.0 + number
        part.meta["spatial_shape"][0] = 90 + number
        part.meta["new"] = number
        part.applied_operations.append(number)
    assert [float(part.affine[0, 0]) for part in outputs] == [90.0 + n for n in range(len(outputs))]
    assert [int(part.meta["spatial_shape"][0]) for part in outputs] == [90 + n for n in range(len(outputs))]
    assert torch.equal(steps.affine, before[0])
    assert torch.equal(image.affine, before[1])
    assert "new" not in steps.meta
    assert len(steps.applied_operations) == 1
    assert steps.meta["spatial_shape"][0] < 90
