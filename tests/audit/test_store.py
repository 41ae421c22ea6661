"""What an audit keeps comes back as it was, or not at all.

An audit recognises its data by what is loaded, not only by what the entries say.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from audits import entries
from monai.data import CacheDataset, Dataset
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, ScaleIntensityd
from torch import nn
from torch.utils.data import Dataset as TorchDataset

from infomri_monai.audit.scene import Course
from infomri_monai.audit.store import AuditStore, Finished, checksum_of_data, checksum_of_values
from infomri_monai.metrics import RateDistortionRow


@pytest.fixture
def kept(tmp_path):
    """A store with one network whose reconstructions are perfect."""
    row = RateDistortionRow(0.25, 0.25, math.inf, -math.inf, 1.0, images=3)
    course = Course(8, 4, True, {"step": [0, 4, 8], "psnr": [10.0, math.inf, math.nan]})
    store, images = AuditStore(tmp_path), {"psnr": torch.tensor([[math.inf, 1.0, math.nan]])}
    store.save("a", nn.Linear(2, 2), {"fingerprint": "f"}, Finished(course, [row._asdict()], images))
    return store, row, course, images


def test_infinity_and_nan_survive(kept):
    store, row, course, images = kept
    found = store.finished("a", "f")
    assert repr((found.course, found.rows)) == repr((course, [row._asdict()]))  # NaN too
    torch.testing.assert_close(found.images, images, equal_nan=True)
    text = (store.folder / "a" / "record.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_other_settings_and_unknown_names_are_not_finished(kept):
    assert [kept[0].finished(*of) for of in (("a", "g"), ("b", "f"))] == [None, None]


@pytest.mark.parametrize("file", ["images.pt", "weights.pt"])
@pytest.mark.parametrize("damage", ["missing", "cut", "emptied", "overwritten"])
def test_missing_and_damaged_files_are_unfinished(kept, file, damage, caplog):
    path = kept[0].folder / "a" / file
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"cut": content[: len(content) // 2], "emptied": b"", "overwritten": b"text " * 99}[damage])
    assert kept[0].finished("a", "f") is None
    assert file in caplog.text
    assert "is trained anew" in caplog.text


@pytest.mark.parametrize(
    "text", ["[]", "3", "{", '{"fingerprint": "f"}', '{"fingerprint": "f", "course": 3, "rows": []}']
)
def test_damaged_records_are_unfinished(kept, text):
    (kept[0].folder / "a" / "record.json").write_text(text)
    assert kept[0].finished("a", "f") is None


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


def test_other_transforms_and_other_files_of_the_same_path_are_other_data(files):
    before, again = (checksum_of_data(Dataset(files, Load()), "image") for _ in range(2))
    assert again == before != checksum_of_data(Dataset(files, Load(0.5)), "image")
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
