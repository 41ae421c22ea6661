"""The key metric of an evaluation, and the best model by it: MONAI's own mechanism on our sweep."""

from __future__ import annotations

import logging
import math
import operator
from types import SimpleNamespace

import pytest
import torch
from helper import refuses
from ignite.engine import Events
from monai.handlers import CheckpointSaver, ValidationHandler
from tiny_runs import RATIOS, evaluator, tiny_system, trainer

from infomri_monai.handlers import RatioSweepHandler, RestoreBest
from infomri_monai.metrics import RateDistortion


def test_the_sweep_gives_the_key_metric():
    handler = RatioSweepHandler(RateDistortion(), RATIOS)
    engine = evaluator(tiny_system(), key_metric={"psnr": handler})
    engine.run()
    assert engine.state.key_metric_name == "psnr"
    psnr = [row.psnr for row in handler.table.rows]
    assert engine.state.best_metric == engine.state.metrics["psnr"] == pytest.approx(sum(psnr) / len(psnr))
    assert engine.state.best_metric_epoch == 1


@pytest.mark.parametrize("name", ["dice", "acceleration"])
def test_a_metric_that_the_table_lacks_is_refused(name):
    """A label of the table is no metric."""
    engine = evaluator(tiny_system(), key_metric={name: RatioSweepHandler(RateDistortion(), RATIOS)})
    refuses(ValueError, rf"key metric must be one of .*psnr.*, got '{name}'", engine.run)


def run(system, folder, spoil):
    """Three epochs that are validated, the system spoilt at the end of one; returns the weights that each left."""
    validator = evaluator(system, seed=1, key_metric={"psnr": RatioSweepHandler(RateDistortion(), RATIOS)})
    keep = {"save_key_metric": True, "key_metric_filename": "best.pt", "key_metric_save_state": True}
    restore = RestoreBest(system, folder / "best.pt")
    engine = trainer(system, [ValidationHandler(1, validator), restore], epochs=3, learning_rate=1e-3)
    CheckpointSaver(str(folder), {"system": system, "trainer": engine}, **keep).attach(validator)
    left, scores = [], []

    @engine.on(Events.EPOCH_COMPLETED)
    def _(engine):
        left.append({name: value.clone() for name, value in system.state_dict().items()})
        scores.append(validator.state.metrics["psnr"])
        if engine.state.epoch == spoil:
            with torch.no_grad():
                for parameter in system.network.parameters():
                    parameter.mul_(-10)

    engine.run()
    return left[scores.index(max(scores))], scores


def test_the_best_weights_come_back(tmp_path):
    system = tiny_system()
    best, scores = run(system, tmp_path, spoil=2)
    assert scores[2] < max(scores)
    assert all(torch.equal(value, best[name]) for name, value in system.state_dict().items())
    kept = torch.load(tmp_path / "best.pt", weights_only=True)["system"]
    assert all(torch.equal(value, kept[name]) for name, value in best.items())


@pytest.mark.parametrize(("better", "values"), [(operator.gt, (1.0, 2.0, 1.5)), (operator.lt, (2.0, 1.0, 1.5))])
def test_a_first_epoch_without_a_value_blocks_no_later_one(tmp_path, better, values):
    """Nothing is better than NaN, for MONAI's comparison and for Ignite's checkpoint."""
    system, handler, told = tiny_system(), RatioSweepHandler(RateDistortion(), RATIOS), iter((math.nan, *values))
    table = SimpleNamespace(records=lambda: [{"ratio": 0.25, "psnr": next(told)}], told={"psnr": ""})
    handler.collector = SimpleNamespace(reset=list, update=lambda *_: None, table=lambda: table)
    validator = evaluator(system, key_metric={"psnr": handler})
    validator.metric_cmp_fn = better
    engine = trainer(system, [ValidationHandler(1, validator)], epochs=4)
    keep = {"save_key_metric": True, "key_metric_filename": "best.pt", "key_metric_save_state": True}
    saver = CheckpointSaver(str(tmp_path), {"trainer": engine}, **keep, key_metric_negative_sign=better is operator.lt)
    saver.attach(validator)
    engine.run()
    assert (validator.state.best_metric, validator.state.best_metric_epoch) == (values[1], 3)
    assert torch.load(tmp_path / "best.pt", weights_only=True)["iteration"] == 6


def test_without_a_validation_the_last_weights_stay(tmp_path, caplog):
    system = tiny_system()
    with caplog.at_level(logging.WARNING):
        trainer(system, [RestoreBest(system, tmp_path / "best.pt")], epochs=1).run()
    assert "no validation has kept a best model" in caplog.text
