"""Notes about every image at every ratio: their order, and the work of several ranks against that of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ignite.engine import Engine, Events
from known_cases import RATIOS, evaluator
from monai.data import DataLoader, DistributedSampler

from infomri_monai.handlers import CaseTable, EvaluationWorklist
from infomri_monai.handlers.sweep import SweptImages

REPORT = ("cases.csv", "worklist.csv", "worklist.json")


def note_all(loader, epochs=1, ratios=(0.5, 0.25, 0.125)):
    """An engine that sweeps a loader of numbers; the note of a number at a ratio is the pair of both."""
    images = SweptImages(ratios)
    engine = Engine(lambda engine, batch: [(int(i), ratio) for ratio in ratios for i in batch])
    images.attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: images.add(engine, engine.state.output))
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
    assert SweptImages((0.5,)).gathered() == []


def test_refuses_bad_ratios():
    with pytest.raises(ValueError, match="ratios"):
        SweptImages((0.5, 1.5))


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    script = Path(__file__).with_name("ranks_evaluation.py")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *launch], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    handlers = [CaseTable(RATIOS, tmp_path / "one"), EvaluationWorklist(RATIOS, tmp_path / "one", ["bar", "all"])]
    evaluator(handlers).run()
    for folder in ("repeating", "uneven", "own_data", "everything"):
        for name in REPORT:
            assert (tmp_path / folder / name).read_text() == (tmp_path / "one" / name).read_text(), f"{folder}/{name}"
        assert (tmp_path / folder / "ged_by_samples.png").exists()
