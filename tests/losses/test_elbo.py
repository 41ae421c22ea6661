"""The negative evidence lower bound against its formula written out pixel by pixel, and its bound itself."""

from __future__ import annotations

import math

import pytest
import torch
from helper import refuses

from infomri_monai.losses import ELBOLoss, GaussianNLLLoss, SegmentationTarget
from infomri_monai.systems import SegmentationTraining

KINDS = pytest.mark.parametrize(("multi_label", "classes"), [(False, 2), (False, 4), (True, 3), (True, 1)])


def case(multi_label=False, classes=4, batch=2, latents=3, seed=0):
    """A random result of a training pass and its target."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape, dtype=torch.float32: torch.randn(shape, generator=generator, dtype=dtype)  # noqa: E731
    if multi_label:
        label = torch.randint(0, 2, (batch, classes, 5, 6), generator=generator).float()
    else:
        index = torch.randint(0, classes, (batch, 5, 6), generator=generator)
        label = torch.nn.functional.one_hot(index, classes).movedim(-1, 1)[:, 1:].float()
    latent = [draw(batch, latents, 2, 3) for _ in range(4)]
    mean, log_variance = draw(batch, 1, 5, 6, dtype=torch.complex64), draw(batch, 1, 5, 6)
    mask = torch.ones(batch, 1, 5, 6)
    logits, ratio = draw(batch, classes, 5, 6), mask.mean((1, 2, 3))
    result = SegmentationTraining(logits, *latent, mean, log_variance, mask, ratio, draw(batch, classes, 5, 6))
    return result, SegmentationTarget(draw(batch, 1, 5, 6, dtype=torch.complex64), label)


def surprise(logits, label, multi_label):
    """Negative log-likelihood of one pixel's label."""
    if multi_label:
        return sum(math.log1p(math.exp(-z if t else z)) for z, t in zip(logits, label, strict=True))
    truth = label.index(1.0) + 1 if 1.0 in label else 0
    return math.log(sum(map(math.exp, logits))) - logits[truth]


def by_hand(result, target, multi_label):
    """Task, KL, reconstruction and the mean's task of the batch's mean, one pixel and one latent after the other."""
    terms = [0.0, 0.0, 0.0, 0.0]
    batch, _, height, width = result.logits.shape
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                label = target.label[b, :, i, j].tolist()
                for place, of_pixel in ((0, result.logits), (3, result.mean_logits)):
                    terms[place] += surprise(of_pixel[b, :, i, j].tolist(), label, multi_label)
                error = abs(complex(target.image[b, 0, i, j] - result.mean[b, 0, i, j]))
                log_variance = float(result.log_variance[b, 0, i, j])
                terms[2] += error**2 / (2 * math.exp(log_variance)) + log_variance  # two components
        for mq, vq, mp, vp in zip(*(result[f][b].flatten().tolist() for f in (3, 4, 1, 2)), strict=True):
            terms[1] += 0.5 * (vp - vq + (math.exp(vq) + (mq - mp) ** 2) / math.exp(vp) - 1)
    return [term / batch for term in terms]


@KINDS
def test_is_the_formula(multi_label, classes):
    result, target = case(multi_label, classes)
    expected = by_hand(result, target, multi_label)
    loss = ELBOLoss(multi_label, weights={"mean_task": 0.5})
    assert [float(t) for t in loss.terms(result, target)] == pytest.approx(expected, rel=1e-5)
    total = expected[0] + 50 * expected[1] + expected[2] + 0.5 * expected[3]
    assert float(loss(result, target)) == pytest.approx(total, rel=1e-5)


def test_without_a_weight_the_mean_need_not_be_decoded():
    result, target = case()
    without = result._replace(mean_logits=None)
    assert float(ELBOLoss()(without, target)) == float(ELBOLoss()(result, target))
    assert float(ELBOLoss().terms(result, target).mean_task) == 0
    with pytest.raises(ValueError, match=r"'mean_task'.* > 0 needs a network with decode_mean=True, got one without"):
        ELBOLoss(weights={"mean_task": 0.5})(without, target)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [(None, (1, 50, 1, 0)), ({"kl": 10}, (1, 10, 1, 0)), ({"reconstruction": 0.02, "task": 2}, (2, 50, 0.02, 0))],
)
def test_weights_are_given_by_name(weights, expected):
    result, target = case()
    loss = ELBOLoss(weights=weights)
    terms = loss.terms(result, target)
    total = sum(w * float(t) for w, t in zip(expected, terms, strict=True))
    assert float(loss(result, target)) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(
    "weights", [{"KL": 1.0}, {"kl": -1.0}, {"task": math.nan}, {"reconstruction": math.inf}, {"task": 1, "beta": 1}]
)
def test_refuses_unknown_and_negative_weights(weights):
    name = list(weights)[-1]
    with pytest.raises(
        ValueError, match=f"weights must name task, kl, reconstruction, mean_task, each >= 0, got {name}="
    ):
        ELBOLoss(weights=weights)


def test_kl_scale_scales_the_kl_alone():
    result, target = case()
    loss = ELBOLoss(weights={"kl": 10.0})
    assert loss.warm_up == 1.0
    whole, terms = float(loss(result, target)), loss.terms(result, target)
    loss.warm_up = 0.25
    assert float(loss(result, target)) == pytest.approx(whole - 7.5 * float(terms.kl), rel=1e-6)


def test_latest_holds_the_terms_of_the_last_call_without_their_graph():
    loss = ELBOLoss()
    assert loss.latest is None
    for seed in (0, 1):
        result, target = case(seed=seed)
        result.logits.requires_grad_()
        loss(result, target)
        assert loss.latest._fields == ("task", "kl", "reconstruction", "mean_task")
        assert not any(term.requires_grad for term in loss.latest)
        expected = by_hand(result._replace(logits=result.logits.detach()), target, False)[:3]
        assert [float(t) for t in loss.latest] == pytest.approx([*expected, 0.0], rel=1e-5)


def test_the_bound_holds_for_a_model_whose_evidence_is_known(generator):
    """One pixel, z ~ N(0, 1), P(t = 1 | z) = sigmoid(3 z): the loss of any q is at least -log P(t = 1) = log 2, on average."""
    zero, x = torch.zeros(20_000, 1, 1, 1), torch.zeros(20_000, 1, 1, 1)
    loss = ELBOLoss(multi_label=True, weights={"kl": 1.0, "reconstruction": 0.0})
    for mean, log_variance in ((0.0, 0.0), (0.6, -0.5), (0.8, -0.8), (2.0, 0.3)):
        z = mean + math.exp(log_variance / 2) * torch.randn(zero.shape, generator=generator)
        result = SegmentationTraining(3 * z, zero, zero, zero + mean, zero + log_variance, x, x, x, x)
        bound = float(loss(result, SegmentationTarget(x, torch.ones_like(x))))
        assert bound > math.log(2)
        if mean == 0.8:
            assert bound == pytest.approx(math.log(2), abs=0.05)  # close to the true posterior


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("change", [lambda t: t[..., :-1], lambda t: t[:1], lambda t: t[:, :1], lambda t: t[:, 0]])
def test_refuses_a_label_of_another_shape(multi_label, change):
    result, target = case(multi_label, 3)
    with pytest.raises(
        ValueError, match=rf"label must have shape \(2, {3 if multi_label else 2}, 5, 6\) to fit the logits"
    ):
        ELBOLoss(multi_label)(result, target._replace(label=change(target.label)))


def test_variance_weighting_is_the_image_likelihoods():
    result, target = case()
    expected = GaussianNLLLoss("sum_pixels", 0.5)(result, target.image)
    torch.testing.assert_close(ELBOLoss(variance_weighting=0.5).terms(result, target).reconstruction, expected)
    refuses(ValueError, "variance_weighting", ELBOLoss, variance_weighting=2.0)
