"""The rate-distortion table: values, text, files."""

from __future__ import annotations

import math

import pytest
import torch
from helper import random_tensor, refuses

from infomri_monai.acquisition import FourierMeasurement, redundancy_ratio
from infomri_monai.files import atomic_path
from infomri_monai.metrics import RateDistortion, RateDistortionRow, magnitude_coverage, psnr
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.sampling import PatternGenerationNetwork
from infomri_monai.systems import ReconstructionSystem

GRID = (16, 17)
ROWS = [RateDistortionRow(0.25, 0.2501, 31.0, 27.5, images=8), RateDistortionRow(0.125, 0.125, 28.123, 25.0, images=8)]


def evaluate(axis=None, real_valued=False, volume=None, ratios=(0.5, 0.25)):
    torch.manual_seed(0)
    network = UnrolledReconstructor(phases=1, channels=4, real_valued=real_valued)
    policy = PatternGenerationNetwork(GRID, readout_axis=axis)
    system = ReconstructionSystem(policy, FourierMeasurement(), network)
    image = random_tensor((4, 1, *GRID), torch.float32 if real_valued else torch.complex64)
    evaluation, results = RateDistortion("method"), {}
    for ratio in ratios:
        results[ratio] = system(image, ratio)
        evaluation.update(results[ratio], image, ratio, volume)
    return evaluation, results, image


@pytest.mark.filterwarnings("ignore:a real target holds negative")  # normal deviates, compared by magnitude
@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("real_valued", [False, True])
def test_rows_are_the_results(axis, real_valued):
    evaluation, results, image = evaluate(axis, real_valued)
    table = evaluation.table()
    assert [row.ratio for row in table.rows] == [0.25, 0.5]
    for row in table.rows:
        result = results[row.ratio]
        assert row.images == 4
        assert row.realised_ratio == pytest.approx(result.ratio.mean().item())
        assert row.psnr == pytest.approx(psnr(result.mean, image).mean().item(), rel=1e-5)
        assert row.zero_filled_psnr == pytest.approx(psnr(result.zero_filled, image).mean().item(), rel=1e-5)
        assert row.redundancy_ratio == pytest.approx(redundancy_ratio(result.mask).mean().item(), abs=1e-6)
        assert math.isnan(row.volume_psnr)
        assert 0 <= row.coverage <= 1
        own = magnitude_coverage(image, result.mean, result.magnitude_log_variance)
        assert row.magnitude_coverage == pytest.approx(own.mean().item())
        assert row.interval_scale > 0


def test_volumes_and_reset():
    evaluation, _, _ = evaluate(volume=torch.tensor([0, 0, 1, 1]))
    table = evaluation.table()
    assert all(math.isfinite(row.volume_psnr) and math.isfinite(row.volume_ssim) for row in table.rows)
    assert "volume maximum" in str(table)
    evaluation.reset()
    refuses(ValueError, "no images yet", evaluation.table)


def test_one_update_may_hold_several_ratios():
    _, results, image = evaluate(ratios=(0.5,))
    evaluation = RateDistortion("method")
    evaluation.update(results[0.5], image, torch.tensor([0.1, 0.5, 0.5, 0.5]))
    assert [(row.ratio, row.images) for row in evaluation.table().rows] == [(0.1, 1), (0.5, 3)]


@pytest.mark.filterwarnings("ignore:a real target holds negative")  # normal deviates, compared by magnitude
def test_complex_target_of_a_real_mean_counts_by_magnitude():
    _, results, image = evaluate(real_valued=True, ratios=(0.5,))
    other = RateDistortion("complex")
    other.update(results[0.5], image.abs() * torch.tensor(1j), 0.5)
    reference = RateDistortion("real")
    reference.update(results[0.5], image.abs(), 0.5)
    assert other.table().rows[0] == pytest.approx(reference.table().rows[0], nan_ok=True)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail():
        with atomic_path(path) as part:
            part.write_text("half")
            raise RuntimeError("interrupted")

    refuses(RuntimeError, "interrupted", fail)
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "old"
    with pytest.raises(IsADirectoryError, match="must name a file"), atomic_path(tmp_path):
        pass
