"""Every overlay of the segmentation bundle makes the networks and data it is named after."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from bundle_table import SEGMENTATION, TINY_MODEL
from running import parse

from infomri_monai.losses import SegmentationTarget
from infomri_monai.networks import DeterministicSegmenter, LatentSegmenter, ReconstructThenSegment
from infomri_monai.sampling import PatternGenerationNetwork, VariableDensity

CONFIGS = SEGMENTATION.root / "configs"


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
    assert parser.get("network_def") == json.loads((CONFIGS / f"{system}.json").read_text())["network_def"]
    evaluation = parse(SEGMENTATION, f"data/{data}", system, "evaluate")
    assert evaluation.get("test_data")["_target_"] == f"infomri_monai.data.{data}"


@pytest.mark.parametrize("name", ["brain_tumour_1380", "hippocampus_200"])
def test_data_overlays_name_their_file_and_say_simulated_raters(name):
    data = json.loads((CONFIGS / "data" / f"{name}.json").read_text())
    for key in ("train_data", "validation_data", "test_data"):
        assert data[key]["_target_"] == f"infomri_monai.data.{name}"
        assert data[key]["split"] == key.removesuffix("_data")
    assert parse(SEGMENTATION, f"data/{name}").get_parsed_content("simulated_raters") is True


@pytest.mark.shared_data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "images"), [("brain_tumour_1380", 207), ("hippocampus_200", 240)])
def test_data_overlays_read_the_shared_files(name, images):
    shared = Path(__file__).parents[3] / "shared" / "data"
    if not (shared / f"{name}.npz").exists():
        pytest.skip("shared data is absent")
    data = parse(SEGMENTATION, f"data/{name}", dataset_dir=str(shared)).get_parsed_content("test_data")
    assert len(data) == images
    assert data[0]["label"].shape == (6, *data[0]["image"].shape[1:])


def test_every_overlay_is_tested_here():
    """A new file in configs/ must be added to these tests."""
    known = {"train", "evaluate", "inference", "metadata", "multi_gpu_train", "paper_scale"}
    assert {path.stem for path in CONFIGS.glob("*.json")} == known
    assert {path.stem for path in (CONFIGS / "data").iterdir()} == {"brain_tumour_1380", "hippocampus_200"}
    systems = {"deterministic", "tradpat_unet_rs", "tradpat_unet_rs_reconstruction"}
    assert {path.stem for path in (CONFIGS / "systems").iterdir()} == systems
