"""Data lists of MONAI and the Decathlon: small NIfTI and PNG files, own and derived splits, several raters, channels."""

import json

import nibabel
import numpy as np
import pytest
import torch
from helper import refuses, refuses_each
from monai.data import CacheDataset, DataLoader, Dataset
from PIL import Image

from infomri_monai.data import ReadLabelledSliced, decathlon_slices
from infomri_monai.data.prepare import prepare_images
from infomri_monai.transforms import MISSING_RATER

AFFINE = np.array([[1.8, 0.3, 0, -20], [-0.3, 1.9, 0.2, 5], [0, -0.1, 3, 7], [0, 0, 0, 1.0]])


def write(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, affine).to_filename(path)
    return array


def write_item(folder, name, shape=(7, 6, 3), seed=0, raters=None):
    """Image and label as the Decathlon stores them (float image, the label's first slice empty), or one label a rater."""
    draw = np.random.default_rng(seed)
    image = write(folder / "imagesTr" / f"{name}.nii.gz", draw.normal(size=shape).astype(np.float32))
    labels = [draw.integers(0, 3, shape).astype(np.uint8) for _ in range(raters or 1)]
    paths = [f"./labelsTr/{name}{'' if raters is None else f'_{r}'}.nii.gz" for r in range(len(labels))]
    for label, path in zip(labels, paths, strict=True):
        label[..., 0] = 0
        write(folder / path, label)
    item = {"image": f"./imagesTr/{name}.nii.gz", "label": paths[0] if raters is None else paths}
    return item, image, labels


def write_list(folder, **sections):
    """``dataset.json`` with the published metadata around the sections."""
    metadata = {"name": "Hippocampus", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior"}}
    path = folder / "dataset.json"
    path.write_text(json.dumps({**metadata, **sections}))
    return path


@pytest.fixture
def published(tmp_path):
    """Ten training items and two test images without labels."""
    items = [write_item(tmp_path, f"hippocampus_{n:03d}", (7, 6, 2 + n % 2), seed=n)[0] for n in range(10)]
    return write_list(tmp_path, training=items, test=["./imagesTs/hippocampus_100.nii.gz"])


def subjects(entries):
    return sorted({entry["subject"] for entry in entries})


def test_the_decathlons_training_list_is_divided_by_item(published):
    parts = {split: decathlon_slices(published, split) for split in ("train", "validation", "test")}
    assert [len(subjects(entries)) for entries in parts.values()] == [7, 1, 2]
    assert sorted(n for entries in parts.values() for n in subjects(entries)) == list(range(10))
    assert parts["train"] == decathlon_slices(published, "train")
    assert subjects(decathlon_slices(published, "train", seed=3)) != subjects(parts["train"])
    of_item = [(e["slice"], e["volume"]) for e in parts["train"] if e["subject"] == parts["train"][0]["subject"]]
    number = parts["train"][0]["subject"]
    assert of_item == [(i, f"hippocampus_{number:03d}") for i in range(2 + number % 2)]


def test_a_lists_own_parts_are_kept(tmp_path):
    items = [write_item(tmp_path, f"case{n}", seed=n)[0] for n in range(8)]

    def of(split, **options):
        return subjects(decathlon_slices(tmp_path / "dataset.json", split, **options))

    write_list(tmp_path, training=items[:5], validation=items[5:6], test=items[6:])
    assert [of(split) for split in ("train", "validation", "test")] == [[0, 1, 2, 3, 4], [5], [6, 7]]
    write_list(tmp_path, training=items[:5], validation=items[5:6], test=[])
    held = of("test", fractions=(0.6, 0.1, 0.3))
    assert len(held) == 2
    assert of("train", fractions=(0.6, 0.1, 0.3)) == sorted(set(range(5)) - set(held))
    assert of("validation") == [5]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_native_slices_are_the_files(tmp_path, axis):
    item, image, (label,) = write_item(tmp_path, "case0")
    path = write_list(tmp_path, training=[item])
    read = ReadLabelledSliced("image", num_classes=3, grid=None, normalise=False)
    entries = decathlon_slices(path, "train", axis=axis, fractions=(1, 0, 0))
    assert len(entries) == image.shape[axis]
    for entry in entries:
        done = read(entry)
        assert torch.equal(done["image"][0], torch.from_numpy(image.take(entry["slice"], axis)))
        assert torch.equal(done["label"][0], torch.from_numpy(label.take(entry["slice"], axis)))
        assert (done["image"].dtype, done["label"].dtype) == (torch.float32, torch.uint8)
        assert set(done) == {"image", "label", "volume", "subject", "slice", "simulated_raters"}


def test_crop_and_pad_against_resampling(tmp_path):
    item, image, (label,) = write_item(tmp_path, "case0", (8, 8, 3))
    entry = decathlon_slices(write_list(tmp_path, training=[item]), "train", fractions=(1, 0, 0))[2]
    padded = ReadLabelledSliced("image", num_classes=3, grid=(4, 10))(entry)
    assert np.array_equal(padded["label"][0, :, 1:9], label[2:6, :, 2])
    assert not padded["label"][0, :, [0, 9]].any()
    cut = image[2:6, :, 2]
    assert np.allclose(padded["image"][0, :, 1:9], cut / np.abs(cut).max())
    coarse = ReadLabelledSliced("image", num_classes=3, grid=(4, 4), resample=True)(entry)
    assert np.allclose(coarse["image"], prepare_images(image[None, ..., 2], (4, 4), magnitude=True), atol=1e-6)
    complex_valued = ReadLabelledSliced("image", num_classes=3, grid=(4, 4), resample=True, magnitude=False)(entry)
    assert complex_valued["image"].dtype == torch.complex64


def test_several_raters_and_missing_ones(tmp_path):
    full, _, labels = write_item(tmp_path, "full", raters=3)
    short, _, _ = write_item(tmp_path, "short", raters=2)
    holed = {"image": full["image"], "label": [full["label"][0], None, full["label"][2]]}
    path = write_list(tmp_path, training=[full, short, holed])
    entries = {(e["subject"], e["slice"]): e for e in decathlon_slices(path, "train", raters=3, fractions=(1, 0, 0))}
    read = ReadLabelledSliced("image", num_classes=3, grid=(7, 6))
    for subject, missing in ((0, []), (1, [2]), (2, [1])):
        label = read(entries[subject, 1])["label"]
        assert label.dtype == torch.int16
        assert [r for r in range(3) if (label[r] == MISSING_RATER).all()] == missing
    assert np.array_equal(read(entries[2, 1])["label"][2], labels[2][..., 1])
    batch = next(iter(DataLoader(Dataset(list(entries.values()), read), batch_size=9)))
    assert batch["label"].shape == (9, 3, 7, 6)
    with pytest.raises(ValueError, match=r"item 0 must have labels of 1 to 2 raters \(raters=2\)"):
        decathlon_slices(path, "train", raters=2, fractions=(1, 0, 0))


def test_only_slices_that_a_rater_labelled(tmp_path):
    item, _, labels = write_item(tmp_path, "case0", raters=2)
    for label, path in zip(labels, item["label"], strict=True):
        write(tmp_path / path, np.zeros_like(label))
    labels[1][..., [0, 2]] = 0
    write(tmp_path / item["label"][1], labels[1])
    path = write_list(tmp_path, training=[item])
    kept = decathlon_slices(path, "train", raters=2, labelled_only=True, fractions=(1, 0, 0))
    assert [entry["slice"] for entry in kept] == [1]


def test_one_channel_of_several(tmp_path):
    item, image, _ = write_item(tmp_path, "case0")
    four = np.stack([image, 2 * image, -image], -1)
    write(tmp_path / "imagesTr" / "four.nii.gz", four)
    files = {"image": [item["image"], "imagesTr/minus.nii.gz"], "label": item["label"]}
    write(tmp_path / "imagesTr" / "minus.nii.gz", -image)
    path = write_list(tmp_path, training=[{**item, "image": "imagesTr/four.nii.gz"}, files])
    read = ReadLabelledSliced("image", num_classes=3, grid=None, normalise=False)
    for channel, wanted in ((0, (1, 1)), (1, (2, -1))):
        entries = decathlon_slices(path, "train", channel=channel, fractions=(1, 0, 0))
        for subject, factor in enumerate(wanted):
            entry = next(e for e in entries if e["subject"] == subject and e["slice"] == 1)
            assert np.allclose(read(entry)["image"][0], factor * image[..., 1])
    with pytest.raises(ValueError, match="item 1 has 2 image channels, channel=2 does not exist"):
        decathlon_slices(path, "train", channel=2, fractions=(1, 0, 0))


def test_png_pairs(tmp_path):
    draw = np.random.default_rng(0)
    image, label = draw.integers(0, 255, (6, 8)).astype(np.uint8), draw.integers(0, 2, (6, 8)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(label).save(tmp_path / "a_label.png")
    path = write_list(tmp_path, training=[{"image": "a.png", "label": "a_label.png"}])
    (entry,) = decathlon_slices(path, "train", labelled_only=True, fractions=(1, 0, 0))
    done = ReadLabelledSliced("image", grid=None, normalise=False)(entry)
    assert np.array_equal(done["image"][0], image.T)
    assert np.array_equal(done["label"][0], label.T)


def test_a_cached_set_reads_each_case_once(published, monkeypatch):
    from infomri_monai.data import decathlon as labelled_slice

    reads = []
    original = labelled_slice.read_volume
    monkeypatch.setattr(labelled_slice, "read_volume", lambda *a: reads.append(a[0].name) or original(*a))
    entries = decathlon_slices(published, "train")
    data = CacheDataset(entries, ReadLabelledSliced("image", num_classes=3, grid=(8, 8)), num_workers=1, progress=False)
    assert len(data) == len(entries)
    assert len(reads) == 2 * len(subjects(entries))  # image and label


def test_a_file_written_anew_is_read_anew(published):
    entry = decathlon_slices(published, "train")[1]
    read = ReadLabelledSliced("image", num_classes=3, grid=None)
    before = read(entry)["label"]
    shape = nibabel.load(entry["label"][0]).shape
    nibabel.Nifti1Image(np.full(shape, 2, np.uint8), AFFINE).to_filename(entry["label"][0])
    assert not torch.equal(read(entry)["label"], before)
    assert (read(entry)["label"] == 2).all()


def test_label_and_image_of_different_grid_or_place(tmp_path):
    item, _, (label,) = write_item(tmp_path, "case0")
    path = write_list(tmp_path, training=[item])

    def slices():
        return decathlon_slices(path, "train", fractions=(1, 0, 0))

    entries = slices()
    write(tmp_path / item["label"], label[:, :, :2])
    refuses(ValueError, r"case0\.nii\.gz: .*one grid, got \(7, 6, 2\) and \(7, 6, 3\)", slices)
    write(tmp_path / item["label"], label[:6])
    with pytest.raises(ValueError, match=r"case0\.nii\.gz: .*one grid, got \(6, 6\) and \(7, 6\)"):
        ReadLabelledSliced("image", num_classes=3)(entries[0])
    write(tmp_path / item["label"], label, AFFINE @ np.diag([-1, 1, 1, 1]))
    refuses(ValueError, r"case0\.nii\.gz: .*one place", slices)
    write(tmp_path / item["label"], label, AFFINE + 1e-4)
    assert len(slices()) == 3


def test_bad_label_values_and_pixels_are_named(tmp_path):
    item, image, (label,) = write_item(tmp_path, "case0")
    entry = decathlon_slices(write_list(tmp_path, training=[item]), "train", fractions=(1, 0, 0))[1]
    with pytest.raises(ValueError, match=r"case0\.nii\.gz: label values must be classes 0 to 1 .*got also \[2.0\]"):
        ReadLabelledSliced("image", num_classes=2)(entry)
    write(tmp_path / item["label"], label * np.float32(0.5))
    refuses(ValueError, r"got also \[0.5\]", ReadLabelledSliced("image", num_classes=3), entry)
    write(tmp_path / item["label"], label)
    image[0, 0, 0] = np.nan
    write(tmp_path / item["image"], image)
    refuses(ValueError, "case0 holds NaN", ReadLabelledSliced("image", num_classes=3), entry)
    (tmp_path / item["image"]).write_bytes(b"no NIfTI")
    refuses(OSError, "case0", ReadLabelledSliced("image", num_classes=3), entry)
    refuses(ValueError, "num_classes", ReadLabelledSliced, "image", num_classes=1)
    refuses(ValueError, "grid", ReadLabelledSliced, "image", grid=(4, -1))
    assert ReadLabelledSliced("image", allow_missing_keys=True)({"slice": 0}) == {"slice": 0}


def test_bad_lists_are_named(published, tmp_path):
    fractions = [(0.5, 0.5), (0.5, 0.6, 0.1)]
    refuses_each(decathlon_slices, {"data_list": published, "split": "train"}, fractions=fractions, seed=[-1])
    empty = {"fractions": (0.7, 0.0, 0.3)}
    refuses(ValueError, "'validation' is empty", decathlon_slices, published, "validation", **empty)
    refuses(ValueError, "item . has 1 image channels, channel=1", decathlon_slices, published, "train", channel=1)
    path = tmp_path / "dataset.json"
    for text, named in (("no JSON", "a JSON object"), ("[]", "a JSON object"), ('{"test": []}', "no 'training'")):
        path.write_text(text)
        refuses(ValueError, named, decathlon_slices, path, "train")
    item, _, _ = write_item(tmp_path, "case0")
    for broken, error, named in (
        ({"image": item["image"]}, ValueError, "item 0 of the data list lacks label"),
        ({"label": item["label"]}, ValueError, "item 0 of the data list lacks image"),
        ({**item, "label": [None]}, ValueError, "item 0 must have labels"),
        ({**item, "label": "gone.nii.gz"}, FileNotFoundError, r"no file gone\.nii\.gz"),
        ({**item, "image": "dataset.json"}, ValueError, r"dataset\.json must be a NIfTI"),
    ):
        write_list(tmp_path, training=[broken])
        refuses(error, named, decathlon_slices, path, "train", fractions=(1, 0, 0))
