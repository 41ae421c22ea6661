"""Training ends when validation stops improving, and the best weights come back."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from audits import Scaled, entries, run
from helper import refuses
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.audit.attack import evaluate_attacker, squared_error, train_attacker
from infomri_monai.audit.scene import AuditData, Budget, Scene
from infomri_monai.audit.training import KeepBest
from infomri_monai.sampling import UniformRandom
from infomri_monai.sampling.policy import FrozenPolicy
from infomri_monai.systems import ReconstructionSystem


def scene(**kind):
    data = AuditData.of(*(entries(count, seed, **kind) for seed, count in enumerate((16, 8, 8))))
    return Scene(FrozenPolicy(UniformRandom()), FourierMeasurement(), data)


def test_it_stops_and_restores_the_best():
    """At ratio 1 the best factor is 1; Adam passes it with steps of 0.3 and comes back in ever smaller swings."""
    budget = Budget(learning_rate=0.3, batch_size=8, max_steps=200, val_interval=1, patience=3)
    network, place = Scaled(), scene()
    course = train_attacker(place, network, [1.0], budget, "scaled")
    mse = course.history["mse"]
    assert course.stopped_early
    assert course.steps == course.history["step"][-1] < 200
    assert course.best_step == course.history["step"][mse.index(min(mse))]
    assert course.steps == course.best_step + 3
    assert min(mse) < mse[-1]
    image = torch.stack([entry["image"] for entry in place.data.validation.data])
    with torch.no_grad():
        result = ReconstructionSystem(place.policy, place.measurement, network)(image, 1.0)
    assert float(squared_error(result, image).mean()) == pytest.approx(min(mse), rel=1e-4)


@pytest.mark.parametrize(("most", "interval"), [(6, 2), (7, 3)])
def test_the_budget_ends_it_else(most, interval):
    """With whole intervals: no more steps than asked for."""
    course = train_attacker(scene(), Scaled(), [1.0], Budget(1e-3, 8, max_steps=most, val_interval=interval), "slow")
    assert not course.stopped_early
    assert course.steps == course.best_step == 6
    assert course.history["step"] == [0, 2, 4, 6]


def test_an_attacker_that_learns_nothing_keeps_its_start():
    """Every step away from factor 1 is worse, so the untrained network is the best."""
    network = Scaled()
    nn.init.ones_(network.factor)
    course = train_attacker(scene(), network, [1.0], Budget(0.5, 8, val_interval=1, patience=2), "perfect")
    assert course.best_step == 0
    assert course.stopped_early
    assert float(network.factor.detach()) == 1


some = st.integers(1, 60)


@given(epochs=some, batches=some, steps=st.none() | some, interval=st.none() | some)
def test_the_budget_is_never_exceeded_and_nearly_used(epochs, batches, steps, interval):
    budget = Budget(max_epochs=epochs, max_steps=steps, val_interval=interval)
    between, validations = budget.schedule(batches)
    total = min(epochs * batches, steps or math.inf)
    assert 1 <= between <= (interval or batches)
    assert total - validations < between * validations <= total


def test_epochs_go_on_through_short_val_intervals():
    """Two batches a pass, a validation every step: the second validation must not see the first batch again."""
    seen = []

    class Watch(Scaled):
        def forward(self, zero_filled, mask=None):
            if self.training:
                seen.append(zero_filled.detach().clone())
            return super().forward(zero_filled, mask)

    train_attacker(scene(), Watch(), [1.0], Budget(1e-3, 8, max_steps=2, val_interval=1), "watch")
    first, second = seen
    distances = torch.cdist(first.flatten(1), second.flatten(1))
    assert distances.min() > 1e-3


class NanForOne(Scaled):
    """Not finite in evaluation, for the brightest image of a batch only."""

    def forward(self, zero_filled, mask=None):
        out = super().forward(zero_filled, mask)
        if not self.training:
            out[zero_filled.flatten(1).sum(1).argmax(), 0, 0, 0] = math.nan
        return out


def test_what_is_not_finite_is_an_error():
    """In training, validation and test; a step of 1e30 squares to infinity, which is not the best of a bad course."""

    class Broken(Scaled):
        def forward(self, zero_filled, mask=None):
            return super().forward(zero_filled, mask) * (math.nan if self.training else 1.0)

    place, budget = scene(), Budget(1e-3, 8, max_steps=2)
    refuses(RuntimeError, "broken: non-finite gradient", train_attacker, place, Broken(), [1.0], budget, "broken")
    message = "odd: non-finite prediction for 1 of a batch of 8 in "
    refuses(RuntimeError, message + "a validation", train_attacker, place, NanForOne(), [1.0], budget, "odd")
    refuses(RuntimeError, message + "the test", evaluate_attacker, place, NanForOne(), [1.0], budget, "odd")
    budget, message = Budget(1e30, 8, max_steps=2, val_interval=1), "non-finite prediction for 8 of a batch of 8"
    refuses(RuntimeError, message + " in a validation", train_attacker, place, Scaled(), [1.0], budget, "far")


def test_an_all_zero_image_does_not_spoil_the_means(tmp_path):
    blank = [*entries(8, 1), {"image": torch.zeros(1, 16, 16)}]
    report = run(tmp_path, validation_data=blank, test_data=blank).report
    assert math.isfinite(report.attackers[0].rows[0].psnr)
    assert all(math.isfinite(value) for value in report.attackers[0].courses[0][1].history["psnr"])


def test_schedule():
    """Steps between validations and validations, of 50 batches: as equal as can be."""
    given = ((10, None, None), (10, 120, None), (10, 20, None), (1, None, 20))
    found = [Budget(max_epochs=e, max_steps=s, val_interval=v).schedule(50) for e, s, v in given]
    assert found == [(50, 10), (40, 3), (20, 1), (16, 3)]


def test_a_validation_in_vain_goes_back_to_weights_and_moments():
    """A spike does not end a training: from the best state, moments included, it goes on with a third of the rate."""
    network = Scaled()
    optimizer = torch.optim.Adam(network.parameters(), 0.3)
    trainer = SimpleNamespace(
        optimizer=optimizer, state=SimpleNamespace(iteration=0), terminate=lambda: ended.append(1)
    )
    keep, ended, validator = KeepBest(network, trainer, "mse", "x", patience=2), [], SimpleNamespace()
    for mse in (2.0, 1.0, 9.0, 0.9, 0.899, 0.9):
        optimizer.zero_grad()
        (network.factor * mse).backward()
        optimizer.step()
        if mse == 1.0:
            best, moment = network.factor.item(), optimizer.state[network.factor]["exp_avg"].item()
        validator.state = SimpleNamespace(metrics={"mse": mse})
        keep(validator)
        if mse == 9.0:
            assert (network.factor.item(), optimizer.state[network.factor]["exp_avg"].item()) == (best, moment)
            assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    assert (keep.stalled, ended) == (2, [1])
