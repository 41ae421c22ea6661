"""Every overlay of the bundles makes the policy, network and data it is named after, and they work together."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from bundle_table import PRIVACY, RECON, SEGMENTATION, TINY_MODEL
from running import parse

from infomri_monai.losses import MeanSquaredErrorLoss, SegmentationTarget
from infomri_monai.networks import (
    DeterministicSegmenter,
    GaussianUNet,
    ImageClassifier,
    LatentSegmenter,
    ReconstructThenSegment,
    ThreeLayerReconstructor,
    UnrolledReconstructor,
)
from infomri_monai.sampling import LOUPE, PatternGenerationNetwork, SamplingPolicy, UniformRandom, VariableDensity

CONFIGS = RECON.root / "configs"
SYSTEMS = sorted(path.stem for path in (CONFIGS / "systems").iterdir())
POLICIES = {
    "pgn_paper_start": "PatternGenerationNetwork",
    "pgn_uniform_start": "PatternGenerationNetwork",
    "uniform": "UniformRandom",
}


def reconstruct(parser, ratio=0.25):
    system = parser.get_parsed_content("system")
    image = torch.as_tensor(parser.get_parsed_content("train_data")[0]["image"])[None]
    result = system(image, ratio, torch.Generator().manual_seed(0))
    loss = parser.get_parsed_content("loss")(result, image)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert torch.isfinite(result.log_variance).all()
    return system, result


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_its_policy(name):
    values = {"readout_axis": 0} if name == "equispaced" else {}
    system, result = reconstruct(parse(RECON, f"systems/{name}", **values))
    expected = POLICIES.get(name, "".join(word.capitalize() for word in name.split("_")))
    assert isinstance(system.policy, SamplingPolicy)
    assert type(system.policy).__name__ == expected
    assert float(result.ratio) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name not in ("poisson_disk", "radial")])
def test_1d_systems_measure_whole_lines(name):
    _, result = reconstruct(parse(RECON, "cartesian", f"systems/{name}"))
    assert result.mask.shape == (1, 1, 1, 32)


def test_cartesian_learns_lines():
    system, result = reconstruct(parse(RECON, "cartesian"))
    assert isinstance(system.policy, PatternGenerationNetwork)
    assert result.mask.shape == (1, 1, 1, 32)
    assert system.policy.embedding.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("overlay", "kind", "parameters"),
    [("unet", GaussianUNet, None), ("unroll", UnrolledReconstructor, None), ("paper_scale", GaussianUNet, 31.11e6)],
)
def test_networks(overlay, kind, parameters):
    parser = parse(RECON, overlay)
    if parameters:
        with torch.device("meta"):
            network = parser.get_parsed_content("network_def")
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(parameters, rel=1e-3)
        assert json.loads((CONFIGS / "paper_scale.json").read_text())["grid"] == [128, 128]
    else:
        network = reconstruct(parser)[0].network
    assert isinstance(network, kind)


@pytest.mark.parametrize("network", ["unet", "unroll"])
def test_real_valued_overlay_makes_real_means_and_half_plane_masks(network):
    system, result = reconstruct(parse(RECON, network, "real_valued"))
    assert not result.mean.is_complex()
    assert system.network.real_valued is True
    mask = result.mask[0, 0, 1:, 1:].bool()
    assert float((mask & mask.flip(0, 1)).sum() / mask.sum()) < 0.1  # start: one half-plane


def test_mse_overlay():
    assert isinstance(parse(RECON, "mse").get_parsed_content("loss"), MeanSquaredErrorLoss)


def test_mixed_precision_is_a_switch():
    for enabled in (True, False):
        inferer = parse(RECON, mixed_precision=enabled).get_parsed_content("train#inferer")
        assert inferer.enabled is enabled


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


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def training_pass(parser):
    """Loss of one pass through system and loss, with its gradient."""
    system = parser.get_parsed_content("system")
    image = torch.as_tensor(parser.get_parsed_content("train_data")[0]["image"])[None]
    label = torch.zeros(1, 3, 32, 32)
    label[:, 1, 8:24, 8:24] = 1
    loss = parser.get_parsed_content("loss")(
        system(image, 0.25, label, torch.Generator().manual_seed(0)), SegmentationTarget(image, label)
    )
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    return system


def test_the_default_and_the_deterministic_counterpart_have_one_policy_and_size():
    latent = training_pass(parse(SEGMENTATION, **TINY_MODEL))
    certain = training_pass(parse(SEGMENTATION, "systems/deterministic", **TINY_MODEL))
    assert isinstance(latent.network, LatentSegmenter)
    assert isinstance(certain.network, DeterministicSegmenter)
    for system in (latent, certain):
        assert isinstance(system.policy, PatternGenerationNetwork)
        assert system.policy.embedding.grad.abs().max() > 0
    at_inference = sum(v.numel() for v in latent.network.inference_state().values())
    assert parameters(certain.network) == pytest.approx(at_inference, rel=0.01)


def test_the_comparator_trains_one_stage_after_the_other(tmp_path):
    values = {"unet_features": [4, 4, 4, 4, 4, 4]}
    first = training_pass(parse(SEGMENTATION, "systems/tradpat_unet_rs_reconstruction", **values))
    assert isinstance(first.network, ReconstructThenSegment)
    assert isinstance(first.policy, VariableDensity)
    assert all(p.grad is None for p in first.network.segmenter.parameters())
    torch.save(first.network.state_dict(), tmp_path / "model.pt")
    second = training_pass(
        parse(SEGMENTATION, "systems/tradpat_unet_rs", first_stage=str(tmp_path / "model.pt"), **values)
    )
    assert all(p.grad is None for p in second.network.reconstructor.parameters())
    assert any(p.grad.abs().max() > 0 for p in second.network.segmenter.parameters())
    for name, value in first.network.reconstructor.state_dict().items():
        assert torch.equal(value, second.network.reconstructor.state_dict()[name])


def test_paper_scale_has_the_papers_numbers():
    """Table XIII: 34.3 M + 34.3 M + 49.5 M + 49.5 M, and a PGN of 16.4 K; one label channel as for QUBIQ."""
    parser = parse(SEGMENTATION, "paper_scale", num_classes=2, grid=[128, 128], class_frequencies=None)
    with torch.device("meta"):
        network = parser.get_parsed_content("network_def")
    counts = [
        parameters(part)
        for part in (
            *(network.posterior_encoder, network.encoder),
            *(network.task_decoder, network.reconstruction_decoder),
        )
    ]
    assert [round(count / 1e6, 1) for count in counts] == [34.3, 34.3, 49.5, 49.5]
    assert counts == [34_274_208, 34_273_056, 49_544_322, 49_545_475]
    assert parameters(PatternGenerationNetwork((128, 128))) == pytest.approx(16.4e3, rel=0.005)
    assert parser.get_parsed_content("loss").weights == {
        "task": 1.0,
        "kl": 50.0,
        "reconstruction": 1.0,
        "mean_task": 0.0,
    }
    assert parser.get_parsed_content("loss").image_likelihood.variance_weighting == 0
    assert parser.get_parsed_content("flip_axes") == []


@pytest.mark.parametrize("data", ["brain_tumour_1380", "hippocampus_200"])
@pytest.mark.parametrize("system", ["systems/deterministic", "systems/tradpat_unet_rs", "paper_scale"])
def test_the_documented_order_data_then_system_gives_the_systems_loss_and_network(data, system):
    parser = parse(SEGMENTATION, f"data/{data}", system)
    assert parser.get_parsed_content("mean_task_weight") == 0
    assert (
        parser.get("network_def")
        == json.loads((SEGMENTATION.root / "configs" / f"{system}.json").read_text())["network_def"]
    )
    evaluation = parse(SEGMENTATION, f"data/{data}", system, "evaluate")
    assert evaluation.get("test_data")["_target_"] == f"infomri_monai.data.{data}"


def small(*overlays, **values):
    return parse(PRIVACY, *overlays, **{"train_data#subjects": 4, **PRIVACY.tiny_model, **values})


def labelled_pass(parser):
    """A system after the gradient of one pass."""
    system = parser.get_parsed_content("system")
    entries = parser.get_parsed_content("train_data")[:4]
    image = torch.stack([torch.as_tensor(entry["image"]) for entry in entries])
    loss = parser.get_parsed_content("loss")
    value = loss(system(image, 0.25, torch.Generator().manual_seed(0)), torch.tensor([e["label"] for e in entries]))
    value.backward()
    assert math.isfinite(float(value.detach()))
    assert float(value.detach()) == pytest.approx(
        float(loss.latest.task - loss.beta * loss.latest.kspace_entropy), rel=1e-5
    )
    return system


@pytest.mark.parametrize(
    ("overlays", "policy", "beta"),
    [
        ((), PatternGenerationNetwork, None),
        (("systems/compressed_learning",), PatternGenerationNetwork, 0.0),
        (("systems/uniform",), UniformRandom, 0.0),
        (("systems/variable_density",), VariableDensity, 0.0),
        (("systems/loupe",), LOUPE, 0.0),
    ],
)
def test_systems(overlays, policy, beta):
    parser = small(*overlays)
    system = labelled_pass(parser)
    assert isinstance(system.policy, policy)
    assert isinstance(system.network, ImageClassifier)
    used = parser.get_parsed_content("loss").beta
    assert used < 0 if beta is None else used == beta
    if list(system.policy.parameters()):
        assert max(float(p.grad.abs().max()) for p in system.policy.parameters() if p.grad is not None) > 0


def test_loupe_is_trained_and_tested_for_one_ratio():
    parser = small("systems/loupe", ratio=0.125)
    prepare = parser.get_parsed_content("train#prepare_batch").prepare
    assert (prepare.low, prepare.high) == (0.125, 0.125)
    assert parser.get_parsed_content("evaluation_ratios") == [0.125]


def test_paper_scale_is_resnet18_on_two_channels():
    parser = parse(PRIVACY, "paper_scale")
    with torch.device("meta"):
        network = parser.get_parsed_content("network_def")
    convolution = network.backbone.conv1
    assert (convolution.in_channels, convolution.kernel_size) == (2, (7, 7))
    assert sum(p.numel() for p in network.backbone.parameters()) == pytest.approx(11.2e6, rel=0.01)
    assert parser.get_parsed_content("max_epochs") == 150


def test_the_attackers_of_mnist_are_the_papers_and_a_stronger_one():
    made = {name: make() for name, make in parse(PRIVACY, "data/mnist").get_parsed_content("attackers").items()}
    assert isinstance(made["cnn"], ThreeLayerReconstructor)
    assert isinstance(made["unrolled"], UnrolledReconstructor)
    assert made["unrolled"].real_valued


#: bundle, overlay of data, images of its test split, size of one; None where nothing lies in ../shared
DATA = [
    (RECON, "brain_complex_180", 1, (32, 32)),
    (RECON, "brain_50", 1, (32, 32)),
    (SEGMENTATION, "brain_tumour_1380", 207, None),
    (SEGMENTATION, "hippocampus_200", 240, None),
    (PRIVACY, "mnist", 5000, (28, 28)),
    (PRIVACY, "brain_tumour_side", 60, (64, 64)),
    (PRIVACY, "fastmri_plus_knee", None, None),
]


@pytest.mark.parametrize(("bundle", "name"), [row[:2] for row in DATA])
def test_data_overlays_name_their_file(bundle, name):
    data = json.loads((bundle.root / "configs" / "data" / f"{name}.json").read_text())
    splits = {key: data[key] for key in ("train_data", "validation_data", "test_data") if key in data}
    assert len(splits) == 3 or name == "brain_50"
    for key, split in splits.items():
        assert split["_target_"] == f"infomri_monai.data.{name}"
        assert split["split"] == key.removesuffix("_data")
        assert bundle is not RECON or split["kspace_crop"] == "@grid"
    if bundle is SEGMENTATION:
        assert parse(bundle, f"data/{name}").get_parsed_content("simulated_raters") is True
    if bundle is PRIVACY:
        assert len(data["labels"]) == data["num_classes"]


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("bundle", "name", "images", "grid"),
    [pytest.param(*row, marks=[pytest.mark.slow] if row[0] is SEGMENTATION else []) for row in DATA if row[2]],
)
def test_data_overlays_read_the_shared_files(bundle, name, images, grid):
    shared = Path(__file__).parents[3] / "shared" / "data"
    if not shared.exists() or (bundle is not PRIVACY and not (shared / f"{name}.npz").exists()):
        pytest.skip("shared data is absent")
    values = {"dataset_dir": str(shared), **({"grid": list(grid)} if grid else {})}
    data = parse(bundle, f"data/{name}", **values).get_parsed_content("test_data")
    assert len(data) >= images if bundle is RECON else len(data) == images
    assert grid is None or data[0]["image"].shape == (1, *grid)
    assert bundle is not SEGMENTATION or data[0]["label"].shape == (6, *data[0]["image"].shape[1:])


@pytest.mark.parametrize(
    ("bundle", "own", "systems"),
    [
        (RECON, {"cartesian", "unet", "unroll", "real_valued", "mse"}, set(SYSTEMS)),
        (SEGMENTATION, set(), {"deterministic", "tradpat_unet_rs", "tradpat_unet_rs_reconstruction"}),
        (PRIVACY, {"audit"}, {"compressed_learning", "uniform", "variable_density", "loupe"}),
    ],
)
def test_every_overlay_is_tested_here(bundle, own, systems):
    """A new file in configs/ must be added to these tests."""
    configs = bundle.root / "configs"
    known = {"train", "evaluate", "inference", "metadata", "multi_gpu_train", "paper_scale"}
    assert {path.stem for path in configs.glob("*.json")} == known | own
    assert {path.stem for path in (configs / "systems").iterdir()} == systems
    elsewhere = {"fastmri_knee"} if bundle is RECON else set()  # test_own_data.py
    assert {path.stem for path in (configs / "data").iterdir()} == {
        row[1] for row in DATA if row[0] is bundle
    } | elsewhere
