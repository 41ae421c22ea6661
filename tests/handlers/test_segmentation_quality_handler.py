"""The segmentation table of an evaluation that sweeps ratios, against the collector fed by hand."""

from __future__ import annotations

import csv
import json
import logging

import pytest
import torch
from ignite.engine import Engine
from monai.utils import CommonKeys
from tiny_runs import GRID, RATIOS

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.handlers import SegmentationQualityHandler
from infomri_monai.metrics import SegmentationQuality
from infomri_monai.networks import LatentSegmenter
from infomri_monai.sampling import PatternGenerationNetwork
from infomri_monai.systems import SegmentationSystem

NAMES = ("left", "right")


@pytest.fixture(scope="module")
def outputs():
    """Two batches, each with the posteriors of all ratios and the raters' labels repeated ratio by ratio."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LatentSegmenter(num_classes=3, channels=(8, 8))
    system = SegmentationSystem(PatternGenerationNetwork(GRID), FourierMeasurement(), network).eval()
    generator, batches = torch.Generator().manual_seed(0), []
    for _ in range(2):
        image = torch.rand(2, 1, *GRID, generator=generator).repeat(len(RATIOS), 1, 1, 1)
        label = torch.randint(0, 3, (2, 4, *GRID), generator=generator).to(torch.int8)
        label[0, 3] = -1
        ratio = torch.tensor(RATIOS).repeat_interleave(2)
        with torch.no_grad():
            posterior = system.infer(image, ratio, 3, generator)
        batches.append({CommonKeys.PRED: posterior, CommonKeys.LABEL: label.repeat(len(RATIOS), 1, 1, 1)})
    return batches


def run(handler, outputs):
    engine = Engine(lambda _, batch: batch["output"])
    handler.attach(engine)
    engine.run([{"output": output, "subject": torch.tensor([2 * i, 2 * i + 1])} for i, output in enumerate(outputs)])
    return engine.state.metrics


def by_hand(outputs):
    """The same table, one image at a time."""
    collector = SegmentationQuality("by hand", 3, NAMES)
    for output in outputs:
        posterior, label = output[CommonKeys.PRED], output[CommonKeys.LABEL]
        for i in range(len(label)):
            collector.update(type(posterior)(*(x[i : i + 1] for x in posterior)), label[i : i + 1], RATIOS[i // 2])
    return collector.table()


def test_metrics_are_the_tables(outputs):
    handler = SegmentationQualityHandler(RATIOS, "tiny", 3, NAMES)
    metrics = run(handler, outputs)
    expected = by_hand(outputs).records()
    for record, row in zip(expected, handler.table.rows, strict=True):
        assert row.images == record["images"] == 4
        values = {name: value for name, value in record.items() if name not in ("acceleration", "ratio", "images")}
        assert {name: metrics[f"{name}_at_{row.ratio:.4f}"] for name in values} == pytest.approx(values, abs=1e-5)
    for name in ("ged", "dice", "dice_left", "ece"):
        assert metrics[name] == pytest.approx(sum(record[name] for record in expected) / len(expected), abs=1e-5)
    assert not any(name.startswith(("images", "ratio", "acceleration")) for name in metrics)


def test_a_second_run_starts_anew_and_images_know_their_subject(outputs):
    handler = SegmentationQualityHandler(RATIOS, num_classes=3, volume_key="subject")
    assert run(handler, outputs) == run(handler, outputs)
    values = handler.collector.by_image()
    assert values["volume"].tolist() == [0, 1] * 3 + [2, 3] * 3
    assert values["ratio"].tolist() == pytest.approx([s for s in RATIOS for _ in range(2)] * 2)
    assert len(values["ged"]) == 12


def test_files_hold_the_table_and_the_log_prints_it(outputs, tmp_path, caplog):
    handler = SegmentationQualityHandler(RATIOS, "tiny", 3, NAMES, output_dir=tmp_path / "report")
    with caplog.at_level(logging.INFO):
        metrics = run(handler, outputs)
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        f"segmentation.{suffix}" for suffix in ("csv", "json", "md")
    ]
    with (tmp_path / "report" / "segmentation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((tmp_path / "report" / "segmentation.json").read_text())
    for row, entry, ratio in zip(rows, content["rows"], RATIOS, strict=True):
        assert float(row["ged"]) == entry["ged"] == metrics[f"ged_at_{ratio:.4f}"]
        assert float(row["acceleration"]) == pytest.approx(1 / ratio)
    assert "U-statistic" in content["conventions"]["ged_unbiased"]
    assert str(handler.table) in caplog.text
    assert "| 0.2000 |" in (tmp_path / "report" / "segmentation.md").read_text()


def test_simulated_raters_are_called_so_in_every_file(outputs, tmp_path):
    run(SegmentationQualityHandler(RATIOS, "tiny", 3, NAMES, output_dir=tmp_path, simulated_raters=True), outputs)
    for suffix in ("csv", "json", "md"):
        assert "tiny (simulated raters)" in (tmp_path / f"segmentation.{suffix}").read_text()


def test_refuses():
    with pytest.raises(ValueError, match="ratios"):
        SegmentationQualityHandler((0.0,))
    with pytest.raises(ValueError, match="structures must be different names, one for each of 1"):
        SegmentationQualityHandler(RATIOS, structures=NAMES)
