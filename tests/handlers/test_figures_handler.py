"""Figures and curves that handlers leave in a folder."""

from __future__ import annotations

import csv
import math
import struct

import pytest
from ignite.engine import Events
from monai.handlers import CheckpointLoader, CheckpointSaver, ValidationHandler
from tiny_runs import RATIOS, evaluator, tiny_system, trainer, validator

from infomri_monai.handlers import EvaluationFigures, RateDistortionHandler, TrainingCurves
from infomri_monai.sampling import UniformRandom

FIGURES = ["calibration.png", "masks.png", "rate_distortion.png", "reconstructions.png"]


def evaluate(folder, policy=None, real_valued=False):
    system = tiny_system(real_valued)
    system.policy = policy or system.policy
    handler = RateDistortionHandler(RATIOS)
    figures = EvaluationFigures(system.policy, handler, folder)
    evaluator(system, [handler, figures], real_valued=real_valued).run()
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def rows(folder):
    with (folder / "training.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def train(folder, epochs=4, stop_after=None, resume=None):
    """A training with curves, validated every second epoch; it can be interrupted and resumed as the bundle does."""
    system = tiny_system()
    validate = validator(system)
    curves = TrainingCurves(folder, validate)
    engine = trainer(system, [ValidationHandler(2, validate, epoch_level=True), curves], epochs)
    state = {"system": system, "optimizer": engine.optimizer, "trainer": engine}
    saver = CheckpointSaver(str(folder / "checkpoints"), state, save_interval=1, n_saved=10)
    saver.attach(engine)
    if resume:
        CheckpointLoader(str(resume), state).attach(engine)
    if stop_after:
        engine.add_event_handler(Events.EPOCH_COMPLETED(once=stop_after), _kill)
        with pytest.raises(KeyboardInterrupt):
            engine.run()
    else:
        engine.run()


def _kill(engine):
    raise KeyboardInterrupt


@pytest.mark.parametrize("real_valued", [False, True])
def test_an_evaluation_leaves_four_figures(tmp_path, real_valued):
    assert evaluate(tmp_path / "report", real_valued=real_valued) == FIGURES
    for name in FIGURES:
        assert min(png_size(tmp_path / "report" / name)) > 300


def test_a_policy_without_parameters_is_drawn_too(tmp_path):
    assert evaluate(tmp_path, UniformRandom()) == FIGURES


def test_figures_of_the_same_evaluation_have_the_same_pixels(tmp_path):
    for name in ("a", "b"):
        evaluate(tmp_path / name)
    assert (tmp_path / "a" / "masks.png").read_bytes() == (tmp_path / "b" / "masks.png").read_bytes()


def test_other_ranks_draw_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    assert evaluate(tmp_path) == []


def test_curves_hold_the_mean_loss_and_the_validation_of_their_epoch(tmp_path):
    system, losses = tiny_system(), []
    validate = validator(system)
    handlers = [ValidationHandler(2, validate, epoch_level=True), TrainingCurves(tmp_path, validate)]
    engine = trainer(system, handlers, epochs=3)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output[0]["loss"].item()))
    engine.run()
    found = rows(tmp_path)
    assert [row["epoch"] for row in found] == [1, 2, 3]
    for i, row in enumerate(found):
        assert row["loss"] == pytest.approx((losses[2 * i] + losses[2 * i + 1]) / 2)
    assert [math.isnan(row["validation_psnr"]) for row in found] == [True, False, True]
    assert found[1]["validation_psnr"] == pytest.approx(validate.state.metrics["psnr"])
    assert found[1]["validation_zero_filled_psnr"] == pytest.approx(validate.state.metrics["zero_filled_psnr"])
    assert png_size(tmp_path / "training.png")[0] > png_size(tmp_path / "training.png")[1]


def test_an_unvalidated_run_has_curves_too(tmp_path):
    system = tiny_system()
    trainer(system, [TrainingCurves(tmp_path, validator(system))], epochs=1).run()
    assert (tmp_path / "training.png").exists()
    assert len(rows(tmp_path)) == 1


def test_a_resumed_run_continues_the_curve(tmp_path):
    train(tmp_path / "whole")
    train(tmp_path / "cut", stop_after=3)
    assert len(rows(tmp_path / "cut")) == 3
    assert not (tmp_path / "cut" / "training.png").exists()
    train(tmp_path / "cut", resume=tmp_path / "cut" / "checkpoints" / "checkpoint_epoch=2.pt")
    assert (tmp_path / "cut" / "training.csv").read_text() == (tmp_path / "whole" / "training.csv").read_text()
    assert (tmp_path / "cut" / "training.png").read_bytes() == (tmp_path / "whole" / "training.png").read_bytes()


def test_a_new_run_in_an_old_folder_starts_a_new_curve(tmp_path):
    train(tmp_path, epochs=3)
    train(tmp_path, epochs=1)
    assert [row["epoch"] for row in rows(tmp_path)] == [1]


def test_other_ranks_write_no_curves(tmp_path, monkeypatch):
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    system = tiny_system()
    trainer(system, [TrainingCurves(tmp_path, validator(system))], epochs=1).run()
    assert not list(tmp_path.iterdir())
