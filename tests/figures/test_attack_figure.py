"""The picture of an attack shows the images it is given, in one window a row, and says the right PSNR."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from infomri_monai.figures import save_figure
from infomri_monai.figures.privacy import AttackExample, attack_figure
from infomri_monai.metrics import psnr


def example(seed=0, label="ratio 0.25", attackers=("cnn", "unrolled"), grid=(16, 12), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(grid, generator=generator, dtype=dtype) for _ in range(2 + len(attackers))]
    return AttackExample(label, images[0], images[1], dict(zip(attackers, images[2:], strict=True)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_panels_are_the_images_in_one_window(dtype, tmp_path):
    rows = [example(0, dtype=dtype), example(1, "ratio 0.125", dtype=dtype)]
    figure = attack_figure(rows, "title")
    assert len(figure.axes) == 8
    for place, row in enumerate(rows):
        axes = figure.axes[4 * place : 4 * place + 4]
        images = [row.truth, row.zero_filled, *row.reconstructions.values()]
        for panel, image in zip(axes, images, strict=True):
            np.testing.assert_array_equal(panel.images[0].get_array(), image.abs())
            assert panel.images[0].get_clim() == pytest.approx((0, float(row.truth.abs().max())))
        assert axes[0].get_ylabel() == row.label
        for panel, name, image in zip(axes[1:], ["zero-filled", "cnn", "unrolled"], images[1:], strict=True):
            expected = float(psnr(image[None, None], row.truth[None, None]))
            assert panel.get_title() == f"{name}, {expected:.2f} dB"
    save_figure(figure, tmp_path / "reconstructions.png")
    assert (tmp_path / "reconstructions.png").stat().st_size > 0


def test_an_all_zero_truth_is_drawn():
    zero = torch.zeros(16, 16)
    assert len(attack_figure([AttackExample("empty", zero, zero, {"cnn": zero})]).axes) == 3


def test_refusals():
    with pytest.raises(ValueError, match="examples is empty"):
        attack_figure([])
    with pytest.raises(ValueError, match="same attackers"):
        attack_figure([example(), example(attackers=("cnn",))])
    with pytest.raises(ValueError, match=r"truth's shape \(H, W\)"):
        attack_figure([example()._replace(zero_filled=torch.zeros(8, 8))])
    with pytest.raises(ValueError, match=r"truth's shape \(H, W\)"):
        attack_figure([example()._replace(truth=torch.zeros(1, 16, 12))])
