"""Every overlay makes the policy, network and data it is named after, and they work together."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from bundle_table import BUNDLES, PRIVACY, RECON, SEGMENTATION, every_bundle
from running import parse

from infomri_monai.losses import MeanSquaredErrorLoss, SegmentationTarget
from infomri_monai.networks import GaussianUNet, ThreeLayerReconstructor, UnrolledReconstructor

SHARED = Path(__file__).parents[3] / "shared" / "data"
#: what the name of a system's file does not say of its policy and network
POLICIES = {
    **dict.fromkeys(("", "pgn_paper_start", "pgn_uniform_start"), "PatternGenerationNetwork"),
    **dict.fromkeys(("compressed_learning", "deterministic"), "PatternGenerationNetwork"),
    "uniform": "UniformRandom",
    "loupe": "LOUPE",
    "tradpat_unet_rs_reconstruction": "VariableDensity",
}
NETWORKS = {
    RECON.name: "UnrolledReconstructor",
    SEGMENTATION.name: "LatentSegmenter",
    PRIVACY.name: "ImageClassifier",
    "deterministic": "DeterministicSegmenter",
    "tradpat_unet_rs_reconstruction": "ReconstructThenSegment",
}
TINY_UNET = {"unet_features": [4, 4, 4, 4, 4, 4]}
TWO_STAGES = "tradpat_unet_rs"
TOP = {
    RECON.name: {"cartesian", "unet", "unroll", "paper_scale", "real_valued", "mse"},
    SEGMENTATION.name: {"paper_scale"},
    PRIVACY.name: {"paper_scale", "audit"},
}


def names(bundle, folder):
    return sorted(path.stem for path in (bundle.root / "configs" / folder).glob("*.json"))


def content(bundle, name):
    return json.loads((bundle.root / "configs" / f"{name}.json").read_text())


def small(bundle, *overlays, **values):
    more = {RECON.name: {}, SEGMENTATION.name: TINY_UNET, PRIVACY.name: {"train_data#subjects": 4}}[bundle.name]
    return parse(bundle, *overlays, **{**bundle.tiny_model, **more, **values})


def training_pass(bundle, parser):
    """System, result and loss after the gradient of one pass."""
    system, loss, entries = (parser.get_parsed_content(name) for name in ("system", "loss", "train_data"))
    image = torch.stack([torch.as_tensor(entry["image"]) for entry in entries[: 4 if bundle is PRIVACY else 1]])
    generator = torch.Generator().manual_seed(0)
    if bundle is SEGMENTATION:
        label = torch.zeros(1, 3, 32, 32)
        label[:, 1, 8:24, 8:24] = 1
        result = system(image, 0.25, label, generator)
        value = loss(result, SegmentationTarget(image, label))
    else:
        result = system(image, 0.25, generator)
        value = loss(result, image if bundle is RECON else torch.tensor([entry["label"] for entry in entries[:4]]))
    value.backward()
    assert math.isfinite(float(value.detach()))
    if bundle is PRIVACY:
        expected = loss.latest.task - loss.beta * loss.latest.kspace_entropy
        assert float(value.detach()) == pytest.approx(float(expected), rel=1e-5)
    return system, result, loss


@every_bundle
def test_a_training_of_ten_steps_has_a_schedule(bundle):
    """A tenth of ten steps, less one, is what PyTorch's schedule divides by."""
    small = {**bundle.tiny_model, "batch_size": 4, "max_epochs": 10}
    assert parse(bundle, **small).get_parsed_content("lr_scheduler").total_steps > 10


@every_bundle
def test_every_overlay_is_tested_here(bundle):
    """A new file in configs/ must be added to these tests; those of systems/ and data/ are found."""
    known = {"train", "evaluate", "inference", "metadata", "multi_gpu_train"} | TOP[bundle.name]
    assert set(names(bundle, "")) == known


@pytest.mark.parametrize(
    ("bundle", "name"), [(b, name) for b in BUNDLES for name in ("", *names(b, "systems")) if name != TWO_STAGES]
)
def test_every_system_has_its_policy_and_network_and_is_trained(bundle, name):
    values = {"readout_axis": 0} if name == "equispaced" else {}
    system, result, loss = training_pass(bundle, small(bundle, *([f"systems/{name}"] if name else []), **values))
    policy = POLICIES.get(name, "".join(word.capitalize() for word in name.split("_")))
    assert type(system.policy).__name__ == policy
    assert type(system.network).__name__ == NETWORKS.get(name, NETWORKS[bundle.name])
    gradients = [p.grad.abs().max() for p in system.policy.parameters() if p.grad is not None]
    assert not list(system.policy.parameters()) or max(gradients) > 0
    if bundle is RECON:
        assert float(result.ratio) == pytest.approx(0.25, abs=0.02)
        assert torch.isfinite(result.log_variance).all()
    if bundle is PRIVACY:
        assert loss.beta == 0 if name else loss.beta < 0


@pytest.mark.parametrize(
    "name", ["", *(name for name in names(RECON, "systems") if name not in ("poisson_disk", "radial"))]
)
def test_1d_systems_measure_whole_lines(name):
    overlays = ["cartesian", *([f"systems/{name}"] if name else [])]
    system, result, _ = training_pass(RECON, parse(RECON, *overlays))
    assert result.mask.shape == (1, 1, 1, 32)
    if not name:
        assert system.policy.embedding.grad.abs().max() > 0


@pytest.mark.parametrize(("overlay", "kind"), [("unet", GaussianUNet), ("unroll", UnrolledReconstructor)])
def test_networks_of_complex_and_of_real_images(overlay, kind):
    """Real images have real means and masks that begin with one half-plane."""
    assert isinstance(training_pass(RECON, parse(RECON, overlay))[0].network, kind)
    system, result, _ = training_pass(RECON, parse(RECON, overlay, "real_valued"))
    assert not result.mean.is_complex()
    assert system.network.real_valued is True
    mask = result.mask[0, 0, 1:, 1:].bool()
    assert float((mask & mask.flip(0, 1)).sum() / mask.sum()) < 0.1


@pytest.mark.parametrize(
    ("bundle", "parts", "numbers", "settings"),
    [
        (RECON, [""], [31.11e6], {"grid": [128, 128]}),
        (PRIVACY, ["backbone"], [11.18e6], {"max_epochs": 150}),
        (  # Table XIII; one label channel as for QUBIQ
            SEGMENTATION,
            ["posterior_encoder", "encoder", "task_decoder", "reconstruction_decoder"],
            [34_274_208, 34_273_056, 49_544_322, 49_545_475],
            {"kl_weight": 50.0, "reconstruction_weight": 1.0, "mean_task_weight": 0.0, "variance_weighting": 0.0},
        ),
    ],
)
def test_paper_scale_has_the_papers_numbers(bundle, parts, numbers, settings):
    more = {"num_classes": 2, "grid": [128, 128], "class_frequencies": None} if bundle is SEGMENTATION else {}
    with torch.device("meta"):
        network = parse(bundle, "paper_scale", **more).get_parsed_content("network_def")
    counts = [sum(p.numel() for p in network.get_submodule(part).parameters()) for part in parts]
    assert counts == pytest.approx(numbers, rel=0 if bundle is SEGMENTATION else 1e-3)
    assert settings.items() <= content(bundle, "paper_scale").items()
    if bundle is PRIVACY:
        assert (network.backbone.conv1.in_channels, network.backbone.conv1.kernel_size) == (2, (7, 7))


def test_the_deterministic_counterpart_has_the_size_of_the_latent_model():
    latent, certain = (
        small(SEGMENTATION, *overlays).get_parsed_content("network_def")
        for overlays in ((), ("systems/deterministic",))
    )
    at_inference = sum(value.numel() for value in latent.inference_state().values())
    assert sum(p.numel() for p in certain.parameters()) == pytest.approx(at_inference, rel=0.01)


def test_the_comparator_trains_one_stage_after_the_other(tmp_path):
    parser = small(SEGMENTATION, f"systems/{TWO_STAGES}_reconstruction")
    first = training_pass(SEGMENTATION, parser)[0].network
    assert all(p.grad is None for p in first.segmenter.parameters())
    torch.save(first.state_dict(), tmp_path / "model.pt")
    parser = small(SEGMENTATION, f"systems/{TWO_STAGES}", first_stage=str(tmp_path / "model.pt"))
    second = training_pass(SEGMENTATION, parser)[0].network
    assert all(p.grad is None for p in second.reconstructor.parameters())
    assert any(p.grad.abs().max() > 0 for p in second.segmenter.parameters())
    for name, value in first.reconstructor.state_dict().items():
        assert torch.equal(value, second.reconstructor.state_dict()[name])


def test_mse_overlay():
    assert isinstance(parse(RECON, "mse").get_parsed_content("loss"), MeanSquaredErrorLoss)


@pytest.mark.parametrize("enabled", [True, False])
def test_mixed_precision_is_a_switch(enabled):
    assert parse(RECON, mixed_precision=enabled).get_parsed_content("train#inferer").enabled is enabled


def test_loupe_is_trained_and_tested_for_one_ratio():
    parser = small(PRIVACY, "systems/loupe", ratio=0.125)
    prepare = parser.get_parsed_content("train#prepare_batch").prepare
    assert (prepare.low, prepare.high) == (0.125, 0.125)
    assert parser.get_parsed_content("evaluation_ratios") == [0.125]


def test_the_attackers_of_mnist_are_the_papers_and_a_stronger_one():
    made = {name: make() for name, make in parse(PRIVACY, "data/mnist").get_parsed_content("attackers").items()}
    assert isinstance(made["cnn"], ThreeLayerReconstructor)
    assert isinstance(made["unrolled"], UnrolledReconstructor)
    assert made["unrolled"].real_valued


@pytest.mark.parametrize(("bundle", "name"), [(b, name) for b in BUNDLES for name in names(b, "data")])
def test_data_overlays_name_their_splits(bundle, name):
    overlay = content(bundle, f"data/{name}")
    for key in {"train_data", "validation_data", "test_data"} & set(overlay):
        data, split = overlay[key], key.removesuffix("_data")
        assert data["_target_"] == f"infomri_monai.data.{name}"
        assert data.get("split", split) == split
        assert "split" in data or f"knee_{split[:3]}" in data["split_file"]
    if bundle is PRIVACY:
        assert len(overlay["labels"]) == overlay["num_classes"]
    if bundle is SEGMENTATION:
        assert parse(bundle, f"data/{name}").get_parsed_content("simulated_raters") is True


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("bundle", "name", "images", "grid"),
    [
        (RECON, "brain_complex_180", 30, [32, 32]),
        (RECON, "brain_50", 50, [32, 32]),
        pytest.param(SEGMENTATION, "brain_tumour_1380", 207, [32, 32], marks=pytest.mark.slow),
        pytest.param(SEGMENTATION, "hippocampus_200", 240, [32, 32], marks=pytest.mark.slow),
        (PRIVACY, "mnist", 5000, [28, 28]),
        (PRIVACY, "brain_tumour_side", 60, [64, 64]),
    ],
)
def test_data_overlays_read_the_shared_files(bundle, name, images, grid):
    if not SHARED.exists():
        pytest.skip("shared data is absent")
    data = parse(bundle, f"data/{name}", dataset_dir=str(SHARED), grid=grid).get_parsed_content("test_data")
    assert len(data) == images
    assert data[0]["image"].shape == (1, *grid)
    assert bundle is not SEGMENTATION or data[0]["label"].shape == (6, *grid)


@pytest.mark.parametrize("data", names(SEGMENTATION, "data"))
@pytest.mark.parametrize("system", ["systems/deterministic", f"systems/{TWO_STAGES}", "paper_scale"])
def test_the_documented_order_data_then_system_gives_the_systems_loss_and_network(data, system):
    parser = parse(SEGMENTATION, f"data/{data}", system)
    assert parser.get_parsed_content("mean_task_weight") == 0
    assert parser.get("network_def") == content(SEGMENTATION, system)["network_def"]
    evaluation = parse(SEGMENTATION, f"data/{data}", system, "evaluate")
    assert evaluation.get("test_data")["_target_"] == f"infomri_monai.data.{data}"


@pytest.mark.parametrize(("overlays", "embedding_rate"), [((), 0.1), (("cartesian",), 0.01)])
def test_rates_weighting_and_range_reach_what_they_are_for(overlays, embedding_rate):
    parser = parse(RECON, *overlays, ratio_range=[0.1, 0.2], variance_weighting=0.25)
    policy, network = parser.get_parsed_content("policy"), parser.get_parsed_content("network_def")
    groups = parser.get_parsed_content("optimizer").param_groups
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rate[id(policy.embedding)] == embedding_rate
    assert {rate[id(p)] for name, p in policy.named_parameters() if name != "embedding"} == {1e-3}
    assert {rate[id(p)] for p in network.parameters()} == {3e-3}
    assert len(rate) == len(list(policy.parameters())) + len(list(network.parameters()))
    assert parser.get_parsed_content("loss").variance_weighting == 0.25
    assert policy.ratio_range == (0.1, 0.2)
