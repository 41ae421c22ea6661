"""The switches of the segmentation bundle's configs/inference.json, and what it refuses."""

import json
import warnings

import numpy as np
import pytest
import torch
from bundle_table import SEGMENTATION, TINY_MODEL
from inferring import infer, network, pixels, record, refusal, workflow, write_volumes
from monai.bundle import ckpt_export
from running import files
from segmenting import bundle_with_weights, rows, segment, task_model

from infomri_monai.networks import load_network
from infomri_monai.triage import load_threshold


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """The root of a copy of the bundle, which is the working directory."""
    root = bundle_with_weights(tmp_path / "bundle")
    monkeypatch.chdir(root)
    return root


def test_the_seed_decides_every_byte(bundle, tmp_path):
    write_volumes(tmp_path / "in", ("a", "b"), shape=(16, 18, 2))
    for output, seed in (("first", 7), ("second", 7), ("other", 8)):
        segment(tmp_path / "in", tmp_path / output, seed=seed, figure=True, save_samples=True, reconstruct=True)
    written = files(tmp_path / "first")
    assert written == files(tmp_path / "second") == files(tmp_path / "other")
    first, second, other = ({n: (tmp_path / o / n).read_bytes() for n in written} for o in ("first", "second", "other"))
    assert first == second
    assert not [name for name in written if first[name] == other[name]]
    assert record(tmp_path / "other" / "a.json")["samples_seed"] == 8


def test_more_samples_begin_with_the_same(bundle, tmp_path):
    write_volumes(tmp_path / "in", ("a",), shape=(16, 18, 2))
    for samples in (1, 5):
        segment(tmp_path / "in", tmp_path / str(samples), samples=samples, save_samples=True)
    one, five = (pixels(tmp_path / str(samples) / "a_samples.nii.gz") for samples in (1, 5))
    assert one.shape[-1] == 1
    assert np.array_equal(five[..., :1], one)
    assert len({five[..., k].tobytes() for k in range(5)}) == 5
    alone = record(tmp_path / "1" / "a.json")  # nothing to agree with
    assert (alone["agreement"], alone["review"]) == (None, True)
    assert alone["volumes"]["grey"]["interval_90"] == [None, None]


def test_without_a_threshold_nothing_is_decided(bundle, tmp_path):
    write_volumes(tmp_path / "in", shape=(16, 18, 2))
    segment(tmp_path / "in", tmp_path / "out", triage_path="")
    assert [row["review"] for row in rows(tmp_path / "out")] == ["", ""]
    sidecar = record(tmp_path / "out" / "a.json")
    assert sidecar["review"] is sidecar["review_below_agreement"] is None
    (bundle / "models" / "triage.json").unlink()
    message = refusal(**TINY_MODEL, dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "none"))
    assert "there is no file models/triage.json" in message.replace("./", "")
    assert not (tmp_path / "none").exists()


def test_labels_that_overlap(bundle, tmp_path):
    """Weights of three independent labels: every label its own mask, on the fourth axis."""
    values = {"num_classes": 3, "multi_label": True}
    torch.save(task_model(**values).state_dict(), bundle / "models" / "model.pt")
    write_volumes(tmp_path / "in", ("a",), shape=(16, 18, 2))
    segment(tmp_path / "in", tmp_path / "out", **values)
    segmentation, probability = (pixels(tmp_path / "out" / f"a_{k}.nii.gz") for k in ("segmentation", "probability"))
    assert segmentation.shape == probability.shape == (16, 18, 2, 3)
    assert np.array_equal(segmentation, probability > 0.5)
    assert (segmentation.sum(-1) > 1).any()


def test_the_deterministic_overlay_segments_too(bundle, tmp_path):
    torch.save(network(SEGMENTATION.root, "systems/deterministic", **TINY_MODEL).state_dict(), "models/model.pt")
    write_volumes(tmp_path / "in", ("a",), shape=(16, 18, 2))
    segment(tmp_path / "in", tmp_path / "out", "systems/deterministic", reconstruct=True)
    sidecar = record(tmp_path / "out" / "a.json")
    assert (sidecar["network"], sidecar["samples"], sidecar["agreement"]) == ("DeterministicSegmenter", 1, None)
    assert sidecar["review"] is True


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 0}, "samples must be >= 1"),
        ({"samples": -3}, "samples must be >= 1"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"name_by": "patient"}, "name_by must be"),
        ({"triage_path": "models/nowhere.json"}, "there is no file models/nowhere.json"),
        ({"triage_path": "configs/metadata.json"}, "threshold file metadata.json lacks threshold"),
        ({"save_samples": "false"}, "must be True or False"),
        ({"reconstruct": "false"}, "reconstruct must be True or False"),
        ({"structures": ["csf", "csf", "white"]}, "structures must be different names"),
        ({"structures": ["tumour"]}, "structures must be different names, one for each of 3"),
        ({"num_classes": 2, "structures": ["tumour"]}, "another architecture"),
        ({"channels": [16, 8]}, "another architecture"),
    ],
)
def test_bad_input_is_refused_before_any_work(bundle, values, message):
    assert message in refusal(**{**TINY_MODEL, **values})
    assert not (bundle / "output").exists()


def test_a_reconstruction_needs_weights_that_hold_one(bundle):
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    lean = {name: value for name, value in state.items() if not name.startswith("reconstruction_decoder")}
    torch.save(lean, bundle / "models" / "model.pt")
    assert "lacks reconstruction_decoder" in refusal(**TINY_MODEL, reconstruct=True)
    assert not (bundle / "output").exists()
    infer(**TINY_MODEL, samples=1, figure=False)


def test_the_export_takes_the_weights_of_a_training(bundle, tmp_path):
    """MONAI loads strictly, and a training's file holds the reconstruction that the exported network is without."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        ckpt_export(
            net_id="network_def",
            filepath=str(tmp_path / "model.ts"),
            ckpt_file="models/model.pt",
            meta_file="configs/metadata.json",
            config_file="configs/inference.json",
            **TINY_MODEL,
        )
        exported = torch.jit.load(tmp_path / "model.ts")
    image = torch.rand(2, 2, 21, 18, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = load_network(task_model(), "models/model.pt")(image)
        torch.testing.assert_close(exported(image), expected, rtol=0, atol=1e-4)


def test_inference_has_the_network_and_the_measurement_of_training():
    train, inference = (
        json.loads((SEGMENTATION.root / "configs" / f"{n}.json").read_text()) for n in ("train", "inference")
    )
    shared = ("measurement", "noise_std", "num_classes", "structures", "multi_label", "channels", "latent_channels")
    for name in (*shared, "encoder_blocks", "noise_stride", "real_valued", "samples"):
        assert inference[name] == train[name]
    own = {"seed": "@seed", "reconstruction": "@reconstruct"}
    trained = {name: value for name, value in train["network_def"].items() if name != "decode_mean"}
    assert inference["network_def"] == trained | own


def test_the_threshold_of_the_bundle_is_read_as_it_was_written(bundle):
    flow = workflow(**TINY_MODEL)
    flow.initialize()
    (handler,) = flow.parser.get_parsed_content("handlers")
    assert handler.threshold == load_threshold("models/triage.json")
