"""The classification table of an evaluation that sweeps ratios, against the collector fed by hand."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from classified import labels_of, rows_of
from known_classes import CLASSES, IMAGES, NAMES, RATIOS, answers, cases, evaluator

from infomri_monai.handlers import ClassificationQualityHandler, PredictionTable
from infomri_monai.metrics import ClassificationQuality

FILES = [f"classification.{suffix}" for suffix in ("csv", "json", "md")]


def by_hand(multi_label=False, volume=False, **options):
    """The same table, one image at a time, backwards."""
    collector = ClassificationQuality("known", CLASSES, NAMES, multi_label, **options)
    label = labels_of(IMAGES, CLASSES, multi_label, 1)
    for ratio, posterior in answers(multi_label).items():
        for i in reversed(range(IMAGES)):
            one = slice(i, i + 1)
            collector.update(rows_of(posterior, one), label[one], ratio, 100 + i // 3 if volume else None)
    return collector.table()


@pytest.mark.parametrize("multi_label", [False, True])
def test_metrics_are_the_tables(multi_label):
    handler = ClassificationQualityHandler(RATIOS, "known", CLASSES, NAMES, multi_label, volume_key="subject", seed=2)
    engine = evaluator([handler], multi_label)
    engine.run()
    metrics, expected = engine.state.metrics, by_hand(multi_label, True, seed=2)
    assert handler.table.conventions == expected.conventions
    for record, own in zip(expected.records(), handler.table.records(), strict=True):
        assert own == pytest.approx(record, rel=1e-6, nan_ok=True)
        assert own["images"] == IMAGES
        assert own["subjects"] == 4
        for name, value in own.items():
            published = f"{name}_at_{own['ratio']:.4f}"
            labels = ("acceleration", "ratio", "images", "subjects")
            assert (published in metrics) == (name not in labels and not math.isnan(value))
            assert metrics.get(published, value) == pytest.approx(value, nan_ok=True)
    for name in ("accuracy", "auroc", "auroc_left_lower", "nll"):
        mean = sum(record[name] for record in handler.table.records()) / 2
        assert metrics[name] == pytest.approx(mean)


def test_a_second_run_starts_anew_and_images_know_their_subject():
    handler = ClassificationQualityHandler(RATIOS, num_classes=CLASSES, volume_key="subject", bootstrap=20)
    engine = evaluator([handler])
    engine.run()
    first = dict(engine.state.metrics)
    engine.run()
    assert engine.state.metrics == first
    values = handler.collector.by_image()
    assert values["volume"].tolist()[:8] == [100, 100, 100, 101] * 2
    assert values["ratio"].tolist()[:8] == [RATIOS[0]] * 4 + [RATIOS[1]] * 4
    assert list(handler.collector.diagrams()) == sorted(RATIOS)


def test_files_hold_the_table_and_the_log_prints_it(tmp_path, caplog):
    handler = ClassificationQualityHandler(
        RATIOS, "known", CLASSES, NAMES, output_dir=tmp_path / "report", bootstrap=50
    )
    engine = evaluator([handler])
    with caplog.at_level(logging.INFO):
        engine.run()
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == FILES
    with (tmp_path / "report" / FILES[0]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((tmp_path / "report" / FILES[1]).read_text())
    for row, entry, ratio in zip(rows, content["rows"], sorted(RATIOS), strict=True):
        assert float(row["auroc_white_matter"]) == entry["auroc_white_matter"]
        assert entry["auroc"] == engine.state.metrics[f"auroc_at_{ratio:.4f}"]
        assert row["exact_match"] == row["subjects"] == ""
    assert str(handler.table) in caplog.text
    assert "every image a subject of its own" in (tmp_path / "report" / FILES[2]).read_text()


def test_a_test_set_without_a_class_ends_well(tmp_path, caplog):
    data = [case for case in cases() if case["label"] != 2]
    handler = ClassificationQualityHandler(RATIOS, "known", CLASSES, NAMES, output_dir=tmp_path)
    engine = evaluator([handler], data=data)
    with caplog.at_level(logging.WARNING):
        engine.run()
    assert "all have or all lack White Matter" in caplog.text
    assert "auroc" not in engine.state.metrics
    assert "auroc_left" in engine.state.metrics
    assert json.loads((tmp_path / FILES[1]).read_text())["rows"][0]["auroc_white_matter"] is None


def test_refuses():
    with pytest.raises(ValueError, match="ratios"):
        ClassificationQualityHandler((0.0,))
    with pytest.raises(ValueError, match="labels must be different names, one for each of 2"):
        ClassificationQualityHandler(RATIOS, labels=NAMES)


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    """Intervals included, whether subjects are known or not."""
    here = Path(__file__).parent
    launch = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(here / "ranks_classification.py"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(here.parent)}
    done = subprocess.run(
        [sys.executable, *launch, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for key in ("subject", None):
        one = tmp_path / f"one_{key}"
        table = ClassificationQualityHandler(RATIOS, "known", 3, NAMES, output_dir=one, volume_key=key)
        evaluator([table, PredictionTable(RATIOS, one, NAMES)]).run()
        for name in ("uneven", "own_data"):
            other = tmp_path / f"{name}_{key}"
            assert (other / "predictions.csv").read_text() == (one / "predictions.csv").read_text()
            ours, theirs = (json.loads((folder / FILES[1]).read_text()) for folder in (one, other))
            assert ours["conventions"] == theirs["conventions"]
            for own, row in zip(ours["rows"], theirs["rows"], strict=True):
                known = {name: value for name, value in own.items() if value is not None}
                assert {name: row[name] for name in known} == pytest.approx(known, rel=1e-6)


def test_the_order_of_images_does_not_change_the_intervals(generator):
    """Which is how ranks would deal them out."""
    for key in ("subject", None):
        found = []
        for order in (range(IMAGES), torch.randperm(IMAGES, generator=generator).tolist()):
            handler = ClassificationQualityHandler(RATIOS, num_classes=CLASSES, volume_key=key)
            evaluator([handler], data=[cases()[i] for i in order], batch_size=3).run()
            found.append(handler.table.records())
        for first, second in zip(*found, strict=True):
            assert second == pytest.approx(first, rel=1e-6, nan_ok=True)
