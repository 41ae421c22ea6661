"""The privacy audit end to end: what is known is found, the defender is left alone, finished work is kept."""

from __future__ import annotations

import csv
import json
import math

import pytest
import torch
from audits import Constant, Scaled, audit, entries, run, unrolled
from helper import refuses
from monai.data import Dataset
from torch import nn

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.audit.attack import train_attacker
from infomri_monai.metrics import psnr
from infomri_monai.networks import GaussianUNet, UnrolledReconstructor
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom

FILES = {"attackers.csv", "attackers.json", "attackers.md", "attackers.png", "report.md", "report.json"}
FILES |= {"reconstructions.png", "learning_curves.png", "models"}
ALWAYS = ("linear MMSE", "mean training image", "constant image")


def constant_psnr(train, test):
    guess = torch.stack([entry["image"].abs() for entry in train]).mean(0, keepdim=True)
    return float(torch.cat([psnr(guess, entry["image"][None]) for entry in test]).mean())


def test_complete_data_without_noise_is_recovered(tmp_path):
    report = run(tmp_path, {"unrolled": unrolled, "scaled": Scaled}, ratios=[1.0]).report
    verdict, row = report.verdicts[0], report.attackers[0].rows[0]
    assert verdict.verdict == "recoverable"
    assert min(verdict.psnr, row.psnr) > 60
    assert row.ssim > 0.999
    assert "the image is recoverable" in report.summary()
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_almost_no_data_leaves_the_mean_training_image(tmp_path):
    made = run(tmp_path, {"constant": Constant}, ratios=[0.008], learning_rate=0.05, max_steps=150, val_interval=50)
    report = made.report
    expected = constant_psnr(entries(48, 0), entries(24, 2))
    assert report.floors["mean training image"][0] == pytest.approx(expected, abs=1e-3)
    assert report.floors["constant image"][0] < expected
    assert report.attackers[0].rows[0].psnr == pytest.approx(expected, abs=1.0)
    assert report.verdicts[0].verdict != "recoverable"
    assert "recoverable" not in report.summary()
    tables = {table["method"]: table for table in json.loads((tmp_path / "attackers.json").read_text())}
    assert tables["mean training image"]["rows"][0]["psnr"] == pytest.approx(expected, abs=1e-3)


def test_the_files_agree_with_the_numbers(tmp_path):
    made = run(tmp_path, {"unrolled": unrolled, "scaled": Scaled}, attribute="side")
    with (tmp_path / "attackers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    methods = [(name, ratio) for name in ("unrolled", "scaled", *ALWAYS) for ratio in (0.25, 0.5)]
    assert [(row["method"], float(row["ratio"])) for row in rows] == methods
    assert float(rows[0]["psnr"]) == made.report.attackers[0].rows[0].psnr
    assert rows[0]["coverage"] == ""  # an attacker has no uncertainty
    content = json.loads((tmp_path / "report.json").read_text())
    best = content["verdicts"][1]
    every = {a["name"]: a["rows"][1]["psnr"] for a in content["attackers"]}
    every["zero-filled"] = content["attackers"][0]["rows"][1]["zero_filled_psnr"]
    assert best["psnr"] == pytest.approx(max(every.values()), abs=1e-4)
    assert every[best["best"]] == max(every.values())
    assert best["gain"] == pytest.approx(best["psnr"] - best["floor_psnr"], abs=1e-4)
    text = (tmp_path / "report.md").read_text()
    assert all(words in text for words in (f"{best['psnr']:.2f} dB", "not a guarantee", "no differential privacy"))
    assert made.state.metrics["unrolled_psnr_at_0.5000"] == made.report.attackers[0].rows[1].psnr
    assert {"attribute_probe.csv", "attribute_probe.json", "attribute_probe.md"} < {p.name for p in tmp_path.iterdir()}


def test_not_one_bit_of_the_defender_changes(tmp_path):
    policy, network = PatternGenerationNetwork((16, 16), ratio_range=(0.1, 0.6)).train(), unrolled()
    measurement = FourierMeasurement(noise=ComplexGaussianNoise(1e-3))
    before = [{k: t.clone() for k, t in m.state_dict().items()} for m in (policy, network)]
    made = run(tmp_path, {"unrolled": network}, policy=policy, measurement=measurement)
    kept = made.scene.policy.policy
    for module, state in ((policy, before[0]), (kept, before[0]), (network, before[1])):
        assert module.state_dict().keys() == state.keys()
        assert all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())
    assert not kept.training
    assert not any(parameter.requires_grad for parameter in kept.parameters())
    assert policy.training  # the caller's object stays as it was
    assert all(parameter.requires_grad and parameter.grad is None for parameter in policy.parameters())
    weights = torch.load(tmp_path / "models" / "unrolled" / "weights.pt", weights_only=True)
    assert not all(torch.equal(tensor, before[1][key]) for key, tensor in weights.items())


def test_every_attacker_meets_the_same_measurements(tmp_path):
    made = run(tmp_path, {"a": Scaled, "b": unrolled}, measurement=FourierMeasurement(noise=ComplexGaussianNoise(1e-2)))
    first, *others = (outcome.images["zero_filled_psnr"] for outcome in made.attacks.outcomes().values())
    assert [torch.equal(first, other) for other in others] == [True, True]


def test_the_seed_decides_everything_and_torchs_own_generator_is_left_alone(tmp_path):
    state = torch.get_rng_state()
    reports = [run(tmp_path / str(i), seed=seed, attribute="side").report for i, seed in enumerate((3, 3, 4))]
    assert torch.equal(torch.get_rng_state(), state)
    assert reports[0].content() == reports[1].content()
    assert reports[0].attackers[0].rows != reports[2].attackers[0].rows


def test_a_second_run_takes_what_is_finished(tmp_path, monkeypatch):
    def again(attackers=("a",), **changes):
        networks = {name: {"a": unrolled, "b": Scaled}[name] for name in attackers}
        return run(tmp_path, networks, attribute="side", **changes).report.content()

    def forbidden(*args, **kwargs):
        raise AssertionError("trained again")

    first, train = again(), entries(48, 0)
    with monkeypatch.context() as patch:
        patch.setattr("infomri_monai.audit.attack.train_attacker", forbidden)
        patch.setattr("infomri_monai.audit.probe.train_probe", forbidden)
        assert again() == first
        for changes in (  # other settings and other data are another audit
            {"patience": 7},
            {"policy": UniformRandom(readout_axis=0)},
            {"train_data": Dataset(train, lambda entry: entry | {"image": entry["image"] / 2})},
            {"train_data": [*train[:40], train[40] | {"image": train[41]["image"]}, *train[41:]]},
        ):
            refuses(AssertionError, "trained again", again, **changes)
    more = again(("a", "b"))
    assert more["attackers"][0] == first["attackers"][0]
    assert len(more["attackers"]) == 3


def test_an_interrupted_audit_goes_on_with_what_is_left(tmp_path, monkeypatch):
    trained, train = [], train_attacker

    def count(scene, network, ratios, budget, name):
        trained.append(name)
        if trained == ["a", "b"]:
            raise KeyboardInterrupt
        return train(scene, network, ratios, budget, name)

    monkeypatch.setattr("infomri_monai.audit.attack.train_attacker", count)
    both = {"a": unrolled, "b": Scaled}
    refuses(KeyboardInterrupt, "^$", run, tmp_path, both)
    assert not (tmp_path / "report.md").exists()
    report = run(tmp_path, both).report
    assert trained == ["a", "b", "b"]
    assert [attacker.name for attacker in report.attackers] == ["a", "b", "linear MMSE"]


def test_a_perfect_reconstruction_is_kept_and_told_again(tmp_path):
    """Constant images return exactly, so their PSNR is infinite."""
    flat = [{"image": torch.ones(1, 16, 16)} for _ in range(8)]
    changes = {"validation_data": flat, "test_data": flat, "ratios": [1.0], "learning_rate": 1e-6}
    network = Scaled()
    nn.init.ones_(network.factor)
    first, again = (run(tmp_path, {"scaled": network}, **changes).report for _ in range(2))
    assert [report.attackers[0].rows[0].psnr for report in (first, again)] == [math.inf] * 2
    assert first.attackers[0].courses[0][1].history["psnr"][0] == math.inf
    assert repr(again.verdicts) == repr(first.verdicts)
    assert (first.verdicts[0].verdict, first.verdicts[0].highest_psnr) == ("recoverable", math.inf)
    assert "recovered best it reaches inf dB" in again.markdown()
    for name in ("attackers.json", "report.json"):
        json.loads((tmp_path / name).read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_every_ratio_has_the_same_budget(tmp_path):
    """Of one network for all and of one per ratio; what the limit ended is told."""
    report = run(tmp_path / "shared").report
    assert report.attackers[0].courses[0][1].steps == 24
    assert report.attackers[0].courses[0][1].history["step"] == [0, 8, 16, 24]
    assert "The training of unrolled ended with its budget" in report.markdown()


def test_one_network_per_ratio(tmp_path):
    report = run(tmp_path, per_ratio=True).report
    assert [(ratios, course.steps) for ratios, course in report.attackers[0].courses] == [((0.25,), 12), ((0.5,), 12)]
    assert [row.ratio for row in report.attackers[0].rows] == [0.25, 0.5]
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["unrolled_at_0.2500", "unrolled_at_0.5000"]


def test_mixed_precision_trains_in_bfloat16_and_tests_in_float32(tmp_path):
    seen = set()

    class Watch(Scaled):
        def forward(self, zero_filled, mask=None):
            seen.add((self.training, torch.is_autocast_enabled("cpu")))
            return super().forward(zero_filled, mask)

    run(tmp_path, {"watch": Watch}, mixed_precision=True)
    assert seen == {(True, True), (False, False)}


def test_complex_images_with_a_unet_and_a_rate_of_its_own(tmp_path):
    unet, complex_unrolled = GaussianUNet(features=(4,) * 6), UnrolledReconstructor(phases=1, channels=4)
    changes = {"complex_valued": True, "grid": (32, 32), "images": (8, 4, 4), "max_steps": 4}
    rates = {"unet": 1e-3, "unrolled": 1e-2}
    report = run(tmp_path, {"unet": unet, "unrolled": complex_unrolled}, learning_rate=rates, **changes).report
    assert report.facts["images"].startswith("complex")
    assert "8 train" in report.facts["images"]
    assert [attacker.learning_rate for attacker in report.attackers[:2]] == [1e-3, 1e-2]


def test_policy_warnings_stand_in_the_report(tmp_path, caplog):
    trained = PatternGenerationNetwork((16, 16), ratio_range=(0.1, 0.3))
    (warning,) = audit(tmp_path, policy=trained).warnings
    assert "masks at 0.5 are extrapolated" in warning
    assert "ratio=0.5 is extrapolated" in caplog.text
    assert "it may be untrained" in audit(tmp_path, policy=PatternGenerationNetwork((16, 16))).warnings[0]
    assert audit(tmp_path).warnings == []
    assert "extrapolated" in run(tmp_path, policy=trained).report.markdown()


class TwoChannels(nn.Module):
    def forward(self, zero_filled, mask=None):
        return zero_filled


def diverged():
    policy = PatternGenerationNetwork((16, 16))
    with torch.no_grad():
        policy.embedding.fill_(float("nan"))
    return policy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attackers": {}}, "attackers is empty"),
        ({"attackers": {"../x": unrolled}}, "is no name for an attacker"),
        ({"attackers": {"zero-filled": unrolled}}, "is no name for an attacker"),
        ({"attackers": {"x": 3}}, r"attackers\['x'\] must be a network or a function"),
        ({"attackers": {"x": lambda: 3}}, "must make a network, got int"),
        ({"attackers": {"x": TwoChannels}}, r"attackers\['x'\] must return \(batch, 3, H, W\)"),
        ({"attackers": {"x": lambda: nn.Conv2d(2, 3, 3)}}, r"attackers\['x'\] \(Conv2d\) cannot take the measurement"),
        ({"complex_valued": True}, r"attackers\['unrolled'\] is real-valued, and the images are complex"),
        ({"learning_rate": {"other": 1.0}}, "learning_rate must name the attackers"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0"),
        ({"patience": 0}, "patience must be >= 1"),
        ({"max_steps": 0}, "max_steps must be >= 1"),
        ({"ratios": []}, "ratios is empty"),
        ({"ratios": [1.5]}, r"ratios must lie in \(0, 1\]"),
        ({"ratios": [1e-4]}, "cannot be met on grid"),
        ({"ratios": [0.5, 0.25001, 0.25002]}, "ratios must differ in their first four decimals"),
        ({"images": (4, 0, 4)}, "validation_data is empty"),
        ({"test_data": [{"picture": 1}]}, "test_data: entries have no 'image'"),
        ({"test_data": [{"image": torch.ones(1, 12, 12)}]}, "images must have one shape"),
        ({"policy": PatternGenerationNetwork((18, 16))}, r"policy was trained on grid \(18, 16\)"),
        ({"policy": diverged()}, "policy holds NaN or Inf in embedding"),
        ({"recoverable_margin": 0.0}, "recoverable_margin must be > 0"),
        ({"probe": unrolled, "attribute": "side"}, "probe must be an ImageClassifier"),
    ],
)
def test_refuses_before_anything_is_written(tmp_path, changes, message):
    refuses(ValueError, message, audit, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("infomri_monai.audit.audit.idist.get_world_size", lambda: 2)
    refuses(RuntimeError, "runs in one process", audit, tmp_path)
