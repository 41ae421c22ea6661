"""What training and evaluating the reconstruction bundle must show alone."""

import math

from bundle_table import RECON, bundles
from running import curve, table


@bundles(RECON)
def test_the_loss_falls_from_epoch_to_epoch(trained):
    losses = [row["loss"] for row in curve(trained)]
    assert losses == sorted(losses, reverse=True)


@bundles(RECON)
def test_a_few_steps_leave_no_image_worse_than_doing_nothing(evaluated):
    for row in table(evaluated / "evaluation"):
        values = {name: value for name, value in row.items() if not name.startswith("volume_")}
        assert all(math.isfinite(value) for value in values.values())
        assert row["psnr"] > row["zero_filled_psnr"] - 0.05
