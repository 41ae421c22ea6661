"""An audit recognises its data by what is loaded, not only by what the entries say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from audits import entries
from monai.data import CacheDataset, Dataset
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, ScaleIntensityd
from torch.utils.data import Dataset as TorchDataset

from infomri_monai.audit.store import checksum_of_data, checksum_of_values


class Load:
    """A transform that loads the file of an entry and multiplies its image."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, entry):
        return {"image": self.factor * torch.from_numpy(np.load(entry["path"]))}


@pytest.fixture
def files(tmp_path):
    made = []
    for index, entry in enumerate(entries(5, attribute=None)):
        np.save(path := tmp_path / f"{index}.npy", entry["image"].numpy())
        made.append({"path": str(path)})
    return made


def test_equal_data_has_one_checksum(files):
    assert checksum_of_data(Dataset(files, Load()), "image") == checksum_of_data(Dataset(files, Load()), "image")


def test_another_transform_is_other_data(files):
    assert checksum_of_data(Dataset(files, Load()), "image") != checksum_of_data(Dataset(files, Load(0.5)), "image")


def test_another_file_of_the_same_path_is_other_data(files):
    before = checksum_of_data(Dataset(files, Load()), "image")
    np.save(files[3]["path"], np.zeros((1, 16, 16), np.float32))
    assert checksum_of_data(Dataset(files, Load()), "image") != before


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_any_changed_entry_is_other_data(place):
    data = [{"image": torch.zeros(1, 2, 2), "attribute": 0} for _ in range(100)]
    before = checksum_of_data(Dataset(data), "image")
    data[place] = data[place] | {"image": torch.ones(1, 2, 2)}
    changed = checksum_of_data(Dataset(data), "image")
    data[place] = data[place] | {"attribute": 1}
    assert len({before, changed, checksum_of_data(Dataset(data), "image")}) == 3


@pytest.mark.parametrize("kind", [Dataset, lambda data, transform: CacheDataset(data, transform, progress=False)])
def test_random_transforms_are_recognised_and_not_disturbed(kind):
    transform = Compose([ScaleIntensityd("image"), RandFlipd("image", 0.5), RandGaussianNoised("image", prob=0.5)])
    first, second = (kind(entries(8), transform) for _ in range(2))
    transform.set_random_state(5)
    expected = [first[index]["image"].clone() for index in range(8)]
    transform.set_random_state(5)
    assert checksum_of_values(first, "image") == checksum_of_values(second, "image")
    assert all(torch.equal(first[index]["image"], image) for index, image in enumerate(expected))


def test_a_data_set_that_loads_is_read_at_few_places():
    class Lazy(TorchDataset):
        seen = 0

        def __len__(self):
            return 1000

        def __getitem__(self, index):
            self.seen += 1
            return {"image": torch.full((1, 2, 2), float(index))}

    lazy, longer = Lazy(), Dataset(Lazy(), lambda entry: {"image": 2 * entry["image"]})
    assert checksum_of_data(lazy, "image") != checksum_of_data(longer, "image")
    assert max(lazy.seen, longer.data.seen) <= 32
