"""The transforms in somebody's pipeline: worker processes, caching, a learned policy by path."""

import pickle

import numpy as np
import pytest
import torch
from helper import refuses
from kspace_transforms import Flat, complex_data, numbers, real_image
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor, PersistentDataset, SmartCacheDataset
from monai.transforms import Compose, ScaleIntensityd

from infomri_monai import transforms as t
from infomri_monai.sampling import PatternGenerationNetwork, save_policy


def items(n=4):
    return [{"image": real_image(1, 8, 6, seed=i)} for i in range(n)]


def pipeline():
    return Compose([ScaleIntensityd("image"), t.SimulateAcquisitiond("image", Flat(), ratio=(0.2, 0.8))])


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
    transform = t.SimulateAcquisitiond("image", policy, 0.5).set_random_state(3)
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


def adding():
    """Transforms that add keys, with data; the argument and the name of each output."""
    image, kspace = {"x": real_image(1, 8, 6)}, {"x": complex_data(1, 8, 6)}
    two = {"x": real_image(1, 8, 6), "y": real_image(1, 8, 6, seed=1)}
    label = {name: torch.ones(1, 8, 6, dtype=torch.uint8) for name in "xy"}
    simulated = {"mask_key": "mask", "ratio_key": "ratio", "kspace_key": "kspace", "zero_filled_key": "zero_filled"}
    both = {**simulated, "kspace_key": "y_kspace", "zero_filled_key": "y_zero_filled"}
    yield (lambda **o: t.RandSampleMaskd("x", Flat(), 0.5, **o), image, {"mask_key": "mask", "ratio_key": "ratio"})
    yield (lambda **o: t.SimulateAcquisitiond("x", Flat(), 0.5, **o), image, simulated)
    yield (lambda **o: t.SimulateAcquisitiond(("x", "y"), Flat(), 0.5, **o), two, both)
    yield (lambda **o: t.ZeroFilledd("x", **o), kspace, {"zero_filled_key": "zero_filled"})
    yield (lambda **o: t.StackRatersd(("x", "y"), **o), label, {"name": "label"})


@pytest.mark.parametrize(("make", "data", "outputs"), list(adding()))
def test_what_the_data_holds_is_not_overwritten_unasked(make, data, outputs):
    for argument, name in outputs.items():
        given = {**data, name: "a mask of the scanner, say"}
        refuses(ValueError, f"{name!r} already.*by {argument}, or .*overwrite=True", make(), given)
        assert given[name] == "a mask of the scanner, say"
        assert not isinstance(make(overwrite=True)(given)[name], str)
        others = {argument: "elsewhere"} | ({"allow_missing_keys": True} if argument != "name" else {})
        assert make(**others)(given)[name] == "a mask of the scanner, say"
    done = make()(data)
    refuses(ValueError, "already", make(), done)  # the same transform twice: of another contrast, say
    assert set(make(overwrite=True)(done)) == set(done)


@pytest.mark.parametrize("kind", [Dataset, CacheDataset, PersistentDataset, SmartCacheDataset])
def test_every_epoch_of_a_cached_pipeline_starts_from_the_data(kind, tmp_path):
    """What is cached does not hold the outputs of random transforms, and those of others are made once."""
    steps = [t.ImageToKSpaced("image"), t.ZeroFilledd("image"), t.SimulateRatersd("label", "index")]
    transform = Compose(
        [*steps, t.RandSampleMaskd("image", Flat(), 0.5), t.SimulateAcquisitiond("image", Flat(), 0.5, **OTHER)]
    )
    data = [{**item, "label": torch.ones(1, 8, 6, dtype=torch.uint8), "index": i} for i, item in enumerate(items(3))]
    options = {PersistentDataset: {"cache_dir": tmp_path}, SmartCacheDataset: {"replace_rate": 0.5, "cache_num": 2}}
    dataset = kind(data, transform, **options.get(kind, {}))
    for _ in range(3):
        assert all("mask" in dataset[i] and "own_mask" in dataset[i] for i in range(2))


OTHER = {f"{name}_key": f"own_{name}" for name in ("kspace", "mask", "ratio", "zero_filled")}


def test_masks_of_a_batch_equal_the_policys_own():
    """The transform adds nothing to the law: the same seed gives the policy's mask, batched or not."""
    policy, transform = Flat(), t.RandSampleMask(Flat(), 0.4).set_random_state(5)
    mask = transform(items(1)[0]["image"]).mask.as_tensor()
    own = policy(0.4, (8, 6), torch.Generator().manual_seed(transform._seed)).mask
    assert torch.equal(mask[None], own)


def test_learned_policy_by_path(tmp_path):
    policy, image = PatternGenerationNetwork((8, 6), seed=4), items(1)[0]["image"]
    save_policy(policy, tmp_path / "policy.pt")
    given = t.SimulateAcquisition(policy, 0.5).set_random_state(0)(image)
    for path in (tmp_path / "policy.pt", str(tmp_path / "policy.pt")):
        loaded = t.SimulateAcquisition(path, 0.5).set_random_state(0)(image)
        np.testing.assert_array_equal(numbers(loaded), numbers(given))
    refuses((FileNotFoundError, ValueError), "missing", t.RandSampleMask, tmp_path / "missing.pt", 0.5)
    other = t.SimulateAcquisition(PatternGenerationNetwork((8, 8)), 0.5)
    refuses(ValueError, "differs from the policy's grid", other, image)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    image = items(1)[0]["image"].cuda()
    result = t.SimulateAcquisition(Flat(), 0.5).set_random_state(0)(image)
    assert {part.device.type for part in result} == {"cuda"}
    on_cpu = t.SimulateAcquisition(Flat(), 0.5).set_random_state(0)(image.cpu())
    assert torch.equal(result.mask.as_tensor().cpu(), on_cpu.mask.as_tensor())
