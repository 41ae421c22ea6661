"""The report's words follow its numbers."""

from __future__ import annotations

import json
import math

import pytest
import torch

from infomri_monai.audit.attack import AttackerReport
from infomri_monai.audit.probe import ProbeReport, ProbeRow
from infomri_monai.audit.report import AuditReport, judge
from infomri_monai.audit.scene import Budget, Course
from infomri_monai.metrics import RateDistortionRow


def judged(gain, margin=3.0, images=400, spread=0.5, name="unet"):
    difference = gain + spread * torch.randn(images, generator=torch.Generator().manual_seed(0))
    constant = 10 + torch.rand(images, generator=torch.Generator().manual_seed(1))
    return judge(0.25, {"zero-filled": constant - 20, name: constant + difference}, constant, margin)


def report(gain=5.0, stopped=True, best_step=200, probe=None, name="unet"):
    verdict = judged(gain, name=name)
    row = RateDistortionRow(0.25, 0.25, verdict.psnr, 8.0, 0.8, 0.3, images=400)
    course = Course(300, best_step, stopped, {"step": [0, 300], "psnr": [8.0, 15.0], "mse": [1.0, 0.1]})
    attacker = AttackerReport("unet", "GaussianUNet", 12345, 1e-3, [((0.25,), course)], [row])
    facts, probe = {"policy": "UniformRandom"}, probe or ProbeReport("", "none was asked for.")
    return AuditReport(
        "demo",
        facts,
        Budget(),
        3.0,
        [attacker],
        {"mean training image": (10.5, 0.1), "constant image": (9.1, 0.0)},
        [verdict],
        probe,
    )


def test_verdict_takes_the_best_attack_and_leaves_empty_images_out():
    """Of one image there is no interval."""
    nan = math.nan
    attacks = {"a": torch.tensor([12.0, 14.0, nan]), "zero-filled": torch.tensor([20.0, 16.0, nan])}
    found = judge(0.5, attacks, torch.tensor([10.0, 11.0, nan]), 3.0)
    assert (found.best, found.psnr, found.floor_psnr, found.gain) == ("zero-filled", 18.0, 10.5, 7.5)
    assert found.highest_psnr == pytest.approx(19.8)
    one = judge(0.5, {"a": torch.tensor([12.0])}, torch.tensor([11.0]), 3.0)
    assert (math.isnan(one.gain_error), one.verdict) == (True, "leaks")


CLAIMS = {
    "recoverable": "The image is recoverable to that extent",
    "leaks": "The measurement gives something of the image away",
    "no better than guessing": "None of these attacks was measurably better than guessing: resistance to these",
    "attacks too weak": "so they show no resistance",
}


@pytest.mark.parametrize(("gain", "verdict"), list(zip((5.0, 1.0, 0.0, -2.0), CLAIMS, strict=True)))
def test_each_claim_is_made_for_its_numbers_only(gain, verdict):
    found, made = judged(gain), report(gain)
    assert found.verdict == verdict
    assert (found.gain, found.gain_error) == (pytest.approx(gain, abs=0.1), pytest.approx(0.5 / 20, rel=0.1))
    low, high = found.interval
    assert low < found.gain < high
    text = made.markdown()
    assert [name for name, claim in CLAIMS.items() if claim in text] == [verdict]
    assert "not a guarantee" in made.summary()
    assert f"{made.verdicts[0].gain:+.2f} dB" in text
    assert ("resistance to these attackers" in text) == (gain == 0.0)


def test_the_training_is_told():
    """Its end, and that networks without a mask's input are not said to know it."""
    text = report(stopped=True).markdown()
    assert "stopped because validation no longer improved after 300 steps, best at step 200" in text
    assert "with more steps it may recover more" not in text
    assert "are given the masks (networks without a mask input do not use them)" in text
    text = report(stopped=False).markdown()
    assert "ended with its budget after 300 steps" in text
    assert "The training of unet ended with its budget" in text
    assert "the untrained network was best" in report(best_step=0).markdown()


def test_an_attack_without_training_is_said_to_be_the_best():
    for name, words in (("zero-filled", "the zero-filled image"), ("linear MMSE", "the linear one")):
        assert f"no trained attacker did better than {words}" in report(5.0, name=name).markdown()
    assert "no trained attacker did better" not in report(5.0).markdown()


def probe_row(accuracy, majority=0.6, balanced=None, ratio=0.25, images=200):
    error = math.sqrt(accuracy * (1 - accuracy) / images)
    return ProbeRow(ratio, accuracy, error, balanced or accuracy, error, majority, 0.5, images)


@pytest.mark.parametrize(
    ("accuracy", "majority", "balanced", "told"),
    [
        (0.9, 0.6, 0.9, True),
        (0.6, 0.6, 0.5, False),
        (0.9, 0.9, 0.8, True),  # the rare value is told, though accuracy is the majority's
        (0.9, 0.9, 0.5, False),
    ],
)
def test_the_probe_is_told_by_its_numbers(accuracy, majority, balanced, told):
    row = probe_row(accuracy, majority, balanced)
    assert row.told == told
    (line,) = ProbeReport("sex", "", [row]).words()
    assert ("can be inferred better than by guessing" in line) == told
    assert ("did not measurably infer" in line) == (not told)
    assert f"accuracy is {accuracy:.3f}" in line


def test_a_probe_that_fails_on_complete_data_makes_no_statement():
    failed = probe_row(0.6, 0.6, 0.5, 1.0)
    (line,) = ProbeReport("sex", "", [], failed, failed).words()
    assert "The probe does not learn `sex` even from the full image: no statement" in line
    told = probe_row(0.95, 0.6, None, 1.0)
    assert "no statement" not in " ".join(ProbeReport("sex", "", [probe_row(0.6)], told, told).words())


def test_a_skipped_probe_is_told():
    text = report(probe=ProbeReport("sex", "the train data has entries without `sex`.")).markdown()
    assert "No attribute probe: the train data has entries without `sex`." in text
    assert "Nothing is said about other labels" in text


def test_the_json_is_plain():
    content = report(
        probe=ProbeReport("sex", "", [probe_row(0.9)], None, None, [("it", Course(1, 1, True, {}))])
    ).content()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again == content
    assert content["attackers"][0]["rows"][0]["coverage"] is None
    assert content["attribute_probe"]["rows"][0]["accuracy"] == 0.9
