"""The attribute probe: it finds what is there, not what is not, and says why where it cannot run."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from audits import audit, entries, pooled_classifier, run
from helper import refuses
from monai.data import Dataset
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from torch import nn

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.audit.probe import _row, attribute_values, evaluate_probe
from infomri_monai.audit.scene import Budget
from infomri_monai.networks import ImageClassifier
from infomri_monai.sampling import UniformRandom

LONG = {"max_steps": 120, "val_interval": 30, "images": (96, 32, 64)}


def test_an_attribute_that_is_there_is_inferred(tmp_path):
    report = run(tmp_path, attribute="side", ratios=[0.5], **LONG).report
    row = report.probe.rows[0]
    assert row.accuracy > 0.9
    assert report.probe.full.accuracy > 0.95
    assert report.probe.full.ratio == 1.0
    assert "can be inferred better than by guessing" in report.markdown()
    labels = [entry["attribute"] for entry in entries(64, 2)]
    train = [entry["attribute"] for entry in entries(96, 0)]
    assert row.majority_rate == np.mean(np.array(labels) == np.bincount(train).argmax())


def test_a_coin_is_not(tmp_path):
    made = run(tmp_path, attribute="coin", ratios=[0.5], **LONG)
    report = made.report
    assert report.probe.rows == []
    assert list(made.probe.done) == ["attribute_probe_fully_sampled"]  # nothing is trained on the policy's measurements
    assert abs(report.probe.reference.balanced_accuracy - 0.5) < 0.2
    assert not (tmp_path / "attribute_probe.csv").exists()
    text = report.markdown()
    assert "The probe does not learn `attribute` even from the full image: no statement" in text
    assert "can be inferred better than by guessing" not in text


def test_the_reference_is_fully_sampled_whatever_the_policy(tmp_path):
    """The default probe is a small ResNet."""
    made = run(tmp_path, attribute="side", policy=UniformRandom(readout_axis=1), probe=None)
    assert len(made.report.probe.rows) == 2
    scene, ratios = made.probe.trials["attribute_probe_fully_sampled"]
    assert ratios == [1.0]
    assert scene.policy(1.0, (16, 16)).mask.min() == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attribute": None}, "the train, validation, test data has entries without `attribute`"),
        ({"attribute_key": None}, "none was asked for"),
        ({"train_data": [*entries(8), {"image": torch.ones(1, 16, 16)}]}, "the train data has entries"),
        ({"test_data": [e | {"attribute": 1} for e in entries(8)]}, "has only one value"),
    ],
)
def test_skipped_with_words(tmp_path, changes, reason):
    """A batch of one: collating needs the key in all entries or none."""
    settings = {"attribute": "side", "batch_size": 1, "max_steps": 2, "val_interval": 2} | changes
    report = run(tmp_path, **settings).report
    assert reason in report.probe.skipped
    assert "No attribute probe" in report.markdown()
    assert not report.probe.rows
    assert not (tmp_path / "attribute_probe.csv").exists()


def test_a_given_network_is_not_changed(tmp_path):
    network = pooled_classifier()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    run(tmp_path, attribute="side", probe=network)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_refuses_too_few_classes(tmp_path):
    data = [entry | {"attribute": index % 3} for index, entry in enumerate(entries(9))]
    three = {"train_data": data, "validation_data": data, "test_data": data}
    refuses(ValueError, "at least 3 exclusive classes", run, tmp_path, **three)


@pytest.mark.parametrize("value", [0.5, -1, math.nan, -math.inf, "1", None, 1j, [1], torch.tensor([1]), np.ones(2)])
def test_refuses_what_is_no_class_number(value):
    data = Dataset([{"attribute": value}])
    refuses(ValueError, "attribute must be a class number >= 0", attribute_values, data, "attribute")


KINDS = (int, bool, float, np.int32, np.uint8, np.float32, np.bool_, torch.tensor, lambda n: torch.tensor(n != 0))


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_any_type_are_class_numbers(kind):
    """Also where a transform makes them."""
    data = Dataset([{"side": n} for n in (0, 1, 1)], transform=lambda entry: {"attribute": kind(entry["side"])})
    assert attribute_values(data, "attribute").tolist() == [0, 1, 1]


def test_a_logit_that_is_not_finite_is_an_error(tmp_path):
    class Broken(ImageClassifier):
        def logits(self, zero_filled, mask=None):
            return super().logits(zero_filled, mask) * math.nan

    broken = Broken(nn.Sequential(nn.Flatten(), nn.Linear(512, 2)))
    refuses(
        RuntimeError,
        "attribute_probe_fully_sampled: non-finite prediction",
        run,
        tmp_path,
        attribute="side",
        probe=broken,
    )
    place, message = audit(tmp_path, attribute="side").scene, "told: non-finite prediction for 16 of a batch of 16"
    test = (place, broken, "attribute", [0.25, 0.5], Budget(batch_size=8), 0, "told")
    refuses(RuntimeError, message + " in the test", evaluate_probe, *test)


def test_scores_are_scikit_learns():
    generator = np.random.default_rng(0)
    label, predicted = generator.integers(0, 3, 200), generator.integers(0, 3, 200)
    predicted[::2] = label[::2]
    row = _row(0.25, predicted, label, majority=2)
    assert row.accuracy == accuracy_score(label, predicted)
    assert row.balanced_accuracy == pytest.approx(balanced_accuracy_score(label, predicted))
    assert (row.majority_rate, row.chance) == (np.mean(label == 2), 1 / 3)


def test_standard_errors_cover_at_their_rate():
    """Of tests of 150 images about 95 % contain the true accuracies within 1.96 errors."""
    generator, deviations = np.random.default_rng(1), []
    for _ in range(400):
        label = (generator.random(150) < 0.3).astype(int)
        right = generator.random(150) < np.where(label, 0.6, 0.9)
        row = _row(0.25, np.where(right, label, 1 - label), label, majority=0)
        plain = (row.accuracy - 0.81) / row.accuracy_error
        deviations.append((plain, (row.balanced_accuracy - 0.75) / row.balanced_error))
    assert np.allclose(np.mean(np.abs(deviations) < 1.96, 0), 0.95, atol=0.035)


class Recording(ImageClassifier):
    """Keeps the zero-filled images it is shown in evaluation."""

    def __init__(self, shown):
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(512, 2)))
        self.shown = shown

    def logits(self, zero_filled, mask=None):
        if not self.training:
            self.shown.append(zero_filled)
        return super().logits(zero_filled, mask)


@pytest.mark.parametrize(("ratio", "policy"), [(1.0, None), (0.25, UniformRandom())])
def test_the_measurement_has_the_defenders_noise(tmp_path, ratio, policy):
    """Of an orthonormal transform the image's noise has sigma times the root of the measured share, per real component."""
    sigma, shown = 0.3, []
    for noise in (None, ComplexGaussianNoise(sigma, reference="absolute")):
        changes = {"measurement": FourierMeasurement(noise=noise), "policy": policy or UniformRandom()}
        place = audit(tmp_path, attribute="side", images=(8, 8, 64), **changes).scene
        evaluate_probe(place, Recording(parts := []), "attribute", [ratio], Budget(), 0, "told")
        shown.append(torch.cat(parts))
    difference = shown[1] - shown[0]
    assert difference.shape == (64, 2, 16, 16)
    assert float(difference.std()) == pytest.approx(sigma * math.sqrt(ratio), rel=0.03)
    assert abs(float(difference.mean())) < 0.01


def test_the_probe_meets_the_attackers_measurement(tmp_path):
    made = audit(tmp_path, attribute="side", measurement=FourierMeasurement(noise=ComplexGaussianNoise(1e-2)))
    assert all(scene.measurement is made.scene.measurement for scene, _ in made.probe.trials.values())
