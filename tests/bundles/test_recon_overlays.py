"""Every overlay of the reconstruction bundle makes the policy and network it is named after, and they work together."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from bundle_table import RECON
from running import parse

from infomri_monai.losses import MeanSquaredErrorLoss
from infomri_monai.networks import GaussianUNet, UnrolledReconstructor
from infomri_monai.sampling import PatternGenerationNetwork, SamplingPolicy

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


@pytest.mark.parametrize("name", ["brain_complex_180", "brain_50"])
def test_data_overlays_name_their_file(name):
    data = json.loads((CONFIGS / "data" / f"{name}.json").read_text())
    for key in ("train_data", "validation_data", "test_data"):
        if key in data:
            assert data[key]["_target_"] == f"infomri_monai.data.{name}"
            assert data[key]["split"] == key.removesuffix("_data")
            assert data[key]["kspace_crop"] == "@grid"


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["brain_complex_180", "brain_50"])
def test_data_overlays_read_the_shared_files(name):
    shared = Path(__file__).parents[3] / "shared" / "data"
    if not (shared / f"{name}.npz").exists():
        pytest.skip("shared data is absent")
    parser = parse(RECON, f"data/{name}", dataset_dir=str(shared))
    data = parser.get_parsed_content("test_data")
    assert len(data) > 0
    assert data[0]["image"].shape == (1, 32, 32)


def test_every_overlay_is_tested_here():
    """A new file in configs/ must be added to these tests."""
    known = {"train", "evaluate", "inference", "metadata", "multi_gpu_train", "cartesian", "unet", "unroll"}
    known |= {"paper_scale", "real_valued", "mse"}
    assert {path.stem for path in CONFIGS.glob("*.json")} == known


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
