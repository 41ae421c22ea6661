"""Statistics of a data list: their file, whose data it belongs to, and the entropy estimate made from them."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
import torch
from helper import refuses
from monai.data import Dataset, MetaTensor

from infomri_monai.acquisition import ComplexGaussianNoise, KSpaceStatistics, RicianNoise, image_to_kspace
from infomri_monai.data import kspace_statistics, marginal_entropy_of, mean_kspace_magnitude
from infomri_monai.information import MarginalEntropy


def images(count: int = 7, grid: tuple[int, ...] = (6, 5), seed: int = 0) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    return [{"image": torch.rand(1, *grid, generator=generator), "subject": i} for i in range(count)]


def same(a: KSpaceStatistics, b: KSpaceStatistics) -> None:
    assert (a.count, a.grid, a.checksum) == (b.count, b.grid, b.checksum)
    assert a.mean_peak == pytest.approx(b.mean_peak, rel=1e-12)
    for name in ("mean", "variance_real", "variance_imag", "mean_magnitude"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)


def test_are_those_of_the_whole_data():
    data = images()
    statistics = kspace_statistics(data)
    kspace = image_to_kspace(torch.stack([item["image"].double() for item in data]))[:, 0].numpy()
    np.testing.assert_allclose(statistics.variance_real, kspace.real.var(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.variance_imag, kspace.imag.var(0), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(statistics.mean, kspace.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mean_kspace_magnitude(data), statistics.mean_magnitude.float())


def with_affine(data):
    return [{"image": MetaTensor(item["image"], affine=2 * torch.eye(4))} for item in data]


@pytest.mark.parametrize("wrap", [Dataset, iter, with_affine, lambda d: [{"image": i["image"].numpy()} for i in d]])
def test_any_data_list(wrap):
    same(kspace_statistics(wrap(images())), kspace_statistics(images()))


@pytest.mark.parametrize("grid", [(9,), (6, 5), (2, 3, 4)])
def test_cache_survives(tmp_path, grid, monkeypatch):
    cache = tmp_path / "made" / "statistics.npz"
    first = kspace_statistics(images(grid=grid), cache, spatial_dims=len(grid))
    written = cache.read_bytes()
    monkeypatch.setattr(KSpaceStatistics, "from_images", None)  # not transformed again
    same(kspace_statistics(images(grid=grid), str(cache), spatial_dims=len(grid)), first)
    same(kspace_statistics(images(grid=grid)[::-1], cache, spatial_dims=len(grid)), first)
    assert cache.read_bytes() == written
    assert list(cache.parent.iterdir()) == [cache]


@pytest.mark.parametrize("others", [images(6), [*images(), images(1)[0]], images(seed=1)])
def test_cache_of_another_data_set_is_refused(tmp_path, others):
    cache = tmp_path / "statistics.npz"
    kspace_statistics(images(), cache)
    written = cache.read_bytes()
    named = r"statistics\.npz belongs to another data set: it was computed from 7 images"
    refuses(ValueError, named, kspace_statistics, others, cache)
    assert cache.read_bytes() == written


def test_cache_that_is_damaged_or_does_not_name_its_data_is_refused(tmp_path):
    cache = tmp_path / "statistics.npz"
    statistics = KSpaceStatistics((6, 5))
    statistics.update(image_to_kspace(torch.rand(3, 1, 6, 5)))
    statistics.save(cache)
    refuses(ValueError, r"statistics\.npz does not say which data", kspace_statistics, images(), cache)
    with np.load(cache) as whole:
        np.savez(cache, **{name: whole[name] for name in whole if name != "peaks"})
    refuses(ValueError, r"statistics\.npz is of an earlier version, .* delete it", kspace_statistics, images(), cache)
    cache.write_bytes(b"PK\x03\x04 not a zip file")
    refuses(ValueError, r"statistics\.npz does not hold k-space statistics", kspace_statistics, images(), cache)
    assert cache.read_bytes().startswith(b"PK")


def test_cache_of_another_grid_is_refused_at_the_first_image(tmp_path):
    cache = tmp_path / "statistics.npz"
    kspace_statistics(images(), cache)
    data = iter([*images(1, (4, 4)), *images(2, (5, 6))])
    named = r"statistics\.npz belongs to the grid \(6, 5\), the data have \(4, 4\)"
    refuses(ValueError, named, kspace_statistics, data, cache)
    assert len(list(data)) == 1  # it did not read on


def test_bad_data_leave_no_file(tmp_path):
    for data, message in (
        ([], "empty"),
        ([{"label": 1}], "image_key='image', got label"),
        ([*images(2), *images(1, (4, 4))], "shape"),
        ([{"image": torch.full((1, 4, 4), float("nan"))}], "finite"),
        ([{"image": torch.rand(4, 4)}], "spatial axes"),
    ):
        refuses(ValueError, message, kspace_statistics, data, tmp_path / "statistics.npz")
    assert not list(tmp_path.iterdir())


def test_long_work_is_logged(monkeypatch, caplog):
    module = sys.modules[kspace_statistics.__module__]  # the package's attribute of this name is the function
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LINES", -1.0)
    with caplog.at_level(logging.INFO):
        kspace_statistics(images(3))
    assert [record.message.split(" in ")[0] for record in caplog.records][-1] == "k-space statistics: 3 images"


@pytest.mark.parametrize("reference", ["peak", "dc", "absolute"])
@pytest.mark.parametrize("grid", [(6, 5), (2, 3, 4)])
def test_entropy_has_the_noise_of_the_measurement(grid, reference):
    data = images(40, grid)
    statistics = kspace_statistics(data, spatial_dims=len(grid))
    noise = ComplexGaussianNoise(0.02, reference, len(grid))
    entropy = marginal_entropy_of(statistics, noise)
    dc = np.mean([float(item["image"].sum()) for item in data]) / np.prod(grid) ** 0.5
    peak = np.mean([float(item["image"].max()) for item in data])
    assert entropy.noise_std == pytest.approx(0.02 * {"peak": peak, "dc": dc, "absolute": 1}[reference], rel=1e-5)
    expected = MarginalEntropy(statistics.variance_real, statistics.variance_imag, entropy.noise_std)
    torch.testing.assert_close(entropy.position_entropy(), expected.position_entropy())
    mask = torch.ones(1, 1, *grid)
    torch.testing.assert_close(entropy(mask), expected(mask))


def test_entropy_refuses_other_noise():
    statistics, positive = kspace_statistics(images()), "noise_std must be a finite number > 0"
    for noise in (RicianNoise(), None):
        refuses(TypeError, f"got {type(noise).__name__}", marginal_entropy_of, statistics, noise)
    refuses(ValueError, positive, marginal_entropy_of, statistics, ComplexGaussianNoise(0.0))
    empty = KSpaceStatistics((4, 4))
    refuses(ValueError, "update was never called", marginal_entropy_of, empty, ComplexGaussianNoise())
