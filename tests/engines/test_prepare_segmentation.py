"""Which expert's label a training step sees, and what an evaluation gets."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from scipy import stats

from infomri_monai.engines import (
    FollowIterations,
    PrepareAmortizedBatch,
    PrepareOneRater,
    PrepareRaters,
    PrepareRatioSweep,
)

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
    with pytest.raises(ValueError, match="label: an image of the batch has no expert"):
        one_rater(classes, is_multi_label)(batch)


@every_kind
def test_a_label_that_is_missing_in_a_pixel_is_refused_not_dropped(make, classes, is_multi_label):
    batch = make(4, torch.int16)
    batch["label"][2, 1, ..., 0, 0] = -1
    with pytest.raises(ValueError, match=r"-1 in every pixel of a missing rater .* rater 1 of the batch's image 2"):
        one_rater(classes, is_multi_label)(batch)


def test_seed_and_iteration_decide_and_nothing_else():
    batch = multi_class(200)
    reference = chosen(one_rater(CLASSES, False, seed=1), batch, 5)
    torch.manual_seed(9)
    assert torch.equal(chosen(one_rater(CLASSES, False, seed=1), batch, 5), reference)
    for seed, iteration in ((2, 5), (1, 6)):
        assert not torch.equal(chosen(one_rater(CLASSES, False, seed), batch, iteration), reference)


def test_choice_of_rater_leaves_the_ratios_as_they_are():
    batch, amortized = multi_class(50), PrepareAmortizedBatch((0.1, 0.2))
    _, _, (ratio,), _ = amortized(batch)
    _, _, (with_label, _), _ = one_rater(CLASSES, False)(batch)
    assert torch.equal(ratio, with_label)


def test_it_follows_an_engine_so_that_a_resumed_run_draws_the_same():
    def run(start=0):
        prepare, drawn = one_rater(CLASSES, False), {}
        engine = Engine(lambda engine, batch: drawn.update({engine.state.iteration: prepare(batch)[2][1]}))
        FollowIterations(prepare).attach(engine)
        if start:
            engine.load_state_dict({"epoch": start, "epoch_length": 2, "max_epochs": 3})
        engine.run([multi_class(20)] * 2, max_epochs=3)
        return drawn

    whole, resumed = run(), run(start=1)
    assert sorted(whole) == [1, 2, 3, 4, 5, 6]
    assert sorted(resumed) == [3, 4, 5, 6]
    assert all(torch.equal(whole[i], resumed[i]) for i in resumed)
    assert not torch.equal(whole[1], whole[2])


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


def test_an_evaluation_follows_its_engine():
    prepare, seen = PrepareRaters(PrepareRatioSweep((0.1, 0.2)), CLASSES), []
    engine = Engine(lambda _, batch: seen.append(torch.rand(1, generator=prepare(batch)[3]["generator"]).item()))
    prepare.attach(engine)
    engine.run([multi_class(2)] * 3, max_epochs=2)
    assert seen[:3] == seen[3:]
    assert len(set(seen)) == 3


@pytest.mark.parametrize("prepare", [one_rater(CLASSES, False), PrepareRaters(PrepareRatioSweep((0.1,)), CLASSES)])
class TestBoth:
    def test_meta_tensors_become_tensors(self, prepare):
        batch = multi_class()
        batch = {key: MetaTensor(value) for key, value in batch.items()}
        image, target, rest, _ = prepare(batch, device="cpu")
        for tensor in (image, *(target if isinstance(target, tuple) else (target,)), *rest):
            assert type(tensor) is torch.Tensor

    def test_a_missing_key_is_named(self, prepare):
        with pytest.raises(KeyError, match=r"batch has no key 'label'; it has \['image'\]"):
            prepare({"image": torch.rand(2, 1, *GRID)})
        with pytest.raises(KeyError, match=r"batch has no key 'image'; it has \['label'\]"):
            prepare({"label": multi_class()["label"]})

    @pytest.mark.parametrize(
        "change", [lambda t: t[..., :-1], lambda t: t[:1], lambda t: t[:, 0], lambda t: t[:, :, None]]
    )
    def test_labels_that_do_not_fit_are_refused(self, prepare, change):
        batch = multi_class()
        with pytest.raises(
            ValueError, match=r"label must have shape \(batch, rater, \*spatial\) on the image's grid \(5, 6\)"
        ):
            prepare(batch | {"label": change(batch["label"])})


@pytest.mark.parametrize("value", [-2, CLASSES])
def test_values_that_are_no_class_are_refused(value):
    batch = multi_class(dtype=torch.int16)
    batch["label"][0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"label must lie in -1 \(missing rater\) to 5"):
        one_rater(CLASSES, False)(batch)


@pytest.mark.parametrize("make", [PrepareOneRater, PrepareRaters])
def test_refuses_too_few_classes(make):
    with pytest.raises(ValueError, match=r"num_classes must be >= 2 \(multi_label=False\), got 1"):
        make(PrepareAmortizedBatch(), 1)
