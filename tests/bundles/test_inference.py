"""configs/inference.json of every bundle as a user runs it, with small random weights.

What the files hold is shown in tests/handlers/, and what the inferers compute in tests/engines/; here, that the configurations
bring both together and that every switch arrives.
"""

import gzip
import json
import logging
import shutil

import nibabel
import numpy as np
import pytest
import torch
from bundle_table import PRIVACY, RECON, SEGMENTATION, bundles, every_bundle
from inferring import (
    AFFINE,
    copied_bundle,
    infer,
    network,
    pixels,
    record,
    refusal,
    workflow,
    write_kspace,
    write_volumes,
)
from running import command, csv_rows, files, overrides

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import SegmentationInferer, VolumeInferer
from infomri_monai.networks import load_network
from infomri_monai.triage import ReviewThreshold, save_threshold

#: files of a case that the segmentation bundle writes where it is asked for more
MORE = {"save_samples": True, "reconstruct": True, "samples": 3}
#: in both configurations, and meant to differ
OWN = {"imports", "output_dir", "policy", "batch_size", "training_parts", "class_frequencies", "preprocessing", "run"}


def weights(bundle, *overlays, **values):
    """A small network; samples of a segmentation differ, which those of an untrained one do not."""
    more = {"reconstruct": True} if bundle is SEGMENTATION else {}
    made = network(bundle.root, *overlays, **{**bundle.tiny_model, **more, **values})
    if bundle is SEGMENTATION:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in made.task_decoder.blocks[-1].parameters():
                parameter.normal_(generator=generator)
            if not overlays:
                made.latent.head.bias[bundle.tiny_model["latent_channels"] :] = -2
    return made


@pytest.fixture
def root(bundle, tmp_path, monkeypatch):
    """The root of a copy of the bundle; it is the working directory, as the model zoo's commands want it."""
    copied = copied_bundle(bundle.root, tmp_path / "bundle", weights(bundle))
    for name in bundle.models:
        shutil.copy(bundle.root / "models" / name, copied / "models" / name)
    monkeypatch.chdir(copied)
    return copied


@pytest.fixture
def run(bundle, root, tmp_path):
    """Infer what is in ``tmp_path / "in"``; returns the folder of the results."""

    def run(output, *overlays, **values):
        values = {**bundle.tiny_model, "output_dir": str(tmp_path / output), **values}
        infer(*overlays, **{"dataset_dir": str(tmp_path / "in"), **values})
        return tmp_path / output

    return run


def case_files(bundle, *names, more=()):
    """What is written for cases, and for all of them together."""
    ends = (*bundle.case_files, *(f"_{kind}.nii.gz" for kind in more))
    return {name + end for name in names for end in ends} | bundle.folder_files


@every_bundle
def test_it_works_out_of_the_box_and_has_the_zoos_properties(bundle, root):
    flow = workflow(**bundle.tiny_model, **bundle.tiny_inference)
    flow.initialize()
    assert not flow.check_properties()
    for required in ("bundle_root", "device", "dataset_dir", "network_def", "inferer", "evaluator"):
        assert getattr(flow, required) is not None
    flow.run()
    output = root / "output" / "inference"
    subjects = sorted(path.stem for path in output.glob("subject_*.json"))
    assert len(subjects) == bundle.embedded_cases
    assert files(output) == case_files(bundle, *subjects)
    sidecar = record(output / f"{subjects[0]}.json")
    assert (sidecar["simulated"], sidecar["ratio_requested"]) == (True, 0.125)
    size = sidecar["shape"] if bundle.maps else [*sidecar["grid"], sidecar["slices"]]
    assert size == [*bundle.grid, 4]


@every_bundle
def test_it_has_the_network_and_the_measurement_of_training(bundle):
    train, inference = (json.loads((bundle.root / "configs" / f"{n}.json").read_text()) for n in ("train", "inference"))
    trained = {key: value for key, value in train.pop("network_def").items() if key != "decode_mean"}
    own = {"seed": "@seed", "reconstruction": "@reconstruct"} if bundle is SEGMENTATION else {}
    assert inference.pop("network_def") == trained | own
    shared = set(train) & set(inference) - OWN
    assert shared >= {"measurement", "noise_std", "real_valued"}
    assert {key: inference[key] for key in shared} == {key: train[key] for key in shared}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 0}, "ratio must lie in"),
        ({"ratio": 8}, "An acceleration of 4 is a ratio of 0.25"),
        ({"dataset_dir": "nowhere"}, "there is no nowhere"),
        ({"grid_mode": "stretch"}, "grid_mode must be"),
        ({"model_path": "models/policy.pt"}, "not a plain state dict"),
        ({"policy_path": "models/model.pt"}, "not a policy checkpoint"),
    ],
)
@every_bundle
def test_bad_input_is_refused_before_any_work(bundle, root, values, message):
    assert message in refusal(**{**bundle.tiny_model, **values})
    assert not (root / "output").exists()


@pytest.mark.parametrize(
    ("bundle", "values", "message"),
    [
        (RECON, {"network_def#channels": 8}, "another architecture"),
        (SEGMENTATION, {"num_classes": 2, "structures": ["tumour"]}, "another architecture"),
        (SEGMENTATION, {"samples": 0}, "samples must be >= 1"),
        (SEGMENTATION, {"seed": -1}, "seed must be >= 0, got -1"),
        (SEGMENTATION, {"triage_path": "models/nowhere.json"}, "there is no file models/nowhere.json"),
        (SEGMENTATION, {"triage_path": "configs/metadata.json"}, "threshold file metadata.json lacks threshold"),
        (SEGMENTATION, {"save_samples": "false"}, "must be True or False"),
        (SEGMENTATION, {"reconstruct": "false"}, "reconstruct must be True or False"),
        (SEGMENTATION, {"structures": ["tumour"]}, "structures must be different names, one for each of 3"),
    ],
)
def test_bad_values_of_one_bundle(bundle, root, values, message):
    assert message in refusal(**{**bundle.tiny_model, **values})
    assert not (root / "output").exists()


@bundles(RECON, slow=(SEGMENTATION, PRIVACY))
def test_the_command_on_a_folder_with_broken_files(bundle, root, tmp_path):
    """It goes on, fails in the end, and names nobody; a shell hands over ``True``, lists, and "" for no threshold."""
    write_volumes(tmp_path / "in", ("a", "DOE_JANE", "z"), broken="DOE_JANE")
    torn = gzip.compress((tmp_path / "in" / "a.nii.gz").read_bytes())[:200]
    (tmp_path / "in" / "DOE_TORN.nii.gz").write_bytes(torn)
    values = {"dataset_dir": tmp_path / "in", "output_dir": tmp_path / "out", "ratio": 0.25, **bundle.tiny_model}
    if bundle is SEGMENTATION:
        values |= {**MORE, "triage_path": "", "structures": ["one", "two", "three"]}
    done = command(["-m", "monai.bundle", "run", "--config_file", "configs/inference.json"], overrides(values), root)
    assert done.returncode != 0
    assert "2 of 4 cases failed" in done.stderr
    assert "case 1: ValueError: image holds NaN or Inf, first at index (0, 0, 0)." in done.stderr
    assert "case 2: OSError: the image is not a readable NIfTI file" in done.stderr
    assert "DOE" not in done.stdout + done.stderr
    if bundle is PRIVACY:
        assert files(tmp_path / "out") == case_files(bundle, "a", "z")
        rows = csv_rows(tmp_path / "out" / "report.csv")
        named = [("DOE_JANE", "failed"), ("DOE_TORN.nii.gz", "failed"), ("a", "ok"), ("z", "ok")]
        assert [(row["name"], row["status"]) for row in rows] == named
        return
    more = ("samples", "mean", "sigma") if bundle is SEGMENTATION else ()
    pictures = {"a.png", "z.png"}
    assert files(tmp_path / "out") == case_files(bundle, "a", "z", more=more) | pictures
    if bundle is SEGMENTATION:
        rows = csv_rows(tmp_path / "out" / "worklist.csv")
        assert [row["review"] for row in rows] == ["yes", "yes", "", ""]
        assert "three_median_mm3" in rows[0]
    for name in ("a", "z"):
        sidecar = record(tmp_path / "out" / f"{name}.json")
        mean, sigma, mask = (nibabel.load(tmp_path / "out" / f"{name}_{k}.nii.gz") for k in ("mean", "sigma", "mask"))
        assert sidecar["grid"] == [29, 34]
        assert sidecar["ratio_realised"] == pytest.approx(np.asanyarray(mask.dataobj).mean(), abs=1e-6)
        assert all(image.shape == (29, 34, 3) and np.allclose(image.affine, AFFINE) for image in (mean, sigma, mask))
        if bundle is RECON:
            assert 10 < np.asanyarray(mean.dataobj).mean() < 1000  # the source's units, of which the mean is 500


@bundles(RECON, SEGMENTATION)
def test_raw_kspace_is_the_python_call(bundle, run, tmp_path):
    kspace, mask = write_kspace(tmp_path / "in" / "scan.npz")
    kinds = {"mean": "mean", "sigma": "sigma", "mask": "mask"}
    values, options, inferer = {}, {}, VolumeInferer
    if bundle is SEGMENTATION:
        kinds |= {kind: kind for kind in ("segmentation", "entropy", "mutual_information", "samples")}
        kinds["probability"] = "class_probabilities"
        values, inferer = MORE, SegmentationInferer
        options = {"samples": 3, "keep_samples": True, "reconstruct": True}
    folder = run("out", kind="kspace", figure=False, **values)
    expected = inferer(None, FourierMeasurement(), 0.5, progress=False, **options)(
        torch.from_numpy((kspace * mask).transpose(1, 2, 0)[None, None]),
        load_network(weights(bundle, **({"samples": 3} if values else {})), "models/model.pt"),
        domain="kspace",
    )
    for kind, attribute in kinds.items():
        written, result = pixels(folder / f"scan_{kind}.nii.gz"), np.asarray(getattr(expected, attribute))
        written = np.moveaxis(written, -1, 0) if kind in ("samples", "probability") else written
        np.testing.assert_allclose(written, result, rtol=1e-4, atol=1e-5)
    assert record(folder / "scan.json")["ratio_realised"] == pytest.approx(mask.mean())


@bundles(PRIVACY)
def test_measured_kspace_has_one_mask_and_no_image_is_written(bundle, run, tmp_path):
    write_kspace(tmp_path / "in" / "scan.npz")
    assert files(run("out", kind="kspace")) == {"scan.json", "report.csv"}
    assert "masks" in refusal(dataset_dir=str(tmp_path / "in"), kind="kspace", masks=2, **bundle.tiny_model)


@bundles(RECON, SEGMENTATION)
def test_names_by_index_are_nowhere_and_the_grid_may_be_the_policys(bundle, root, tmp_path, caplog, capfd):
    names = ("DOE_JANE/visit", "DOE_JOHN", "DOE_broken")
    write_volumes(tmp_path / "in", names, broken="DOE_broken", header=b"DOE^JOHN")
    output = tmp_path / "out"
    values = {"name_by": "index", "grid_mode": "crop_pad", "seed": 7, "figure": True, **bundle.tiny_model}
    if bundle is SEGMENTATION:
        values |= {**MORE, "triage_path": ""}
    with caplog.at_level(logging.INFO):
        message = refusal(dataset_dir=str(tmp_path / "in"), output_dir=str(output), **values)
    assert "case 3: ValueError: image holds NaN or Inf" in message
    said = capfd.readouterr()
    assert "DOE" not in message + caplog.text + said.out + said.err
    more = ("samples", "mean", "sigma") if bundle is SEGMENTATION else ()
    cases = ("case_0001", "case_0002")
    assert files(output) == case_files(bundle, *cases, more=more) | {f"{case}.png" for case in cases}
    for path in (output / name for name in files(output)):
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        # three letters alone also stand among the numbers of an image
        assert not any(name in content for name in (b"DOE_J", b"DOE^J", b"DOE_b")), path.name
    sidecar = record(output / "case_0001.json")
    assert (sidecar["grid"], sidecar["grid_mode"], sidecar["seed"]) == ([32, 32], "crop_pad", 7)
    assert pixels(output / "case_0001_mean.nii.gz").shape == (29, 34, 3)
    assert pixels(output / "case_0001_mask.nii.gz").shape == (32, 32, 3)
    if bundle is SEGMENTATION:
        assert csv_rows(output / "worklist.csv")[0]["name"] == "case_0003"
        assert sidecar["review"] is sidecar["review_below_agreement"] is None


@bundles(SEGMENTATION)
def test_the_threshold_of_the_bundle_decides_the_review(bundle, root, run, tmp_path):
    write_volumes(tmp_path / "in", [f"{i}/scan" for i in range(4)], shape=(9, 11, 1))
    first = run("first", samples=3, figure=False)
    agreement = sorted(record(first / str(i) / "scan.json")["agreement"] for i in range(4))
    assert len(set(agreement)) == 4
    save_threshold(ReviewThreshold(agreement[2], 0.1, 0.0, 0.5, 4, 0.8), root / "models" / "triage.json")
    rows = csv_rows(run("out", samples=3, figure=False) / "worklist.csv")
    assert [float(row["agreement"]) for row in rows] == agreement
    assert [row["review"] for row in rows] == ["yes", "yes", "no", "no"]  # the third lies at the threshold
    assert record(tmp_path / "out" / f"{rows[0]['name']}.json")["review_below_agreement"] == agreement[2]


@bundles(SEGMENTATION)
def test_the_seed_decides_every_byte(bundle, run, tmp_path):
    write_volumes(tmp_path / "in", shape=(16, 18, 2))
    folders = [run(name, seed=seed, figure=True, **MORE) for name, seed in (("a", 7), ("b", 7), ("c", 8))]
    first, second, other = ({name: (folder / name).read_bytes() for name in files(folder)} for folder in folders)
    assert first == second
    assert first.keys() == other.keys()
    assert not [name for name in first if first[name] == other[name]]
    assert record(folders[2] / "a.json")["samples_seed"] == 8


@pytest.mark.parametrize(
    ("overlays", "values", "shape", "samples"),
    [
        ((), {"num_classes": 3, "multi_label": True}, (16, 18, 2, 3), 3),
        (("systems/deterministic",), {}, (16, 18, 2), 1),
    ],
    ids=["labels that overlap", "deterministic"],
)
@bundles(SEGMENTATION)
def test_other_networks_segment_too(bundle, run, tmp_path, overlays, values, shape, samples):
    torch.save(weights(bundle, *overlays, **values).state_dict(), "models/model.pt")
    write_volumes(tmp_path / "in", ("a",), shape=(16, 18, 2))
    folder = run("out", *overlays, **{**MORE, "save_samples": False, "figure": False}, **values)
    assert pixels(folder / "a_segmentation.nii.gz").shape == shape
    assert record(folder / "a.json")["samples"] == samples


@bundles(SEGMENTATION)
def test_a_reconstruction_needs_weights_that_hold_one(bundle, root):
    state = torch.load(root / "models" / "model.pt", weights_only=True)
    lean = {name: value for name, value in state.items() if not name.startswith("reconstruction_decoder")}
    torch.save(lean, root / "models" / "model.pt")
    assert "lacks reconstruction_decoder" in refusal(**bundle.tiny_model, reconstruct=True)
    assert not (root / "output").exists()
    infer(**bundle.tiny_model, samples=1, figure=False)
