"""The pictures that an evaluation of classifications leaves show the evaluation's numbers; they are caught before being saved."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from classified import rows_of
from helper import refuses
from monai.networks.nets import resnet10
from monai.utils import CommonKeys
from small_engines import replay
from tiny_runs import GRID, RATIOS

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.handlers import ClassificationFigures, RatioSweepHandler
from infomri_monai.information import MarginalEntropy
from infomri_monai.metrics import ClassificationQuality
from infomri_monai.metrics.auroc import roc_curve
from infomri_monai.metrics.classification import class_accuracy
from infomri_monai.networks import ImageClassifier
from infomri_monai.sampling import PatternGenerationNetwork
from infomri_monai.systems import ClassificationSystem

#: of the whole sweep, in an order of its own
SWEEP = (RATIOS[1], RATIOS[2], RATIOS[0])
TIMES = ["2.22×", "3.33×", "5×"]
ALL = ["entropy_map", "examples", "masks", "performance", "predictive_entropy", "reliability", "roc"]
#: classes, independent labels
KINDS = [(2, False), (10, False), (3, True)]
EACH = 6


def make_system(classes, multi_label):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = resnet10(spatial_dims=2, n_input_channels=2, num_classes=classes, feed_forward=True)
        policy = PatternGenerationNetwork(GRID)
    entropy = MarginalEntropy(*torch.rand(2, *GRID, generator=torch.Generator().manual_seed(0)), noise_std=0.1)
    network = ImageClassifier(backbone, classes, multi_label=multi_label)
    return ClassificationSystem(policy, FourierMeasurement(), network, entropy).eval()


def make_outputs(system, classes, multi_label):
    """Two batches of six images, each at three ratios; the answers of an untrained network are made to differ."""
    generator, batches = torch.Generator().manual_seed(0), []
    ratio = torch.tensor(SWEEP).repeat_interleave(EACH)
    for start in (0, 4):
        image = torch.rand(EACH, 1, *GRID, generator=generator).repeat(3, 1, 1, 1)
        label = (start + torch.arange(EACH)) % classes
        if multi_label:
            label = torch.nn.functional.one_hot(label, classes).float()
        posterior = system.infer(image, ratio, 2, generator)
        p = torch.randn(posterior.probabilities.shape, generator=generator)
        p = p.sigmoid() if multi_label else p.softmax(1)
        posterior = posterior._replace(probabilities=p, entropy=system.network.entropy(p))
        values = {CommonKeys.IMAGE: image, CommonKeys.LABEL: label.repeat(3, *[1] * (label.ndim - 1))}
        batches.append(values | {CommonKeys.PRED: posterior})
    return batches


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}{' labels' if kind[1] else ' classes'}")
def case(request):
    system = make_system(*request.param)
    return (*request.param, system, make_outputs(system, *request.param))


def run(case, folder, entropy=True, names=None, **options):
    classes, multi_label, system, outputs = case
    sweep = options.pop("sweep", SWEEP)
    quality = RatioSweepHandler(ClassificationQuality("tiny", classes, names, multi_label, bootstrap=20), sweep)
    figures = ClassificationFigures(quality, system.policy, system.entropy if entropy else None, folder, **options)
    replay(outputs, quality, figures)
    return quality


def joined(case, key, field=None):
    return torch.cat([output[key] if field is None else getattr(output[key], field) for output in case[3]])


def test_all_pictures_are_saved_and_are_pictures(case, tmp_path):
    run(case, tmp_path / "new", measurement=case[2].measurement)
    found = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in found] == [f"{name}.png" for name in ALL]
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in found)


def test_performance_is_the_tables(case, caught, tmp_path):
    quality = run(case, tmp_path)
    axes = {a.get_ylabel(): a for a in caught["performance"].axes}
    area = "AUROC of class_1" if case[0] == 2 else f"AUROC, mean of {case[0]}"
    assert list(axes)[:2] == ["accuracy", area]
    for label, name in (("accuracy", "accuracy"), (area, "auroc")):
        expected = sorted((row.acceleration, *getattr(row, name)) for row in quality.table.rows)
        line, _, (bars,) = axes[label].containers[0]
        np.testing.assert_allclose(line.get_xydata(), [row[:2] for row in expected])
        drawn = [segment[:, 1] for segment in bars.get_segments() if len(segment)]
        np.testing.assert_allclose(drawn, [row[2:] for row in expected if not math.isnan(row[2])])
    assert caught["performance"].get_supxlabel() == "bars: 95 % bootstrap interval over images"


def test_roc_and_uncertainty_are_of_every_image_and_ratio(case, caught, tmp_path):
    run(case, tmp_path)
    classes, multi_label = case[:2]
    p, label = joined(case, CommonKeys.PRED, "probabilities"), joined(case, CommonKeys.LABEL)
    targets = label if multi_label else torch.nn.functional.one_hot(label, classes)
    ratio = torch.tensor(SWEEP).repeat_interleave(EACH).repeat(2)
    right = class_accuracy(p, label, multi_label) == 1
    scored = [1] if classes == 2 else list(range(classes))
    shown = [axes for axes in caught["roc"].axes if axes.get_title()]
    assert [axes.get_title() for axes in shown] == [f"{'label' if multi_label else 'class'}_{c}" for c in scored]
    for i, s in enumerate(sorted(SWEEP, reverse=True)):
        for axes, c in zip(shown, scored, strict=True):
            curve = roc_curve(p[ratio == s, c], targets[ratio == s, c])
            np.testing.assert_allclose(axes.lines[1 + i].get_xydata(), torch.stack(list(curve), 1))
        histogram = caught["predictive_entropy"].axes[i]
        assert histogram.get_title().split(":")[0] == TIMES[i]
        counts = {"right": int((right & (ratio == s)).sum()), "wrong": int((~right & (ratio == s)).sum())}
        said = [f"{n} {word}" for word, n in counts.items() if n]
        assert [text.get_text() for text in histogram.get_legend().get_texts()] == said
        highest = classes * math.log(2) if multi_label else math.log(classes)
        assert histogram.get_xlim()[1] == pytest.approx(highest, rel=1e-4)


def test_masks_and_map_are_the_policys(case, caught, tmp_path):
    run(case, tmp_path, seed=5)
    system, masks, maps = case[2], caught["masks"].axes, caught["entropy_map"].axes
    with torch.no_grad():
        sample = system.policy(sorted(SWEEP, reverse=True), GRID, torch.Generator().manual_seed(5))
    for i, nats in enumerate(system.entropy(sample.mask)):
        np.testing.assert_array_equal(masks[i].images[0].get_array(), sample.mask[i, 0])
        assert masks[i].get_xlabel().endswith(f"\nĤ {float(nats):.4g} nats".replace("-", "−"))
        assert maps[2 + i].get_title() == f"probability, {TIMES[i]}"
        np.testing.assert_allclose(maps[2 + i].images[0].get_array(), sample.probabilities[i, 0], rtol=1e-6)
    np.testing.assert_allclose(maps[0].images[0].get_array(), system.entropy.position_entropy())


def test_one_ratio_and_no_entropy(caught, tmp_path):
    """Examples take turns between the classes."""
    system = make_system(2, False)
    output = make_outputs(system, 2, False)[0]
    first = {key: value[:EACH] for key, value in output.items() if key != CommonKeys.PRED}
    first[CommonKeys.PRED] = rows_of(output[CommonKeys.PRED], slice(EACH))
    first[CommonKeys.LABEL] = torch.tensor([0, 0, 0, 1, 0, 1])
    case, names = (2, False, system, [first]), ("healthy", "lesion")
    run(case, tmp_path, entropy=False, names=names, sweep=SWEEP[:1], measurement=system.measurement)
    assert sorted(caught) == [name for name in ALL if name != "entropy_map"]
    assert caught["roc"].axes[0].get_title() == "lesion"
    figure, posterior, image = caught["examples"], first[CommonKeys.PRED], first[CommonKeys.IMAGE]
    assert figure.get_suptitle() == "Classified at 3.33×"
    assert [text.get_text() for text in figure.axes[3].get_yticklabels()] == ["healthy", "lesion"]
    zero_filled = system.measurement.zero_filled(image, posterior.mask).abs()
    for row, place in enumerate((0, 3, 1, 5)):
        truth, mask, seen, bars = figure.axes[4 * row : 4 * row + 4]
        np.testing.assert_allclose(truth.images[0].get_array(), image[place, 0], rtol=1e-6)
        np.testing.assert_array_equal(mask.images[0].get_array(), posterior.mask[place, 0].expand(GRID))
        np.testing.assert_allclose(seen.images[0].get_array(), zero_filled[place, 0], atol=1e-6)
        np.testing.assert_allclose([bar.get_width() for bar in bars.patches], posterior.probabilities[place], rtol=1e-6)


def test_a_class_that_no_image_has_leaves_a_hole(caught, tmp_path):
    case = (2, False, make_system(2, False))
    outputs = make_outputs(case[2], 2, False)
    for output in outputs:
        output[CommonKeys.LABEL] = torch.zeros_like(output[CommonKeys.LABEL])
    run((*case, outputs), tmp_path)
    assert sorted(caught) == ALL
    assert [axes.get_ylabel() for axes in caught["performance"].axes] == ["accuracy"]
    said = [text.get_text() for text in caught["roc"].axes[0].get_legend().get_texts()]
    assert said == [f"{times}: one class only" for times in TIMES]


def test_refuses(case, tmp_path):
    refuses(ValueError, "examples must be at least 1, got 0", run, case, tmp_path, examples=0)
    refuses(ValueError, "labels must be different names", run, case, tmp_path, labels=["one"])
