"""The pictures that an evaluation of classifications leaves show the evaluation's numbers; they are caught before being saved."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import refuses
from ignite.engine import Engine
from monai.networks.nets import resnet10
from monai.utils import CommonKeys
from tiny_runs import GRID, RATIOS

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.figures.calibration import roc_curve
from infomri_monai.handlers import ClassificationFigures, RatioSweepHandler
from infomri_monai.information import MarginalEntropy
from infomri_monai.metrics import ClassificationQuality
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


@pytest.fixture
def caught(monkeypatch):
    """File name -> figure, of all figures saved."""
    figures = {}
    monkeypatch.setattr(
        "infomri_monai.handlers.sweep.save_figure", lambda figure, path: figures.update({path.stem: figure})
    )
    return figures


def run(case, folder, entropy=True, epochs=1, **options):
    classes, multi_label, system, outputs = case
    quality = RatioSweepHandler(ClassificationQuality("tiny", classes, None, multi_label, bootstrap=20), SWEEP)
    engine = Engine(lambda _, output: output)
    figures = ClassificationFigures(quality, system.policy, system.entropy if entropy else None, folder, **options)
    for handler in (quality, figures):
        handler.attach(engine)
    engine.run(outputs, max_epochs=epochs)
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
    each = [a for label, a in axes.items() if label.startswith("AUROC of each")]
    assert [len(a.containers) for a in each] == ([case[0]] if case[0] > 2 else [])
    assert caught["performance"].get_suptitle() == "tiny"
    assert caught["performance"].get_supxlabel() == "bars: 95 % bootstrap interval over images"


def test_roc_and_uncertainty_are_of_every_image_and_ratio(case, caught, tmp_path):
    run(case, tmp_path)
    classes, multi_label = case[:2]
    p, label = joined(case, CommonKeys.PRED, "probabilities"), joined(case, CommonKeys.LABEL)
    targets = label if multi_label else torch.nn.functional.one_hot(label, classes)
    ratio = torch.tensor(SWEEP).repeat_interleave(EACH).repeat(2)
    scored = [1] if classes == 2 else list(range(classes))
    shown = [axes for axes in caught["roc"].axes if axes.get_title()]
    assert [axes.get_title() for axes in shown] == [f"{'label' if multi_label else 'class'}_{c}" for c in scored]
    for axes, c in zip(shown, scored, strict=True):
        for line, s in zip(axes.lines[1:], sorted(SWEEP, reverse=True), strict=True):
            at = ratio == s
            curve = roc_curve(p[at, c], targets[at, c])
            np.testing.assert_allclose(line.get_xydata(), torch.stack(list(curve), 1))
    right = class_accuracy(p, label, multi_label) == 1
    for axes, s, times in zip(caught["predictive_entropy"].axes, sorted(SWEEP, reverse=True), TIMES, strict=True):
        assert axes.get_title().split(":")[0] == times
        counts = [int((right & (ratio == s)).sum()), int((~right & (ratio == s)).sum())]
        said = [f"{n} {word}" for n, word in zip(counts, ("right", "wrong"), strict=True) if n]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == said
        assert axes.get_xlim()[1] == pytest.approx(
            classes * math.log(2) if multi_label else math.log(classes), rel=1e-4
        )


def test_reliability_is_of_every_ratio(case, caught, tmp_path):
    quality = run(case, tmp_path)
    upper, lower = caught["reliability"].axes
    assert [line.get_label().split(":")[0] for line in upper.lines[1:]] == TIMES
    for line, s in zip(upper.lines[1:], sorted(quality.collector.diagrams(), reverse=True), strict=True):
        diagram = quality.collector.diagrams()[s]
        filled = diagram.share > 0
        np.testing.assert_allclose(line.get_ydata(), diagram.frequency[filled])
    assert lower.get_ylabel() == ("labels [%]" if case[1] else "images [%]")


def test_masks_and_map_are_the_policys(case, caught, tmp_path):
    run(case, tmp_path, seed=5)
    system = case[2]
    with torch.no_grad():
        sample = system.policy(sorted(SWEEP, reverse=True), GRID, torch.Generator().manual_seed(5))
    nats = [f"{float(h):.4g}".replace("-", "−") for h in system.entropy(sample.mask)]
    for i in range(3):
        axes = caught["masks"].axes[i]
        np.testing.assert_array_equal(axes.images[0].get_array(), sample.mask[i, 0])
        assert axes.get_xlabel().endswith(f"\nĤ {nats[i]} nats")
        shown = caught["entropy_map"].axes[2 + i]
        assert shown.get_title() == f"probability, {TIMES[i]}"
        np.testing.assert_allclose(shown.images[0].get_array(), sample.probabilities[i, 0], rtol=1e-6)
    np.testing.assert_allclose(caught["entropy_map"].axes[0].images[0].get_array(), system.entropy.position_entropy())


def test_examples_are_of_different_classes_at_the_middle_ratio(case, caught, tmp_path):
    system, outputs = case[2:]
    run(case, tmp_path, measurement=system.measurement, examples=3)
    figure, posterior, image = caught["examples"], outputs[0][CommonKeys.PRED], outputs[0][CommonKeys.IMAGE]
    assert figure.get_suptitle() == "Classified at 3.33×"
    # the middle ratio is the first of the sweep; the first three images are of classes in turn, or all have a label
    for row, place in enumerate((0, 1, 2)):
        truth, mask, seen, bars = figure.axes[4 * row : 4 * row + 4]
        np.testing.assert_allclose(truth.images[0].get_array(), image[place, 0], rtol=1e-6)
        np.testing.assert_array_equal(mask.images[0].get_array(), posterior.mask[place, 0].expand(GRID))
        expected = system.measurement.zero_filled(image[place : place + 1], posterior.mask[place : place + 1])[
            0, 0
        ].abs()
        np.testing.assert_allclose(seen.images[0].get_array(), expected, atol=1e-6)
        np.testing.assert_allclose([bar.get_width() for bar in bars.patches], posterior.probabilities[place], rtol=1e-6)


def test_examples_take_turns_between_the_classes(caught, tmp_path):
    system = make_system(2, False)
    outputs = make_outputs(system, 2, False)
    outputs[0][CommonKeys.LABEL] = torch.tensor([0, 0, 0, 1, 0, 1]).repeat(3)
    run((2, False, system, outputs), tmp_path)
    for row, place in enumerate((0, 3, 1, 5)):
        truth = caught["examples"].axes[3 * row]
        np.testing.assert_allclose(truth.images[0].get_array(), outputs[0][CommonKeys.IMAGE][place, 0], rtol=1e-6)


def test_one_ratio_and_no_entropy(caught, tmp_path):
    system = make_system(2, False)
    output = make_outputs(system, 2, False)[0]
    posterior = output[CommonKeys.PRED]
    first = {key: value[:EACH] for key, value in output.items() if key != CommonKeys.PRED}
    first[CommonKeys.PRED] = type(posterior)(*(field[:EACH] for field in posterior))
    quality = RatioSweepHandler(ClassificationQuality("tiny", 2, ("healthy", "lesion"), bootstrap=0), SWEEP[:1])
    engine = Engine(lambda _, values: values)
    for handler in (quality, ClassificationFigures(quality, system.policy, None, tmp_path, labels=("no", "yes"))):
        handler.attach(engine)
    engine.run([first])
    assert sorted(caught) == [name for name in ALL if name != "entropy_map"]
    assert caught["roc"].axes[0].get_title() == "yes"
    assert [text.get_text() for text in caught["examples"].axes[2].get_yticklabels()] == ["no", "yes"]
    assert len(caught["examples"].axes) == 12  # truth, mask and bars of four images
    assert not caught["performance"].get_supxlabel()


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
