"""Every overlay of the privacy bundle makes the policy, network and data it is named after."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from bundle_table import PRIVACY
from running import parse

from infomri_monai.networks import ImageClassifier, ThreeLayerReconstructor, UnrolledReconstructor
from infomri_monai.sampling import LOUPE, PatternGenerationNetwork, UniformRandom, VariableDensity

CONFIGS = PRIVACY.root / "configs"
DATA = ("mnist", "brain_tumour_side", "fastmri_plus_knee")


def small(*overlays, **values):
    return parse(PRIVACY, *overlays, **{"train_data#subjects": 4, **PRIVACY.tiny_model, **values})


def training_pass(parser):
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
    system = training_pass(parser)
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


@pytest.mark.parametrize("name", DATA)
def test_data_overlays_name_their_splits(name):
    data = json.loads((CONFIGS / "data" / f"{name}.json").read_text())
    for key in ("train_data", "validation_data", "test_data"):
        assert data[key]["_target_"] == f"infomri_monai.data.{name}"
        assert data[key]["split"] == key.removesuffix("_data")
    assert len(data["labels"]) == data["num_classes"]


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "images", "grid"), [("mnist", 5000, (28, 28)), ("brain_tumour_side", 60, (64, 64))])
def test_data_overlays_read_the_shared_files(name, images, grid):
    shared = Path(__file__).parents[3] / "shared" / "data"
    if not shared.exists():
        pytest.skip("shared data is absent")
    parser = parse(PRIVACY, f"data/{name}", dataset_dir=str(shared), grid=list(grid))
    data = parser.get_parsed_content("test_data")
    assert len(data) == images
    assert data[0]["image"].shape == (1, *grid)


def test_every_overlay_is_tested_here():
    """A new file in configs/ must be added to these tests."""
    known = {"train", "evaluate", "audit", "inference", "metadata", "multi_gpu_train", "paper_scale"}
    assert {path.stem for path in CONFIGS.glob("*.json")} == known
    assert {path.stem for path in (CONFIGS / "data").iterdir()} == set(DATA)
    systems = {"compressed_learning", "uniform", "variable_density", "loupe"}
    assert {path.stem for path in (CONFIGS / "systems").iterdir()} == systems
