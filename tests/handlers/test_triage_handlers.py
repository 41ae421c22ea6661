"""Triage inside engines, on posteriors whose agreement and Dice are known."""

from __future__ import annotations

import csv
import json
import math

import pytest
import torch
from helper import refuses
from ignite.engine import Engine
from known_cases import CASES, GRID, RATIOS, evaluator, item

from infomri_monai.handlers import CalibrateTriage, EvaluationWorklist
from infomri_monai.triage import choose_threshold, load_threshold


def dice(a, b):
    return 2 * min(a, b) / (a + b) if a + b else 1.0


def expected(case, sure):
    """Agreement and Dice of a case by hand; ``sure``: all samples are the first."""
    lengths = [int(c) for c in case["image"][0, 0, :4]]
    lengths = [lengths[0]] * 4 if sure else lengths
    pairs = [dice(lengths[i], lengths[j]) for i in range(4) for j in range(i)]
    majority = sum(sum(c > x for c in lengths) > 2 for x in range(GRID[1]))
    raters = [int(r[0, 0].sum()) for r in case["label"] if r.min() >= 0]
    quality = sum(dice(majority, r) for r in raters) / len(raters) if raters else math.nan
    return (sum(pairs) / 6 + 1) / 2, (quality + 1) / 2


def by_hand(cases=CASES):
    """Of all cases at both ratios."""
    pairs = [expected(case, sure) for sure in (False, True) for case in cases]
    return [p[0] for p in pairs], [p[1] for p in pairs]


def calibrate(path, validator=None, epochs=3, **options):
    """A trainer that does nothing, with the handler at its end."""
    trainer = Engine(lambda engine, batch: None)
    validator = validator or evaluator()
    CalibrateTriage(validator, path, **options).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return validator


@pytest.mark.parametrize("error_rate", [0.0, 0.1, 0.25, 0.3])
def test_the_threshold_is_chosen_from_all_cases_at_all_ratios(tmp_path, error_rate):
    path = tmp_path / "run" / "triage.json"
    validator = calibrate(path, acceptable=0.9, error_rate=error_rate)
    agreement, quality = by_hand()
    chosen, wanted = load_threshold(path), choose_threshold(agreement, quality, 0.9, error_rate)
    assert chosen.cases == 10
    assert chosen.threshold == pytest.approx(wanted.threshold, abs=1e-6)
    assert (chosen.measured_error, chosen.kept) == pytest.approx((wanted.measured_error, wanted.kept), nan_ok=True)
    assert math.isinf(chosen.threshold) == (error_rate < 0.2)
    assert validator.state.epoch == 3  # the trainer's


def test_cases_that_no_rater_drew_are_left_out(tmp_path):
    calibrate(tmp_path / "triage.json", evaluator(data=[*CASES, item([3, 3, 3, 3], [None, None])]))
    assert load_threshold(tmp_path / "triage.json").cases == 10


def test_single_segmentations_give_no_threshold_and_it_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    calibrate(tmp_path / "triage.json", evaluator(samples=1))
    assert not (tmp_path / "triage.json").exists()
    assert "no triage" in caplog.text


def worklist(folder):
    with (folder / "worklist.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(json.loads((folder / "worklist.json").read_text())["cases"]) == len(rows)
    return rows


def test_the_worklist_holds_every_image_at_every_ratio_least_agreement_first(tmp_path):
    """A second run writes the same again; nothing is decided without a threshold's file."""
    engine = evaluator([EvaluationWorklist(RATIOS, tmp_path, ["bar", "all"], tmp_path / "none.json")])
    for _ in range(2):
        engine.run()
    rows = worklist(tmp_path)
    assert len(rows) == 10
    agreement = [float(row["agreement"]) for row in rows]
    assert agreement == sorted(agreement)
    assert agreement == pytest.approx(sorted(by_hand()[0]))
    numbered = [row["name"] for row in sorted(rows, key=lambda row: int(row["case"]))]
    assert numbered == [f"image_{i:04d}_{a}x" for i in range(1, 6) for a in (8, 4)]
    assert sorted(int(row["case"]) for row in rows) == list(range(1, 11))
    for row in rows:
        case = CASES[int(row["name"][6:10]) - 1]
        sure = row["name"].endswith("_4x")
        assert float(row["acceleration"]) == (4 if sure else 8)
        assert float(row["agreement"]) == pytest.approx(expected(case, sure)[0])
        assert row["review"] == ""


def test_volumes_and_entropy_are_those_of_the_samples(tmp_path):
    """Median and 5 % and 95 % quantiles of 4, 8, 36 and 40 pixels; 8 pixels of entropy h(3/4), then 28 and 4."""
    evaluator([EvaluationWorklist(RATIOS, tmp_path, ["bar", "all"])]).run()
    row = next(row for row in worklist(tmp_path) if row["name"] == "image_0004_8x")
    sizes = torch.tensor([4.0, 8.0, 36.0, 40.0], dtype=torch.float64)
    volumes = [float(row[f"bar_{which}_pixels"]) for which in ("low", "median", "high")]
    assert volumes == pytest.approx(sizes.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)).tolist())
    assert [float(row[f"all_{which}_pixels"]) for which in ("low", "median", "high")] == [40, 40, 40]
    h = lambda p: -p * math.log(p) - (1 - p) * math.log(1 - p)  # noqa: E731
    entropy = (4 * h(3 / 4) + 28 * h(1 / 2) + 4 * h(1 / 4)) / 40
    assert float(row["mean_entropy_nats"]) == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("samples", [1, 4])
def test_the_threshold_of_the_training_decides_who_is_reviewed(tmp_path, samples):
    """What was kept on the validation data is kept again; single segmentations have no agreement, and all are reviewed."""
    path = tmp_path / "triage.json"
    calibrate(path, acceptable=0.9, error_rate=0.3)
    evaluator([EvaluationWorklist(RATIOS, tmp_path / "report", threshold_path=path)], samples).run()
    rows, threshold = worklist(tmp_path / "report"), load_threshold(path)
    if samples > 1:
        assert all((row["review"] == "yes") == (float(row["agreement"]) < threshold.threshold) for row in rows)
        assert sum(row["review"] == "no" for row in rows) == pytest.approx(10 * threshold.kept)
        return
    for row in rows:
        empty = [row[name] for name in ("agreement", "structure_1_low_pixels", "structure_1_high_pixels")]
        assert (empty, row["review"]) == ([""] * 3, "yes")
        assert float(row["structure_1_median_pixels"]) == 4 * float(CASES[int(row["name"][6:10]) - 1]["image"][0, 0, 0])


def test_refuses_names(tmp_path):
    message = "structures must be different names"
    refuses(ValueError, message, EvaluationWorklist, RATIOS, tmp_path, ["bar", "bar"])
    for names in (["bar"], ["bar", "all", "more"]):
        refuses(
            ValueError, message + ", one for each of 2", evaluator([EvaluationWorklist(RATIOS, tmp_path, names)]).run
        )
