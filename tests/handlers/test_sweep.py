"""The table of an evaluation that sweeps ratios, notes about every image, and the agreement of a batch; also of several ranks."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import known_cases
import known_classes
import pytest
import tiny_runs
import torch
from helper import refuses
from ignite.engine import Engine, Events
from monai.data import DataLoader, DistributedSampler
from monai.utils import CommonKeys

from infomri_monai.handlers import (
    CalibrateTriage,
    CaseTable,
    EvaluationWorklist,
    PredictionTable,
    RatioSweepHandler,
    SegmentationFigures,
)
from infomri_monai.handlers.sweep import SweptImages, _as_numbers, batch_agreement
from infomri_monai.metrics import ClassificationQuality, RateDistortion, SegmentationQuality
from infomri_monai.triage import sample_agreement

REPORT = ("cases.csv", "worklist.csv", "worklist.json")


def segmentation(**options):
    return SegmentationQuality("known", 2, ["bar", "all"], multi_label=True, **options)


def classification(multi_label=False, **options):
    return ClassificationQuality("known", known_classes.CLASSES, known_classes.NAMES, multi_label, **options)


#: collector, evaluator with handlers, ratios, key of the volume
KINDS = {
    "rate_distortion": (
        lambda: RateDistortion("known"),
        lambda handlers: tiny_runs.evaluator(tiny_runs.tiny_system().eval(), handlers),
        tiny_runs.RATIOS,
        "volume",
    ),
    "segmentation": (segmentation, known_cases.evaluator, known_cases.RATIOS, None),
    "classification": (lambda: classification(seed=2), known_classes.evaluator, known_classes.RATIOS, "subject"),
    "labels": (
        lambda: classification(True, bootstrap=20),
        lambda handlers: known_classes.evaluator(handlers, True),
        known_classes.RATIOS,
        None,
    ),
}


class KeepOutputs:
    """Predictions, labels and volumes of every batch."""

    def __init__(self, volume_key):
        self.key, self.outputs = volume_key, []

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine):
        volume = engine.state.batch[self.key] if self.key else None
        self.outputs.append((engine.state.output[CommonKeys.PRED], engine.state.output[CommonKeys.LABEL], volume))


def by_hand(collector, outputs, ratios):
    """The same table, one image at a time, backwards."""
    for prediction, label, volume in reversed(outputs):
        images = len(label) // len(ratios)
        for i in reversed(range(len(label))):
            one = slice(i, i + 1)
            of = None if volume is None else int(volume[i % images])
            row = type(prediction)(*(field[one] for field in prediction))
            collector.update(row, label[one], ratios[i // images], of)
    return collector.table()


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_the_tables(kind):
    make, evaluator, ratios, key = KINDS[kind]
    handler, kept = RatioSweepHandler(make(), ratios, volume_key=key), KeepOutputs(key)
    engine = evaluator([handler, kept])
    engine.run()
    metrics, expected, own = engine.state.metrics, by_hand(make(), kept.outputs, ratios), handler.table
    assert own.conventions == expected.conventions
    assert [row.ratio for row in own.rows] == pytest.approx(sorted(ratios))
    labels = ("acceleration", "ratio", "images", "subjects")
    for record, found in zip(expected.records(), own.records(), strict=True):
        assert found == pytest.approx(record, rel=1e-4, abs=1e-5, nan_ok=True)
        for name, value in found.items():
            published = f"{name}_at_{found['ratio']:.4f}"
            assert (published in metrics) == (name not in labels and not math.isnan(value))
            assert metrics.get(published, value) == pytest.approx(value, nan_ok=True)
    for name in set(metrics) & set(own.columns()):
        values = [record[name] for record in own.records() if not math.isnan(record[name])]
        assert metrics[name] == pytest.approx(sum(values) / len(values))
    assert not any(name.startswith(("images", "ratio", "acceleration")) for name in metrics)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_starts_anew_and_images_know_their_volume(kind):
    make, evaluator, ratios, key = KINDS[kind]
    handler = RatioSweepHandler(make(), ratios, volume_key=key)
    engine = evaluator([handler])
    engine.run()
    first = dict(engine.state.metrics)
    engine.run()
    assert engine.state.metrics == first
    values, batch = handler.collector.by_image(), {"rate_distortion": 2, "segmentation": 2}.get(kind, 4)
    assert values["ratio"].tolist()[: 2 * batch] == pytest.approx([s for s in ratios[:2] for _ in range(batch)])
    expected = {"rate_distortion": [0, 0], "classification": [100, 100, 100, 101]}.get(kind)
    if expected:
        assert values["volume"].tolist()[: 2 * batch] == expected * 2


@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_the_table_and_the_log_prints_it(kind, tmp_path, caplog):
    make, evaluator, ratios, _ = KINDS[kind]
    handler = RatioSweepHandler(make(), ratios, tmp_path / "report")
    engine = evaluator([handler])
    with caplog.at_level(logging.INFO):
        engine.run()
    name = "classification" if kind == "labels" else kind
    files = [tmp_path / "report" / f"{name}.{suffix}" for suffix in ("csv", "json", "md")]
    assert sorted((tmp_path / "report").iterdir()) == files
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads(files[1].read_text())
    assert [row["method"] for row in rows] == ["known"] * len(ratios)
    assert tuple(rows[0]) == ("method", *handler.table.columns())
    for row, entry, record in zip(rows, content["rows"], handler.table.records(), strict=True):
        for field, value in record.items():
            assert row[field] == ("" if math.isnan(value) else str(value))
            assert entry[field] == (None if math.isnan(value) else value)
    assert content["conventions"] == handler.table.conventions
    assert str(handler.table) in caplog.text
    assert files[2].read_text() == handler.table.markdown()


def test_simulated_raters_are_called_so():
    assert segmentation(simulated_raters=True).method == "known (simulated raters)"


def test_other_ranks_write_nothing_and_nothing_is_written_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known_cases.evaluator([RatioSweepHandler(segmentation(), known_cases.RATIOS)]).run()
    monkeypatch.setattr("infomri_monai.handlers.sweep.idist.get_rank", lambda: 1)
    known_cases.evaluator([RatioSweepHandler(segmentation(), known_cases.RATIOS, tmp_path / "report")]).run()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ratios", [(), (0.0, 0.1), (0.1, 1.5)])
def test_refuses_bad_ratios(ratios):
    refuses(ValueError, "ratios", RatioSweepHandler, RateDistortion(), ratios)


def test_full_sampling_is_nearly_perfect():
    """Nothing is missing at ratio 1; only the noise is left."""
    engine = tiny_runs.evaluator(tiny_runs.tiny_system(), [RatioSweepHandler(RateDistortion(), (1.0,))], (1.0,))
    engine.run()
    height, width = tiny_runs.GRID
    assert engine.state.metrics["realised_ratio"] == 1
    assert engine.state.metrics["redundancy_ratio"] == pytest.approx(1 - 4 / (height * width), abs=1e-6)
    assert engine.state.metrics["psnr"] > 35


def test_real_valued_networks():
    handler = RatioSweepHandler(RateDistortion(), tiny_runs.RATIOS)
    engine = tiny_runs.evaluator(tiny_runs.tiny_system(real_valued=True), [handler], real_valued=True)
    engine.run()
    assert all(math.isfinite(value) for value in engine.state.metrics.values())


def test_volume_labels_may_be_names():
    numbers = _as_numbers(["file1", "file2", "file1"])
    assert numbers[0] == numbers[2] != numbers[1]
    assert torch.equal(_as_numbers(torch.tensor([3, 4])), torch.tensor([3, 4]))


def test_a_test_set_without_a_class_ends_well(tmp_path, caplog):
    data = [case for case in known_classes.cases() if case["label"] != 2]
    engine = known_classes.evaluator([RatioSweepHandler(classification(), known_classes.RATIOS, tmp_path)], data=data)
    with caplog.at_level(logging.WARNING):
        engine.run()
    assert "all have or all lack White Matter" in caplog.text
    assert "auroc" not in engine.state.metrics
    assert "auroc_left" in engine.state.metrics
    assert json.loads((tmp_path / "classification.json").read_text())["rows"][0]["auroc_white_matter"] is None


def test_the_order_of_images_does_not_change_the_intervals(generator):
    """Which is how ranks would deal them out."""
    images = known_classes.IMAGES
    for key in ("subject", None):
        found = []
        for order in (range(images), torch.randperm(images, generator=generator).tolist()):
            handler = RatioSweepHandler(classification(), known_classes.RATIOS, volume_key=key)
            data = [known_classes.cases()[i] for i in order]
            known_classes.evaluator([handler], data=data, batch_size=3).run()
            found.append(handler.table.records())
        for first, second in zip(*found, strict=True):
            assert second == pytest.approx(first, rel=1e-6, nan_ok=True)


@pytest.fixture
def computed(monkeypatch):
    """Samples whose agreement was computed, batch by batch."""
    batches = []
    monkeypatch.setattr(
        "infomri_monai.handlers.sweep.sample_agreement",
        lambda samples: (batches.append(samples), sample_agreement(samples))[1],
    )
    return batches


@pytest.mark.parametrize("order", list(permutations(range(3)))[::2])
def test_handlers_in_any_order_compute_the_agreement_once_a_batch(computed, tmp_path, monkeypatch, order):
    monkeypatch.setattr("infomri_monai.handlers.sweep.save_figure", lambda figure, path: None)
    ratios = known_cases.RATIOS
    quality = RatioSweepHandler(segmentation(), ratios)
    figures = SegmentationFigures(quality, tmp_path)
    three = [CaseTable(ratios, tmp_path), EvaluationWorklist(ratios, tmp_path), figures]
    engine = known_cases.evaluator([quality, *(three[i] for i in order)])
    CalibrateTriage(engine, tmp_path / "triage.json")
    engine.run()
    assert [len(samples) for samples in computed] == [4, 4, 2]  # five cases, two a batch, at two ratios
    engine.run()
    assert len(computed) == 6


@pytest.mark.parametrize("samples", [1, 4])
def test_agreement_is_that_of_the_samples_and_not_defined_for_one(samples):
    engine = known_cases.evaluator(samples=samples)
    found, expected = [], []

    @engine.on(Events.ITERATION_COMPLETED)
    def keep(engine):
        drawn = engine.state.output[CommonKeys.PRED].samples
        found.append(batch_agreement(engine))
        expected.append(sample_agreement(drawn) if samples > 1 else torch.full((len(drawn),), torch.nan))
        assert batch_agreement(engine) is found[-1]

    engine.run()
    assert len(torch.cat(found)) == len(known_cases.CASES) * len(known_cases.RATIOS)
    torch.testing.assert_close(torch.cat(found), torch.cat(expected), equal_nan=True)


class Notes(SweptImages):
    """The output is the notes."""

    def notes(self, engine):
        return engine.state.output

    def conclude(self, images):
        self.concluded = images


def note_all(loader, epochs=1, ratios=(0.5, 0.25, 0.125)):
    """An engine that sweeps a loader of numbers; the note of a number at a ratio is the pair of both."""
    images = Notes(ratios)
    engine = Engine(lambda engine, batch: [(int(i), ratio) for ratio in ratios for i in batch])
    images.attach(engine)
    for _ in range(epochs):
        engine.run(loader)
    return images


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_image_by_image_each_in_the_order_of_the_ratios(batch_size):
    found = note_all(DataLoader(range(5), batch_size=batch_size), epochs=2).gathered()
    assert [(image.number, image.ratio) for image in found] == [(i, s) for i in range(1, 6) for s in (0.5, 0.25, 0.125)]
    assert all(image.note == (image.number - 1, image.ratio) for image in found)


def gather_as(monkeypatch, loaders):
    """What the ranks that read these loaders gather, without starting them."""
    ranks, sent = [], []
    with monkeypatch.context() as patch:
        patch.setattr("ignite.distributed.get_world_size", lambda: len(loaders))
        for rank, loader in enumerate(loaders):
            patch.setattr("ignite.distributed.get_rank", lambda rank=rank: rank)
            ranks.append(note_all(loader))
        patch.setattr("ignite.distributed.all_gather", lambda notes: sent.append(notes) or sent)
        return [images.gathered() for images in ranks][-1]  # the last has what all have sent


@pytest.mark.parametrize(
    ("ranks", "even"), [(2, True), (3, True), (4, True), (8, True), (2, False), (3, False), (4, False)]
)
def test_a_distributed_sampler_deals_out_every_image_once(monkeypatch, ranks, even):
    """Eight ranks get five images, three of them twice."""
    samplers = [DistributedSampler(range(5), even, ranks, rank, shuffle=False) for rank in range(ranks)]
    found = gather_as(monkeypatch, [DataLoader(range(5), batch_size=2, sampler=sampler) for sampler in samplers])
    assert found == note_all(DataLoader(range(5))).gathered()


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_images_are_there_once_as_well(monkeypatch, seed):
    samplers = [DistributedSampler(range(7), num_replicas=3, rank=rank, seed=seed) for rank in range(3)]
    found = gather_as(monkeypatch, [DataLoader(range(7), batch_size=2, sampler=sampler) for sampler in samplers])
    assert sorted(image.note[0] for image in found) == sorted([*range(7)] * 3)
    assert [image.number for image in found] == [i for i in range(1, 8) for _ in range(3)]


def test_ranks_with_data_of_their_own_lose_nothing(monkeypatch):
    found = gather_as(monkeypatch, [DataLoader([0, 1, 2]), DataLoader([10])])
    assert [(image.number, image.note[0]) for image in found[::3]] == [(1, 0), (2, 10), (3, 1), (4, 2)]


def test_nothing_seen_is_nothing_gathered():
    assert Notes((0.5,)).gathered() == []


def test_notes_refuse_bad_ratios():
    refuses(ValueError, "ratios", Notes, (0.5, 1.5))


def run_on_two_ranks(script, folder):
    """The other script of this folder, under torchrun."""
    here = Path(__file__).parent
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(here / script), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(here.parent)}
    done = subprocess.run(
        [sys.executable, *launch], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_write_the_cases_and_the_worklist_of_one(tmp_path):
    run_on_two_ranks("ranks_evaluation.py", tmp_path)
    ratios = known_cases.RATIOS
    handlers = [CaseTable(ratios, tmp_path / "one"), EvaluationWorklist(ratios, tmp_path / "one", ["bar", "all"])]
    known_cases.evaluator(handlers).run()
    for folder in ("repeating", "uneven", "own_data", "everything"):
        for name in REPORT:
            assert (tmp_path / folder / name).read_text() == (tmp_path / "one" / name).read_text(), f"{folder}/{name}"
        assert (tmp_path / folder / "ged_by_samples.png").exists()


@pytest.mark.slow
def test_two_processes_write_the_predictions_and_the_table_of_one(tmp_path):
    """Intervals included, whether subjects are known or not."""
    run_on_two_ranks("ranks_classification.py", tmp_path)
    ratios = known_classes.RATIOS
    for key in ("subject", None):
        one = tmp_path / f"one_{key}"
        table = RatioSweepHandler(classification(), ratios, one, key)
        known_classes.evaluator([table, PredictionTable(ratios, one, known_classes.NAMES)]).run()
        for name in ("uneven", "own_data"):
            other = tmp_path / f"{name}_{key}"
            assert (other / "predictions.csv").read_text() == (one / "predictions.csv").read_text()
            ours, theirs = (json.loads((folder / "classification.json").read_text()) for folder in (one, other))
            assert ours["conventions"] == theirs["conventions"]
            for own, row in zip(ours["rows"], theirs["rows"], strict=True):
                known = {name: value for name, value in own.items() if value is not None}
                assert {name: row[name] for name in known} == pytest.approx(known, rel=1e-6)
