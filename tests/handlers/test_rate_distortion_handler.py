"""The table of an evaluation that sweeps ratios, against the collector fed by hand."""

from __future__ import annotations

import csv
import json
import logging
import math

import pytest
import torch
from tiny_runs import GRID, RATIOS, evaluator, tiny_data, tiny_system

from infomri_monai.engines import PrepareRatioSweep
from infomri_monai.handlers import RateDistortionHandler
from infomri_monai.handlers.sweep import _as_numbers
from infomri_monai.metrics import RateDistortion
from infomri_monai.metrics.rate_distortion import RateDistortionRow


def run(handler, system=None, **options):
    engine = evaluator(system or tiny_system(), [handler], **options)
    engine.run()
    return engine.state.metrics


def by_hand(system, items):
    """The same table from single calls of the system."""
    collector, prepare = RateDistortion("by hand"), PrepareRatioSweep(RATIOS)
    data = tiny_data(items)
    for batch in range(items // 2):
        prepare.iteration = batch
        image = torch.stack([item["image"] for item in data[2 * batch : 2 * batch + 2]])
        repeated, _, (ratio,), kwargs = prepare({"image": image})
        with torch.no_grad():
            collector.update(system(repeated, ratio, **kwargs), repeated, ratio)
    return collector.table()


def test_metrics_are_the_tables():
    system, handler = tiny_system().eval(), RateDistortionHandler(RATIOS)
    metrics = run(handler, system)
    for row, expected in zip(handler.table.rows, by_hand(system, 4).rows, strict=True):
        assert row.images == expected.images == 4
        for name in ("psnr", "zero_filled_psnr", "ssim", "standardized_squared_error", "coverage", "redundancy_ratio"):
            assert metrics[f"{name}_at_{row.ratio:.4f}"] == pytest.approx(getattr(expected, name), rel=1e-5)
    for name in ("psnr", "redundancy_ratio"):
        values = [getattr(row, name) for row in handler.table.rows]
        assert metrics[name] == pytest.approx(sum(values) / len(values))
    assert [row.realised_ratio for row in handler.table.rows] == pytest.approx(RATIOS, abs=1e-3 + 0.5 / 288)
    assert not any(name.startswith(("images", "ratio", "volume")) for name in metrics)


def test_the_same_evaluation_twice_is_the_same_and_nothing_accumulates():
    system, handler = tiny_system(), RateDistortionHandler(RATIOS)
    engine = evaluator(system, [handler])
    engine.run()
    first = dict(engine.state.metrics)
    engine.run()
    assert engine.state.metrics == first
    assert handler.table.rows[0].images == 4


def test_volumes_are_read_from_the_batch():
    metrics = run(RateDistortionHandler(RATIOS, volume_key="volume"))
    assert {f"volume_psnr_at_{ratio:.4f}" for ratio in RATIOS} <= set(metrics)


def test_real_valued_networks():
    metrics = run(RateDistortionHandler(RATIOS), tiny_system(real_valued=True), real_valued=True)
    assert all(math.isfinite(value) for value in metrics.values())


def test_files_hold_the_table_and_the_log_prints_it(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        metrics = run(handler := RateDistortionHandler(RATIOS, "tiny", tmp_path / "report"))
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        f"rate_distortion.{suffix}" for suffix in ("csv", "json", "md")
    ]
    with (tmp_path / "report" / "rate_distortion.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((tmp_path / "report" / "rate_distortion.json").read_text())
    assert [row["method"] for row in rows] == ["tiny"] * 3
    assert tuple(rows[0]) == ("method", *RateDistortionRow._fields)
    for row, entry, ratio in zip(rows, content["rows"], RATIOS, strict=True):
        assert float(row["psnr"]) == entry["psnr"] == metrics[f"psnr_at_{ratio:.4f}"]
        assert row["volume_psnr"] == ""
        assert entry["volume_psnr"] is None
    assert "slice" in content["conventions"]["psnr"]
    assert str(handler.table) in caplog.text
    assert "| 0.2000 |" in (tmp_path / "report" / "rate_distortion.md").read_text()


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("infomri_monai.handlers.sweep.idist.get_rank", lambda: 1)
    assert run(RateDistortionHandler(RATIOS, output_dir=tmp_path / "report"))
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(RateDistortionHandler(RATIOS))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ratios", [(), (0.0, 0.1), (0.1, 1.5)])
def test_refuses_bad_ratios(ratios):
    with pytest.raises(ValueError, match="ratios"):
        RateDistortionHandler(ratios)


def test_full_sampling_is_nearly_perfect():
    """Nothing is missing at ratio 1; only the noise is left."""
    engine = evaluator(tiny_system(), [RateDistortionHandler((1.0,))], (1.0,))
    engine.run()
    assert engine.state.metrics["realised_ratio"] == 1
    assert engine.state.metrics["redundancy_ratio"] == pytest.approx(1 - 4 / (GRID[0] * GRID[1]), abs=1e-6)
    assert engine.state.metrics["psnr"] > 35


def test_volume_labels_may_be_names():
    numbers = _as_numbers(["file1", "file2", "file1"])
    assert numbers[0] == numbers[2] != numbers[1]
    assert torch.equal(_as_numbers(torch.tensor([3, 4])), torch.tensor([3, 4]))
