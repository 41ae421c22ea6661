"""LOUPE's law; what every policy must do is in test_policies.py."""

from __future__ import annotations

import pytest
import torch

from infomri_monai.sampling import LOUPE, load_policy, save_policy
from infomri_monai.sampling.draw import rescale_probabilities


def test_probabilities_are_those_of_the_logits_rescaled(generator):
    policy = LOUPE((12, 10), seed=3)
    sample = policy([0.1, 0.4], (12, 10), generator)
    start = torch.sigmoid(5 * policy.weight)
    expected = rescale_probabilities(start.expand(2, -1, -1, -1), torch.tensor([0.1, 0.4]))
    torch.testing.assert_close(sample.probabilities, expected)
    torch.testing.assert_close(sample.probabilities.flatten(1).mean(1), torch.tensor([0.1, 0.4]))


def test_the_start_is_that_of_uniform_probabilities():
    start = torch.sigmoid(5 * LOUPE((128, 128)).weight.detach())
    assert 0.01 <= float(start.min()) < 0.02
    assert 0.98 < float(start.max()) <= 0.99
    torch.testing.assert_close(start.mean(), torch.tensor(0.5), atol=0.01, rtol=0)


def test_descent_moves_the_mask_where_it_pays(generator):
    """A loss that pays for the upper half of k-space fills it."""
    policy = LOUPE((16, 16))
    optimizer = torch.optim.Adam(policy.position_parameters(), 0.05)
    for _ in range(100):
        mask = policy([0.25] * 8, (16, 16), generator).mask
        (-mask[:, :, :8].sum() / 8).backward()
        optimizer.step()
        optimizer.zero_grad()
    mask = policy([0.25] * 8, (16, 16), generator).mask.detach()
    assert float(mask[:, :, :8].sum() / mask.sum()) > 0.9


def test_another_grid_keeps_the_law(generator):
    policy = LOUPE((16, 16), ratio_range=(0.2, 0.3))
    wider = policy.for_grid((24, 16))
    assert (wider.grid, wider.ratio_range) == ((24, 16), (0.2, 0.3))
    assert wider(0.25, (24, 16), generator).mask.shape == (1, 1, 24, 16)


def test_checkpoint(tmp_path):
    policy = LOUPE((8, 8), readout_axis=0, seed=2)
    loaded = load_policy(save_policy(policy, tmp_path / "policy.pt"))
    assert isinstance(loaded, LOUPE)
    assert torch.equal(loaded.weight, policy.weight)


def test_bad_arguments():
    with pytest.raises(ValueError, match="logit_slope must be a finite number > 0, got 0"):
        LOUPE((8, 8), logit_slope=0)
    with pytest.raises(ValueError, match="ratio_range must"):
        LOUPE((8, 8), ratio_range=(0.5, 0.1))
