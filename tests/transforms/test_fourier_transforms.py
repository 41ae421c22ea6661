"""ImageToKSpace, KSpaceToImage and CropKSpace against explicit DFT matrices and the world coordinates of the affine."""

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from kspace_transforms import as_meta, complex_data, real_image
from monai.data import MetaTensor

from infomri_monai.transforms import CropKSpace, CropKSpaced, ImageToKSpace, KSpaceToImage


def centred_dft(n):
    k = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(k, k) / n) / np.sqrt(n)


@given(st.integers(1, 9), st.integers(1, 9))
@settings(deadline=None, max_examples=25)
def test_transform_is_the_explicit_matrix(height, width):
    x = complex_data(2, height, width, dtype=torch.complex128)
    expected = centred_dft(height) @ x.numpy() @ centred_dft(width).T
    np.testing.assert_allclose(ImageToKSpace()(x).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(KSpaceToImage()(expected).numpy(), x.numpy(), atol=1e-12)


@pytest.mark.parametrize(("spatial_dims", "shape"), [(1, (2, 7)), (3, (1, 4, 5, 3))])
def test_other_dimensions(spatial_dims, shape):
    x = complex_data(*shape, dtype=torch.complex128)
    expected = x.numpy()
    for axis in range(spatial_dims):
        expected = np.moveaxis(np.tensordot(centred_dft(shape[axis + 1]), expected, (1, axis + 1)), 0, axis + 1)
    result = ImageToKSpace(spatial_dims)(x)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(KSpaceToImage(spatial_dims)(result).numpy(), x.numpy(), atol=1e-12)


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
    ij = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    world = np.c_[ij, np.zeros(len(ij)), np.ones(len(ij))] @ cropped.affine.numpy().T
    old = world @ np.linalg.inv(full.affine.numpy()).T
    np.testing.assert_allclose(old[:, 2], 0, atol=1e-12)
    np.testing.assert_allclose(cropped.numpy().ravel(), scene(old[:, 0], old[:, 1]), atol=1e-10)


def test_crop_changes_no_affine_but_its_own():
    full = as_meta(real_image(1, 8, 8))
    CropKSpace(4, domain="image")(full)
    assert torch.equal(full.affine, as_meta(real_image(1, 8, 8)).affine)


def test_image_and_kspace_crop_agree():
    x = real_image(1, 9, 8)
    by_kspace = KSpaceToImage()(CropKSpace((4, 5))(ImageToKSpace()(x)))
    by_image = CropKSpaced("x", (4, 5), domain="image")({"x": x})["x"]
    torch.testing.assert_close(by_image.as_tensor(), by_kspace.as_tensor().real)


@pytest.mark.parametrize("roi", [0, -2, (4,), (4, 4, 4), (0, 4)])
def test_bad_roi_size(roi):
    refuses(ValueError, "roi_size", CropKSpace, roi)


def test_crop_larger_than_the_grid_and_unknown_domain():
    with pytest.raises(ValueError, match=r"roi_size \(9, 4\) is larger than the grid \(8, 8\)"):
        CropKSpace((9, 4))(complex_data(1, 8, 8))
    refuses(ValueError, "domain", CropKSpace, 4, domain="fourier")


@pytest.mark.parametrize("spatial_dims", [0, 4, 2.5, "2"])
def test_bad_spatial_dims(spatial_dims):
    refuses(ValueError, "spatial_dims", ImageToKSpace, spatial_dims)
