"""What an audit keeps comes back as it was, or not at all."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from infomri_monai.audit.scene import Course
from infomri_monai.audit.store import AuditStore, Finished
from infomri_monai.metrics import RateDistortionRow


@pytest.fixture
def kept(tmp_path):
    """A store with one network whose reconstructions are perfect."""
    row = RateDistortionRow(0.25, 0.25, math.inf, -math.inf, 1.0, images=3)
    course = Course(8, 4, True, {"step": [0, 4, 8], "psnr": [10.0, math.inf, math.nan]})
    store, images = AuditStore(tmp_path), {"psnr": torch.tensor([[math.inf, 1.0, math.nan]])}
    store.save("a", nn.Linear(2, 2), {"fingerprint": "f"}, Finished(course, [row._asdict()], images))
    return store, row, course, images


def same(a, b):
    return repr(a) == repr(b)  # NaN too


def test_infinity_and_nan_survive(kept):
    store, row, course, images = kept
    found = store.finished("a", "f")
    assert same(found.course, course)
    assert same(found.outcome().rows, [row])
    torch.testing.assert_close(found.images, images, equal_nan=True)
    text = (store.folder / "a" / "record.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_other_settings_and_unknown_names_are_not_finished(kept):
    assert kept[0].finished("a", "g") is None
    assert kept[0].finished("b", "f") is None


@pytest.mark.parametrize("file", ["images.pt", "weights.pt"])
@pytest.mark.parametrize("damage", ["missing", "cut", "emptied", "overwritten"])
def test_missing_and_damaged_files_are_unfinished(kept, file, damage, caplog):
    path = kept[0].folder / "a" / file
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"cut": content[: len(content) // 2], "emptied": b"", "overwritten": b"text " * 99}[damage])
    assert kept[0].finished("a", "f") is None
    assert f"{file} cannot be read" in caplog.text


@pytest.mark.parametrize(
    "text", ["[]", "3", "{", '{"fingerprint": "f"}', '{"fingerprint": "f", "course": 3, "rows": []}']
)
def test_damaged_records_are_unfinished(kept, text):
    (kept[0].folder / "a" / "record.json").write_text(text)
    assert kept[0].finished("a", "f") is None
