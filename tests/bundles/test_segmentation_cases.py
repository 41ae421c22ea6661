"""What configs/inference.json of the segmentation bundle writes and refuses, with small random weights."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from bundle_table import SEGMENTATION, TINY_MODEL
from inferring import (
    AFFINE,
    command_with_a_broken_case,
    copied_bundle,
    infer,
    network,
    pixels,
    record,
    refusal,
    workflow,
    write_broken,
    write_kspace,
    write_volumes,
)
from monai.bundle import ckpt_export
from running import files

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import SegmentationInferer
from infomri_monai.networks import load_network
from infomri_monai.triage import ReviewThreshold, choose_threshold, load_threshold, save_threshold

MAPS = {"segmentation", "probability", "entropy", "mutual_information", "mask"}
STRUCTURES = ["csf", "grey", "white"]
WORKLIST = {"worklist.csv", "worklist.json"}


def task_model(**values: Any) -> Any:
    """A small network whose samples differ: an untrained one gives every class everywhere the same probability."""
    made: Any = network(SEGMENTATION.root, **{**TINY_MODEL, "reconstruct": True, **values})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.task_decoder.blocks[-1].parameters():
            parameter.normal_(generator=generator)
        if hasattr(made, "posterior"):
            made.latent.head.bias[TINY_MODEL["latent_channels"] :] = -2
    return made


def bundle_with_weights(root: Path) -> Path:
    """A copy of the bundle with weights and a threshold as a training leaves them."""
    copied_bundle(SEGMENTATION.root, root, task_model())
    chosen = choose_threshold([0.6, 0.1], [0.9, 0.1], acceptable=0.7, error_rate=0.1)
    save_threshold(chosen, root / "models" / "triage.json")
    return root


def segment(folder: Path, output: Path, *overlays: str, **values: Any) -> None:
    """Three samples of every case, without pictures unless they are asked for."""
    small = {**TINY_MODEL, "samples": 3, "figure": False}
    infer(*overlays, **{**small, "dataset_dir": str(folder), "output_dir": str(output), **values})


def rows(folder: Path) -> list[dict[str, str]]:
    """``worklist.csv``."""
    with (folder / "worklist.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def names(case: str, *more: str) -> set[str]:
    """Files of a case, with ``more`` maps than there always are."""
    return {f"{case}_{name}.nii.gz" for name in (*MAPS, *more)} | {f"{case}.json"}


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """The root of a copy of the bundle, which is the working directory."""
    root = bundle_with_weights(tmp_path / "bundle")
    monkeypatch.chdir(root)
    return root


def test_a_folder_of_which_one_case_is_broken(bundle, tmp_path, caplog):
    write_volumes(tmp_path / "in", ("a", "DOE_JANE", "z"))
    write_broken(tmp_path / "in", "DOE_JANE")
    with caplog.at_level(logging.INFO):
        message = refusal(**TINY_MODEL, dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"), samples=3)
    assert "1 of 3 cases failed, the others are complete: case 1: ValueError: image holds NaN or Inf values." in message
    assert "DOE" not in message + caplog.text
    pictures = {"a.png", "z.png"}
    assert files(tmp_path / "out") == names("a") | names("z") | WORKLIST | pictures
    first, *others = rows(tmp_path / "out")
    assert (first["name"], first["review"], first["agreement"]) == ("DOE_JANE", "yes", "")
    assert {row["name"] for row in others} == {"a", "z"}
    assert {row["picture"] for row in others} == pictures


def test_every_map_has_the_sources_geometry_and_they_agree(bundle, tmp_path):
    write_volumes(tmp_path / "in", ("a",))
    segment(tmp_path / "in", tmp_path / "out", save_samples=True, reconstruct=True, ratio=0.25)
    kinds = (*MAPS, "samples", "mean", "sigma")
    images = {kind: nibabel.load(tmp_path / "out" / f"a_{kind}.nii.gz") for kind in kinds}
    assert files(tmp_path / "out") == names("a", "samples", "mean", "sigma") | WORKLIST
    for kind, image in images.items():
        assert image.shape == (29, 34, 3, *{"probability": [4], "samples": [3]}.get(kind, []))
        assert np.allclose(image.affine, AFFINE, atol=1e-6)
        assert image.get_data_dtype() == (np.uint8 if kind in ("segmentation", "samples", "mask") else np.float32)
    arrays = {kind: np.asanyarray(image.dataobj) for kind, image in images.items()}
    probability = arrays["probability"].astype(np.float64)
    np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-5)
    assert np.array_equal(arrays["segmentation"], probability.argmax(-1))
    np.testing.assert_allclose(arrays["entropy"], -(probability * np.log(probability)).sum(-1), atol=1e-5)
    assert (arrays["mutual_information"] <= arrays["entropy"] + 1e-6).all()
    assert set(np.unique(arrays["samples"])) == {0, 1, 2, 3}
    assert (arrays["sigma"] > 0).all()
    sidecar = record(tmp_path / "out" / "a.json")
    assert sidecar["ratio_requested"] == 0.25
    assert sidecar["ratio_realised"] == pytest.approx(arrays["mask"].mean(), abs=1e-6)
    assert (sidecar["grid"], sidecar["shape"], sidecar["samples"]) == ([29, 34], [29, 34, 3], 3)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else 1.0


def test_the_numbers_of_a_case_are_those_of_its_samples(bundle, tmp_path):
    write_volumes(tmp_path / "in", ("a",))
    segment(tmp_path / "in", tmp_path / "out", save_samples=True)
    samples = np.moveaxis(pixels(tmp_path / "out" / "a_samples.nii.gz"), -1, 0)
    sidecar = record(tmp_path / "out" / "a.json")
    masks = {name: [sample == number for sample in samples] for number, name in enumerate(STRUCTURES, 1)}
    pairs = [dice(*pair) for own in masks.values() for pair in itertools.combinations(own, 2)]
    assert sidecar["agreement"] == pytest.approx(np.mean(pairs), abs=1e-6)
    assert 0 < sidecar["agreement"] < 1
    voxel = abs(np.linalg.det(AFFINE[:3, :3]))
    for name, own in masks.items():
        volumes = [voxel * mask.sum() for mask in own]
        assert sidecar["volumes"][name]["median"] == pytest.approx(np.median(volumes), rel=1e-5)
        assert sidecar["volumes"][name]["interval_90"] == pytest.approx(np.quantile(volumes, [0.05, 0.95]), rel=1e-5)
    assert sidecar["mean_entropy"] == pytest.approx(pixels(tmp_path / "out" / "a_entropy.nii.gz").mean(), rel=1e-5)


def test_the_worklist_is_sorted_and_says_what_the_sidecars_say(bundle, tmp_path):
    write_volumes(tmp_path / "in", [f"{i}/scan" for i in range(4)], shape=(9, 11, 1))
    segment(tmp_path / "in", tmp_path / "first")
    agreement = sorted(record(tmp_path / "first" / str(i) / "scan.json")["agreement"] for i in range(4))
    assert len(set(agreement)) == 4
    save_threshold(ReviewThreshold(agreement[2], 0.1, 0.0, 0.5, 4, 0.8), bundle / "models" / "triage.json")
    segment(tmp_path / "in", tmp_path / "out")
    table, document = rows(tmp_path / "out"), record(tmp_path / "out" / "worklist.json")["cases"]
    assert [float(row["agreement"]) for row in table] == [case["agreement"] for case in document] == agreement
    assert [row["review"] for row in table] == ["yes", "yes", "no", "no"]  # the third lies at the threshold
    for row, case in zip(table, document, strict=True):
        sidecar = record(tmp_path / "out" / f"{row['name']}.json")
        assert (int(row["case"]), row["name"]) == (case["case"], case["name"])
        assert sidecar["review_below_agreement"] == agreement[2]
        for name in ("agreement", "mean_entropy", "acceleration", "review"):
            assert case[name] == sidecar[name]
        for name in STRUCTURES:
            low, median, high = (float(row[f"{name}_{which}_mm3"]) for which in ("low", "median", "high"))
            assert {"median": median, "interval_90": [low, high]} == sidecar["volumes"][name]
            assert {"median": median, "low": low, "high": high} == case["volumes"][name]


def test_raw_kspace_is_the_python_call(bundle, tmp_path):
    kspace, mask = write_kspace(tmp_path / "in" / "scan.npz")
    segment(tmp_path / "in", tmp_path / "out", kind="kspace", save_samples=True, reconstruct=True)
    inferer = SegmentationInferer(
        None, FourierMeasurement(), 0.5, progress=False, samples=3, keep_samples=True, reconstruct=True
    )
    expected = inferer(
        torch.from_numpy((kspace * mask).transpose(1, 2, 0)[None, None]),
        load_network(task_model(samples=3), "models/model.pt"),
        domain="kspace",
    )
    for kind in (*MAPS - {"probability"}, "mean", "sigma"):
        written = pixels(tmp_path / "out" / f"scan_{kind}.nii.gz")
        np.testing.assert_allclose(written, getattr(expected, kind), rtol=1e-4, atol=1e-5)
    for kind, result in (("probability", expected.class_probabilities), ("samples", expected.samples)):
        written = np.moveaxis(pixels(tmp_path / "out" / f"scan_{kind}.nii.gz"), -1, 0)
        np.testing.assert_allclose(written, result, rtol=1e-4, atol=1e-5)
    sidecar = record(tmp_path / "out" / "scan.json")
    assert sidecar["ratio_realised"] == pytest.approx(mask.mean())
    assert (sidecar["simulated"], sidecar["volume_unit"]) == (False, "voxels")
    assert {f"{name}_median_voxels" for name in STRUCTURES} <= set(rows(tmp_path / "out")[0])


def content(path):
    """What a file holds, decompressed."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_names_by_index_are_nowhere(bundle, tmp_path, caplog, capfd):
    write_volumes(tmp_path / "in", ("DOE_JANE/visit", "DOE_JOHN", "DOE_broken"), shape=(16, 16, 2))
    named = nibabel.load(tmp_path / "in" / "DOE_JOHN.nii.gz")
    named.header["descrip"], named.header["aux_file"], named.header["intent_name"] = b"DOE^JOHN", b"DOE", b"DOE"
    nibabel.Nifti1Image(named.get_fdata(), named.affine, named.header).to_filename(tmp_path / "in" / "DOE_JOHN.nii.gz")
    write_broken(tmp_path / "in", "DOE_broken")
    values = {"name_by": "index", "figure": True, "save_samples": True, "reconstruct": True, "samples": 2}
    with caplog.at_level(logging.INFO):
        message = refusal(**TINY_MODEL, dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"), **values)
    assert "case 3: ValueError: image holds NaN or Inf" in message
    said = capfd.readouterr()
    assert "DOE" not in message + caplog.text + said.out + said.err
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    more = ("samples", "mean", "sigma")
    expected = names("case_0001", *more) | names("case_0002", *more) | {"case_0001.png", "case_0002.png"} | WORKLIST
    assert files(tmp_path / "out") == expected
    assert not [path.name for path in written if b"DOE" in content(path)]
    assert rows(tmp_path / "out")[0]["name"] == "case_0003"


@pytest.mark.parametrize("shape", [(29, 34, 2), (41, 27, 1), (15, 22)])
@pytest.mark.parametrize("grid_mode", ["adapt", "crop_pad"])
def test_other_sizes_than_the_policys(bundle, tmp_path, shape, grid_mode):
    """2-D and 3-D, odd, smaller and larger than 32 x 32, and not multiples of what the network halves."""
    write_volumes(tmp_path / "in", ("a",), shape)
    segment(tmp_path / "in", tmp_path / "out", grid_mode=grid_mode, save_samples=True)
    grid = shape[:2] if grid_mode == "adapt" else (32, 32)
    images = {kind: nibabel.load(tmp_path / "out" / f"a_{kind}.nii.gz") for kind in (*MAPS, "samples")}
    volume = (*shape, 1)[:3]
    for kind in MAPS - {"mask", "probability"}:
        assert images[kind].shape == shape
    assert images["mask"].shape == (*grid, *shape[2:])
    assert images["probability"].shape == (*volume, 4)
    assert images["samples"].shape == (*volume, 3)
    for kind in set(images) - {"mask"}:
        assert np.allclose(images[kind].affine, AFFINE, atol=1e-5)
    centre = [n // 2 for n in grid], [n // 2 for n in shape[:2]]
    mask, source = (images["mask"].affine @ [*centre[0], 0, 1], AFFINE @ [*centre[1], 0, 1])
    assert np.allclose(mask, source, atol=1e-4)
    np.testing.assert_allclose(np.asanyarray(images["probability"].dataobj).sum(-1), 1, atol=1e-5)
    cut = np.asanyarray(images["segmentation"].dataobj)[: max(0, shape[0] - grid[0]) // 2]
    assert not cut.any()  # nothing is claimed about what was cropped
    sidecar = record(tmp_path / "out" / "a.json")
    assert (sidecar["grid"], sidecar["grid_mode"], sidecar["shape"]) == (list(grid), grid_mode, list(shape))


@pytest.mark.slow
def test_the_command_takes_what_a_shell_hands_over(bundle, tmp_path):
    """``True``, lists, and "" for no threshold."""
    values = {**TINY_MODEL, "samples": 3, "save_samples": True, "reconstruct": True, "triage_path": "", "ratio": 0.25}
    command_with_a_broken_case(bundle, tmp_path, structures=["one", "two", "three"], **values)
    more = ("samples", "mean", "sigma")
    assert files(tmp_path / "out") == names("a", *more) | names("z", *more) | {"a.png", "z.png"} | WORKLIST
    assert [row["review"] for row in rows(tmp_path / "out")] == ["yes", "", ""]
    assert "three_median_mm3" in rows(tmp_path / "out")[0]


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
