"""The model zoo's gate for the segmentation bundle: its commands from the bundle's root, with the shipped weights."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from running import SEGMENTATION, TINY_MODEL, command, succeeded

from infomri_monai.data import embedded_subjects
from infomri_monai.networks.gaussian import complex_to_channels
from infomri_monai.sampling import PatternGenerationNetwork
from infomri_monai.triage import load_threshold

SCHEMA = Path(__file__).with_name("metadata.schema.json")
NETWORK = ["--net_id", "network_def", "--config_file", "configs/inference.json"]
META = ["--meta_file", "configs/metadata.json"]
REQUIRED = [
    "LICENSE",
    *(f"configs/{name}.json" for name in ("metadata", "train", "inference", "evaluate", "multi_gpu_train")),
    "configs/logging.conf",
    "docs/README.md",
    "docs/data_license.txt",
    "models/model.pt",
    "models/policy.pt",
    "models/triage.json",
]


def gate(name, *arguments):
    return succeeded(command(["-m", "monai.bundle", name], arguments, root=SEGMENTATION))


def shipped():
    """Policy, measurement and network of inference.json with the shipped weights."""
    parser = ConfigParser()
    parser.read_config(str(SEGMENTATION / "configs" / "inference.json"))
    parser.update({"bundle_root": str(SEGMENTATION), "device": torch.device("cpu")})
    return [parser.get_parsed_content(name) for name in ("policy", "measurement", "network")]


def zero_filled(grid=(64, 64), ratio=0.125):
    """Network input of an unseen subject, intensities of order 1, and the shipped network."""
    policy, measurement, network = shipped()
    items = embedded_subjects("test", subjects=1, slices_per_subject=1, grid=grid, seed=5, complex_valued=False)
    image = torch.as_tensor(items[0]["image"])[None]
    with torch.no_grad():
        sample = policy.for_grid(grid)(ratio, grid, torch.Generator().manual_seed(0))
        acquired = measurement.adjoint(measurement(image, sample.mask, torch.Generator().manual_seed(1)))
    return complex_to_channels(acquired), network


@pytest.mark.parametrize("name", REQUIRED)
def test_required_files(name):
    assert (SEGMENTATION / name).stat().st_size > 0


def test_files_are_small_enough_for_the_zoo():
    assert sum(path.stat().st_size for path in (SEGMENTATION / "models").iterdir()) < 20e6


def test_metadata_is_valid_and_true():
    assert "metadata is verified with no error" in gate("verify_metadata", *META, "--filepath", str(SCHEMA))
    metadata = json.loads((SEGMENTATION / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == list(shipped()[0].grid)
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == shipped()[2].num_classes + 2


def test_network_has_the_declared_input_and_output():
    assert "verified with no error" in gate("verify_net_in_out", *NETWORK, *META)


def test_shipped_files_are_plain_and_without_what_only_training_needs():
    state = torch.load(SEGMENTATION / "models" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert not [name for name in state if name.startswith("posterior_encoder")]
    policy, _, network = shipped()
    assert isinstance(policy, PatternGenerationNetwork)
    assert set(network.state_dict()) == {name for name in state if not name.startswith("reconstruction_decoder")}
    assert 0 < load_threshold(SEGMENTATION / "models" / "triage.json").threshold <= 1


def test_torchscript_agrees_with_python(tmp_path):
    path = tmp_path / "model.ts"
    log = gate("ckpt_export", *NETWORK, *META, "--ckpt_file", "models/model.pt", "--filepath", str(path))
    assert "exported to file" in log
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        exported = torch.jit.load(path)
    for grid, ratio in (((64, 64), 0.125), ((64, 64), 0.03125), ((73, 82), 0.25)):
        inputs, network = zero_filled(grid, ratio)
        with torch.no_grad():
            assert float((exported(inputs) - network(inputs)).abs().max()) <= 1e-4


@pytest.mark.slow
def test_onnx_agrees_with_python(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    gate("onnx_export", *NETWORK, *META, "--ckpt_file", "models/model.pt", "--filepath", str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for ratio in (0.03125, 0.125, 0.25):
        inputs, network = zero_filled(ratio=ratio)
        (out,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        with torch.no_grad():
            assert float((torch.from_numpy(out) - network(inputs)).abs().max()) <= 1e-4


@pytest.mark.parametrize(("name", "kind"), [("train", "train"), ("inference", "infer")])
def test_properties_of_the_specification(name, kind, monkeypatch, tmp_path):
    monkeypatch.chdir(SEGMENTATION)
    tiny = {"train_data#subjects": 1, "validation_data#subjects": 1, "grid": [32, 32], **TINY_MODEL}
    workflow = ConfigWorkflow(
        config_file=f"configs/{name}.json",
        meta_file="configs/metadata.json",
        workflow_type=kind,
        logging_file=False,
        output_dir=str(tmp_path),
        **(tiny if kind == "train" else {}),
    )
    workflow.initialize()
    assert not workflow.check_properties()
    for required in ("bundle_root", "device", "dataset_dir"):
        assert getattr(workflow, required) is not None
    if kind == "train":
        assert workflow.max_epochs == workflow.trainer.state.max_epochs
        assert len(workflow.train_dataset) == 4
        assert workflow.train_inferer is not None
    else:
        assert workflow.network_def is not None
        assert workflow.inferer is not None
        assert workflow.evaluator is not None
