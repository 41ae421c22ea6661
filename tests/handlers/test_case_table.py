"""Every image's numbers of an evaluation, against the metrics called on that image alone."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from helper import refuses
from monai.utils import CommonKeys
from small_engines import replay

from infomri_monai.figures import ged_by_samples_figure
from infomri_monai.handlers import CaseTable
from infomri_monai.metrics import dice_to_raters, energy_distance, volume_coverage
from infomri_monai.metrics.structures import structure_masks
from infomri_monai.systems import SegmentationPosterior
from infomri_monai.triage import sample_agreement

GRID = (6, 7)
RATIOS = (0.25, 0.0625)  # not ascending
CLASSES, RATERS, SAMPLES = 3, 3, 5
COUNTS = (1, 2, 4, 8)


def posterior(images, samples, seed):
    """Random segmentations of some images."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(0, CLASSES, (images, samples, *GRID), generator=generator)
    masks = structure_masks(maps, CLASSES).to(torch.uint8)
    probabilities = torch.rand(images, CLASSES, *GRID, generator=generator)
    entropy = torch.rand(images, 1, *GRID, generator=generator)
    nothing = [torch.zeros(images, 1, *GRID)] * 5
    return SegmentationPosterior(masks, masks[:, 0], probabilities, entropy, *nothing, torch.zeros(images))


def outputs(samples=SAMPLES, sizes=(2, 1)):
    """Batches of images repeated ratio by ratio; the third rater of every batch's first image is missing."""
    batches = []
    for seed, images in enumerate(sizes):
        generator = torch.Generator().manual_seed(100 + seed)
        label = torch.randint(0, CLASSES, (images, RATERS, *GRID), generator=generator).to(torch.int8)
        label[0, 2] = -1
        prediction = posterior(images * len(RATIOS), samples, seed)
        batches.append({CommonKeys.PRED: prediction, CommonKeys.LABEL: label.repeat(len(RATIOS), 1, 1, 1)})
    return batches


def by_hand(batches, counts=(1, 2, 4)):
    """Rows by (image, ratio), of one image at a time."""
    rows, before = {}, 0
    for batch in batches:
        prediction, label = batch[CommonKeys.PRED], batch[CommonKeys.LABEL]
        images = len(label) // len(RATIOS)
        for i in range(len(label)):
            raters = structure_masks(label[i : i + 1], CLASSES)
            raters = raters[:, ~raters.isnan().flatten(2).any(2)[0]]  # those who drew
            samples = prediction.samples[i : i + 1]
            dice = torch.stack([dice_to_raters(prediction.majority[i : i + 1], r[None, None]) for r in raters[0]])
            rows[before + i % images + 1, RATIOS[i // images]] = {
                "dice": float(dice.mean()),
                "agreement": float(sample_agreement(samples)) if samples.shape[1] > 1 else math.nan,
                "entropy": float(prediction.entropy[i].mean()),
                "volume_coverage": float(volume_coverage(samples, raters).mean()),
                **{f"ged_{k}": float(energy_distance(samples[:, :k], raters)) for k in counts},
            }
        before += images
    return rows


def written(folder):
    with (folder / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("samples", "times"), [(SAMPLES, 1), (SAMPLES, 2), (1, 1)])
def test_every_image_at_every_ratio_has_the_numbers_of_the_metrics(tmp_path, samples, times):
    """A second run begins anew; single samples have neither agreement nor a picture."""
    batches, drawn = outputs(samples), [k for k in (1, 2, 4) if k <= samples]  # 8 samples were not drawn
    replay(batches, CaseTable(RATIOS, tmp_path / "report", COUNTS), epochs=times)
    rows, expected = written(tmp_path / "report"), by_hand(batches, drawn)
    keys = [(int(row["image"]), float(row["ratio"])) for row in rows]
    assert sorted(keys) == sorted(expected)
    columns = ["dice", "agreement", "entropy", "volume_coverage", *(f"ged_{k}" for k in drawn)]
    assert list(rows[0]) == ["image", "ratio", "acceleration", *columns]
    for key, row in zip(keys, rows, strict=True):
        assert float(row["acceleration"]) == 1 / key[1]
        found = {name: float(row[name] or "nan") for name in columns}
        assert found == pytest.approx(expected[key], abs=1e-6, nan_ok=True)
    assert (tmp_path / "report" / "ged_by_samples.png").exists() == (samples > 1)


def test_means_by_ratio_ascend_in_ratio_and_are_those_of_the_rows(tmp_path):
    batches = outputs()
    handler = CaseTable(RATIOS, tmp_path, COUNTS)
    assert handler.mean_ged() == {}
    replay(batches, handler)
    expected, means = by_hand(batches), handler.mean_ged()
    assert list(means) == sorted(RATIOS)
    for ratio, curve in means.items():
        own = [row for (_, at), row in expected.items() if at == ratio]
        mean = {k: sum(row[f"ged_{k}"] for row in own) / len(own) for k in (1, 2, 4)}
        assert curve == pytest.approx(mean, abs=1e-6)


def test_the_picture_shows_the_means_and_says_simulated_raters(tmp_path, monkeypatch):
    drawn = {}

    def figure(curves, title):
        drawn.update(curves=curves, title=title)
        return ged_by_samples_figure(curves, title=title)

    monkeypatch.setattr("infomri_monai.handlers.segmentation.ged_by_samples_figure", figure)
    handler = CaseTable(RATIOS, tmp_path, [4, 1, 2, 2], simulated_raters=True)
    replay(outputs(), handler)
    assert (tmp_path / "ged_by_samples.png").stat().st_size > 5000
    assert "simulated raters" in drawn["title"]
    shown = {name: {k: value for k, (value, _) in curve.items()} for name, curve in drawn["curves"].items()}
    assert shown == {"4×": handler.mean_ged()[0.25], "16×": handler.mean_ged()[0.0625]}
    replay(outputs(), CaseTable(RATIOS, tmp_path / "real"))
    assert "simulated" not in drawn["title"]


def test_an_image_that_nobody_drew_has_empty_fields_and_spoils_no_mean(tmp_path):
    batches = outputs()
    batches[0][CommonKeys.LABEL].view(len(RATIOS), 2, RATERS, *GRID)[:, 1] = -1
    handler = CaseTable(RATIOS, tmp_path, COUNTS)
    replay(batches, handler)
    undrawn = [row for row in written(tmp_path) if row["image"] == "2"]
    assert len(undrawn) == 2
    assert all(row["dice"] == row["ged_1"] == row["ged_4"] == "" and row["agreement"] for row in undrawn)
    curves = handler.mean_ged()
    drawn = [row for row in written(tmp_path) if row["image"] != "2"]
    for ratio in RATIOS:
        own = [float(row["ged_4"]) for row in drawn if float(row["ratio"]) == ratio]
        assert curves[ratio][4] == pytest.approx(sum(own) / len(own))


def test_labels_that_overlap_are_read_as_well(tmp_path):
    batch = outputs(sizes=(2,))[0]
    raters = structure_masks(batch[CommonKeys.LABEL], CLASSES)
    channels = raters.nan_to_num(-1).to(torch.int8)
    replay([batch], CaseTable(RATIOS, tmp_path / "maps"))
    replay([batch | {CommonKeys.LABEL: channels}], CaseTable(RATIOS, tmp_path / "channels"))
    assert written(tmp_path / "maps") == written(tmp_path / "channels")


@pytest.mark.parametrize("counts", [(), (0, 1), (4, -2)])
def test_refuses_counts(tmp_path, counts):
    refuses(ValueError, "counts must be numbers of samples >= 1", CaseTable, RATIOS, tmp_path, counts)
