"""What fails at the first validation fails when the trainer is made, and the trial changes nothing of the training."""

from __future__ import annotations

import pytest
import torch
from helper import refuses
from tiny_runs import RATIOS, evaluator, tiny_data, tiny_system, trainer

from infomri_monai.handlers import RatioSweepHandler, TryValidation
from infomri_monai.metrics import RateDistortion


def made(system, training=None, volume_key=None, key_metric="psnr", **data):
    """A trainer that tries its validation."""
    quality = RatioSweepHandler(RateDistortion(), RATIOS, volume_key=volume_key)
    validator = evaluator(system, key_metric={key_metric: quality}, **data)
    trial = TryValidation(validator, quality, tiny_data() if training is None else training)
    return trainer(system, [trial]), quality


def test_the_training_is_the_same_with_it():
    weights = []
    for tried in (False, True):
        torch.manual_seed(0)
        system = tiny_system()
        engine = made(system, volume_key="volume")[0] if tried else trainer(system)
        random = torch.rand(1)
        engine.run()
        weights.append([random, *system.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_nothing_of_it_is_kept():
    system = tiny_system().train()
    _, quality = made(system)
    assert system.training
    assert quality.table is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"items": 0}, "validation_data holds no image"),
        ({"volume_key": "subject"}, "volume_key 'subject' is no key of the data, which have .*'volume'"),
        ({"key_metric": "dice"}, "key metric must be one of .*psnr.*, got 'dice'"),
        ({"training": [{"image": torch.ones(1, 8, 8)}]}, r"shape \(1, 16, 18\), those of the training \(1, 8, 8\)"),
        ({"training": [{"img": torch.ones(1, 8, 8)}]}, "cannot be validated with: image"),
    ],
)
def test_what_a_validation_would_refuse(wrong, message):
    refuses(ValueError, f"validation_data.*{message.removeprefix('validation_data')}", made, tiny_system(), **wrong)
