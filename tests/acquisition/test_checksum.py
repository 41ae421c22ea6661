"""The checksum of a set of images: what changes it and what does not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_monai.acquisition import ImageChecksum, KSpaceStatistics, image_to_kspace
from infomri_monai.acquisition.statistics import gather_batches


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
    others = [
        nudged,
        images[:1],
        images[[0, 0]],
        images[[0, 1, 1]],
        images.reshape(2, 1, 4, 3),
        images.mT.contiguous(),
        images.double(),
        images.to(torch.complex64),
        images.int(),
        images.flip(2),
    ]
    assert len({checksum(other) for other in [images, *others]}) == len(others) + 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float16, torch.bfloat16, torch.complex64])
def test_any_type_and_layout(dtype):
    images = (torch.rand(3, 1, 4, 5) > 0.5).to(dtype)
    assert checksum(images.mT.contiguous().mT) == checksum(images)
    if dtype.is_complex:
        assert checksum(images.conj()) == checksum(images.conj().resolve_conj())


def test_of_nothing():
    assert ImageChecksum().hexdigest() == 64 * "0"


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
