"""The pattern generation network: size, start, gradients, other grids.

The chunked hidden layer against the layer written out, its gradient against autograd's and finite differences.
LOUPE's law; what every policy must do is in test_policies.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from helper import random_tensor, refusals, seeded
from policies import magnitude

from infomri_monai.acquisition import redundancy_ratio
from infomri_monai.sampling import LOUPE, PatternGenerationNetwork, Spectrum
from infomri_monai.sampling import pgn as module
from infomri_monai.sampling.draw import rescale_probabilities
from infomri_monai.sampling.pgn import relu_readout


def test_size_is_the_papers():
    parameters = PatternGenerationNetwork((128, 128)).parameters()
    assert sum(p.numel() for p in parameters) == 128 * 128 + 16 * 2 + 16 + 16 + 1 == 16449


def test_lines_have_one_parameter_each():
    assert PatternGenerationNetwork((64, 48), readout_axis=0).embedding.shape == (1, 1, 1, 48)


def test_logit_is_a_1x1_convolution_network():
    pgn = PatternGenerationNetwork((6, 5), embedding_width=3, rescale="scale")
    ratio = torch.tensor([0.3])
    inputs = torch.cat([pgn.embedding, torch.full((1, 1, 6, 5), 0.3)], 1)
    hidden = torch.relu(torch.nn.functional.conv2d(inputs, pgn.hidden_weight[..., None, None], pgn.hidden_bias))
    logit = torch.nn.functional.conv2d(hidden, pgn.output_weight[..., None, None], pgn.output_bias)
    p = torch.sigmoid(5 * logit)
    mean = p.mean()
    expected = p * 0.3 / mean if mean >= 0.3 else 1 - (1 - p) * 0.7 / (1 - mean)
    torch.testing.assert_close(pgn.probabilities(ratio), expected)


def test_mixed_precision_leaves_probabilities_and_gradients_alone():
    results = []
    for enabled in (False, True):
        pgn = PatternGenerationNetwork((24, 21)).warm_start(magnitude((24, 21)))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            p = pgn.probabilities(torch.tensor([0.1, 0.3]))
        p.square().sum().backward()
        results.append((p, *(parameter.grad for parameter in pgn.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(("grid", "readout_axis"), [((32, 32), None), ((33, 40), None), ((32, 96), 0)])
def test_warm_start_is_near_top_k_at_every_ratio(grid, readout_axis):
    pgn = PatternGenerationNetwork(grid, readout_axis).warm_start(magnitude(grid), width=0.05)
    spectrum = Spectrum(magnitude(grid), readout_axis)
    for ratio in (0.05, 0.1, 0.25, 0.5):
        with torch.no_grad():
            mask = pgn([ratio] * 8, grid, seeded()).mask
        top = spectrum(ratio, grid).mask
        assert float((mask * top).sum() / mask.sum()) > 0.85, ratio
        centre = [n // 2 if n > 1 else 0 for n in mask.shape[2:]]
        assert bool((mask[(..., *centre)] == 1).all())


@pytest.mark.parametrize("grid", [(32, 32), (33, 24)])
def test_half_plane_start_has_no_redundancy(grid):
    full = PatternGenerationNetwork(grid).warm_start(magnitude(grid))
    half = PatternGenerationNetwork(grid).warm_start(magnitude(grid), asymmetry=math.inf)
    with torch.no_grad():
        masks = [policy([0.1, 0.2, 0.3] * 4, grid, seeded()).mask[:, 0] for policy in (full, half)]
    redundancy = [float(redundancy_ratio(mask).mean()) for mask in masks]
    assert redundancy[0] > 0.5
    assert redundancy[1] < 0.02


@pytest.mark.parametrize("start", ["random", "warm"])
def test_gradients_reach_every_parameter(start):
    grid = (16, 16)
    pgn = PatternGenerationNetwork(grid, embedding_width=2)
    if start == "warm":
        pgn.warm_start(magnitude(grid))
        with torch.no_grad():
            for parameter in pgn.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(1)))
    weight = torch.randn(4, 1, *grid, generator=seeded(2))
    (pgn([0.1, 0.2, 0.3, 0.4], grid, seeded()).mask * weight).sum().backward()
    for name, parameter in pgn.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        # a shift of all logits changes nothing, so the output bias may stay without a gradient
        if name != "output_bias":
            assert float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("learned", [PatternGenerationNetwork, LOUPE])
def test_the_straight_through_gradient_learns_what_is_rewarded(learned, generator):
    policy, wanted = learned((12, 12)), torch.zeros(12, 12)
    wanted[:, 6:] = 1
    optimiser = torch.optim.Adam(policy.parameters(), lr=5e-2)
    for _ in range(100):
        mask = policy([0.25] * 8, (12, 12), generator).mask
        optimiser.zero_grad()
        (-(mask * wanted).sum() / mask.sum()).backward()
        optimiser.step()
    mask = policy([0.25] * 8, (12, 12), generator).mask.detach()
    assert float((mask * wanted).sum() / mask.sum()) > 0.85


@pytest.mark.parametrize(("old", "new"), [((32, 32), (64, 64)), ((32, 32), (21, 48)), ((33, 40), (40, 33))])
def test_another_grid_keeps_the_pattern(old, new):
    pgn = PatternGenerationNetwork(old, tolerance=2e-3, seed=4).warm_start(magnitude(old))
    before = {name: value.clone() for name, value in pgn.state_dict().items()}
    other = pgn.for_grid(new)
    assert other is not pgn
    assert other.grid == new
    assert pgn.grid == old
    assert other.tolerance == 2e-3
    for name, value in pgn.state_dict().items():
        assert torch.equal(value, before[name])
    centre = [n // 2 for n in new]
    with torch.no_grad():
        p = other.probabilities(torch.tensor([0.2]))[0, 0]
        top = Spectrum(magnitude(new))(0.2, new).mask[0, 0]
    assert float(p[centre[0], centre[1]]) > 0.99
    assert float((p * top).sum() / p.sum()) > 0.75
    torch.testing.assert_close(
        other.embedding[0, 0, centre[0], centre[1]], pgn.embedding[0, 0, old[0] // 2, old[1] // 2]
    )


@torch.no_grad()
def test_an_unchanged_policy_computes_the_law_once_and_draws_the_same_masks():
    pgn = PatternGenerationNetwork((16, 12))
    ratios = (0.1, [0.1, 0.25], 0.1)
    plain = [pgn(ratio, (16, 12), seeded(i)) for i, ratio in enumerate(ratios)]
    with pgn.unchanged():
        held = [pgn(ratio, (16, 12), seeded(i)) for i, ratio in enumerate(ratios)]
        with pgn.unchanged():  # nests: what the inner block computed does not outlive it
            inner = pgn(0.1, (16, 12), seeded())
        again = pgn(0.1, (16, 12), seeded())
    assert all(
        torch.equal(a, b) for one, other in zip(plain, held, strict=True) for a, b in zip(one, other, strict=True)
    )
    assert held[0].probabilities is held[2].probabilities is again.probabilities
    assert inner.probabilities is not again.probabilities


def test_a_policy_may_change_after_the_block_and_keeps_its_gradient_inside():
    pgn = PatternGenerationNetwork((16, 12))
    with pgn.unchanged():
        with torch.no_grad():
            before = pgn(0.1, (16, 12), seeded()).probabilities
        assert pgn(0.1, (16, 12), seeded()).probabilities.requires_grad
    with torch.no_grad():
        pgn.embedding.mul_(2)
        assert not torch.equal(pgn(0.1, (16, 12), seeded()).probabilities, before)
    assert pgn.shared is None


def arguments(n, batch=3, hidden=5):
    shapes = ((n, hidden), (batch, hidden), (hidden,))
    return [random_tensor(shape, torch.float64, seed).requires_grad_() for seed, shape in enumerate(shapes)]


def written_out(position, offset, weight):
    return torch.einsum("bnh,h->bn", torch.relu(position[None] + offset[:, None]), weight)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 33])
def test_is_the_layer_written_out_in_value_and_gradient(n, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 8)
    ours, theirs = arguments(n), arguments(n)
    out, expected = relu_readout(*ours), written_out(*theirs)
    torch.testing.assert_close(out, expected)
    cotangent = random_tensor(out.shape, torch.float64, 9)
    for gradient, reference in zip(
        torch.autograd.grad(out, ours, cotangent), torch.autograd.grad(expected, theirs, cotangent), strict=True
    ):
        torch.testing.assert_close(gradient, reference)


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


test_refuses = refusals(
    (lambda: PatternGenerationNetwork((8, 8), logit_slope=0), "logit_slope"),
    (lambda: PatternGenerationNetwork((8, 8), embedding_width=0), "embedding_width"),
    (lambda: PatternGenerationNetwork((8, 8), hidden=1), "hidden"),
    (lambda: PatternGenerationNetwork((8, 8), rescale="clip"), "rescale"),
    (lambda: PatternGenerationNetwork((0, 8)), "shape"),
    (lambda: PatternGenerationNetwork((8, 8), readout_axis=2), "readout_axis"),
    (lambda: PatternGenerationNetwork((8, 8)).warm_start(torch.ones(8, 9)), "magnitude"),
    (lambda: PatternGenerationNetwork((8, 8)).warm_start(-torch.ones(8, 8)), "magnitude"),
    (lambda: PatternGenerationNetwork((8, 8)).warm_start(torch.full((8, 8), torch.nan)), "magnitude"),
    (lambda: PatternGenerationNetwork((8, 8)).warm_start(torch.ones(8, 8), width=0.0), "width"),
    (lambda: PatternGenerationNetwork((8, 8)).warm_start(torch.ones(8, 8), asymmetry=0.5), "asymmetry"),
)
