"""Figures and curves that handlers leave in a folder."""

from __future__ import annotations

import pytest
from PIL import Image
from tiny_runs import RATIOS, evaluator, tiny_system

from infomri_monai.handlers import EvaluationFigures, RatioSweepHandler
from infomri_monai.metrics import RateDistortion
from infomri_monai.sampling import UniformRandom

FIGURES = ["calibration.png", "masks.png", "rate_distortion.png", "reconstructions.png"]


def evaluate(folder, policy=None, real_valued=False):
    system = tiny_system(real_valued)
    system.policy = policy or system.policy
    handler = RatioSweepHandler(RateDistortion(), RATIOS)
    figures = EvaluationFigures(system.policy, handler, folder)
    evaluator(system, [handler, figures], real_valued=real_valued).run()
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(("policy", "real_valued"), [(None, False), (None, True), (UniformRandom(), False)])
def test_an_evaluation_leaves_four_figures(tmp_path, policy, real_valued):
    assert evaluate(tmp_path / "report", policy, real_valued) == FIGURES
    for name in FIGURES:
        assert min(Image.open(tmp_path / "report" / name).size) > 300
