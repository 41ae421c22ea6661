"""The weight of a loss's information term as a function of the iteration number alone."""

from __future__ import annotations

import pytest
from ignite.engine import Engine, Events

from infomri_monai.handlers import WarmUp
from infomri_monai.losses import ELBOLoss


def scales(share, epochs=3, length=4, start=0):
    """The scale that each iteration's loss sees, by iteration; from an epoch on as a resumed run does it."""
    loss, seen = ELBOLoss(), {}
    engine = Engine(lambda engine, batch: seen.update({engine.state.iteration: loss.warm_up}))
    WarmUp(loss, share).attach(engine)
    if start:
        engine.load_state_dict({"epoch": start, "epoch_length": length, "max_epochs": epochs})
    engine.run([0] * length, max_epochs=epochs)
    return seen


@pytest.mark.parametrize("share", [0.05, 0.4, 0.75, 1.0])
def test_grows_linearly_and_stays_at_one(share):
    seen = scales(share)
    assert sorted(seen) == list(range(1, 13))
    assert all(seen[i] == pytest.approx(min(1, i / (12 * share))) for i in seen)
    assert seen[12] == 1  # whatever the length of the training, it ends with the full weight


def test_no_warm_up_has_the_full_weight_from_the_first_iteration():
    assert set(scales(0).values()) == {1.0}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_resumed_run_goes_on_where_it_was(share):
    whole, resumed = scales(share), scales(share, start=2)
    assert sorted(resumed) == [9, 10, 11, 12]
    assert all(resumed[i] == whole[i] for i in resumed)


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
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]"):
        WarmUp(ELBOLoss(), share)
