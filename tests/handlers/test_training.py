"""Handlers of a training run, inside MONAI's trainer: clipping, calibration, the system's files.

The weight of a loss's information term as a function of the iteration number alone.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helper import refuses
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from tiny_runs import RATIOS, tiny_data, tiny_system, trainer, validator

from infomri_monai.acquisition import FourierMeasurement, KSpaceStatistics
from infomri_monai.handlers import CalibrateVariance, ClipGradientNorm, SaveStatistics, SaveSystem, WarmUp
from infomri_monai.losses import ELBOLoss
from infomri_monai.networks import LatentSegmenter, UnrolledReconstructor, load_network
from infomri_monai.sampling import PatternGenerationNetwork, load_policy
from infomri_monai.systems import SegmentationSystem


def log_errors(system, quantity="standardized_squared_error"):
    """Log of the mean standardised squared error (or another quantity) on validation data at every ratio."""
    engine = validator(system)
    engine.run()
    return np.log([engine.state.metrics[f"{quantity}_at_{ratio:.4f}"] for ratio in RATIOS])


def norm(parameters):
    return torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))


def test_gradients_are_clipped_before_the_step_and_only_those():
    system, seen = tiny_system(), []
    system.network.variance_head[-1].bias.data.fill_(-3)  # overconfident: large gradients
    look = lambda _: seen.append([norm(part.parameters()) for part in (system.network, system.policy)])  # noqa: E731
    engine = trainer(system, epochs=1)
    engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, look)
    ClipGradientNorm(system.network.parameters(), max_norm=0.05).attach(engine)
    engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, look)
    engine.run()
    (network, policy), (clipped, same) = seen[:2]
    assert network > 0.05
    assert float(clipped) == pytest.approx(0.05, rel=1e-3)
    assert policy == same > 0


def test_one_ratio_sets_the_offset_only():
    system = tiny_system()
    error = log_errors(system)[0]
    CalibrateVariance(system, validator(system), RATIOS[:1])(trainer(system))
    assert system.network.log_variance_line[0].tolist() == pytest.approx([error, 0.0], abs=1e-5)


@pytest.mark.parametrize("shift", [-2.0, 0.0, 1.5])
def test_calibrated_variance_is_calibrated(shift):
    """By the least-squares line of the log errors, so that its refit is zero: no mean and no slope is left."""
    system = tiny_system()
    system.network.variance_head[-1].bias.data.add_(shift)
    before, line = log_errors(system), system.network.log_variance_line
    scale = log_errors(system, "interval_scale")
    trainer(system, [CalibrateVariance(system, validator(system), RATIOS)], epochs=1, learning_rate=0.0).run()
    after = log_errors(system)
    assert abs(before.mean()) > 0.1
    assert line[0].tolist() == pytest.approx(np.polyfit(np.log(RATIOS), before, 1)[::-1], rel=1e-4, abs=1e-4)
    assert after.mean() == pytest.approx(0, abs=0.02)
    assert np.polyfit(np.log(RATIOS), after, 1)[0] == pytest.approx(0, abs=0.05)
    assert np.abs(after).max() < 0.2
    assert line[1].tolist() == pytest.approx(2 * np.polyfit(np.log(RATIOS), scale, 1)[::-1], rel=1e-3, abs=1e-3)
    assert log_errors(system, "interval_scale").mean() == pytest.approx(0, abs=0.02)
    assert np.exp(log_errors(system, "magnitude_coverage")) == pytest.approx(0.9, abs=0.04)
    assert not line.requires_grad


def test_calibration_leaves_a_diverged_network_alone_and_says_so(caplog):
    system = tiny_system()
    with torch.no_grad():
        system.network.variance_head[-1].bias.fill_(math.nan)
    before = system.network.log_variance_line.clone()
    CalibrateVariance(system, validator(system), RATIOS)(trainer(system))
    assert "left uncalibrated" in caplog.text
    assert torch.equal(system.network.log_variance_line, before)


def test_saved_files_are_the_trained_system(tmp_path):
    system = tiny_system()
    model, policy = tmp_path / "run" / "model.pt", tmp_path / "run" / "policy.pt"
    trainer(system, [SaveSystem(system, model, policy)]).run()
    assert sorted(path.name for path in model.parent.iterdir()) == ["model.pt", "policy.pt"]
    network = load_network(UnrolledReconstructor(phases=1, channels=4), model)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in system.network.state_dict().items())
    sample, expected = (
        p(0.3, p.grid, torch.Generator().manual_seed(0)).mask for p in (load_policy(policy), system.policy)
    )
    assert torch.equal(sample, expected)
    image = torch.stack([item["image"] for item in tiny_data(2)])
    assert torch.isfinite(network(torch.cat([image.real, image.imag], 1))).all()


def test_a_task_model_is_saved_without_what_only_its_training_needs(tmp_path):
    build = lambda **options: LatentSegmenter(channels=(8, 8), latent_channels=4, **options)  # noqa: E731
    system = SegmentationSystem(PatternGenerationNetwork((16, 16)), FourierMeasurement(), build())
    SaveSystem(system, tmp_path / "model.pt", tmp_path / "policy.pt")(trainer(tiny_system()))
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    whole = system.network.state_dict()
    assert {name for name in whole if name not in saved} == {n for n in whole if "posterior_" in n}
    network = load_network(build(training_parts=False), tmp_path / "model.pt")
    assert all(torch.equal(whole[name], value) for name, value in network.state_dict().items())
    assert torch.equal(load_policy(tmp_path / "policy.pt").embedding, system.policy.embedding)


def test_a_crash_while_saving_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    system, engine = tiny_system(), trainer(tiny_system())
    save = SaveSystem(system, tmp_path / "model.pt", tmp_path / "policy.pt")
    save(engine)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def crash(state, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    refuses(OSError, "disk full", save, engine)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_a_gradient_that_is_not_finite_stops_the_training():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, math.nan])
    refuses(RuntimeError, "non-finite", ClipGradientNorm([parameter]), trainer(tiny_system()))


def test_statistics_are_there_before_the_first_step(tmp_path):
    statistics = KSpaceStatistics.from_images([torch.rand(1, 8, 8) for _ in range(3)])
    path, seen = tmp_path / "deep" / "kspace_statistics.npz", []
    engine = trainer(tiny_system(), [SaveStatistics(statistics, path)], epochs=1)
    engine.add_event_handler(Events.STARTED, lambda _: seen.append(not path.exists()))  # a resume may still be refused
    engine.add_event_handler(Events.ITERATION_STARTED, lambda _: seen.append(path.is_file()))
    engine.run()
    assert len(seen) > 1
    assert all(seen)
    loaded = KSpaceStatistics.load(path)
    assert loaded.checksum == statistics.checksum
    assert torch.equal(loaded.variance_real, statistics.variance_real)


def scales(share, epochs=3, length=4, start=0):
    """The scale that each iteration's loss sees, by iteration; from an epoch on as a resumed run does it."""
    loss, seen = ELBOLoss(), {}
    engine = Engine(lambda engine, batch: seen.update({engine.state.iteration: loss.warm_up}))
    WarmUp(loss, share).attach(engine)
    if start:
        engine.load_state_dict({"epoch": start, "epoch_length": length, "max_epochs": epochs})
    engine.run([0] * length, max_epochs=epochs)
    return seen


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 0.75, 1.0])
def test_grows_linearly_and_stays_at_one(share):
    """Whatever the length of the training, it ends with the full weight; a resumed run goes on where it was."""
    seen, resumed = scales(share), scales(share, start=2)
    assert seen == pytest.approx({i: min(1, i / (12 * share)) if share else 1 for i in range(1, 13)})
    assert seen[12] == 1
    assert resumed == {i: seen[i] for i in range(9, 13)}


def test_a_checkpoint_that_is_loaded_when_the_run_starts_counts():
    """As MONAI's CheckpointLoader does it: the trainer's state is replaced in STARTED."""
    loss, seen = ELBOLoss(), []
    engine = Engine(lambda engine, batch: seen.append((engine.state.iteration, loss.warm_up)))
    WarmUp(loss, 1.0).attach(engine)
    state = {"epoch": 1, "epoch_length": 4, "max_epochs": 2}
    engine.add_event_handler(Events.STARTED, lambda e: e.load_state_dict(state))
    engine.run([0] * 4, max_epochs=2)
    assert seen[0] == (5, 5 / 8)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_refuses_what_is_no_share(share):
    refuses(ValueError, r"share must lie in \[0, 1\]", WarmUp, ELBOLoss(), share)
