"""Curves of a segmentation's training: loss terms and panels of its own, through an interruption and a resume."""

from __future__ import annotations

import csv
import math

import pytest
from ignite.engine import Events
from monai.handlers import CheckpointLoader, CheckpointSaver, ValidationHandler
from tiny_segmentation import segmentation_system, trainer, validator

from infomri_monai.handlers import TrainingCurves, WarmUp
from infomri_monai.losses import ELBOLoss

PANELS = {"Dice, mean over ratios": {"dice": "Dice"}, "energy distance": {"ged": "GED"}}
TERMS = ["loss_task", "loss_kl", "loss_reconstruction", "loss_mean_task"]
COLUMNS = ["epoch", "loss", *TERMS, "validation_dice", "validation_ged"]


def rows(folder):
    with (folder / "training.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


class Interrupted(Exception):
    """Somebody ended the run."""


def train(folder, epochs=4, stop_after=None, resume=None, watch=None, panels=PANELS, terms=True, share=0.75):
    """A training with curves and KL warm-up, validated every second epoch; it can be interrupted and resumed."""
    system, loss = segmentation_system(), ELBOLoss()
    validate = validator(system)
    curves = TrainingCurves(folder, validate, panels, "nats per image", loss if terms else None)
    handlers = [WarmUp(loss, share), ValidationHandler(2, validate, epoch_level=True), curves]
    engine = trainer(system, loss, handlers, epochs)
    state = {"system": system, "optimizer": engine.optimizer, "trainer": engine}
    CheckpointSaver(str(folder / "checkpoints"), state, save_interval=1, n_saved=10).attach(engine)
    if watch is not None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: watch(e, loss))
    if resume:
        CheckpointLoader(str(resume), state).attach(engine)
    if stop_after:

        @engine.on(Events.EPOCH_COMPLETED(once=stop_after))
        def stop(_):
            raise Interrupted

        with pytest.raises(Interrupted):
            engine.run()
    else:
        engine.run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted training's folder and what its iterations saw."""
    folder, seen = tmp_path_factory.mktemp("whole"), []
    train(folder, watch=lambda e, loss: seen.append((e.state.output[0]["loss"].item(), loss.warm_up, *loss.latest)))
    return folder, [tuple(map(float, step)) for step in seen]


def test_a_row_holds_the_epochs_means_of_the_loss_and_its_terms(whole):
    """With the warm-up; validation stands in the epochs that were validated."""
    folder, seen = whole
    table = rows(folder)
    assert [list(row) for row in table] == [COLUMNS] * 4
    assert [row["epoch"] for row in table] == [1, 2, 3, 4]
    for i, row in enumerate(table):
        loss, _, *terms = (sum(step) / 2 for step in zip(*seen[2 * i : 2 * i + 2], strict=True))
        assert [row[name] for name in ("loss", *TERMS)] == pytest.approx([loss, *terms], rel=1e-5)
        validated = [math.isfinite(row[f"validation_{name}"]) for name in ("dice", "ged")]
        assert validated == [i % 2 == 1] * 2
    assert [scale for _, scale, *_ in seen] == pytest.approx([min(1, i / 6) for i in range(1, 9)])
    for loss, scale, task, kl, reconstruction, mean_task in seen:
        assert loss == pytest.approx(task + scale * 50 * kl + reconstruction, rel=1e-5)
        assert mean_task == 0  # no weight


def test_the_picture_has_a_panel_for_every_term_and_metric(whole, tmp_path, monkeypatch):
    assert (whole[0] / "training.png").read_bytes()[:4] == b"\x89PNG"
    drawn = {}
    monkeypatch.setattr("infomri_monai.handlers.training.training_figure", lambda panels: drawn.update(panels))
    monkeypatch.setattr("infomri_monai.handlers.training.save_figure", lambda *_: None)
    train(tmp_path, epochs=2)
    unit = "[nats per image]"
    terms = ("loss", "loss: task", "loss: kl", "loss: reconstruction", "loss: mean task")
    assert list(drawn) == [*(f"{term} {unit}" for term in terms), *PANELS]
    table = rows(tmp_path)
    assert drawn[f"loss: kl {unit}"] == {"training": ([1, 2], [row["loss_kl"] for row in table])}
    assert drawn["energy distance"] == {"GED": ([2], [table[1]["validation_ged"]])}


def test_a_resumed_run_continues_the_table(whole, tmp_path):
    train(tmp_path, stop_after=2)
    assert [row["epoch"] for row in rows(tmp_path)] == [1, 2]
    (checkpoint,) = (tmp_path / "checkpoints").glob("*epoch=2.pt")
    train(tmp_path, resume=checkpoint)
    expected, found = rows(whole[0]), rows(tmp_path)
    assert [row["epoch"] for row in found] == [1, 2, 3, 4]
    for a, b in zip(found, expected, strict=True):
        assert list(a.values()) == pytest.approx(list(b.values()), rel=1e-3, nan_ok=True)


def test_a_run_resumed_with_other_quantities_keeps_both(tmp_path):
    """First without terms, then with them, then with another panel: columns are added, and nothing crashes."""
    train(tmp_path, stop_after=2, terms=False, panels={})
    (checkpoint,) = (tmp_path / "checkpoints").glob("*epoch=2.pt")
    train(tmp_path, stop_after=3, resume=checkpoint)
    (checkpoint,) = (tmp_path / "checkpoints").glob("*epoch=3.pt")
    train(tmp_path, resume=checkpoint, panels={"GED": {"ged": "GED"}})
    table = rows(tmp_path)
    assert [row["epoch"] for row in table] == [1, 2, 3, 4]
    assert [math.isfinite(row["loss_kl"]) for row in table] == [False, False, True, True]
    assert all(math.isfinite(row["loss"]) for row in table)
    assert (tmp_path / "training.png").exists()


def test_a_new_run_in_an_old_folder_starts_a_new_curve(tmp_path):
    """Also one that was never validated."""
    train(tmp_path, epochs=3)
    (tmp_path / "training.png").unlink()
    train(tmp_path, epochs=1)
    assert [row["epoch"] for row in rows(tmp_path)] == [1]
    assert (tmp_path / "training.png").exists()
