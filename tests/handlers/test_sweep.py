"""The table of an evaluation that sweeps ratios, notes about every image, and the agreement of a batch; also of several ranks."""

from __future__ import annotations

import csv
import json
import logging
import math
from itertools import permutations, product

import known_cases
import known_classes
import pytest
import tiny_runs
import torch
from helper import refuses
from ignite.engine import Engine, Events
from monai.data import DataLoader, DistributedSampler
from monai.utils import CommonKeys
from ranks_sweep import handlers_of
from small_engines import on_two_ranks

from infomri_monai.handlers import (
    CalibrateTriage,
    CaseTable,
    EvaluationWorklist,
    PredictionTable,
    RatioSweepHandler,
    SaveSystem,
    SegmentationFigures,
    TrainingCurves,
)
from infomri_monai.handlers.sweep import SweptImages, _as_numbers, batch_agreement
from infomri_monai.metrics import ClassificationQuality, RateDistortion, SegmentationQuality
from infomri_monai.triage import sample_agreement


def segmentation(**options):
    return SegmentationQuality("known", 2, ["bar", "all"], multi_label=True, **options)


def classification(multi_label=False, **options):
    return ClassificationQuality("known", known_classes.CLASSES, known_classes.NAMES, multi_label, **options)


def reconstruction(handlers):
    return tiny_runs.evaluator(tiny_runs.tiny_system().eval(), handlers)


def labels(handlers):
    return known_classes.evaluator(handlers, multi_label=True)


SEGMENTED, CLASSIFIED = known_cases.RATIOS, known_classes.RATIOS
#: collector, evaluator with handlers, ratios, key of the volume
KINDS = {
    "rate_distortion": (lambda: RateDistortion("known"), reconstruction, tiny_runs.RATIOS, "volume"),
    "segmentation": (segmentation, known_cases.evaluator, SEGMENTED, None),
    "classification": (lambda: classification(seed=2), known_classes.evaluator, CLASSIFIED, "subject"),
    "labels": (lambda: classification(True, bootstrap=20), labels, CLASSIFIED, None),
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
    metrics, expected, own = dict(engine.state.metrics), by_hand(make(), kept.outputs, ratios), handler.table
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
    engine.run()
    assert engine.state.metrics == metrics  # a second run starts anew


@pytest.mark.parametrize("kind", KINDS)
def test_images_know_their_volume(kind):
    make, evaluator, ratios, key = KINDS[kind]
    handler = RatioSweepHandler(make(), ratios, volume_key=key)
    evaluator([handler]).run()
    values, batch = handler.collector.by_image(), {"rate_distortion": 2, "segmentation": 2}.get(kind, 4)
    assert values["ratio"].tolist()[: 2 * batch] == pytest.approx([s for s in ratios[:2] for _ in range(batch)])
    expected = {"rate_distortion": [0, 0], "classification": [100, 100, 100, 101]}.get(kind)
    assert expected is None or values["volume"].tolist()[: 2 * batch] == expected * 2
    nobody = evaluator([RatioSweepHandler(make(), ratios, volume_key="nobody")])
    refuses(ValueError, "volume_key 'nobody' is no key of the data", nobody.run)


@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_the_table_and_the_log_prints_it(kind, tmp_path, caplog):
    make, evaluator, ratios, _ = KINDS[kind]
    handler = RatioSweepHandler(make(), ratios, tmp_path / "report")
    caplog.set_level(logging.INFO)
    evaluator([handler]).run()
    files = sorted((tmp_path / "report").iterdir())
    name = "classification" if kind == "labels" else kind
    assert [path.name for path in files] == [f"{name}.{suffix}" for suffix in ("csv", "json", "md")]
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    content, records = json.loads(files[1].read_text()), handler.table.records()
    texts = [{name: "" if math.isnan(value) else str(value) for name, value in row.items()} for row in records]
    assert rows == [{"method": "known", **row} for row in texts]
    assert content["rows"] == [{n: None if math.isnan(v) else v for n, v in row.items()} for row in records]
    assert content["conventions"] == handler.table.conventions
    assert str(handler.table) in caplog.text
    assert files[2].read_text() == handler.table.markdown()


@pytest.mark.parametrize("ratios", [(), (0.0, 0.1), (0.1, 1.5)])
def test_refuses_bad_ratios(ratios):
    refuses(ValueError, "ratios", RatioSweepHandler, RateDistortion(), ratios)
    refuses(ValueError, "ratios", Notes, ratios)


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    """Whatever the handler; and nothing is written by default."""
    monkeypatch.chdir(tmp_path)
    known_cases.evaluator([RatioSweepHandler(segmentation(), known_cases.RATIOS)]).run()
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    ratios = known_cases.RATIOS
    quality, validator = RatioSweepHandler(segmentation(), ratios, tmp_path), known_cases.evaluator()
    reports = [
        CaseTable(ratios, tmp_path),
        EvaluationWorklist(ratios, tmp_path),
        SegmentationFigures(quality, tmp_path),
    ]
    known_cases.evaluator([quality, *reports]).run()
    known_classes.evaluator([PredictionTable(known_classes.RATIOS, tmp_path)]).run()
    system = tiny_runs.tiny_system()
    save = SaveSystem(system, tmp_path / "model.pt", tmp_path / "policy.pt")
    curves = TrainingCurves(tmp_path, tiny_runs.validator(system), {})
    tiny_runs.trainer(system, [save, curves, CalibrateTriage(validator, tmp_path / "triage.json")], epochs=1).run()
    assert not list(tmp_path.iterdir())


def test_volume_labels_may_be_names():
    numbers = _as_numbers(["file1", "file2", "file1"])
    assert numbers[0] == numbers[2] != numbers[1]
    assert torch.equal(_as_numbers(torch.tensor([3, 4])), torch.tensor([3, 4]))


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


def test_ranks_with_data_of_their_own_lose_nothing(monkeypatch):
    found = gather_as(monkeypatch, [DataLoader([0, 1, 2]), DataLoader([10])])
    assert [(image.number, image.note[0]) for image in found[::3]] == [(1, 0), (2, 10), (3, 1), (4, 2)]


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    """Tables, worklist, predictions and intervals, whether subjects are known or not."""
    on_two_ranks("ranks_sweep.py", tmp_path)
    for kind, deals in ((known_cases, 4), (known_classes, 2)):
        for key in ("subject", None):
            one = tmp_path / f"one_{kind.__name__}_{key}"
            kind.evaluator(handlers_of(kind, one, key)).run()
            others = list(tmp_path.glob(f"{kind.__name__}_*_{key}"))
            assert len(others) == deals
            for file, other in product(one.iterdir(), others):
                if file.stem == "classification":
                    assert_close_tables(file, other / file.name)
                elif file.suffix != ".png":
                    assert (other / file.name).read_text() == file.read_text(), f"{other.name}/{file.name}"


def assert_close_tables(one, other):
    """Equal but for the order of sums; JSON speaks for the other forms."""
    if one.suffix == ".json":
        ours, theirs = (json.loads(path.read_text()) for path in (one, other))
        assert ours["conventions"] == theirs["conventions"]
        for own, row in zip(ours["rows"], theirs["rows"], strict=True):
            known = {name: value for name, value in own.items() if value is not None}
            assert {name: row[name] for name in known} == pytest.approx(known, rel=1e-6)
