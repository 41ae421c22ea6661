"""Files of segmented cases and their worklist: geometry, numbers, provenance; failures leave nothing and stop nobody."""

import csv
import json
import logging
import math

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from PIL import Image
from threshold_network import ThresholdNetwork

import infomri_monai
from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.data import CaseDataset, ReadCased, inference_cases
from infomri_monai.engines import PrepareCase, SegmentationInferer, TolerantInferer
from infomri_monai.handlers import WriteSegmentation
from infomri_monai.handlers.cases import voxel_volume
from infomri_monai.networks import DeterministicSegmenter
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom
from infomri_monai.triage import choose_threshold, save_threshold

AFFINE = np.array([[1.8, 0.3, 0, -20], [-0.3, 1.9, 0.2, 5], [0, -0.1, 3, 7], [0, 0, 0, 1.0]])
VOXEL = abs(np.linalg.det(AFFINE[:3, :3]))
MAPS = ("entropy", "mask", "mutual_information", "probability", "segmentation")
THRESHOLDS = (4.5, 6.5, 9.5, 3.5)


def write_volume(path, shape=(21, 18, 3), seed=0, affine=AFFINE):
    """Whole numbers, which ThresholdNetwork segments exactly when they are fully sampled without noise."""
    volume = np.random.default_rng(seed).integers(0, 30, shape).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(volume, affine).to_filename(path)
    return volume


def run(folder, output, kind="image", network=None, policy=None, inferer=None, **options):
    """The evaluator of the bundle, small."""
    arguments = {"ratio": 1.0, "seed": 3, "samples": len(THRESHOLDS), "progress": False} | (inferer or {})
    segment = SegmentationInferer(policy or UniformRandom(), FourierMeasurement(), **arguments)
    handler = WriteSegmentation(output, **options)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(CaseDataset(inference_cases(folder, kind=kind), ReadCased()), batch_size=1),
        network=network or ThresholdNetwork(),
        prepare_batch=PrepareCase(),
        inferer=TolerantInferer(segment),
        val_handlers=[handler],
        decollate=False,
    )
    evaluator.run()
    return handler


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def load(path):
    image = nibabel.load(path)
    return image, np.asanyarray(image.dataobj)


def sidecar(path):
    """The JSON file; NaN, which the standard does not know, is an error."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def sampled_volumes(volume):
    """Pixels of the two structures in every sample, counted in the image."""
    return np.array([[((volume > t) & (volume <= t + 10)).sum(), (volume > t + 10).sum()] for t in THRESHOLDS])


def test_files_keep_shape_and_affine_and_hold_the_result(tmp_path):
    volume = write_volume(tmp_path / "in" / "sub-1" / "t1.nii.gz")
    run(tmp_path / "in", tmp_path / "out")
    names = [f"sub-1/t1_{name}.nii.gz" for name in MAPS]
    assert files(tmp_path / "out") == sorted(["sub-1/t1.json", *names, "worklist.csv", "worklist.json"])
    loaded = {name: load(tmp_path / "out" / "sub-1" / f"t1_{name}.nii.gz") for name in MAPS}
    for name, (image, data) in loaded.items():
        assert data.shape == ((21, 18, 3, 3) if name == "probability" else (21, 18, 3))
        assert image.get_data_dtype() == (np.uint8 if name in ("mask", "segmentation") else np.float32)
        assert np.allclose(image.affine, AFFINE, atol=1e-6)
        assert bytes(image.header["descrip"].item()).decode() == "InfoMRI simulated acquisition ratio=1 seed=3"
    inner = np.mean([volume > t + 10 for t in THRESHOLDS], axis=0)
    outer = np.mean([volume > t for t in THRESHOLDS], axis=0) - inner
    expected = np.stack([1 - outer - inner, outer, inner], -1)
    np.testing.assert_allclose(loaded["probability"][1], expected, atol=1e-6)
    assert np.array_equal(loaded["segmentation"][1], expected.argmax(-1))
    logs = np.log(np.where(expected > 0, expected, 1))
    np.testing.assert_allclose(loaded["entropy"][1], -(expected * logs).sum(-1), atol=1e-5)


def test_sidecar_says_how_and_how_sure(tmp_path):
    volume = write_volume(tmp_path / "in" / "t1.nii.gz")
    run(tmp_path / "in", tmp_path / "out", structures=["grey", "white"])
    record = sidecar(tmp_path / "out" / "t1.json")
    expected = {
        "simulated": True,
        "ratio_requested": 1.0,
        "ratio_realised": 1.0,
        "acceleration": 1.0,
        "seed": 3,
        "samples_seed": 3,
        "samples": 4,
        "classes": 3,
        "multi_label": False,
        "network": "ThresholdNetwork",
        "shape": [21, 18, 3],
        "volume_unit": "mm3",
        "review": None,
        "review_below_agreement": None,
        "version": infomri_monai.__version__,
    }
    assert expected.items() <= record.items()
    counts = sampled_volumes(volume) * VOXEL
    for i, name in enumerate(("grey", "white")):
        assert record["volumes"][name]["median"] == pytest.approx(np.median(counts[:, i]))
        assert record["volumes"][name]["interval_90"] == pytest.approx(np.quantile(counts[:, i], [0.05, 0.95]))
    assert 0 < record["agreement"] < 1
    assert record["mean_entropy"] == pytest.approx(load(tmp_path / "out" / "t1_entropy.nii.gz")[1].mean(), rel=1e-5)


def test_2d_image_has_one_slice_where_classes_are_the_fourth_axis(tmp_path):
    affine = np.array([[0, 0, 3, 1], [2, 0.5, 0, 2], [0.5, 2, 0, 3], [0, 0, 0, 1.0]])
    volume = write_volume(tmp_path / "in" / "plane.nii", shape=(15, 22), affine=affine)
    run(tmp_path / "in", tmp_path / "out", inferer={"keep_samples": True, "reconstruct": True}, save_samples=True)
    for name in (*MAPS, "mean", "sigma", "samples"):
        image, data = load(tmp_path / "out" / f"plane_{name}.nii.gz")
        assert data.shape == {"probability": (15, 22, 1, 3), "samples": (15, 22, 1, 4)}.get(name, (15, 22))
        assert np.allclose(image.affine, affine, atol=1e-6)
    samples = load(tmp_path / "out" / "plane_samples.nii.gz")[1]
    for k, threshold in enumerate(THRESHOLDS):
        expected = (volume > threshold).astype(np.uint8) + (volume > threshold + 10)
        assert np.array_equal(samples[:, :, 0, k], expected)
    np.testing.assert_allclose(load(tmp_path / "out" / "plane_mean.nii.gz")[1], volume, atol=1e-4)


def test_labels_that_overlap_lie_on_the_fourth_axis(tmp_path):
    volume = write_volume(tmp_path / "in" / "t1.nii.gz")
    options = {"network": ThresholdNetwork(multi_label=True), "inferer": {"keep_samples": True}, "save_samples": True}
    run(tmp_path / "in", tmp_path / "out", **options)
    segmentation, samples = (load(tmp_path / "out" / f"t1_{name}.nii.gz")[1] for name in ("segmentation", "samples"))
    assert segmentation.shape == (21, 18, 3, 2)
    assert samples.shape == (21, 18, 3, 8)
    for k, threshold in enumerate(THRESHOLDS):
        assert np.array_equal(samples[..., 2 * k], volume > threshold)
        assert np.array_equal(samples[..., 2 * k + 1], volume > threshold + 10)
    assert np.array_equal(segmentation[..., 1], np.mean([volume > t + 10 for t in THRESHOLDS], axis=0) > 0.5)
    assert sidecar(tmp_path / "out" / "t1.json")["multi_label"] is True


def test_measured_kspace_is_called_measured_and_counted_in_voxels(tmp_path):
    draw = np.random.default_rng(0)
    kspace = (draw.normal(size=(2, 8, 10)) + 1j * draw.normal(size=(2, 8, 10))).astype(np.complex64)
    kspace[:, :, ::2] = 0
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "scan.npz", kspace=kspace)
    network = ThresholdNetwork(thresholds=(0.25, 0.5, 0.75, 1.0), step=0.5)
    run(tmp_path / "in", tmp_path / "out", kind="kspace", network=network, figure=True)
    image, mask = load(tmp_path / "out" / "scan_mask.nii.gz")
    record = sidecar(tmp_path / "out" / "scan.json")
    assert np.array_equal(mask, (kspace != 0).transpose(1, 2, 0))
    assert bytes(image.header["descrip"].item()).decode() == "InfoMRI segmentation of measured k-space ratio=0.5"
    assert record["simulated"] is False
    assert [record[key] for key in ("ratio_requested", "seed", "noise_std", "policy")] == [None] * 4
    assert record["samples_seed"] == 3
    assert record["volume_unit"] == "voxels"
    assert (tmp_path / "out" / "scan.png").stat().st_size > 10_000
    assert "structure_1_median_voxels" in (tmp_path / "out" / "worklist.csv").read_text()


def write_png(path, shape=(21, 18)):
    """An image without geometry, of whole numbers as :func:`write_volume`."""
    pixels = np.random.default_rng(0).integers(0, 30, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def test_a_picture_without_geometry_is_counted_in_voxels(tmp_path):
    counts = sampled_volumes(write_png(tmp_path / "in" / "plane.png"))
    run(tmp_path / "in", tmp_path / "out")
    record = sidecar(tmp_path / "out" / "plane.json")
    assert record["volume_unit"] == "voxels"
    assert record["volumes"]["structure_2"]["median"] == np.median(counts[:, 1])
    (row,) = csv.DictReader((tmp_path / "out" / "worklist.csv").read_text().splitlines())
    assert float(row["structure_2_median_voxels"]) == np.median(counts[:, 1])
    assert "mm3" not in (tmp_path / "out" / "worklist.json").read_text()


def test_embedded_arrays_are_counted_in_voxels(tmp_path):
    run("embedded", tmp_path / "out", network=ThresholdNetwork(thresholds=(0.25, 0.5, 0.75, 1.0), step=0.5))
    assert [sidecar(path)["volume_unit"] for path in (tmp_path / "out").glob("subject_*.json")] == ["voxels"] * 2
    assert "_mm3" not in (tmp_path / "out" / "worklist.csv").read_text()


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_worklist_of_both_kinds_has_one_unit(tmp_path, names):
    """Voxels, which every case has; each sidecar keeps its own unit."""
    volume = write_volume(tmp_path / "in" / f"{names[0]}.nii.gz")
    pixels = write_png(tmp_path / "in" / f"{names[1]}.png")
    run(tmp_path / "in", tmp_path / "out")
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "out" / "worklist.csv").read_text().splitlines())}
    for name, image, voxel, unit in zip(names, (volume, pixels), (VOXEL, 1), ("mm3", "voxels"), strict=True):
        median = np.median(sampled_volumes(image)[:, 0])
        record = sidecar(tmp_path / "out" / f"{name}.json")
        assert float(rows[name]["structure_1_median_voxels"]) == median
        assert record["volumes"]["structure_1"]["median"] == pytest.approx(voxel * median)
        assert record["volume_unit"] == unit


def test_a_case_that_says_nothing_of_its_geometry_has_no_voxel_size():
    image = MetaTensor(torch.ones(1, 1, 4, 4), affine=torch.from_numpy(AFFINE))
    assert voxel_volume({"image": image}) is None
    assert voxel_volume({"image": image, "has_geometry": torch.tensor([False])}) is None
    assert voxel_volume({"image": image, "has_geometry": torch.tensor([True])}) == pytest.approx(VOXEL)
    flat = MetaTensor(torch.ones(1, 1, 4, 4), affine=torch.diag(torch.tensor([1.0, 2.0, 0.0, 1.0])))
    assert math.isnan(voxel_volume({"image": flat, "has_geometry": torch.tensor([True])}))


def test_empty_measurement_has_no_acceleration_and_nothing_in_it(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "zero.npy", np.zeros((8, 8), np.complex64))
    run(tmp_path / "in", tmp_path / "out", kind="kspace", figure=True)
    assert sidecar(tmp_path / "out" / "zero.json")["acceleration"] is None
    assert not load(tmp_path / "out" / "zero_segmentation.nii.gz")[1].any()
    assert json.loads((tmp_path / "out" / "worklist.json").read_text())["cases"][0]["acceleration"] is None


@pytest.mark.parametrize("shape", [(21, 18, 2), (13, 30, 2)])
def test_cropped_and_padded_images_keep_the_worlds_place(tmp_path, shape):
    write_volume(tmp_path / "in" / "t1.nii.gz", shape)
    policy = PatternGenerationNetwork((20, 20))
    run(tmp_path / "in", tmp_path / "out", policy=policy, inferer={"grid_mode": "crop_pad"}, figure=True)
    (segmentation, _), (mask, data) = (load(tmp_path / "out" / f"t1_{n}.nii.gz") for n in ("segmentation", "mask"))
    assert segmentation.shape == shape
    assert data.shape == (20, 20, 2)
    assert np.allclose(segmentation.affine, AFFINE, atol=1e-6)
    centre = AFFINE @ [shape[0] // 2, shape[1] // 2, 1, 1]
    assert np.allclose(mask.affine @ [10, 10, 1, 1], centre, atol=1e-4)
    assert (tmp_path / "out" / "t1.png").stat().st_size > 10_000


def test_worklist_has_the_least_agreement_first_and_the_review_of_the_threshold(tmp_path):
    for seed, name in enumerate(("a", "b", "c")):
        write_volume(tmp_path / "in" / f"{name}.nii.gz", seed=seed)
    nibabel.Nifti1Image(np.full((9, 9, 1), 8.0), AFFINE).to_filename(tmp_path / "in" / "d.nii.gz")  # samples disagree
    save_threshold(
        choose_threshold([0.5, 0.1], [0.9, 0.1], acceptable=0.7, error_rate=0.1), tmp_path / "threshold.json"
    )
    run(tmp_path / "in", tmp_path / "out", threshold_path=tmp_path / "threshold.json", figure=True)
    cases = json.loads((tmp_path / "out" / "worklist.json").read_text())["cases"]
    assert cases[0]["name"] == "d"
    # one structure: one sample of four is empty, so that half of the pairs agree; the other is empty everywhere
    assert cases[0]["agreement"] == pytest.approx((3 / 6 + 1) / 2)
    agreements = [case["agreement"] for case in cases]
    assert agreements == sorted(agreements)
    for case in cases:
        assert case["review"] is (case["agreement"] < 0.5)
        assert case["picture"] == f"{case['name']}.png"
        assert (tmp_path / "out" / case["picture"]).exists()
        record = sidecar(tmp_path / "out" / f"{case['name']}.json")
        assert record["review"] is case["review"]
        assert record["review_below_agreement"] == 0.5
        assert record["agreement"] == case["agreement"]


def test_broken_cases_leave_no_file_come_first_and_are_reported_by_number(tmp_path, caplog):
    for name in ("a", "b", "DOE_JANE", "z"):
        volume = write_volume(tmp_path / "in" / f"{name}.nii.gz")
    volume[3, 4, 0] = np.nan
    nibabel.Nifti1Image(volume, AFFINE).to_filename(tmp_path / "in" / "DOE_JANE.nii.gz")
    write_volume(tmp_path / "in" / "b.nii.gz", shape=(1, 1, 2))  # no mask of this grid has a ratio of 0.25
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(RuntimeError, match=r"2 of 4 cases failed.*case 1: .*NaN.*case 3: .*cannot be met"),
    ):
        run(tmp_path / "in", tmp_path / "out", inferer={"ratio": 0.25}, name_by="index")
    written = files(tmp_path / "out")
    assert {name.split("_")[1].split(".")[0] for name in written if name.startswith("case")} == {"0002", "0004"}
    assert len(written) == 14
    rows = list(csv.DictReader((tmp_path / "out" / "worklist.csv").read_text().splitlines()))
    assert [row["case"] for row in rows[:2]] == ["1", "3"]
    assert [row["review"] for row in rows[:2]] == ["yes", "yes"]
    assert rows[0]["agreement"] == rows[0]["structure_1_median_mm3"] == ""
    assert [row["name"] for row in rows[:2]] == ["case_0001", "case_0003"]
    assert "DOE" not in caplog.text
    assert b"DOE" not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_a_write_that_fails_leaves_no_part_of_the_case(tmp_path):
    for name in ("a", "b"):
        write_volume(tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "out" / "a_entropy.nii.gz").mkdir(parents=True)  # a folder where a file should go
    with pytest.raises(RuntimeError, match=r"1 of 2 cases failed.*cannot be written"):
        run(tmp_path / "in", tmp_path / "out")
    expected = ["b.json", *(f"b_{name}.nii.gz" for name in MAPS), "worklist.csv", "worklist.json"]
    assert files(tmp_path / "out") == expected
    cases = json.loads((tmp_path / "out" / "worklist.json").read_text())["cases"]
    assert [case["name"] for case in cases] == ["a", "b"]
    assert cases[0]["agreement"] is None


def test_a_case_may_not_take_the_worklists_name(tmp_path):
    write_volume(tmp_path / "in" / "worklist.nii.gz")
    with pytest.raises(RuntimeError, match=r"case 1: FileExistsError: the files cannot be written \(File exists\)"):
        run(tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == ["worklist.csv", "worklist.json"]


def test_one_segmentation_has_no_agreement_and_no_interval(tmp_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    save_threshold(
        choose_threshold([0.5, 0.1], [0.9, 0.1], acceptable=0.7, error_rate=0.1), tmp_path / "threshold.json"
    )
    network = DeterministicSegmenter(channels=(8, 8)).eval()
    run(tmp_path / "in", tmp_path / "out", network=network, threshold_path=tmp_path / "threshold.json")
    record = sidecar(tmp_path / "out" / "t1.json")
    assert record["samples"] == 1
    assert record["agreement"] is None
    assert record["review"] is True
    assert record["volumes"]["structure_1"]["interval_90"] == [None, None]
    assert record["volumes"]["structure_1"]["median"] is not None


def test_the_same_run_writes_the_same_bytes(tmp_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    for out in ("first", "second"):
        run(tmp_path / "in", tmp_path / out)
    for name in files(tmp_path / "first"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_second_run_forgets_the_first(tmp_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    handler = WriteSegmentation(tmp_path / "out")
    handler.entries, handler.failures = {9: None}, {8: "x"}
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(CaseDataset(inference_cases(tmp_path / "in"), ReadCased()), batch_size=1),
        network=ThresholdNetwork(),
        prepare_batch=PrepareCase(),
        inferer=SegmentationInferer(UniformRandom(), FourierMeasurement(), 1.0, samples=2, progress=False),
        val_handlers=[handler],
        decollate=False,
    )
    for _ in range(2):
        evaluator.run()
        assert len(json.loads((tmp_path / "out" / "worklist.json").read_text())["cases"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name_by": "patient"}, "'stem' or 'index'"),
        ({"figure": "yes"}, "figure must be True or False"),
        ({"structures": ["white", "white"]}, "structures must be different names"),
        ({"structures": "tumour"}, "structures must be different names"),
        ({"save_samples": "false"}, "save_samples must be True or False"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        WriteSegmentation("out", **options)


def test_refuses_what_does_not_fit_before_any_file(tmp_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    with pytest.raises(FileNotFoundError, match=r"threshold_path: there is no file .*nowhere\.json"):
        WriteSegmentation("out", threshold_path=tmp_path / "nowhere.json")
    with pytest.raises(ValueError, match="structures must be different names, one for each of 2"):
        run(tmp_path / "in", tmp_path / "out", structures=["tumour"])
    with pytest.raises(ValueError, match="keep_samples=True"):
        run(tmp_path / "in", tmp_path / "out", save_samples=True)
    assert not (tmp_path / "out").exists()
