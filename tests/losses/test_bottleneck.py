"""The bottleneck loss: sign of beta, both likelihoods, refusals."""

from __future__ import annotations

import pytest
import torch
from helper import refuses
from torch.nn import functional as F

from infomri_monai.losses import BottleneckLoss
from infomri_monai.systems import ClassificationTraining


def result(logits, entropy):
    batch = len(logits)
    return ClassificationTraining(logits, entropy, torch.ones(batch, 1, 2, 2), torch.ones(batch))


def test_cross_entropy_plus_the_weighted_entropy(generator):
    logits, entropy = torch.randn(6, 4, generator=generator), torch.randn(6, generator=generator)
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    expected = -torch.log_softmax(logits, 1)[range(6), target].mean() + 0.3 * entropy.mean()
    loss = BottleneckLoss(beta=-0.3)
    torch.testing.assert_close(loss(result(logits, entropy), target), expected)
    torch.testing.assert_close(loss.latest.kspace_entropy, entropy.mean())
    loss.warm_up = 0.5
    torch.testing.assert_close(loss(result(logits, entropy), target), expected - 0.15 * entropy.mean())


def test_independent_labels_sum_over_labels(generator):
    logits = torch.randn(5, 3, generator=generator)
    target = (torch.rand(5, 3, generator=generator) < 0.5).float()
    p = torch.sigmoid(logits)
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).sum(1).mean()
    loss = BottleneckLoss(beta=0.0, multi_label=True)
    torch.testing.assert_close(loss(result(logits, torch.zeros(5)), target), expected)


def test_without_beta_the_entropy_is_not_looked_at():
    logits, target = torch.zeros(2, 2), torch.tensor([0, 1])
    loss = BottleneckLoss(beta=0.0)(result(logits, torch.full((2,), torch.nan)), target)
    torch.testing.assert_close(loss, F.cross_entropy(logits, target))
    with pytest.raises(ValueError, match="needs a system with an estimate of the entropy"):
        BottleneckLoss(beta=-1e-4)(result(logits, torch.full((2,), torch.nan)), target)


@pytest.mark.parametrize("beta", [1e-4, float("nan"), -float("inf")])
def test_a_positive_beta_is_refused(beta):
    refuses(ValueError, "beta must be a finite number <= 0", BottleneckLoss, beta=beta)


@pytest.mark.parametrize(("multi_label", "shape"), [(False, (2, 3)), (True, (2,)), (False, (3,))])
def test_targets_that_do_not_fit(multi_label, shape):
    with pytest.raises(ValueError, match="target must have shape"):
        BottleneckLoss(multi_label=multi_label)(result(torch.zeros(2, 3), torch.zeros(2)), torch.zeros(shape))
