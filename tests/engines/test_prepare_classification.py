"""Labelled batches for training and for sweeping ratios."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from infomri_monai.engines import PrepareAmortizedBatch, PrepareLabels, PrepareRatioSweep


def batch(label, size=4):
    image = torch.arange(size * 36.0).reshape(size, 1, 6, 6)
    return {"image": image, "label": label}


def test_labels_follow_the_images_ratio_by_ratio():
    prepare = PrepareLabels(PrepareRatioSweep((0.1, 0.2, 0.4)), num_classes=3)
    data = batch(torch.tensor([2, 0, 1, 1]))
    image, target, (ratio,), named = prepare(data)
    assert target.tolist() == [2, 0, 1, 1] * 3
    assert torch.equal(image[4:8], data["image"])
    assert ratio.tolist() == pytest.approx([0.1] * 4 + [0.2] * 4 + [0.4] * 4)
    assert isinstance(named["generator"], torch.Generator)


def test_multi_label_and_meta_tensors():
    label = MetaTensor(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    _, target, _, _ = PrepareLabels(PrepareRatioSweep((0.1, 0.2)), 2, multi_label=True)(batch(label, 2))
    assert type(target) is torch.Tensor
    assert target.tolist() == [[0, 1], [1, 1]] * 2


def test_mirroring_is_per_image_and_seeded():
    prepare = PrepareLabels(PrepareAmortizedBatch((0.1, 0.2), seed=1), num_classes=2, flip_axes=[1])
    data = batch(torch.zeros(32, dtype=torch.long), 32)
    image, *_ = prepare(data)
    again, *_ = prepare(data)
    assert torch.equal(image, again)
    mirrored = (image == data["image"].flip(3)).flatten(1).all(1)
    kept = (image == data["image"]).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 4 < int(mirrored.sum()) < 28


def test_every_image_is_shifted_on_its_own():
    prepare = PrepareLabels(PrepareAmortizedBatch((0.1, 0.2), seed=1), num_classes=2, max_shift=2)
    data = batch(torch.zeros(64, dtype=torch.long), 64)
    image, *_ = prepare(data)
    shifts = [
        [(i, j) for i in range(-2, 3) for j in range(-2, 3) if torch.equal(made, own.roll((i, j), (1, 2)))]
        for made, own in zip(image, data["image"], strict=True)
    ]
    assert all(len(found) == 1 for found in shifts)
    assert {axis for found in shifts for axis in found[0]} == {-2, -1, 0, 1, 2}
    assert torch.equal(prepare(data)[0], image)


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), {}, r"label must be 0 to 2, got \[3\]"),
        (torch.tensor([0, 1, -1, 2]), {}, "label must be 0 to 2"),
        (torch.tensor([0, 1, 0.5, 2]), {}, r"label must be 0 to 2, got \[0.5\]"),
        (torch.tensor([0, 1]), {}, r"label must have shape \(4,\)"),
        (torch.full((4, 3), 0.5), {"multi_label": True}, "label must be 0 or 1"),
        (torch.zeros(4), {"multi_label": True}, r"label must have shape \(4, 3\)"),
    ],
)
def test_bad_labels(label, options, message):
    with pytest.raises(ValueError, match=message):
        PrepareLabels(PrepareRatioSweep((0.1,)), num_classes=3, **options)(batch(label))


def test_missing_labels_and_bad_axes():
    with pytest.raises(KeyError, match="no key 'label'"):
        PrepareLabels(PrepareRatioSweep((0.1,)), num_classes=3)({"image": torch.zeros(1, 1, 4, 4)})
    with pytest.raises(ValueError, match="flip_axes must hold 0 and 1"):
        PrepareLabels(PrepareRatioSweep((0.1,)), num_classes=3, flip_axes=[2])
    with pytest.raises(ValueError, match="max_shift must be >= 0"):
        PrepareLabels(PrepareRatioSweep((0.1,)), num_classes=3, max_shift=-1)
