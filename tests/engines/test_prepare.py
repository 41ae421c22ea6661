"""Ratios and generators of a batch: what decides them, and nothing else does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from scipy import stats

from infomri_monai.engines import PrepareAmortizedBatch, PrepareRatioSweep
from infomri_monai.engines.prepare import seeded_generator


def batch(size=6, grid=(4, 5)):
    return {"image": torch.arange(size, dtype=torch.float32).reshape(size, 1, 1, 1).expand(size, 1, *grid).clone()}


def draw(prepare, iteration=1, size=6):
    """Ratios, and numbers of the generator that the system would get."""
    prepare.iteration = iteration
    _, _, (ratio,), kwargs = prepare(batch(size))
    return torch.cat([ratio, torch.rand(3, generator=kwargs["generator"])])


def run(prepare, epochs=2, length=3, start=0):
    """The draws of an Ignite run by iteration, from an epoch on as a resumed run does it."""
    drawn = {}
    engine = Engine(lambda engine, data: drawn.update({engine.state.iteration: prepare(data)[2][0]}))
    prepare.attach(engine)
    if start:
        engine.load_state_dict({"epoch": start, "epoch_length": length, "max_epochs": epochs})
    engine.run([batch()] * length, max_epochs=epochs)
    return drawn


@given(
    bounds=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2).map(sorted),
    seed=st.integers(0, 2**40),
    iteration=st.integers(0, 10**9),
)
@settings(deadline=None, max_examples=30)
def test_ratios_lie_in_the_range(bounds, seed, iteration):
    ratio = draw(PrepareAmortizedBatch(bounds, seed), iteration)[:6]
    assert bounds[0] - 1e-6 <= float(ratio.min()) <= float(ratio.max()) <= bounds[1] + 1e-6


def test_ratios_are_uniform_over_the_range():
    """Moments of U(0.1, 0.5): mean 0.3 and variance 0.16 / 12, within four standard errors of 20,000 draws."""
    ratio = draw(PrepareAmortizedBatch((0.1, 0.5)), size=20_000)[:-3]
    assert float(ratio.mean()) == pytest.approx(0.3, abs=4 * (0.16 / 12 / 20_000) ** 0.5)
    assert float(ratio.var()) == pytest.approx(0.16 / 12, rel=0.04)
    assert ratio.unique().numel() > 19_000


@pytest.mark.parametrize("bounds", [(0.025, 0.4), (0.05, 0.06)])
def test_log_spacing_makes_the_logarithm_uniform(bounds):
    """Quantiles of 20,000 draws are low (high / low)^q, every doubling is drawn equally often, and the range is kept."""
    ratio = draw(PrepareAmortizedBatch(bounds, spacing="log"), size=20_000)[:-3].double()
    low, high = bounds
    assert low <= float(ratio.min()) + 1e-9
    assert float(ratio.max()) <= high + 1e-8
    share = torch.log(ratio / low) / math.log(high / low)
    assert stats.kstest(share.numpy(), "uniform").pvalue > 1e-3
    for q in (0.1, 0.25, 0.5, 0.75, 0.9):
        expected = low * (high / low) ** q
        assert float(ratio.quantile(q)) == pytest.approx(
            expected, rel=4 * math.log(high / low) * (q * (1 - q) / 20_000) ** 0.5
        )


@pytest.mark.parametrize("spacing", ["linear", "log"])
def test_one_ratio_is_a_range_too(spacing):
    assert draw(PrepareAmortizedBatch((0.25, 0.25), spacing=spacing))[:6].tolist() == [0.25] * 6


def test_linear_spacing_is_the_papers_and_the_default():
    assert torch.equal(
        draw(PrepareAmortizedBatch((0.1, 0.5))), draw(PrepareAmortizedBatch((0.1, 0.5), spacing="linear"))
    )


@given(
    bounds=st.lists(st.floats(1e-4, 1.0), min_size=2, max_size=2).map(sorted),
    iteration=st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=30)
def test_log_spaced_ratios_lie_in_the_range_exactly(bounds, iteration):
    """Rounding must not make a ratio that a policy refuses (above 1) or was not trained for."""
    ratio = draw(PrepareAmortizedBatch(bounds, spacing="log"), iteration)[:6]
    low, high = torch.tensor(bounds, dtype=torch.float32)
    assert low <= ratio.min()
    assert ratio.max() <= high


def test_refuses_an_unknown_spacing():
    with pytest.raises(ValueError, match="spacing must be 'linear' or 'log', got 'cubic'"):
        PrepareAmortizedBatch(spacing="cubic")


def test_seed_iteration_and_rank_decide_and_nothing_else(monkeypatch):
    reference = draw(PrepareAmortizedBatch(seed=1), 5)
    torch.manual_seed(3)
    assert torch.equal(draw(PrepareAmortizedBatch(seed=1), 5), reference)
    others = [draw(PrepareAmortizedBatch(seed=2), 5), draw(PrepareAmortizedBatch(seed=1), 6)]
    monkeypatch.setattr("infomri_monai.engines.prepare.idist.get_rank", lambda: 1)
    others.append(draw(PrepareAmortizedBatch(seed=1), 5))
    for i, other in enumerate(others):
        assert not torch.isclose(other, reference).any()
        assert not any(torch.equal(other, third) for third in others[:i])


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    draw(PrepareAmortizedBatch())
    assert torch.equal(torch.get_rng_state(), before)


def test_keys_are_not_confused():
    """(1, 0, 23) and (10, 2, 3) are different keys, and so is a longer one."""
    numbers = {torch.rand(1, generator=seeded_generator(None, *key)).item() for key in [(1, 0, 23), (10, 2, 3), (1, 0)]}
    assert len(numbers) == 3


def test_a_resumed_run_draws_what_the_uninterrupted_one_draws():
    whole = run(PrepareAmortizedBatch(), epochs=3)
    resumed = run(PrepareAmortizedBatch(), epochs=3, start=1)
    assert sorted(whole) == list(range(1, 10))
    assert sorted(resumed) == list(range(4, 10))
    assert all(torch.equal(whole[i], resumed[i]) for i in resumed)


def test_sweep_repeats_the_batch_ratio_by_ratio():
    image, target, (ratio,), _ = PrepareRatioSweep((0.1, 0.3, 0.2))(batch(2))
    assert image[:, 0, 0, 0].tolist() == [0, 1] * 3
    assert torch.equal(image, target)
    torch.testing.assert_close(ratio, torch.tensor([0.1, 0.1, 0.3, 0.3, 0.2, 0.2]))


def test_sweep_is_the_same_in_every_epoch_and_differs_within_one():
    seen = []
    prepare = PrepareRatioSweep((0.1, 0.2), seed=4)
    engine = Engine(lambda _, data: seen.append(torch.rand(1, generator=prepare(data)[3]["generator"]).item()))
    prepare.attach(engine)
    engine.run([batch()] * 3, max_epochs=2)
    assert seen[:3] == seen[3:]
    assert len(set(seen)) == 3
    assert engine.has_event_handler(prepare._follow, Events.ITERATION_STARTED)


@pytest.mark.parametrize("prepare", [PrepareAmortizedBatch(), PrepareRatioSweep()])
def test_meta_tensors_become_tensors_and_other_keys_are_ignored(prepare):
    image, *_ = prepare({"image": MetaTensor(torch.ones(2, 1, 4, 4)), "label": None}, device="cpu")
    assert type(image) is torch.Tensor


@pytest.mark.parametrize("kind", [PrepareAmortizedBatch, PrepareRatioSweep])
def test_a_missing_key_is_named(kind):
    with pytest.raises(KeyError, match=r"no key 'scan'; it has \['image'\]"):
        kind(image_key="scan")(batch())


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((0.3, 0.1), "low <= high"),
        ((0.0, 0.1), r"ratio_range must lie in \(0, 1\]"),
        ((0.1, 2.0), r"ratio_range must lie in \(0, 1\]"),
        ((float("nan"), 0.5), r"ratio_range must lie in \(0, 1\]"),
        ((0.1,), r"must be \(low, high\)"),
        ((0.1, 0.2, 0.3), r"must be \(low, high\)"),
        ((), "ratio_range is empty"),
    ],
)
def test_refuses_bad_ranges(bounds, message):
    with pytest.raises(ValueError, match=message):
        PrepareAmortizedBatch(bounds)


@pytest.mark.parametrize("ratios", [(), (0.1, 0.0), (4,)])
def test_refuses_bad_ratios(ratios):
    with pytest.raises(ValueError, match="ratios"):
        PrepareRatioSweep(ratios)
