"""The agreement of a batch: the right numbers, computed once for all handlers that ask."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from ignite.engine import Events
from known_cases import CASES, RATIOS, STRUCTURES, evaluator
from monai.utils import CommonKeys

from infomri_monai.handlers import CalibrateTriage, CaseTable, EvaluationWorklist
from infomri_monai.handlers import SegmentationFigures as Figures
from infomri_monai.handlers import SegmentationQualityHandler as Quality
from infomri_monai.handlers.sweep import batch_agreement
from infomri_monai.triage import sample_agreement


@pytest.fixture
def computed(monkeypatch):
    """Samples whose agreement was computed, batch by batch."""
    batches = []
    monkeypatch.setattr(
        "infomri_monai.handlers.sweep.sample_agreement",
        lambda samples: (batches.append(samples), sample_agreement(samples))[1],
    )
    return batches


@pytest.mark.parametrize("order", list(permutations(range(3)))[::2])
def test_handlers_in_any_order_compute_it_once_a_batch(computed, tmp_path, monkeypatch, order):
    monkeypatch.setattr("infomri_monai.handlers.segmentation.save_figure", lambda figure, path: None)
    quality = Quality(RATIOS, "known", STRUCTURES, multi_label=True)
    three = [CaseTable(RATIOS, tmp_path), EvaluationWorklist(RATIOS, tmp_path), Figures(quality, tmp_path)]
    engine = evaluator([quality, *(three[i] for i in order)])
    CalibrateTriage(engine, tmp_path / "triage.json")
    engine.run()
    assert [len(samples) for samples in computed] == [4, 4, 2]  # five cases, two a batch, at two ratios
    engine.run()
    assert len(computed) == 6


@pytest.mark.parametrize("samples", [1, 4])
def test_it_is_that_of_the_samples_and_not_defined_for_one(samples):
    engine = evaluator(samples=samples)
    found, expected = [], []

    @engine.on(Events.ITERATION_COMPLETED)
    def keep(engine):
        drawn = engine.state.output[CommonKeys.PRED].samples
        found.append(batch_agreement(engine))
        expected.append(sample_agreement(drawn) if samples > 1 else torch.full((len(drawn),), torch.nan))
        assert batch_agreement(engine) is found[-1]

    engine.run()
    assert len(torch.cat(found)) == len(CASES) * len(RATIOS)
    torch.testing.assert_close(torch.cat(found), torch.cat(expected), equal_nan=True)
