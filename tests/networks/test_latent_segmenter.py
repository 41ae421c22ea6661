"""The latent-variable model: closed forms with a decoder that is known, memory, noise, training parts, the paper's size.

The hashed noise is standard normal, independent in every direction, and the same everywhere and for ever.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helper import refusals, refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from scipy import stats
from task_models import every_kind, images, labels, largest_entropy, latent, moved
from torch import nn
from torch.distributions import Normal

from infomri_monai.information import bernoulli_entropy, categorical_entropy, gaussian_kl
from infomri_monai.networks import LatentSegmenter, latent_noise, load_network
from infomri_monai.networks.latent import _hash

CONFIGS = Path(__file__).parents[2] / "bundles" / "infomri_segmentation" / "configs"


class ThresholdDecoder(nn.Module):
    """Logits of label s: ``high`` where latent channel s is positive, else ``low``; the class logits are (0, those)."""

    def __init__(self, low: float, high: float, multi_label: bool, structures: int) -> None:
        super().__init__()
        self.low, self.high, self.multi_label, self.structures = low, high, multi_label, structures

    def forward(self, z):
        logits = torch.where(z[:, : self.structures] > 0, self.high, self.low)
        logits = logits if self.multi_label else torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)
        return logits.repeat_interleave(4, 2).repeat_interleave(4, 3)


def known(low, high, mean=0.0, log_variance=0.0, multi_label=False, num_classes=2, **options):
    """A model whose prior is N(mean, exp(log_variance)) everywhere and whose decoder is known."""
    model = latent(num_classes=num_classes, multi_label=multi_label, **options)
    model.task_decoder = ThresholdDecoder(low, high, multi_label, model.structures)
    with torch.no_grad():
        model.latent.head.weight.zero_()
        model.latent.head.bias[:4] = mean
        model.latent.head.bias[4:] = 8 * math.atanh(log_variance / 8)
    return model.eval()


def positive(model, samples, batch=1, mean=0.0, std=1.0, seed=3):
    """Where the structures' latent channels are above 0, (batch, sample, S, H, W), from the noise itself."""
    z = mean + std * latent_noise(torch.full((batch,), seed), 0, samples, 4, 8, 8)[:, :, : model.structures]
    return (z > 0).repeat_interleave(4, 3).repeat_interleave(4, 4)


@pytest.mark.parametrize(("mean", "log_variance"), [(0.0, 0.0), (0.6, 1.3), (-1.0, -1.0)])
def test_uncertainties_of_a_mixture_of_two_are_the_closed_form(mean, log_variance):
    """q of 8 samples say 0.9, the others 0.2: H(mean) - (q h(0.9) + (1 - q) h(0.2))."""
    low, high = torch.logit(torch.tensor([0.2, 0.9])).tolist()
    model = known(low, high, mean, log_variance)
    posterior = model.posterior(images(batch=1), samples=8)
    up = positive(model, 8, 1, mean, math.exp(log_variance / 2))
    share = up.double().mean(1)
    p = 0.9 * share + 0.2 * (1 - share)
    entropy = bernoulli_entropy(p)
    ends = bernoulli_entropy(torch.tensor([0.2, 0.9], dtype=torch.float64))
    information = entropy - share * ends[1] - (1 - share) * ends[0]
    torch.testing.assert_close(posterior.class_probabilities[:, 1:], p.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(posterior.entropy, entropy.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(posterior.mutual_information, information.float(), rtol=1e-4, atol=1e-6)
    assert torch.equal(posterior.samples, up.to(torch.uint8))
    assert torch.equal(posterior.majority, (p > 0.5).to(torch.uint8))
    assert 0.05 < float(share.mean()) < 0.95


@every_kind
def test_certain_samples_average_to_the_probabilities_and_all_entropy_is_information(kind):
    """Of exclusive classes the one whose latent is above 0 is certain where it is the only one."""
    model = known(-200.0, 200.0, **kind)
    posterior = model.posterior(images(batch=1), samples=9)
    up = positive(model, 9)
    if kind.get("multi_label"):
        entropy = bernoulli_entropy(up.float().mean(1)).sum(1, keepdim=True)
        torch.testing.assert_close(posterior.samples.float().mean(1), posterior.class_probabilities)
    else:
        split = up.float() / up.sum(2, keepdim=True).clamp(min=1)  # several at 200: equally probable
        p = torch.cat([(~up.any(2, keepdim=True)).float(), split], 2)
        torch.testing.assert_close(posterior.class_probabilities, p.mean(1))
        entropy = categorical_entropy(p.mean(1))[:, None] - categorical_entropy(p, 2).mean(1)[:, None]
    torch.testing.assert_close(posterior.mutual_information, entropy, rtol=1e-4, atol=1e-5)
    if len(up[0, 0]) == 1:
        torch.testing.assert_close(posterior.samples.float().mean(1), posterior.class_probabilities[:, 1:])
        torch.testing.assert_close(posterior.mutual_information, posterior.entropy)


def test_the_share_of_samples_is_the_priors_probability():
    """P(z > 0) for z ~ N(0.5, 2), over 4000 samples x 64 latents: within 4.5 standard errors."""
    model = known(-200.0, 200.0, 0.5, math.log(2.0))
    share = float(model.posterior(images(batch=1), samples=4000).class_probabilities[:, 1, ::4, ::4].mean())
    expected = float(1 - Normal(0.5, 2**0.5).cdf(torch.tensor(0.0)))
    assert share == pytest.approx(expected, abs=4.5 * (expected * (1 - expected) / (4000 * 64)) ** 0.5)


@pytest.mark.parametrize("grid", [(1, 1), (5, 7), (16, 9)])
def test_small_grids(grid):
    model, image = moved(latent), images((32, 33))[..., : grid[0], : grid[1]]
    with torch.no_grad():
        assert model(image).shape == (2, 4, *grid)
        assert model.training_pass(image, labels(model, grid)).logits.shape == (2, 2, *grid)


@every_kind
@pytest.mark.parametrize("budget", [1e-9, 2.0, 3.2])
def test_memory_budget_changes_nothing_but_the_parts(kind, budget):
    model, image = moved(latent, samples=7, **kind), images((33, 35))
    expected, whole = model(image), model.posterior(image, 7, torch.Generator().manual_seed(1))
    small = moved(latent, samples=7, memory_budget=budget, **kind)
    parts, decoder = [], small.task_decoder.forward
    small.task_decoder.forward = lambda z: (parts.append(len(z) // 2), decoder(z))[1]
    torch.testing.assert_close(small(image), expected, rtol=0, atol=1e-6)
    assert parts == {1e-9: [1] * 7, 2.0: [3, 3, 1], 3.2: [5, 2]}[budget]  # 36 x 36 pixels, 256 bytes each
    in_parts = small.posterior(image, 7, torch.Generator().manual_seed(1))
    assert torch.equal(in_parts.samples, whole.samples)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(in_parts[2:], whole[2:], strict=True))


def test_shared_noise_is_equal_for_all_images_and_else_is_not():
    """One image three times: with shared noise its samples are the same three times, the k-th differing from the others."""
    model, image = moved(latent), images(batch=1).expand(3, -1, -1, -1)
    shared = model.posterior(image, 4, torch.Generator().manual_seed(0), shared_noise=True).class_probabilities
    torch.testing.assert_close(shared, shared[:1].expand_as(shared), rtol=0, atol=1e-6)
    own = model.posterior(image, 4, torch.Generator().manual_seed(0)).class_probabilities
    assert not torch.allclose(own[0], own[1], atol=1e-3)
    samples = known(-1.0, 1.0).posterior(image, 4, torch.Generator().manual_seed(0), shared_noise=True).samples
    assert torch.equal(samples[0], samples[2])
    assert not any(torch.equal(samples[0, 0], samples[0, k]) for k in (1, 2, 3))


@pytest.mark.parametrize("form", ["correction", "paper"])
def test_a_training_pass_draws_one_sample_of_the_posterior(form):
    """logits are the decoder's of mean + std * noise; the latents of both forms from their heads."""
    model, image = moved(latent, num_classes=3, posterior_form=form), images()
    label = labels(model)
    one = model.training_pass(image, label, torch.Generator().manual_seed(4))
    noise = torch.randn(one.posterior_mean.shape, generator=torch.Generator().manual_seed(4))
    z = one.posterior_mean + torch.exp(0.5 * one.posterior_log_variance) * noise
    torch.testing.assert_close(one.logits, model.task_decoder(z))
    unit = image / image.norm(dim=1, keepdim=True).amax((2, 3), keepdim=True)
    unit = torch.cat([unit, unit.norm(dim=1, keepdim=True)], 1)
    raw = model.latent.head(model.encoder(unit))
    mean, log_variance = raw[:, :4], 8 * torch.tanh(raw[:, 4:] / 8)
    torch.testing.assert_close(one.prior_mean, mean)
    torch.testing.assert_close(one.prior_log_variance, log_variance)
    seen = model.posterior_encoder(torch.cat([unit, label], 1))
    if form == "paper":  # equation 25: the prior's head
        raw = model.latent.head(seen)
        expected = raw[:, :4], 8 * torch.tanh(raw[:, 4:] / 8)
    else:  # in units of the prior
        raw = model.latent.posterior_head(torch.cat([model.encoder(unit), seen], 1))
        expected = mean + torch.exp(0.5 * log_variance) * raw[:, :4], log_variance + 4 * torch.tanh(raw[:, 4:] / 4)
    torch.testing.assert_close(one.posterior_mean, expected[0])
    torch.testing.assert_close(one.posterior_log_variance, expected[1])
    torch.testing.assert_close(one.reconstruction, model.reconstruct(image))


@every_kind
def test_a_training_pass_decodes_the_priors_mean_if_asked(kind):
    model, image = moved(latent, decode_mean=True, **kind), images()
    one = model.training_pass(image, labels(model), torch.Generator().manual_seed(4))
    torch.testing.assert_close(one.mean_logits, model.task_decoder(one.prior_mean))
    plain = moved(latent, **kind).training_pass(image, labels(model), torch.Generator().manual_seed(4))
    assert plain.mean_logits is None
    torch.testing.assert_close(one.logits, plain.logits)


def test_the_kl_of_the_correction_does_not_reach_the_prior():
    """sum of (delta^2 + exp(nu) - nu - 1) / 2: the prior's parameters have no part in it; in the paper's form they have."""
    for form in ("correction", "paper"):
        model = moved(latent, posterior_form=form)
        one = model.training_pass(images(), labels(model), torch.Generator().manual_seed(4))
        gaussian_kl(*(one[i] for i in (3, 4, 1, 2))).backward()
        largest = max(float(p.grad.abs().max()) for p in model.encoder.parameters())
        assert (largest > 1e-2) == (form == "paper")
        assert max(float(p.grad.abs().max()) for p in model.posterior_encoder.parameters()) > 1e-2


@every_kind
def test_at_first_the_posterior_is_the_prior_and_nothing_is_known_of_the_task(kind):
    model = latent(**kind)
    one = model.training_pass(images(), labels(model))
    assert torch.equal(one.posterior_mean, one.prior_mean)
    assert torch.equal(one.posterior_log_variance, one.prior_log_variance)
    assert float(one.prior_log_variance.detach().mean()) == pytest.approx(-2, abs=0.7)
    assert (one.logits == 0).all()
    out = model(images())
    assert out[:, -1].abs().max() < 1e-6
    torch.testing.assert_close(out[:, -2], torch.full_like(out[:, -2], largest_entropy(model)))


def test_the_measurement_is_learned_from_the_second_step_on_and_the_label_from_the_fourth():
    """The task decoder's last layer first, then E_y and the last layer of the posterior's head, then E_t."""
    model, image = latent(), images()
    label = labels(model)
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    for step in range(4):
        optimizer.zero_grad()
        logits = model.training_pass(image, label, torch.Generator().manual_seed(0)).logits
        torch.nn.functional.cross_entropy(logits, label[:, 0].long(), reduction="sum").backward()
        for first, part in enumerate((model.encoder, model.latent.posterior_head, model.posterior_encoder)):
            gradient = sum(float(p.grad.abs().sum()) for p in part.parameters())
            assert (gradient > 0) == (step > (first == 2))
        optimizer.step()


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 32, 33), (1, 3, 32, 32), (2, 32, 32)])
def test_refuses_a_label_that_does_not_fit(shape):
    with pytest.raises(ValueError, match=r"label must have shape \(2, 3, 32, 32\) like the image, got"):
        latent(num_classes=4).training_pass(images(), torch.zeros(shape))


@pytest.mark.parametrize("missing", ["training_parts", "reconstruction"])
def test_a_network_without_its_parts_cannot_be_trained_and_says_so(missing):
    model = latent(**{missing: False})
    with pytest.raises(ValueError, match="built without training_parts or reconstruction and cannot be trained"):
        model.training_pass(images(), labels(model))
    with torch.no_grad():
        assert model(images()).shape == (2, 4, 32, 32)


@pytest.mark.parametrize("reconstruction", [True, False])
def test_the_inference_state_fills_a_network_without_training_parts(tmp_path, reconstruction):
    model = moved(latent, num_classes=3)
    state = model.inference_state()
    assert set(model.state_dict()) - set(state) == {k for k in model.state_dict() if "posterior_" in k}
    torch.save(state, tmp_path / "model.pt")
    network = latent(num_classes=3, training_parts=False, reconstruction=reconstruction)
    ignore = () if reconstruction else ("reconstruction_decoder.",)
    loaded = load_network(network, tmp_path / "model.pt", ignore=ignore)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images()), model(images()), rtol=0, atol=1e-6)
    if not reconstruction:
        with pytest.raises(ValueError, match=r"has an unknown reconstruction_decoder\."):
            load_network(latent(num_classes=3, training_parts=False, reconstruction=False), tmp_path / "model.pt")
        # MONAI's exports load strictly, and without telling what may be left out
        inner = latent(num_classes=3, training_parts=False, reconstruction=False)
        inner.load_state_dict(state)
        torch.nn.Sequential(inner).load_state_dict({f"0.{name}": value for name, value in state.items()})
        assert any(name.startswith("reconstruction_decoder.") for name in state)  # the caller's own is as it was
        refuses(RuntimeError, r"Unexpected key.*posterior_head", inner.load_state_dict, model.state_dict())


def paper_scale(**changes) -> LatentSegmenter:
    """The network of the bundle's overlay, without its memory."""
    parser = ConfigParser()
    parser.read_config([CONFIGS / "train.json", CONFIGS / "paper_scale.json"])
    parser.update({"class_frequencies": None} | changes)
    with torch.device("meta"):
        return parser.get_parsed_content("network_def")


@pytest.mark.parametrize("num_classes", [2, 4])
def test_paper_scale(num_classes):
    """Decision 11: 34.3 M for each encoder, 49.5 M for each decoder; 1152 for every further input, 1153 for every output."""
    model = paper_scale(num_classes=num_classes)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count == {
        "encoder": 34_273_056,
        "posterior_encoder": 34_274_208 + 1152 * (num_classes - 2),
        "latent": 32 * 32 + 32,
        "task_decoder": 49_543_169 + 1153 * (num_classes - 1),
        "reconstruction_decoder": 49_543_169 + 1153 * 2,
    }
    assert {round(count[name] / 1e6, 1) for name in ("encoder", "posterior_encoder")} == {34.3}
    assert {round(count[name] / 1e6, 1) for name in ("task_decoder", "reconstruction_decoder")} == {49.5}


def test_coarse_noise_is_that_of_its_blocks():
    """Stride 2: latents of half the grid, z = mean + up(mean of the block's posterior + std * noise - mean of the block)."""
    model, image = moved(latent, noise_stride=2), images()
    label = labels(model)
    one = model.training_pass(image, label, torch.Generator().manual_seed(4))
    fine = moved(latent).training_pass(image, label, torch.Generator().manual_seed(4))
    pooled = torch.nn.functional.avg_pool2d(fine.prior_mean, 2)
    assert one.posterior_mean.shape == pooled.shape == (*fine.prior_mean.shape[:2], 4, 4)
    torch.testing.assert_close(one.prior_mean, pooled)
    torch.testing.assert_close(one.prior_log_variance, torch.nn.functional.avg_pool2d(fine.prior_log_variance, 2))
    noise = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(4))
    offset = one.posterior_mean + torch.exp(0.5 * one.posterior_log_variance) * noise - one.prior_mean
    up = torch.nn.functional.interpolate(offset, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(one.logits, model.task_decoder(fine.prior_mean + up))
    torch.testing.assert_close(one.reconstruction, fine.reconstruction)


def test_coarse_noise_is_not_for_the_papers_posterior():
    for options in ({"noise_stride": 0}, {"noise_stride": 2, "posterior_form": "paper"}):
        refuses(ValueError, "noise_stride must be >= 1, and 1 with posterior_form='paper'", latent, **options)


PRIME = 2**31 - 1


def noise(seeds=(0,), samples=64, channels=8, height=24, width=25, first=0):
    return latent_noise(torch.tensor(seeds), first, samples, channels, height, width)


def assert_uncorrelated(a, b):
    """Correlations of the numbers and of their squares are within 4.5 standard errors of 0."""
    for x, y in ((a, b), (a.square(), b.square())):
        x, y = (v.flatten().double() for v in (x, y))
        correlation = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
        assert abs(correlation) < 4.5 / len(x) ** 0.5


@pytest.mark.parametrize("seed", [0, 1, 12345, PRIME - 1, 2**62])
def test_is_standard_normal(seed):
    values = noise((seed,)).flatten().double().numpy()
    n = len(values)
    assert abs(values.mean()) < 4 / n**0.5
    assert abs(values.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs(stats.skew(values)) < 4 * (6 / n) ** 0.5
    assert abs(stats.kurtosis(values)) < 4 * (24 / n) ** 0.5
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert 4 < np.abs(values).max() < 6.6  # sqrt(2 log 2^31) is the largest there is


def test_no_correlation_between_samples_channels_neighbours_and_seeds():
    z = noise((3, 4))
    assert_uncorrelated(z[0], z[1])
    assert_uncorrelated(z[:, 1:], z[:, :-1])
    assert_uncorrelated(z[:, :, 1:], z[:, :, :-1])
    for lag in (1, 2, 5):
        assert_uncorrelated(z[..., lag:], z[..., :-lag])
        assert_uncorrelated(z[..., lag:, :], z[..., :-lag, :])


def test_keys_near_each_other_do_not_share_shifted_noise():
    """Of 60,000 seeds some have keys a few units apart; were positions added unhashed, their noise would be equal, shifted."""
    keys, order = _hash(_hash(torch.arange(60_000))).sort()
    gap = keys.diff()
    gap[gap % 2 == 1] = PRIME
    pair = order[int(gap.argmin()) :][:2]
    assert gap.min() < 20
    first, second = noise(tuple(pair.tolist()), samples=1, channels=1, height=1, width=4000)[:, 0, 0, 0].numpy()
    assert len(np.intersect1d(first, second)) < 5


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**40), cut=st.integers(0, 7), grid=st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_parts_are_the_whole(seed, cut, grid):
    whole = noise((seed,), 7, 2, *grid)
    parts = [noise((seed,), cut, 2, *grid), noise((seed,), 7 - cut, 2, *grid, first=cut)]
    assert torch.equal(torch.cat(parts, 1), whole)
    assert (whole.shape, whole.dtype) == ((1, 7, 2, *grid), torch.float32)


def test_a_seed_has_its_noise_wherever_it_stands():
    z = noise((5, 9, 5))
    assert torch.equal(z[0], z[2])
    assert torch.equal(z[1:2], noise((9,)))
    assert torch.isclose(z[0], z[1]).float().mean() < 1e-3


def mixed(number: int) -> int:
    """The hash in Python's unbounded integers."""
    for constant in (1640531527, 1013904223, 747796405, 1540483477):
        number = pow(number + constant, 5, PRIME)
    return number


def test_the_hash_is_a_permutation_that_integers_reproduce():
    given = [0, 1, 2, PRIME - 2, PRIME - 1, 123456789]
    assert _hash(torch.tensor(given)).tolist() == [mixed(number) for number in given]
    assert _hash(torch.arange(PRIME - 200_000, PRIME)).unique().numel() == 200_000


@pytest.mark.parametrize("seed", [0, 2026, 2**40])
def test_is_box_and_muller_of_the_hash(seed):
    expected = []
    for sample in (3, 4):
        key = mixed(mixed(seed % PRIME) + sample)
        for position in range(2 * 3 * 2):
            radius, angle = (mixed((key + mixed(2 * position + part)) % PRIME) for part in (0, 1))
            size = math.sqrt(-2 * math.log((radius + 1) / 2**31))
            expected.append(size * math.cos(2 * math.pi * angle / 2**31))
    z = noise((seed,), 2, 2, 3, 2, first=3).flatten()
    torch.testing.assert_close(z, torch.tensor(expected), rtol=0, atol=2e-5)


test_refuses = refusals(
    (lambda: latent(reconstruction=False).reconstruct(images()), "built with reconstruction=False"),
    (lambda: latent(samples=0), "samples must be >= 1, got 0"),
    (lambda: latent(seed=-1), "seed must be >= 0, got -1"),
    (lambda: latent(memory_budget=0.0), r"memory_budget must be > 0 MiB, got 0\.0"),
    (lambda: latent(norm_num_groups=5), r"norm_num_groups=5 must divide every entry of channels, got \(8, 8, 16\)"),
)
