"""Files of segmented cases hold the known samples' segmentation, volumes and agreement; the worklist sorts them."""

import json
import math

import nibabel
import numpy as np
import pytest
import torch
from case_runs import AFFINE, MAPS, THRESHOLDS, descrip, files, load, rows, run, says, sidecar, write_volume
from helper import refuses
from monai.data import MetaTensor
from PIL import Image
from threshold_network import ThresholdNetwork

import infomri_monai
from infomri_monai.handlers.cases import voxel_volume
from infomri_monai.networks import DeterministicSegmenter
from infomri_monai.triage import choose_threshold, save_threshold

VOXEL = abs(np.linalg.det(AFFINE[:3, :3]))


@pytest.fixture
def segment(tmp_path):
    """Segment what lies in the folder ``in``, into ``out``; the handler's and the inferer's options."""
    return lambda **options: run("segmentation", tmp_path / "in", tmp_path / "out", **options)


@pytest.fixture
def threshold_path(tmp_path):
    """A threshold of 0.5."""
    path = tmp_path / "threshold.json"
    save_threshold(choose_threshold([0.5, 0.1], [0.9, 0.1], acceptable=0.7, error_rate=0.1), path)
    return path


def sampled_volumes(volume):
    """Pixels of the two structures in every sample, counted in the image."""
    return np.array([[((volume > t) & (volume <= t + 10)).sum(), (volume > t + 10).sum()] for t in THRESHOLDS])


def test_segmentations_keep_shape_and_affine_and_hold_the_result(tmp_path):
    volume = write_volume(tmp_path / "in" / "sub-1" / "t1.nii.gz")
    run("segmentation", tmp_path / "in", tmp_path / "out")
    names = [f"sub-1/t1_{name}.nii.gz" for name in MAPS]
    assert files(tmp_path / "out") == sorted(["sub-1/t1.json", *names, "worklist.csv", "worklist.json"])
    loaded = {name: load(tmp_path / "out" / "sub-1" / f"t1_{name}.nii.gz") for name in MAPS}
    for name, (image, data) in loaded.items():
        assert data.shape == ((21, 18, 3, 3) if name == "probability" else (21, 18, 3))
        assert image.get_data_dtype() == (np.uint8 if name in ("mask", "segmentation") else np.float32)
        assert np.allclose(image.affine, AFFINE, atol=1e-6)
        assert descrip(image) == "InfoMRI simulated acquisition ratio=1 seed=3"
    inner = np.mean([volume > t + 10 for t in THRESHOLDS], axis=0)
    outer = np.mean([volume > t for t in THRESHOLDS], axis=0) - inner
    expected = np.stack([1 - outer - inner, outer, inner], -1)
    np.testing.assert_allclose(loaded["probability"][1], expected, atol=1e-6)
    assert np.array_equal(loaded["segmentation"][1], expected.argmax(-1))
    logs = np.log(np.where(expected > 0, expected, 1))
    np.testing.assert_allclose(loaded["entropy"][1], -(expected * logs).sum(-1), atol=1e-5)


def test_sidecar_of_a_segmentation_says_how_and_how_sure(tmp_path, segment):
    counts = sampled_volumes(write_volume(tmp_path / "in" / "t1.nii.gz")) * VOXEL
    segment(structures=["grey", "white"])
    record = sidecar(tmp_path / "out" / "t1.json")
    says(record, simulated=True, ratio_requested=1.0, ratio_realised=1.0, acceleration=1.0, seed=3, samples_seed=3)
    says(record, samples=4, classes=3, multi_label=False, network="ThresholdNetwork", shape=[21, 18, 3])
    says(record, volume_unit="mm3", review=None, review_below_agreement=None, version=infomri_monai.__version__)
    for i, name in enumerate(("grey", "white")):
        assert record["volumes"][name]["median"] == pytest.approx(np.median(counts[:, i]))
        assert record["volumes"][name]["interval_90"] == pytest.approx(np.quantile(counts[:, i], [0.05, 0.95]))
    assert 0 < record["agreement"] < 1
    assert record["mean_entropy"] == pytest.approx(load(tmp_path / "out" / "t1_entropy.nii.gz")[1].mean(), rel=1e-5)


def test_2d_image_has_one_slice_where_classes_are_the_fourth_axis(tmp_path, segment):
    affine = np.array([[0, 0, 3, 1], [2, 0.5, 0, 2], [0.5, 2, 0, 3], [0, 0, 0, 1.0]])
    volume = write_volume(tmp_path / "in" / "plane.nii", shape=(15, 22), affine=affine)
    segment(inferer={"keep_samples": True, "reconstruct": True}, save_samples=True)
    for name in (*MAPS, "mean", "sigma", "samples"):
        image, data = load(tmp_path / "out" / f"plane_{name}.nii.gz")
        assert data.shape == {"probability": (15, 22, 1, 3), "samples": (15, 22, 1, 4)}.get(name, (15, 22))
        assert np.allclose(image.affine, affine, atol=1e-6)
    samples = load(tmp_path / "out" / "plane_samples.nii.gz")[1]
    for k, threshold in enumerate(THRESHOLDS):
        expected = (volume > threshold).astype(np.uint8) + (volume > threshold + 10)
        assert np.array_equal(samples[:, :, 0, k], expected)
    np.testing.assert_allclose(load(tmp_path / "out" / "plane_mean.nii.gz")[1], volume, atol=1e-4)


def test_labels_that_overlap_lie_on_the_fourth_axis(tmp_path, segment):
    volume = write_volume(tmp_path / "in" / "t1.nii.gz")
    segment(network=ThresholdNetwork(multi_label=True), inferer={"keep_samples": True}, save_samples=True)
    segmentation, samples = (load(tmp_path / "out" / f"t1_{name}.nii.gz")[1] for name in ("segmentation", "samples"))
    assert segmentation.shape == (21, 18, 3, 2)
    assert samples.shape == (21, 18, 3, 8)
    for k, threshold in enumerate(THRESHOLDS):
        assert np.array_equal(samples[..., 2 * k], volume > threshold)
        assert np.array_equal(samples[..., 2 * k + 1], volume > threshold + 10)
    assert np.array_equal(segmentation[..., 1], np.mean([volume > t + 10 for t in THRESHOLDS], axis=0) > 0.5)
    assert sidecar(tmp_path / "out" / "t1.json")["multi_label"] is True


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_worklist_of_both_kinds_has_one_unit(tmp_path, segment, names):
    """Voxels, which every case has; each sidecar keeps its own unit, a picture's are voxels as well."""
    volume = write_volume(tmp_path / "in" / f"{names[0]}.nii.gz")
    pixels = np.random.default_rng(0).integers(0, 30, (21, 18)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / f"{names[1]}.png")
    segment()
    listed = {row["name"]: row for row in rows(tmp_path / "out", "worklist.csv")}
    for name, image, voxel, unit in zip(names, (volume, pixels), (VOXEL, 1), ("mm3", "voxels"), strict=True):
        median = np.median(sampled_volumes(image)[:, 0])
        record = sidecar(tmp_path / "out" / f"{name}.json")
        assert float(listed[name]["structure_1_median_voxels"]) == median
        assert record["volumes"]["structure_1"]["median"] == pytest.approx(voxel * median)
        assert record["volume_unit"] == unit


def test_a_case_that_says_nothing_of_its_geometry_has_no_voxel_size():
    image = MetaTensor(torch.ones(1, 1, 4, 4), affine=torch.from_numpy(AFFINE))
    assert voxel_volume({"image": image}) is None
    assert voxel_volume({"image": image, "has_geometry": torch.tensor([False])}) is None
    assert voxel_volume({"image": image, "has_geometry": torch.tensor([True])}) == pytest.approx(VOXEL)
    flat = MetaTensor(torch.ones(1, 1, 4, 4), affine=torch.diag(torch.tensor([1.0, 2.0, 0.0, 1.0])))
    assert math.isnan(voxel_volume({"image": flat, "has_geometry": torch.tensor([True])}))


def test_worklist_has_the_least_agreement_first_and_the_review_of_the_threshold(tmp_path, segment, threshold_path):
    for seed, name in enumerate(("a", "b", "c")):
        write_volume(tmp_path / "in" / f"{name}.nii.gz", seed=seed)
    nibabel.Nifti1Image(np.full((9, 9, 1), 8.0), AFFINE).to_filename(tmp_path / "in" / "d.nii.gz")  # samples disagree
    segment(threshold_path=threshold_path, figure=True)
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
        says(record, review=case["review"], review_below_agreement=0.5, agreement=case["agreement"])


def test_a_case_may_not_take_the_worklists_name(tmp_path, segment):
    write_volume(tmp_path / "in" / "worklist.nii.gz")
    refuses(RuntimeError, r"case 1: FileExistsError: the files cannot be written \(File exists\)", segment)
    assert files(tmp_path / "out") == ["worklist.csv", "worklist.json"]


def test_one_segmentation_has_no_agreement_and_no_interval(tmp_path, segment, threshold_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    segment(network=DeterministicSegmenter(channels=(8, 8)).eval(), threshold_path=threshold_path)
    record = sidecar(tmp_path / "out" / "t1.json")
    says(record, samples=1, agreement=None, review=True)
    assert record["volumes"]["structure_1"]["interval_90"] == [None, None]
    assert record["volumes"]["structure_1"]["median"] is not None


def test_segmentation_refuses_what_does_not_fit_before_any_file(tmp_path, segment):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    nowhere = tmp_path / "nowhere.json"
    refuses(FileNotFoundError, r"threshold_path: there is no file .*nowhere\.json", segment, threshold_path=nowhere)
    refuses(ValueError, "structures must be different names, one for each of 2", segment, structures=["tumour"])
    refuses(ValueError, "keep_samples=True", segment, save_samples=True)
    assert not (tmp_path / "out").exists()
