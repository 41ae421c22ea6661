"""ImageToKSpace, KSpaceToImage and CropKSpace against explicit DFT matrices and the world coordinates of the affine."""

import numpy as np
import pytest
import torch
from helper import explicit_transform, refuses, refuses_each
from hypothesis import given, settings
from hypothesis import strategies as st
from kspace_transforms import AFFINE, as_meta, complex_data, real_image
from monai.data import MetaTensor

from infomri_monai.transforms import CropKSpace, CropKSpaced, ImageToKSpace, KSpaceToImage


@pytest.mark.parametrize(("dims", "shape"), [(1, (2, 7)), (2, (2, 6, 9)), (2, (2, 5, 4)), (3, (1, 4, 5, 3))])
def test_transform_is_the_explicit_matrix(dims, shape):
    x = complex_data(*shape, dtype=torch.complex128)
    result = ImageToKSpace(dims)(x).as_tensor()
    torch.testing.assert_close(result, explicit_transform(x, dims))
    torch.testing.assert_close(KSpaceToImage(dims)(result).as_tensor(), x)


@given(st.integers(2, 9), st.integers(2, 9), st.data())
@settings(deadline=None, max_examples=40)
def test_crop_keeps_dc_and_the_intensities_of_smooth_images(height, width, data):
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    kspace = torch.zeros(1, height, width, dtype=torch.complex64)
    kspace[0, height // 2, width // 2] = 3 * (height * width) ** 0.5  # the k-space of the constant image 3
    cropped = CropKSpace((rows, columns))(kspace)
    assert cropped[0, rows // 2, columns // 2].abs() > 0
    image = KSpaceToImage()(cropped).as_tensor()
    torch.testing.assert_close(image, torch.full((1, rows, columns), 3 + 0j), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "roi"), [((12, 10), (7, 5)), ((12, 10), (6, 4)), ((9, 11), (5, 4)), ((9, 11), (9, -1))]
)
def test_crop_of_an_image_samples_it_at_the_places_of_the_affine(size, roi):
    """A band-limited image, evaluated at the world coordinates that the cropped image claims for its voxels."""
    rng = np.random.default_rng(0)
    height, width = size
    rows, columns = (n if r == -1 else r for n, r in zip(size, roi, strict=True))
    frequencies = [(a, b) for a in range(-((rows - 1) // 2), (rows - 1) // 2 + 1) for b in range(-1, 2)]
    weights = rng.normal(size=len(frequencies)) + 1j * rng.normal(size=len(frequencies))

    def scene(i, j):  # periodic over the field of view, in voxels of the original image
        waves = [np.exp(2j * np.pi * (a * i / height + b * j / width)) for a, b in frequencies]
        return sum(w * wave for w, wave in zip(weights, waves, strict=True)).real

    full = as_meta(torch.as_tensor(scene(*np.meshgrid(np.arange(height), np.arange(width), indexing="ij")))[None])
    cropped = CropKSpace(roi, domain="image")(full)
    assert isinstance(cropped, MetaTensor)
    assert cropped.shape == (1, rows, columns)
    assert torch.equal(full.affine, AFFINE)  # the crop changes its own alone
    ij = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    world = np.c_[ij, np.zeros(len(ij)), np.ones(len(ij))] @ cropped.affine.numpy().T
    old = world @ np.linalg.inv(full.affine.numpy()).T
    np.testing.assert_allclose(old[:, 2], 0, atol=1e-12)
    np.testing.assert_allclose(cropped.numpy().ravel(), scene(old[:, 0], old[:, 1]), atol=1e-10)


def test_image_and_kspace_crop_agree():
    x = real_image(1, 9, 8)
    by_kspace = KSpaceToImage()(CropKSpace((4, 5))(ImageToKSpace()(x)))
    by_image = CropKSpaced("x", (4, 5), domain="image")({"x": x})["x"]
    torch.testing.assert_close(by_image.as_tensor(), by_kspace.as_tensor().real)


def test_crop_larger_than_the_grid_and_bad_arguments():
    refuses_each(CropKSpace, {"roi_size": 4}, roi_size=[0, -2, (4,), (4, 4, 4), (0, 4)], domain=["fourier"])
    refuses_each(ImageToKSpace, {}, spatial_dims=[0, 4, 2.5, "2"])
    larger = r"roi_size \(9, 4\) is larger than the grid \(8, 8\)"
    refuses(ValueError, larger, CropKSpace((9, 4)), complex_data(1, 8, 8))
