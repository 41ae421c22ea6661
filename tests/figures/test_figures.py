"""Figures show the numbers they are given, keep no global state, are saved whole, and refuse bad input."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest
import torch
from helper import random_tensor, refuses

from infomri_monai.figures import (
    calibration_figure,
    mask_figure,
    rate_distortion_figure,
    reconstruction_figure,
    save_figure,
    training_figure,
)
from infomri_monai.metrics import error_by_sigma, psnr
from infomri_monai.sampling import PatternGenerationNetwork
from infomri_monai.systems import ReconstructionResult

GRID = (16, 12)


def result_for(dtype=torch.complex64, batch=2, lines=False):
    image = random_tensor((batch, 1, *GRID), dtype)
    mask = (torch.rand(batch, 1, 1 if lines else GRID[0], GRID[1]) < 0.4).float()
    log_variance = random_tensor((batch, 1, *GRID), torch.float32, 2) - 4
    zero_filled = (0.5 * image).to(torch.complex64)
    kspace, ratio = torch.zeros_like(zero_filled), mask.flatten(1).mean(1)
    return ReconstructionResult(
        0.9 * image, log_variance, zero_filled, kspace, mask, mask, ratio, log_variance - 1
    ), image


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_masks_are_the_policys(axis):
    policy, ratios = PatternGenerationNetwork(GRID, readout_axis=axis), [0.25, 0.5, 1.0]
    figure = mask_figure(policy, ratios, GRID, torch.Generator().manual_seed(0))
    with torch.no_grad():
        sample = policy(ratios, GRID, torch.Generator().manual_seed(0))
    for i in range(3):
        np.testing.assert_array_equal(figure.axes[i].images[0].get_array(), sample.mask[i, 0].expand(GRID))
        shown = np.asarray(figure.axes[3 + i].images[0].get_array())
        np.testing.assert_allclose(shown, sample.probabilities[i, 0].expand(GRID), rtol=1e-6)
        assert f"{float(sample.ratio[i]):.4f}" in figure.axes[i].get_xlabel()


@pytest.mark.filterwarnings("ignore:a real target holds negative")  # normal deviates, compared by magnitude
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("lines", [False, True])
def test_reconstruction_panels(dtype, lines):
    result, image = result_for(dtype, lines=lines)
    figure = reconstruction_figure(result, image, indices=(1, 0))
    mask, truth, zero_filled, mean, error, sigma = (axes.images[0] for axes in figure.axes[:6])
    np.testing.assert_array_equal(mask.get_array(), result.mask[1, 0].expand(GRID))
    np.testing.assert_allclose(error.get_array(), (image.abs() - result.mean.abs())[1, 0].abs(), rtol=1e-6)
    np.testing.assert_allclose(sigma.get_array(), torch.exp(0.5 * result.magnitude_log_variance[1, 0]), rtol=1e-5)
    highest = pytest.approx(float(image[1].abs().max()))
    assert truth.get_clim() == zero_filled.get_clim() == mean.get_clim() == (0, highest)
    assert error.get_clim() == sigma.get_clim()
    assert f"{float(psnr(result.mean, image)[1]):.2f} dB" in figure.axes[3].get_title()
    assert f"{float(psnr(result.zero_filled, image)[1]):.2f} dB" in figure.axes[2].get_title()


def test_all_zero_image_can_be_drawn(tmp_path):
    result, image = result_for()
    figure = reconstruction_figure(result._replace(mean=torch.zeros_like(image)), torch.zeros_like(image))
    save_figure(figure, tmp_path / "zero.png")
    assert (tmp_path / "zero.png").stat().st_size > 0
    assert all(np.isfinite(axes.images[0].get_clim()).all() for axes in figure.axes if axes.images)


def test_rate_distortion_has_means_and_spread():
    curves = {"learned": {0.2: [30.0, 32.0], 0.1: [28.0, 28.0]}, "fixed": {0.1: 26.0, 0.2: 29.0}}
    axes = rate_distortion_figure(curves, quantity="PSNR [dB]").axes[0]
    learned, fixed = axes.lines
    np.testing.assert_allclose(learned.get_xydata(), [[10, 28], [20, 31]])
    np.testing.assert_allclose(fixed.get_xydata(), [[10, 26], [20, 29]])
    (band,) = axes.collections
    vertices = band.get_paths()[0].vertices
    np.testing.assert_allclose([vertices[:, 1].min(), vertices[:, 1].max()], [28, 31 + 2**0.5])
    assert axes.get_ylabel() == "PSNR [dB]"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["learned", "fixed"]


def test_training_curves():
    curves = {"training": ([1, 2, 3], [3.0, float("nan"), 1.0]), "validation": ([1, 3], [3.0, 2.0])}
    figure = training_figure({"loss [nats]": curves, "PSNR [dB]": {"ratio 0.25": ([1], [20.0])}}, title="run")
    np.testing.assert_allclose(figure.axes[0].lines[1].get_xydata(), [[1, 3], [3, 2]])
    assert figure.axes[1].get_ylabel() == "PSNR [dB]"


def test_calibration_points_and_diagonal():
    result, image = result_for()
    sigma, error = error_by_sigma(image, result.mean, result.log_variance, bins=6)
    error[0] = 0  # cannot be shown on a logarithmic axis
    axes = calibration_figure({"ratio 0.25": (sigma, error)}).axes[0]
    diagonal, curve = axes.lines
    np.testing.assert_allclose(*diagonal.get_data())
    np.testing.assert_allclose(curve.get_xydata(), torch.stack([sigma, error], 1)[1:])


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_saved_whole_and_without_global_state(tmp_path, suffix):
    before = dict(matplotlib.rcParams)
    figure = rate_distortion_figure({"learned": {0.1: 28.0}})
    save_figure(figure, tmp_path / "new" / f"curve.{suffix}")
    assert [file.name for file in (tmp_path / "new").iterdir()] == [f"curve.{suffix}"]
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


@pytest.mark.parametrize("name", ["curve", "curve.doc"])
def test_refuses_unknown_formats(tmp_path, name):
    figure = rate_distortion_figure({"learned": {0.1: 28.0}})
    refuses(ValueError, "path must end in one of", save_figure, figure, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves is empty"),
        ({"a": {}}, "is empty; give at least one ratio"),
        ({"a": {0.1: []}}, "is empty; give at least one ratio"),
        ({"a": {1.5: 3.0}}, r"must lie in \(0, 1\]"),
        ({"a": {0.5: float("nan")}}, "must be finite"),
    ],
)
def test_rate_distortion_refuses(curves, message):
    refuses(ValueError, message, rate_distortion_figure, curves)


def test_others_refuse():
    result, image = result_for()
    refuses(ValueError, "indices must name images", reconstruction_figure, result, image, indices=(2,))
    refuses(ValueError, "indices must name images", reconstruction_figure, result, image, indices=())
    refuses(ValueError, "like the mean", reconstruction_figure, result, image[..., 1:])
    refuses(ValueError, "two axes to be drawn", mask_figure, PatternGenerationNetwork((4, 4, 4)), [0.5], (4, 4, 4))
    for panels in ({}, {"loss": {}}):
        refuses(ValueError, "at least one panel", training_figure, panels)
    refuses(ValueError, "2 steps but 1 values", training_figure, {"loss": {"training": ([1, 2], [0.5])}})
    refuses(ValueError, "points is empty", calibration_figure, {})
    refuses(ValueError, "no bin with a positive", calibration_figure, {"a": (torch.ones(3), torch.zeros(3))})
    refuses(ValueError, "two tensors of shape", calibration_figure, {"a": (torch.ones(3), torch.ones(2))})
