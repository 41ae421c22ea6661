"""The transforms in somebody's pipeline: the README's snippet, worker processes, caching, a learned policy by path."""

import pickle

import nibabel as nib
import numpy as np
import pytest
import torch
from helper import refuses
from kspace_transforms import Flat, numbers, real_image
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, EnsureTyped, ScaleIntensityd

from infomri_monai.sampling import PatternGenerationNetwork
from infomri_monai.transforms import RandSampleMask, SimulateAcquisition, SimulateAcquisitiond

SNIPPET = """
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, ScaleIntensityd
from infomri_monai.transforms import SimulateAcquisitiond
from infomri_monai.sampling import VariableDensity

pipeline = Compose([
    LoadImaged("image"), EnsureChannelFirstd("image"), ScaleIntensityd("image"),
    SimulateAcquisitiond("image", policy=VariableDensity(), ratio=0.125, noise_std=5e-4),
])   # adds "kspace", "mask", "ratio", "zero_filled"
"""


def items(n=4):
    return [{"image": real_image(1, 8, 6, seed=i)} for i in range(n)]


def pipeline():
    return Compose([ScaleIntensityd("image"), SimulateAcquisitiond("image", Flat(), ratio=(0.2, 0.8))])


@pytest.mark.parametrize("shape", [(32, 24), (33, 24, 5)])
def test_readme_snippet(tmp_path, shape):
    path = tmp_path / "image.nii.gz"
    affine = np.diag([0.9, 0.8, 3.0, 1.0])
    image = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(image, affine), path)
    scope: dict = {}
    exec(SNIPPET, scope)
    result = scope["pipeline"]({"image": str(path)})
    assert set(result) == {"image", "kspace", "mask", "ratio", "zero_filled"}
    assert result["image"].shape == (1, *shape)
    assert (result["kspace"].dtype, result["kspace"].shape) == (torch.complex64, (1, *shape))
    assert result["mask"].shape == (1, *shape[:2], *[1] * (len(shape) - 2))  # one mask for all slices of a volume
    assert (result["zero_filled"].dtype, result["zero_filled"].shape) == (torch.float32, (2, *shape))
    assert float(result["ratio"]) == pytest.approx(0.125, abs=0.5 / (shape[0] * shape[1]) + 1e-6)
    np.testing.assert_allclose(result["zero_filled"].affine.numpy(), affine)
    correlation = np.corrcoef(numbers(result["zero_filled"][0]), numbers(result["image"]))[0, 1]
    assert correlation > 0.2  # still the same picture, of white noise at one eighth of its samples


def test_batches_of_worker_processes():
    """Two forked workers: items arrive in order, are reproducible by seed, and no two share their mask or noise."""
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        dataset = Dataset(items(8), pipeline().set_random_state(0))
        loader = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context="fork")
        runs.append(list(loader))
    assert [tuple(batch["mask"].shape) for batch in runs[0]] == [(2, 1, 8, 6)] * 4
    assert runs[0][0]["ratio"].shape == (2,)
    assert runs[0][0]["zero_filled"].shape == (2, 2, 8, 6)
    assert isinstance(runs[0][0]["kspace"], MetaTensor)
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(numbers(dict(first)), numbers(dict(second)))
    masks = torch.cat([batch["mask"].as_tensor() for batch in runs[0]])
    assert len({mask.numpy().tobytes() for mask in masks}) == 8


@pytest.mark.parametrize("policy", [Flat(), PatternGenerationNetwork((8, 6))])
def test_pickling_keeps_the_random_state_and_the_one_stream(policy):
    transform = SimulateAcquisitiond("image", policy, 0.5).set_random_state(3)
    transform(items(1)[0])
    copied = pickle.loads(pickle.dumps(transform))
    assert copied.R is copied.transform.R is copied.transform.add_noise.R is copied.transform.sample_mask.R
    for _ in range(2):
        np.testing.assert_array_equal(numbers(transform(items(1)[0])), numbers(copied(items(1)[0])))


def test_cache_dataset_caches_the_deterministic_part_only():
    dataset = CacheDataset(items(2), pipeline().set_random_state(0), progress=False, num_workers=1)
    assert set(dataset._cache[0]) == {"image"}
    cached = numbers(dataset._cache[0]["image"]).copy()
    epochs = [dataset[0] for _ in range(2)]
    assert not torch.equal(epochs[0]["mask"].as_tensor(), epochs[1]["mask"].as_tensor())
    np.testing.assert_array_equal(numbers(epochs[0]["image"]), numbers(epochs[1]["image"]))
    np.testing.assert_array_equal(numbers(dataset._cache[0]["image"]), cached)


def test_masks_of_a_batch_equal_the_policys_own():
    """The transform adds nothing to the law: the same seed gives the policy's mask, batched or not."""
    policy, transform = Flat(), RandSampleMask(Flat(), 0.4).set_random_state(5)
    mask = transform(items(1)[0]["image"]).mask.as_tensor()
    own = policy(0.4, (8, 6), torch.Generator().manual_seed(transform._seed)).mask
    assert torch.equal(mask[None], own)


def test_learned_policy_by_path(tmp_path):
    from infomri_monai.sampling import save_policy

    policy = PatternGenerationNetwork((8, 6), seed=4)
    save_policy(policy, tmp_path / "policy.pt")
    for path in (tmp_path / "policy.pt", str(tmp_path / "policy.pt")):
        loaded = SimulateAcquisition(path, 0.5).set_random_state(0)(items(1)[0]["image"])
        given = SimulateAcquisition(policy, 0.5).set_random_state(0)(items(1)[0]["image"])
        np.testing.assert_array_equal(numbers(loaded), numbers(given))
    refuses((FileNotFoundError, ValueError), "missing", RandSampleMask, tmp_path / "missing.pt", 0.5)


def test_another_grid_than_the_policys_is_refused_before_any_work():
    with pytest.raises(ValueError, match="differs from the policy's grid"):
        SimulateAcquisition(PatternGenerationNetwork((8, 8)), 0.5)(items(1)[0]["image"])


def test_double_precision_through_a_pipeline():
    steps = Compose([EnsureTyped("image", dtype=torch.float64), SimulateAcquisitiond("image", Flat(), 0.5)])
    result = steps(items(1)[0])
    assert result["kspace"].dtype == torch.complex128
    assert result["zero_filled"].dtype == torch.float64
    assert result["mask"].dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    image = items(1)[0]["image"].cuda()
    result = SimulateAcquisition(Flat(), 0.5).set_random_state(0)(image)
    assert {part.device.type for part in result} == {"cuda"}
    on_cpu = SimulateAcquisition(Flat(), 0.5).set_random_state(0)(image.cpu())
    assert torch.equal(result.mask.as_tensor().cpu(), on_cpu.mask.as_tensor())
