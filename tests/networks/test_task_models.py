"""What every task model promises, whatever is inside: shapes, probabilities, uncertainties, units, seeds, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from helper import assert_batch_equals_elements, refuses
from task_models import (
    deterministic,
    every_kind,
    every_model,
    images,
    labels,
    largest_entropy,
    latent,
    moved,
    two_stages,
)
from torch.distributions import Bernoulli, Categorical

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.acquisition.symmetry import conjugate_partner
from infomri_monai.information import gaussian_kl
from infomri_monai.networks import complex_to_channels, load_network

GRIDS = [(32, 32), (33, 35), (32, 41), (47, 34)]


@every_model
@every_kind
@pytest.mark.parametrize("grid", GRIDS)
def test_shapes_and_types(build, kind, grid):
    model, image = moved(build, **kind), images(grid)
    classes, structures = model.num_classes, model.structures
    assert structures == (classes if model.multi_label else classes - 1)
    channels = 4 if build is two_stages else 3  # the U-Net knows the magnitude's variance, too
    with torch.no_grad():
        assert model(image).shape == (2, classes + 2, *grid)
        assert model.reconstruct(image).shape == (2, channels, *grid)
        posterior = model.posterior(image, samples=3)
        one = model.training_pass(image, labels(model, grid))
    many = posterior.samples.shape[1]
    assert many == (3 if build is latent else 1)
    assert posterior.samples.shape == (2, many, structures, *grid)
    assert posterior.majority.shape == (2, structures, *grid)
    assert posterior.class_probabilities.shape == (2, classes, *grid)
    assert posterior.entropy.shape == posterior.mutual_information.shape == (2, 1, *grid)
    assert posterior.samples.dtype == posterior.majority.dtype == torch.uint8
    assert {t.dtype for t in posterior[2:]} == {t.dtype for t in one[:6]} == {torch.float32}
    assert one.logits.shape == (2, classes, *grid)
    assert one.reconstruction.shape == (2, channels, *grid)
    assert len({t.shape for t in one[1:5]}) == 1


@every_model
@every_kind
def test_probabilities_and_uncertainties_are_what_they_say(build, kind):
    model = moved(build, **kind)
    with torch.no_grad():
        posterior = model.posterior(images((33, 35)), samples=6)
    p = posterior.class_probabilities
    assert 0 <= p.min() <= p.max() <= 1
    if model.multi_label:
        assert torch.equal(posterior.majority, (p > 0.5).to(torch.uint8))
        entropy = Bernoulli(p.double()).entropy().sum(1, keepdim=True)
    else:
        torch.testing.assert_close(p.sum(1), torch.ones_like(p[:, 0]))
        assert torch.equal((posterior.majority * torch.arange(1, p.shape[1]).reshape(-1, 1, 1)).sum(1), p.argmax(1))
        assert (posterior.samples.sum(2) <= 1).all()
        entropy = Categorical(p.double().movedim(1, -1)).entropy()[:, None]
    torch.testing.assert_close(posterior.entropy, entropy.float(), rtol=1e-5, atol=1e-5)
    assert -1e-6 <= posterior.entropy.min() <= posterior.entropy.max() <= largest_entropy(model) + 1e-5
    assert posterior.mutual_information.min() >= 0
    assert (posterior.mutual_information <= posterior.entropy + 1e-6).all()
    assert (posterior.samples <= 1).all()
    assert 0 < posterior.samples.float().mean() < 1  # the test would be empty otherwise
    assert (posterior.mutual_information.max() > 1e-3) == (build is latent)


@every_model
@every_kind
def test_forward_is_the_posterior_of_its_seed(build, kind):
    model, image = moved(build, **kind), images((33, 35))
    with torch.no_grad():
        posterior = model.posterior(image, model.samples)
        torch.testing.assert_close(model(image), torch.cat(posterior[2:], 1), rtol=1e-5, atol=1e-6)


@every_model
@every_kind
def test_batch_is_its_elements(build, kind):
    model = moved(build, **kind)
    with torch.no_grad():
        assert_batch_equals_elements(model, images((33, 35), batch=3), rtol=1e-4, atol=1e-5)
        assert_batch_equals_elements(model.reconstruct, images((33, 35), batch=3), rtol=1e-4, atol=1e-4)


@every_model
@pytest.mark.parametrize("factor", [1e-6, 1e-3, 250.0])
def test_intensity_equivariance(build, factor):
    """The unit of the image has no influence on the answer, also where raw data have 1e-6 for a maximum (fastMRI)."""
    model, image = moved(build, num_classes=3), images()
    with torch.no_grad():
        torch.testing.assert_close(model(factor * image), model(image), rtol=1e-3, atol=1e-4)
        out, scaled = model.reconstruct(image), model.reconstruct(factor * image)
    torch.testing.assert_close(scaled[:, :2] / factor, out[:, :2], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(scaled[:, 2:] - 2 * math.log(factor), out[:, 2:], rtol=1e-3, atol=1e-3)


@every_model
def test_all_zero_image_is_finite(build):
    model, zero = moved(build), torch.zeros(1, 2, 32, 32)
    with torch.no_grad():
        assert torch.isfinite(model(zero)).all()
        assert torch.isfinite(model.reconstruct(zero)).all()
    one = model.train().training_pass(zero, labels(model, batch=1))
    (one.logits.square().sum() + one.reconstruction.square().sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@every_model
def test_generators_decide_and_nothing_else_does(build):
    model, image = moved(build), images()
    with torch.no_grad():
        first = model.posterior(image, 4, torch.Generator().manual_seed(1))
        torch.manual_seed(77)
        second = model.posterior(image, 4, torch.Generator().manual_seed(1))
        other = model.posterior(image, 4, torch.Generator().manual_seed(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(first.class_probabilities, other.class_probabilities) == (build is not latent)


@every_model
@every_kind
def test_gradient_reaches_every_parameter_that_is_trained_and_the_image(build, kind):
    model = moved(build, **kind).train()
    image = images((32, 33)).requires_grad_()
    one = model.training_pass(image, labels(model, (32, 33)), torch.Generator().manual_seed(0))
    weight = torch.randn(one.logits.shape, generator=torch.Generator().manual_seed(1))
    loss = (weight * one.logits).sum() + gaussian_kl(*one[3:5], *one[1:3]) + one.reconstruction.square().sum()
    loss.backward()
    assert (image.grad != 0).float().mean() > 0.9
    for name, parameter in model.named_parameters():
        frozen = name.startswith("reconstructor.")  # of the second stage
        assert parameter.requires_grad != frozen, name
        if frozen:
            assert parameter.grad is None, name
            continue
        assert torch.isfinite(parameter.grad).all(), name
        if not name.endswith("conv.bias"):  # instance normalisation takes it away
            assert parameter.grad.abs().max() > 0, name


def test_the_first_stage_trains_the_reconstructor_alone():
    model = moved(two_stages, stage="reconstruction").train()
    one = model.training_pass(images(), labels(model))
    assert (one.logits == 0).all()
    assert not one.logits.requires_grad
    one.reconstruction.square().sum().backward()
    for name, parameter in model.named_parameters():
        calibrated = name.endswith("log_variance_line")  # found on validation data, never by the likelihood
        trained = name.startswith("reconstructor.") and not calibrated
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None) == trained, name


@every_model
@pytest.mark.parametrize(("classes", "multi_label", "least"), [(1, False, 2), (0, True, 1)])
def test_refuses_too_few_classes(build, classes, multi_label, least):
    with pytest.raises(ValueError, match=rf"num_classes must be >= {least} \(multi_label={multi_label}\)"):
        build(num_classes=classes, multi_label=multi_label)


@pytest.mark.parametrize("build", [latent, deterministic])
@pytest.mark.parametrize(
    ("shares", "kind"),
    [([0.9, 0.1], {}), ([0.97, 0.02, 1e-7, 0.01 - 1e-7], {}), ([0.3, 0.7, 1e-7], {"multi_label": True})],
)
def test_starts_at_the_frequencies_of_the_classes(build, shares, kind):
    model = build(num_classes=len(shares), class_frequencies=shares, **kind)
    probabilities = model(images())[:, : len(shares)]
    expected = torch.tensor(shares).reshape(1, -1, 1, 1).expand_as(probabilities)
    torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("build", [latent, deterministic])
@pytest.mark.parametrize("shares", [[0.5, 0.3, 0.2], [1.0, 0.0], [0.5], [math.nan, 0.5], [1.5, -0.5]])
def test_refuses_frequencies_that_are_none(build, shares):
    refuses(ValueError, r"class_frequencies must be 2 shares in \(0, 1\), got \[", build, class_frequencies=shares)


def test_refuses_an_unknown_stage():
    refuses(ValueError, "stage must be 'reconstruction' or 'segmentation', got 'both'", two_stages, stage="both")


@pytest.mark.parametrize("shape", [(16, 16), (15, 18)])
def test_half_of_k_space_is_all_of_it_for_real_valued_images(shape):
    """One of every conjugate pair was measured: the completed image is the image, and the answer that to all of k-space."""
    image = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    first = torch.arange(image[0].numel()).reshape(1, 1, *shape)
    mask = (first <= conjugate_partner(first, 2)).float()
    half, whole = (
        complex_to_channels(FourierMeasurement().zero_filled(image, m)) for m in (mask, torch.ones_like(mask))
    )
    model = moved(latent, real_valued=True)
    torch.testing.assert_close(model.completed(half, mask)[:, :1], image)
    assert (model.completed(half)[:, 1] == 0).all()
    with torch.no_grad():
        torch.testing.assert_close(model(half), model(whole), rtol=1e-4, atol=1e-4)
        assert (model.reconstruct(half)[:, 1] == 0).all()
    assert not torch.allclose(moved(latent).completed(half), moved(latent).completed(whole))


def test_the_policy_learns_through_the_completion():
    """A sample whose partner is measured already tells nothing new of a noise-free real image: its gradient is zero."""
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 8, 8)
    mask[0, 0, 2, 3] = 1
    mask.requires_grad_()
    model = moved(latent, real_valued=True, channels=(8, 8))
    zero_filled = complex_to_channels(FourierMeasurement().zero_filled(image, mask))
    one = model.training_pass(zero_filled, labels(model, (8, 8), batch=1), torch.Generator().manual_seed(0), mask)
    one.logits.square().sum().backward()
    partner = float(mask.grad[0, 0, 6, 5])  # 2 and 1 beyond the centre (4, 4), as (2, 3) is before it
    assert abs(partner) < 1e-3 * float(mask.grad.abs().max())


@pytest.mark.parametrize(
    ("option", "trained_with", "given"), [("real_valued", 1, 0), ("multi_label", 0, 1), ("noise_stride", 4, 1)]
)
def test_weights_of_other_options_are_refused_though_every_shape_fits(tmp_path, option, trained_with, given):
    options = {"num_classes": 3, "training_parts": False}
    torch.save(latent(**options, **{option: trained_with}).state_dict(), tmp_path / "model.pt")
    load_network(latent(**options, **{option: trained_with}), tmp_path / "model.pt")
    network = latent(**options, **{option: given})
    message = f"the weights were trained with {option}={trained_with}, the network has {option}={given}"
    refuses(ValueError, message, load_network, network, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=message):  # inside a system, as a training resumes
        torch.nn.Sequential(network).load_state_dict(
            {f"0.{name}": value for name, value in torch.load(tmp_path / "model.pt", weights_only=True).items()}
        )
