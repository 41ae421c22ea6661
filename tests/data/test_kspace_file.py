"""fastMRI's files of several coils: combined as MONAI's own functions do, slice by slice, with the warning that ISMRMRD has."""

import numpy as np
import pytest
import torch
from helper import refuses
from image_files import random_kspace as noise
from monai.apps.reconstruction.complex_utils import complex_abs
from monai.apps.reconstruction.fastmri_reader import FastMRIReader
from monai.apps.reconstruction.mri_utils import root_sum_of_squares
from monai.networks.blocks.fft_utils_t import fftn_centered_t, ifftn_centered_t

h5py = pytest.importorskip("h5py")
from infomri_monai.acquisition.coils import coil_warning  # noqa: E402
from infomri_monai.data.kspace_file import check_kspace_file, read_kspace, read_kspace_file  # noqa: E402

SHAPE = (2, 3, 9, 8)  # slice, coil, row, column
COLUMNS = np.array([0, 1, 0, 1, 1, 1, 0, 1])


def write(path, kspace, mask=None):
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        if mask is not None:
            file["mask"] = mask
        file.attrs.update({"acquisition": "AXT2", "patient_id": "0" * 64})
    return path


def by_monai(kspace):
    """k-space of MONAI's root sum of squares of MONAI's coil images, (slice, row, column)."""
    images = ifftn_centered_t(torch.view_as_real(torch.from_numpy(kspace)), spatial_dims=2, is_complex=True)
    combined = root_sum_of_squares(complex_abs(images), spatial_dim=1)
    pairs = torch.stack([combined, torch.zeros_like(combined)], -1)
    return torch.view_as_complex(fftn_centered_t(pairs, spatial_dims=2, is_complex=True)).numpy()


def assert_close(found, wanted):
    assert found.dtype == np.complex64
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("columns", [np.ones(8), COLUMNS], ids=["full", "undersampled"])
@pytest.mark.parametrize("kind", ["mask", "mask and all samples", "zeros"])
def test_combined_as_monai_does(tmp_path, columns, kind):
    """With the mask, also where the file holds what was not measured; without, by the zeros."""
    kspace = noise(*SHAPE)
    stored = kspace if kind == "mask and all samples" else kspace * columns
    path = write(tmp_path / "brain.h5", stored.astype(np.complex64), None if kind == "zeros" else columns.astype(bool))
    found, mask, warnings = read_kspace_file(path)
    assert_close(found, by_monai((kspace * columns).astype(np.complex64)) * columns)
    assert np.array_equal(mask, np.broadcast_to(columns, (2, 9, 8)))
    assert mask.dtype == np.float32
    assert warnings == (coil_warning(3),)


def test_conventions_are_those_of_monais_reader(tmp_path):
    """Coils are the second axis, the mask has a value per column."""
    path = write(tmp_path / "brain.h5", noise(*SHAPE), COLUMNS)
    reader = FastMRIReader()
    kspace, header = reader.get_data(reader.read(path))
    combined, mask = read_kspace(path)
    assert (kspace.shape[0], *kspace.shape[2:]) == combined.shape
    assert np.array_equal(np.broadcast_to(header["mask"][0, ..., 0], mask.shape), mask)
    assert_close(combined, by_monai((kspace * COLUMNS).astype(np.complex64)) * COLUMNS)


def test_a_position_counts_where_any_coil_has_a_sample(tmp_path):
    kspace = noise(*SHAPE)
    kspace[0, :2, :, 3] = 0
    kspace[0, :, :, 4] = 0
    mask = read_kspace_file(write(tmp_path / "brain.h5", kspace)).mask
    assert mask[0, 0].tolist() == [1, 1, 1, 1, 0, 1, 1, 1]
    assert mask[1].all()


def test_one_coil_stays_as_it_is(tmp_path):
    kspace = noise(2, 1, 9, 8)
    found, mask, warnings = read_kspace_file(write(tmp_path / "brain.h5", kspace, COLUMNS))
    assert np.array_equal(found, kspace[:, 0] * COLUMNS)
    assert np.array_equal(mask[1, 2], COLUMNS)
    assert warnings == ()


@pytest.mark.parametrize("slices", [2, 3])
def test_a_mask_with_coils_does_not_fit(tmp_path, slices):
    """A mask of k-space without coils fits, also where there are as many coils as slices."""
    shape, check = (slices, 3, 9, 8), np.zeros((slices, 9, 8))
    check[1] = 1
    assert np.array_equal(read_kspace_file(write(tmp_path / "a.h5", noise(*shape), check)).mask, check)
    path = write(tmp_path / "b.h5", noise(*shape), np.ones(shape))
    refuses(ValueError, "mask of shape .* does not broadcast to k-space of shape", read_kspace_file, path)


def test_damaged_files(tmp_path):
    kspace = noise(*SHAPE)
    kspace[1, 2, 3, 4] = np.nan
    refuses(ValueError, "NaN or Inf", read_kspace_file, write(tmp_path / "nan.h5", kspace))
    path = tmp_path / "DOE_JANE.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", data=noise(*SHAPE), chunks=(1, *SHAPE[1:]), compression="gzip")
        place = file["kspace"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(content)
    check_kspace_file(path)
    with pytest.raises(OSError, match="truncated or damaged") as caught:
        read_kspace_file(path)
    assert "DOE" not in str(caught.value)
