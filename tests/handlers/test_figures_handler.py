"""Figures and curves that handlers leave in a folder."""

from __future__ import annotations

import struct

import pytest
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


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize("real_valued", [False, True])
def test_an_evaluation_leaves_four_figures(tmp_path, real_valued):
    assert evaluate(tmp_path / "report", real_valued=real_valued) == FIGURES
    for name in FIGURES:
        assert min(png_size(tmp_path / "report" / name)) > 300


def test_a_policy_without_parameters_is_drawn_too(tmp_path):
    assert evaluate(tmp_path, UniformRandom()) == FIGURES


def test_figures_of_the_same_evaluation_have_the_same_pixels(tmp_path):
    for name in ("a", "b"):
        evaluate(tmp_path / name)
    assert (tmp_path / "a" / "masks.png").read_bytes() == (tmp_path / "b" / "masks.png").read_bytes()
