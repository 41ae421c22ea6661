"""Ratios and generators of a batch: what decides them, and nothing else does.

Labelled batches for training and for sweeping ratios.
Which expert's label a training step sees, and what an evaluation gets.
"""

from __future__ import annotations

import pytest
import torch
from helper import refusals, refuses
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from scipy import stats

from infomri_monai.engines import (
    FollowIterations,
    PrepareAmortizedBatch,
    PrepareLabels,
    PrepareOneRater,
    PrepareRaters,
    PrepareRatioSweep,
)
from infomri_monai.engines.prepare import seeded_generator


def batch(size=6, grid=(4, 5)):
    return {"image": torch.arange(size, dtype=torch.float32).reshape(size, 1, 1, 1).expand(size, 1, *grid).clone()}


def draw(prepare, iteration=1, size=6):
    """Ratios, and numbers of the generator that the system would get."""
    prepare.iteration = iteration
    _, _, (ratio,), kwargs = prepare(batch(size))
    return torch.cat([ratio, torch.rand(3, generator=kwargs["generator"])])


def run(prepare, follower, start=0):
    """Ratios, or labels, of an Ignite run of three epochs by iteration, from an epoch on as a resumed run does it."""
    drawn = {}
    engine = Engine(lambda engine, data: drawn.update({engine.state.iteration: prepare(data)[2][-1]}))
    follower(prepare).attach(engine)
    if start:
        engine.load_state_dict({"epoch": start, "epoch_length": 3, "max_epochs": 3})
    engine.run([multi_class(20)] * 3, max_epochs=3)
    return drawn


@pytest.mark.parametrize("spacing", [{}, {"spacing": "linear"}, {"spacing": "log"}])
@given(bounds=st.lists(st.floats(1e-4, 1.0), min_size=2, max_size=2).map(sorted), iteration=st.integers(0, 10**9))
@example(bounds=[0.25, 0.25], iteration=1)
@settings(deadline=None, max_examples=30)
def test_ratios_lie_in_the_range(spacing, bounds, iteration):
    """Rounding must not make a ratio that a policy refuses (above 1) or was not trained for."""
    ratio = draw(PrepareAmortizedBatch(bounds, seed=7, **spacing), iteration)[:6]
    low, high = torch.tensor(bounds, dtype=torch.float32)
    slack = 0 if spacing.get("spacing") == "log" else 1e-6
    assert low - slack <= ratio.min()
    assert ratio.max() <= high + slack


@pytest.mark.parametrize("bounds", [(0.025, 0.4), (0.05, 0.06)])
@pytest.mark.parametrize("spacing", ["linear", "log"])
def test_ratios_or_their_logarithms_are_uniform_over_the_range(spacing, bounds):
    """20,000 draws, by the test of Kolmogorov and Smirnov."""
    ratio = draw(PrepareAmortizedBatch(bounds, spacing=spacing), size=20_000)[:-3].double()
    place = torch.log if spacing == "log" else torch.Tensor.double
    low, high, drawn = (place(torch.as_tensor(value, dtype=torch.float64)) for value in (*bounds, ratio))
    assert stats.kstest(((drawn - low) / (high - low)).numpy(), "uniform").pvalue > 1e-3
    assert ratio.unique().numel() > 19_000


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
    keys = [(1, 0, 23), (10, 2, 3), (1, 0)]
    assert len({torch.rand(1, generator=seeded_generator(None, *key)).item() for key in keys}) == 3


@pytest.mark.parametrize(
    ("make", "follower"),
    [(PrepareAmortizedBatch, lambda prepare: prepare), (lambda: one_rater(CLASSES, False), FollowIterations)],
)
def test_a_resumed_run_draws_what_the_uninterrupted_one_draws(make, follower):
    whole, resumed = run(make(), follower), run(make(), follower, start=1)
    assert sorted(whole) == list(range(1, 10))
    assert sorted(resumed) == list(range(4, 10))
    assert all(torch.equal(whole[i], resumed[i]) for i in resumed)
    assert not torch.equal(whole[1], whole[2])


def test_sweep_repeats_the_batch_ratio_by_ratio():
    image, target, (ratio,), _ = PrepareRatioSweep((0.1, 0.3, 0.2))(batch(2))
    assert image[:, 0, 0, 0].tolist() == [0, 1] * 3
    assert torch.equal(image, target)
    torch.testing.assert_close(ratio, torch.tensor([0.1, 0.1, 0.3, 0.3, 0.2, 0.2]))


@pytest.mark.parametrize("raters", [False, True])
def test_sweep_is_the_same_in_every_epoch_and_differs_within_one(raters):
    seen, sweep = [], PrepareRatioSweep((0.1, 0.2), seed=4)
    prepare = PrepareRaters(sweep, CLASSES) if raters else sweep
    engine = Engine(lambda _, data: seen.append(torch.rand(1, generator=prepare(data)[3]["generator"]).item()))
    prepare.attach(engine)
    engine.run([multi_class(2)] * 3, max_epochs=2)
    assert seen[:3] == seen[3:]
    assert len(set(seen)) == 3
    assert engine.has_event_handler(sweep._follow, Events.ITERATION_STARTED)


def batch_prepare_classification(label, size=4):
    image = torch.arange(size * 36.0).reshape(size, 1, 6, 6)
    return {"image": image, "label": label}


def test_labels_follow_the_images_ratio_by_ratio():
    prepare = PrepareLabels(PrepareRatioSweep((0.1, 0.2, 0.4)), num_classes=3)
    data = batch_prepare_classification(torch.tensor([2, 0, 1, 1]))
    image, target, (ratio,), named = prepare(data)
    assert target.tolist() == [2, 0, 1, 1] * 3
    assert torch.equal(image[4:8], data["image"])
    assert ratio.tolist() == pytest.approx([0.1] * 4 + [0.2] * 4 + [0.4] * 4)
    assert isinstance(named["generator"], torch.Generator)


def test_multi_label_and_meta_tensors():
    label = MetaTensor(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    _, target, _, _ = PrepareLabels(PrepareRatioSweep((0.1, 0.2)), 2, multi_label=True)(
        batch_prepare_classification(label, 2)
    )
    assert type(target) is torch.Tensor
    assert target.tolist() == [[0, 1], [1, 1]] * 2


def test_mirroring_is_per_image_and_seeded():
    prepare = PrepareLabels(PrepareAmortizedBatch((0.1, 0.2), seed=1), num_classes=2, flip_axes=[1])
    data = batch_prepare_classification(torch.zeros(32, dtype=torch.long), 32)
    image, *_ = prepare(data)
    again, *_ = prepare(data)
    assert torch.equal(image, again)
    mirrored = (image == data["image"].flip(3)).flatten(1).all(1)
    kept = (image == data["image"]).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 4 < int(mirrored.sum()) < 28


def test_every_image_is_shifted_on_its_own():
    prepare = PrepareLabels(PrepareAmortizedBatch((0.1, 0.2), seed=1), num_classes=2, max_shift=2)
    data = batch_prepare_classification(torch.zeros(64, dtype=torch.long), 64)
    image, *_ = prepare(data)
    shifts = [
        [(i, j) for i in range(-2, 3) for j in range(-2, 3) if torch.equal(made, own.roll((i, j), (1, 2)))]
        for made, own in zip(image, data["image"], strict=True)
    ]
    assert all(len(found) == 1 for found in shifts)
    assert {axis for found in shifts for axis in found[0]} == {-2, -1, 0, 1, 2}
    assert torch.equal(prepare(data)[0], image)


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), {}, r"label must be 0 to 2, got \[3\]"),
        (torch.tensor([0, 1, -1, 2]), {}, "label must be 0 to 2"),
        (torch.tensor([0, 1, 0.5, 2]), {}, r"label must be 0 to 2, got \[0.5\]"),
        (torch.tensor([0, 1]), {}, r"label must have shape \(4,\)"),
        (torch.full((4, 3), 0.5), {"multi_label": True}, "label must be 0 or 1"),
        (torch.zeros(4), {"multi_label": True}, r"label must have shape \(4, 3\)"),
    ],
)
def test_bad_labels(label, options, message):
    with pytest.raises(ValueError, match=message):
        PrepareLabels(PrepareRatioSweep((0.1,)), num_classes=3, **options)(batch_prepare_classification(label))


GRID = (5, 6)
RATERS, CLASSES = 5, 6


def multi_class(size=4, dtype=torch.uint8):
    """Rater r draws class r + 1 everywhere (r = 0 .. 4)."""
    label = torch.arange(1, RATERS + 1, dtype=dtype).reshape(1, RATERS, 1, 1).expand(size, RATERS, *GRID).clone()
    return {"image": torch.rand(size, 1, *GRID), "label": label}


def multi_label(size=4, dtype=torch.int8):
    """Rater r draws label r of five and no other."""
    label = torch.eye(RATERS, dtype=dtype).reshape(1, RATERS, RATERS, 1, 1).expand(size, RATERS, RATERS, *GRID).clone()
    return {"image": torch.rand(size, 1, *GRID), "label": label}


KINDS = {"multi_class": (multi_class, CLASSES, False), "multi_label": (multi_label, RATERS, True)}
every_kind = pytest.mark.parametrize(("make", "classes", "is_multi_label"), KINDS.values(), ids=KINDS.keys())


def one_rater(classes, is_multi_label, seed=0):
    return PrepareOneRater(PrepareAmortizedBatch((0.1, 0.2), seed=seed), classes, is_multi_label)


def chosen(prepare, batch, iteration=1):
    """The rater of every image, read off the masks."""
    prepare.prepare.iteration = iteration
    image, target, (ratio, label), named = prepare(batch)
    assert target.label is label
    assert target.image is image
    assert len(ratio) == len(image)
    assert list(named) == ["generator"]
    assert label.dtype == torch.float32
    assert (label.sum(1) == 1).all()  # one structure everywhere
    assert (label == label[..., :1, :1]).all()
    return label[:, :, 0, 0].argmax(1)


@every_kind
def test_every_rater_is_drawn_equally_often(make, classes, is_multi_label):
    """4000 images: a chi-square of four degrees; and independently within a batch."""
    batch = make(4000, torch.int16 if is_multi_label else torch.uint8)
    raters = chosen(one_rater(classes, is_multi_label), batch)
    counts = torch.bincount(raters, minlength=RATERS).numpy()
    assert stats.chisquare(counts).pvalue > 1e-3
    pairs = torch.bincount(raters[:-1] * RATERS + raters[1:], minlength=RATERS**2).numpy()
    assert stats.chisquare(pairs).pvalue > 1e-3


@every_kind
def test_a_missing_rater_is_never_drawn_and_the_others_equally_often(make, classes, is_multi_label):
    batch = make(3000, torch.int16)
    batch["label"][:1000, 1] = -1
    batch["label"][1000:2000, [0, 2, 3]] = -1
    batch["label"][2000:, :4] = -1
    raters = chosen(one_rater(classes, is_multi_label), batch)
    for part, present in ((raters[:1000], [0, 2, 3, 4]), (raters[1000:2000], [1, 4]), (raters[2000:], [4])):
        counts = torch.bincount(part, minlength=RATERS)
        assert counts[present].sum() == 1000
        if len(present) > 1:
            assert stats.chisquare(counts[present].numpy()).pvalue > 1e-3


@every_kind
def test_an_image_without_any_expert_is_refused(make, classes, is_multi_label):
    batch = make(4, torch.int16)
    batch["label"][2] = -1
    refuses(ValueError, "label: an image of the batch has no expert", one_rater(classes, is_multi_label), batch)


def test_choice_of_rater_leaves_the_ratios_as_they_are():
    batch, amortized = multi_class(50), PrepareAmortizedBatch((0.1, 0.2))
    _, _, (ratio,), _ = amortized(batch)
    _, _, (with_label, _), _ = one_rater(CLASSES, False)(batch)
    assert torch.equal(ratio, with_label)


def test_the_masks_are_the_raters_own(generator):
    """A map of random classes: the chosen rater's, class by class."""
    label = torch.randint(0, 4, (6, 3, *GRID), generator=generator)
    image, target, _, _ = PrepareOneRater(PrepareAmortizedBatch(), 4)(
        {"image": torch.rand(6, 1, *GRID), "label": label}
    )
    for i in range(6):
        expected = [torch.stack([(label[i, r] == c).float() for c in (1, 2, 3)]) for r in range(3)]
        assert sum(torch.equal(target.label[i], e) for e in expected) == 1
    assert image.shape == (6, 1, *GRID)


@every_kind
def test_an_evaluation_gets_all_raters_ratio_by_ratio(make, classes, is_multi_label):
    batch = make(2, torch.int16)
    batch["label"][0, 1] = -1
    batch["label"][1] *= 0
    image, label, (ratio,), named = PrepareRaters(PrepareRatioSweep((0.1, 0.2, 0.4)), classes, is_multi_label)(batch)
    assert torch.equal(image, batch["image"].repeat(3, 1, 1, 1))
    assert torch.equal(label, torch.cat([batch["label"]] * 3))
    assert label.dtype == batch["label"].dtype
    torch.testing.assert_close(ratio, torch.tensor([0.1, 0.1, 0.2, 0.2, 0.4, 0.4]))
    assert list(named) == ["generator"]


@pytest.mark.parametrize("prepare", [one_rater(CLASSES, False), PrepareRaters(PrepareRatioSweep((0.1,)), CLASSES)])
class TestBoth:
    def test_meta_tensors_become_tensors(self, prepare):
        batch = multi_class()
        batch = {key: MetaTensor(value) for key, value in batch.items()}
        image, target, rest, _ = prepare(batch, device="cpu")
        for tensor in (image, *(target if isinstance(target, tuple) else (target,)), *rest):
            assert type(tensor) is torch.Tensor

    @pytest.mark.parametrize(
        "change", [lambda t: t[..., :-1], lambda t: t[:1], lambda t: t[:, 0], lambda t: t[:, :, None]]
    )
    def test_labels_that_do_not_fit_are_refused(self, prepare, change):
        batch = multi_class()
        with pytest.raises(
            ValueError, match=r"label must have shape \(batch, rater, \*spatial\) on the image's grid \(5, 6\)"
        ):
            prepare(batch | {"label": change(batch["label"])})


test_refuses = refusals(
    (lambda: PrepareOneRater(PrepareAmortizedBatch(), 1), r"num_classes must be >= 2 \(multi_label=False\), got 1"),
    (lambda: PrepareRaters(PrepareAmortizedBatch(), 1), r"num_classes must be >= 2 \(multi_label=False\), got 1"),
    (lambda: PrepareAmortizedBatch(spacing="cubic"), "spacing must be 'linear' or 'log', got 'cubic'"),
    (lambda: PrepareAmortizedBatch(image_key="scan")(batch()), r"no key 'scan'; it has \['image'\]", KeyError),
    (lambda: PrepareRatioSweep(image_key="scan")(batch()), r"no key 'scan'; it has \['image'\]", KeyError),
    (lambda: PrepareAmortizedBatch((0.3, 0.1)), "low <= high"),
    (lambda: PrepareAmortizedBatch((0.0, 0.1)), r"ratio_range must lie in \(0, 1\]"),
    (lambda: PrepareAmortizedBatch((0.1, 2.0)), r"ratio_range must lie in \(0, 1\]"),
    (lambda: PrepareAmortizedBatch((float("nan"), 0.5)), r"ratio_range must lie in \(0, 1\]"),
    (lambda: PrepareAmortizedBatch((0.1,)), r"must be \(low, high\)"),
    (lambda: PrepareAmortizedBatch((0.1, 0.2, 0.3)), r"must be \(low, high\)"),
    (lambda: PrepareAmortizedBatch(()), "ratio_range is empty"),
    (lambda: PrepareRatioSweep(()), "ratios"),
    (lambda: PrepareRatioSweep((0.1, 0.0)), "ratios"),
    (lambda: PrepareRatioSweep((4,)), "ratios"),
    (
        lambda: PrepareLabels(PrepareRatioSweep((0.1,)), num_classes=3)({"image": torch.zeros(1, 1, 4, 4)}),
        "no key 'label'",
        KeyError,
    ),
    (lambda: PrepareLabels(PrepareRatioSweep((0.1,)), num_classes=3, flip_axes=[2]), "flip_axes must hold 0 and 1"),
    (lambda: PrepareLabels(PrepareRatioSweep((0.1,)), num_classes=3, max_shift=-1), "max_shift must be >= 0"),
)
