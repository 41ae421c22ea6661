"""Figures of the privacy scenario: the plane, masks over beta and the entropy map show the numbers they are given.

The picture of an attack shows the images it is given, in one window a row, and says the right PSNR.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import refuses
from matplotlib.colors import to_hex

from infomri_monai.acquisition.symmetry import redundancy_ratio
from infomri_monai.figures import (
    PrivacyPoint,
    beta_mask_figure,
    entropy_map_figure,
    privacy_utility_figure,
    save_figure,
)
from infomri_monai.figures.privacy import AttackExample, attack_figure
from infomri_monai.figures.style import PALETTE, label_points, styled
from infomri_monai.information import MarginalEntropy
from infomri_monai.metrics import psnr
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom

GRID = (16, 12)
BETAS = (0.0, -1e-5, -3e-4)


def points(ratios=(0.125, 0.25), seeds=3):
    """Two accelerations of a learned method over beta, in no order, and two comparators."""
    shift = np.linspace(-0.5, 0.5, seeds) if seeds > 1 else np.zeros(1)
    found = []
    for i, s in enumerate(ratios):
        for j in (1, 2, 0):
            psnr, accuracy = 25 - 3 * j - 2 * i, 0.98 - 0.01 * j - 0.02 * i
            found.append(PrivacyPoint("InfoMRI", s, BETAS[j], list(accuracy + 0.01 * shift), list(psnr + shift)))
        for name, psnr in (("uniform random", 21.0), ("LOUPE", 26.0)):
            found.append(PrivacyPoint(name, s, None, [0.9 - 0.02 * i] * seeds, [psnr - 2 * i] * seeds))
    return found


def markers(axes):
    """(colour, line style, points) of everything drawn with markers."""
    return [(to_hex(b[0].get_color()).upper(), b[0].get_linestyle(), b[0].get_xydata()) for b in axes.containers]


def test_curves_over_beta_and_comparators():
    """The curves' points are in the order of |beta|; a comparator has one point at each acceleration."""
    figure = privacy_utility_figure({"U-Net": points()}, "AUROC", title="demo")
    (axes,) = figure.axes
    assert (axes.xaxis_inverted(), axes.yaxis_inverted()) == (True, False)
    assert axes.get_ylabel().startswith("AUROC\n")
    assert axes.get_xlabel() == "PSNR of the attacker (U-Net) [dB]\nmore private →"
    drawn = markers(axes)
    curves = [d for d in drawn if len(d[2]) == 3]
    assert [curve[:2] for curve in curves] == [(PALETTE[0], "-"), (PALETTE[1], "--")]  # 4x, then 8x
    np.testing.assert_allclose(curves[0][2], [[23, 0.96], [20, 0.95], [17, 0.94]])
    np.testing.assert_allclose(curves[1][2], [[25, 0.98], [22, 0.97], [19, 0.96]])
    single = sorted((PALETTE.index(d[0]), *d[2][0].round(6)) for d in drawn if len(d[2]) == 1)
    assert single == [(0, 19, 0.88), (0, 24, 0.88), (1, 21, 0.9), (1, 26, 0.9)]
    assert figure.get_suptitle() == "demo"


def test_bars_are_standard_deviations_over_seeds():
    axes = privacy_utility_figure({"U-Net": points((0.25,))}).axes[0]
    bars = next(b for b in axes.containers if len(b[0].get_xydata()) == 3)[2]
    horizontal, vertical = (np.array(lines.get_segments()) for lines in bars)
    np.testing.assert_allclose(horizontal[:, 1, 0] - horizontal[:, 0, 0], 2 * 0.5, rtol=1e-6)  # stdev of -0.5, 0, 0.5
    np.testing.assert_allclose(vertical[:, 1, 1] - vertical[:, 0, 1], 2 * 0.005, rtol=1e-6)


def test_every_point_is_labelled_and_the_legend_says_what_is_what():
    figure = privacy_utility_figure({"U-Net": points()})
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == sorted(2 * ["0", "$10^{-5}$", "$3{\\cdot}10^{-4}$", "4×", "8×"])
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["4×", "8×", "InfoMRI, |β| as labelled", "uniform random", "LOUPE"]
    assert legend.get_title().get_text() == "mean ± standard deviation over 3 seeds"
    one = privacy_utility_figure({"U-Net": points((0.25,), seeds=1)})
    assert one.legends[0].get_title().get_text() == "one seed"
    assert "4×" not in [text.get_text() for text in one.axes[0].texts]  # a single acceleration needs no labels


def test_attackers_have_panels_on_one_scale(tmp_path):
    """Of any number of ratios."""
    given = points([1 / (2 + i) for i in range(9)])
    figure = privacy_utility_figure({"CNN": given, "unrolled": [p._replace(psnr=[30.0] * 3) for p in given]})
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("CNN", "unrolled")
    assert (first.get_xlim(), first.get_ylim()) == (second.get_xlim(), second.get_ylim())
    assert len(first.containers) == 27
    save_figure(figure, tmp_path / "plane.png")


def test_labels_hide_neither_points_nor_one_another():
    with styled(1, 1, 5, 4) as (figure, grid):
        axes = grid[0, 0]
        axes.set(xlim=(0, 1), ylim=(0, 1))
        figure.canvas.draw()
        places = [(0.2, 0.5), (0.24, 0.5), (0.28, 0.52), (0.95, 0.97), (0.02, 0.02)]
        label_points(axes, [(x, y, "text", "black") for x, y in places], [[(0.2, 0.52), (0.28, 0.54)]])
        boxes = [text.get_window_extent() for text in axes.texts]
        corners = [axes.transData.transform(place) for place in places]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert not any(box.contains(*corner) for corner in corners)
            assert axes.bbox.padded(2).contains(box.x0, box.y0)
            assert axes.bbox.padded(2).contains(box.x1, box.y1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": 0.0}, r"ratio must lie in \(0, 1\], got 0.0"),
        ({"ratio": 1.5}, r"ratio must lie in \(0, 1\]"),
        ({"beta": 1e-3}, "beta must be finite and at most 0, or None, got 0.001"),
        ({"beta": math.nan}, "beta must be finite"),
        ({"psnr": [1.0]}, "one value per seed, got 2 and 1"),
        ({"psnr": [], "performance": []}, "one value per seed, got 0 and 0"),
        ({"psnr": [1.0, math.inf]}, "must be finite"),
        ({"performance": [math.nan, 1.0]}, "must be finite"),
    ],
)
def test_plane_refuses(changes, message):
    point = PrivacyPoint("InfoMRI", 0.25, -1e-4, [0.9, 0.91], [20.0, 21.0])
    refuses(ValueError, message, privacy_utility_figure, {"U-Net": [point._replace(**changes)]})
    refuses(ValueError, "twice; give all its seeds in one point", privacy_utility_figure, {"U-Net": [point, point]})


def test_figures_refuse_nothing():
    refuses(ValueError, "attackers is empty", privacy_utility_figure, {})
    refuses(ValueError, r"attackers\['U-Net'\] is empty", privacy_utility_figure, {"U-Net": []})
    refuses(ValueError, "policies is empty", beta_mask_figure, {}, [0.5], GRID)
    refuses(ValueError, "examples is empty", attack_figure, [])


def make_entropy():
    generator = torch.Generator().manual_seed(0)
    variance = torch.rand(2, *GRID, generator=generator) + 0.1
    return MarginalEntropy(*variance, noise_std=0.05)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_masks_over_beta_are_the_policies(axis, tmp_path):
    torch.manual_seed(0)
    policies = {b: PatternGenerationNetwork(GRID, readout_axis=axis) for b in (0.0, -1e-4)}
    policies["uniform random"] = UniformRandom(readout_axis=axis)
    ratios, entropy = [0.25, 0.5], make_entropy()
    figure = beta_mask_figure(policies, ratios, GRID, entropy, seed=3, title="masks")
    axes = np.array(figure.axes[:12]).reshape(4, 3)
    assert [a.get_title() for a in axes[0]] == ["β = 0", "β = −$10^{-4}$", "uniform random"]
    assert [a.get_ylabel() for a in axes[:, 0]] == ["4×: mask", "probability", "2×: mask", "probability"]
    for column, policy in zip(axes.T, policies.values(), strict=True):
        with torch.no_grad():
            sample = policy(ratios, GRID, torch.Generator().manual_seed(3))
        shown = torch.stack([sample.mask, sample.probabilities], 1).flatten(0, 1)[:, 0]
        for panel, values in zip(column, shown, strict=True):
            np.testing.assert_allclose(panel.images[0].get_array(), values.expand(GRID), rtol=1e-6)
        for panel, mask, nats in zip(column[::2], sample.mask, entropy(sample.mask), strict=True):
            redundancy = f"RR {float(redundancy_ratio(mask[0])):.2f}"
            assert panel.get_xlabel() == f"{redundancy}, Ĥ {float(nats):.4g} nats".replace("-", "−")
    save_figure(figure, tmp_path / "masks.png")


def test_masks_over_beta_refuse():
    refuses(ValueError, "two axes to be drawn", beta_mask_figure, {0.0: UniformRandom()}, [0.5], (4, 4, 4))
    for beta in (1e-4, math.nan, -math.inf):
        refuses(ValueError, "must be finite and at most 0", beta_mask_figure, {beta: UniformRandom()}, [0.5], GRID)


@pytest.mark.parametrize("grid", [(16, 12), (15, 9)])
def test_entropy_map(grid, tmp_path, generator):
    """The pixel of DC has 0 in its middle, and the picture's rows run downwards as the array's."""
    entropy = MarginalEntropy(*torch.rand(2, *grid, dtype=torch.float64, generator=generator), noise_std=0.1)
    position, pair, lines = entropy.position_entropy(), entropy.pair_entropy(), torch.rand(1, 1, 1, grid[1])
    learned = {0.25: torch.rand(1, *grid), "lines": lines}
    figure = entropy_map_figure(position, pair, learned, title="map")
    expected = [position, (position - pair).clamp(min=0), learned[0.25][0], lines[0, 0].expand(grid)]
    for axes, values in zip(figure.axes[:4], expected, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), values)
    assert [axes.get_title() for axes in figure.axes[2:4]] == ["probability, 4×", "probability, lines"]
    assert all(axes.get_ylabel().endswith("[nats]") for axes in figure.axes[4:6])
    save_figure(figure, tmp_path / "map.png")
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (right - left, bottom - top) == pytest.approx((1.0, 1.0))
    assert (-top * grid[0], -left * grid[1]) == pytest.approx((grid[0] // 2 + 0.5, grid[1] // 2 + 0.5))
    assert figure.axes[0].yaxis_inverted()


def test_entropy_map_refuses():
    entropy = torch.zeros(GRID)
    for first, second in ((entropy, entropy[1:]), (entropy[0], entropy[0]), (entropy / 0, entropy)):
        refuses(ValueError, "two finite maps of one shape", entropy_map_figure, first, second)
    for shape in ((16, 11), (2, 16, 12), (12,)):
        learned, message = {0.25: torch.zeros(shape)}, r"probabilities\[0.25\] must have shape"
        refuses(ValueError, message, entropy_map_figure, entropy, entropy, learned)
    learned = {"learned": torch.full(GRID, 1.5)}
    refuses(ValueError, r"must lie in \[0, 1\], got 1.5 to 1.5", entropy_map_figure, entropy, entropy, learned)


def example(seed=0, label="ratio 0.25", attackers=("cnn", "unrolled"), grid=(16, 12), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(grid, generator=generator, dtype=dtype) for _ in range(2 + len(attackers))]
    return AttackExample(label, images[0], images[1], dict(zip(attackers, images[2:], strict=True)))


@pytest.mark.filterwarnings("ignore:a real target holds negative")  # normal deviates, compared by magnitude
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_panels_are_the_images_in_one_window(dtype, tmp_path):
    rows = [example(0, dtype=dtype), example(1, "ratio 0.125", dtype=dtype)]
    figure = attack_figure(rows, "title")
    for place, row in enumerate(rows):
        axes = figure.axes[4 * place : 4 * place + 4]
        images = {"zero-filled": row.zero_filled, **row.reconstructions}
        for panel, image in zip(axes, [row.truth, *images.values()], strict=True):
            np.testing.assert_array_equal(panel.images[0].get_array(), image.abs())
            assert panel.images[0].get_clim() == pytest.approx((0, float(row.truth.abs().max())))
        assert axes[0].get_ylabel() == row.label
        decibels = {name: float(psnr(image[None, None], row.truth[None, None])) for name, image in images.items()}
        assert [panel.get_title() for panel in axes[1:]] == [f"{n}, {value:.2f} dB" for n, value in decibels.items()]
    save_figure(figure, tmp_path / "reconstructions.png")


def test_attacks_refuse():
    refuses(ValueError, "same attackers", attack_figure, [example(), example(attackers=("cnn",))])
    for changes in ({"zero_filled": torch.zeros(8, 8)}, {"truth": torch.zeros(1, 16, 12)}):
        refuses(ValueError, r"truth's shape \(H, W\)", attack_figure, [example()._replace(**changes)])
