"""Streamed k-space statistics against numpy on the whole data.

The checksum of a set of images: what changes it and what does not.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_monai.acquisition import ImageChecksum, KSpaceStatistics, image_to_kspace
from infomri_monai.acquisition.statistics import gather_batches


def random_kspace(count: int, grid: tuple[int, ...] = (5, 6), seed: int = 0, offset: complex = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, *grid, dtype=torch.complex64, generator=generator) + offset


def check(statistics: KSpaceStatistics, kspace: torch.Tensor, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    y = kspace[:, 0].numpy().astype(np.complex128)
    assert statistics.count == len(y)
    for value, expected in (
        (statistics.mean, y.mean(0)),
        (statistics.variance_real, y.real.var(0)),
        (statistics.variance_imag, y.imag.var(0)),
        (statistics.mean_magnitude, np.abs(y).mean(0)),
    ):
        np.testing.assert_allclose(value.numpy(), expected, rtol=rtol, atol=atol)


def test_a_small_variance_on_a_large_mean_survives():
    # sums of squares would lose it: (1e7)^2 is 1e14, the variance 1
    kspace = random_kspace(400, (2, 2)).to(torch.complex128) + 1e7 * (1 + 1j)
    check(of_batches(kspace, *[4] * 100), kspace, rtol=1e-6)


def test_merging_is_updating():
    kspace = random_kspace(20, offset=3 - 2j)
    parts = [of_batches(batch) for batch in kspace.split([3, 10, 7])]
    merged = parts[0].merge(parts[1]).merge(KSpaceStatistics((5, 6))).merge(parts[2])
    check(merged, kspace)
    merged.update(kspace)
    check(parts[0], kspace[:3])  # unchanged
    refuses(ValueError, "grid", merged.merge, KSpaceStatistics((6, 5)))


def test_saved_and_loaded(tmp_path):
    kspace = random_kspace(9)
    of_batches(kspace[:5]).save(tmp_path / "statistics.npz")
    loaded = KSpaceStatistics.load(tmp_path / "statistics.npz")
    assert loaded.grid == (5, 6)
    loaded.update(kspace[5:])
    check(loaded, kspace)


def test_bad_batches_and_arguments_add_nothing():
    good = random_kspace(2)
    statistics, bad = of_batches(good), good.clone()
    bad[1, 0, 0, 0] = complex(float("nan"), 0)
    for kspace, message in ((bad, "finite"), (good.abs(), "complex"), (good[:0], "empty")):
        refuses(ValueError, message, statistics.update, kspace)
    for kspace in (good[:, :, :4], good.expand(2, 2, 5, 6), good[0]):
        refuses(ValueError, "shape", statistics.update, kspace)
    check(statistics, good)
    for grid in ((4, 0), ()):
        refuses(ValueError, "grid", KSpaceStatistics, grid)
    refuses(ValueError, "empty", KSpaceStatistics.from_images, [])
    refuses(ValueError, "spatial axes", KSpaceStatistics.from_images, [torch.rand(4, 4)])
    refuses(ValueError, "update was never called", lambda: KSpaceStatistics((4, 4)).mean)


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / "s.npz"
    refuses(FileNotFoundError, r"s\.npz", KSpaceStatistics.load, path)
    of_batches(random_kspace(2)).save(path)
    with np.load(path) as file:
        good = dict(file)
    for change in (
        {"mean_real": np.zeros((2, 2))},
        {"squares_real": -np.ones((5, 6))},
        {"mean_imag": np.full((5, 6), np.nan)},
        {"mean_real": np.array([{}], dtype=object)},
        {"count": np.array("many")},
        {"checksum": np.array("many")},
    ):
        np.savez(path, **{**good, **change})
        refuses(ValueError, r"s\.npz", KSpaceStatistics.load, path)
    del good["squares_imag"]
    np.savez(path, **good)
    refuses(ValueError, r"s\.npz", KSpaceStatistics.load, path)
    for data in (b"", b"PK\x03\x04 not a zip file", b"plain text"):
        path.write_bytes(data)
        refuses(ValueError, r"s\.npz", KSpaceStatistics.load, path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.int16])
@pytest.mark.parametrize("grid", [(1,), (2,), (7,), (8,), (4, 4), (5, 8), (6, 7), (3, 1), (3, 4, 5), (4, 3, 2)])
def test_half_of_kspace_is_enough_for_real_images(grid, dtype):
    """The half of k-space that real images leave to their symmetry is the transform's."""
    images = (100 * torch.randn(9, 1, *grid, dtype=torch.complex64 if dtype.is_complex else torch.float32)).to(dtype)
    kspace = image_to_kspace(images if dtype.is_complex else images.double(), len(grid))
    statistics = KSpaceStatistics.from_images(images.split(4), len(grid))
    check(statistics, kspace, rtol=1e-5, atol=1e-9 if dtype == torch.float64 else 2e-4)


def test_real_and_complex_images_with_and_without_a_batch_axis():
    real, imag = torch.randn(2, 7, 1, 5, 6, dtype=torch.float64)
    statistics = KSpaceStatistics.from_images([*real, torch.complex(real, imag), *imag, real])
    check(statistics, image_to_kspace(torch.cat([real, torch.complex(real, imag), imag, real])))


def checksum(*batches: torch.Tensor) -> str:
    whole = ImageChecksum()
    for batch in batches:
        whole.update(batch)
    return whole.hexdigest()


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_order_and_batches_do_not_matter(sizes, random):
    images = torch.rand(sum(sizes), 1, 3, 4)
    batches = list(images.split(sizes))
    random.shuffle(batches)
    assert checksum(*batches) == checksum(images)
    first, rest = ImageChecksum(), ImageChecksum()
    first.update(images[:1])
    rest.update(images[1:])
    first.merge(rest)
    assert first.hexdigest() == checksum(images) == ImageChecksum(checksum(images)).hexdigest()


def test_everything_else_matters():
    images = torch.arange(24.0).reshape(2, 1, 3, 4)
    nudged = images.clone()
    nudged[1, 0, 2, 3] = torch.nextafter(nudged[1, 0, 2, 3], torch.tensor(99.0))
    others = [nudged, images[:1], images[[0, 0]], images[[0, 1, 1]], images.flip(2)]
    others += [images.reshape(2, 1, 4, 3), images.mT.contiguous()]
    others += [images.double(), images.to(torch.complex64), images.int(), images[:0]]
    assert len({checksum(other) for other in [images, *others]}) == len(others) + 1
    assert ImageChecksum().hexdigest() == 64 * "0"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float16, torch.bfloat16, torch.complex64])
def test_any_type_and_layout(dtype):
    images = (torch.rand(3, 1, 4, 5) > 0.5).to(dtype)
    assert checksum(images.mT.contiguous().mT) == checksum(images)
    if dtype.is_complex:
        assert checksum(images.conj()) == checksum(images.conj().resolve_conj())


def test_statistics_know_their_images(tmp_path):
    images = torch.rand(9, 1, 5, 6)
    statistics = KSpaceStatistics.from_images(images)
    assert statistics.checksum == checksum(images)
    statistics.save(tmp_path / "s.npz")
    assert KSpaceStatistics.load(tmp_path / "s.npz").checksum == checksum(images)
    parts = [KSpaceStatistics.from_images(part) for part in images.split(4)]
    assert parts[0].merge(parts[1]).merge(parts[2]).checksum == checksum(images)
    assert KSpaceStatistics((5, 6)).merge(statistics).checksum == checksum(images)
    statistics.update(image_to_kspace(images))
    assert statistics.checksum is None
    assert parts[0].merge(statistics).checksum is None
    statistics.save(tmp_path / "s.npz")
    assert KSpaceStatistics.load(tmp_path / "s.npz").checksum is None


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 40))
def test_gathered_batches_are_the_images(sizes, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infomri_monai.acquisition.statistics._BATCH", limit)
        images = [torch.rand(1, 2, 3) if size == 0 else torch.rand(size, 1, 2, 3) for size in sizes]
        batches = list(gather_batches(images, 2))
    expected = torch.cat([image if image.ndim == 4 else image[None] for image in images])
    assert torch.equal(torch.cat(batches), expected)
    assert all(batch[:-3].numel() < limit for batch in batches)  # no batch takes more after it is full


def test_images_of_mixed_types_keep_their_own():
    """A complex image among real ones does not change what the others are."""
    images = [torch.rand(1, 4, 4), torch.rand(1, 4, 4, dtype=torch.complex64), torch.rand(1, 4, 4)]
    assert [batch.dtype for batch in gather_batches(images, 2)] == [torch.float32, torch.complex64, torch.float32]
    assert KSpaceStatistics.from_images(images).checksum == checksum(*(image[None] for image in images))


def of_batches(kspace: torch.Tensor, *sizes: int) -> KSpaceStatistics:
    """Statistics updated batch by batch."""
    statistics = KSpaceStatistics(tuple(kspace.shape[2:]))
    for batch in kspace.split(sizes or len(kspace)):
        statistics.update(batch)
    return statistics


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.sampled_from([(7,), (5, 6), (4, 4), (3, 4, 5)]),
    st.integers(0, 100),
)
def test_any_batching_and_grid_give_the_whole(sizes, grid, seed):
    kspace = random_kspace(sum(sizes), grid, seed=seed)
    check(of_batches(kspace, *sizes), kspace)
