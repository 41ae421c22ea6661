"""
# Write a policy of your own

Everything that chooses k-space positions has one small interface, `SamplingPolicy`: give a mask and the probability
of every position, for any ratio on any grid. This example adds a new law in one file, uses it in a transform and in a
model, and runs the checks that every law of the package has to pass.
"""

# %%
# ## The law
#
# Positions whose density falls off like a Gaussian around the centre of k-space. One method is needed, `draw`. What the
# constructor is given is kept under its own name, so that the same policy can be made again. Checks of ratio and grid,
# whole lines instead of positions, and the realised ratio come from the base class.
#
# Three helpers do the common work: `position_count` rounds a ratio to a number of positions, `scale_to_count` turns a
# density into probabilities with that sum, and `draw_exactly` draws masks with exactly that many positions.

import math

from infomri_monai.sampling import SamplingPolicy
from infomri_monai.sampling.draw import centre_distance, draw_exactly, position_count, scale_to_count


class GaussianDensity(SamplingPolicy):
    """Random positions whose density is a Gaussian around the centre of k-space.

    Args:
        width: standard deviation of the density, in half widths of the grid; positive.
        readout_axis: None for single positions; else whole lines along this axis are drawn.
    """

    def __init__(self, width=0.3, readout_axis=None):
        super().__init__(readout_axis)
        if not width > 0:
            raise ValueError(f"width must be > 0, got {width}.")
        self.width = width

    def draw(self, ratio, positions, generator, acquired):
        distance = centre_distance(positions, ratio.device)
        density = (-0.5 * (distance / self.width) ** 2).exp().clamp_min(1e-9)  # every position keeps a chance
        count = position_count(ratio, math.prod(positions))
        probabilities = scale_to_count(density, count)
        mask = draw_exactly(probabilities, count, generator)
        return mask.reshape(-1, 1, *positions), probabilities.reshape(-1, 1, *positions)


# %%
# ## Look at it

import torch

from infomri_monai.figures import mask_figure

mask_figure(GaussianDensity(), [0.0625, 0.125, 0.25], (96, 96), torch.Generator().manual_seed(0))

# %%
# ## In a transform
#
# It goes wherever a policy goes, and so do whole lines.

from infomri_monai.data import embedded_subjects
from infomri_monai.transforms import SimulateAcquisitiond

sample = embedded_subjects("test", subjects=1, slices_per_subject=1, grid=(96, 96))[0]
for policy in (GaussianDensity(), GaussianDensity(readout_axis=0)):
    measured = SimulateAcquisitiond("image", policy=policy, ratio=0.125).set_random_state(seed=0)(sample)
    print(tuple(measured["mask"].shape), float(measured["ratio"]), tuple(measured["zero_filled"].shape))

# %%
# ## In a model
#
# A *system* joins policy, measurement and network. A short training of a small network on the masks of the new law:

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.figures import reconstruction_figure
from infomri_monai.losses import GaussianNLLLoss
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.systems import ReconstructionSystem

torch.manual_seed(0)
measurement = FourierMeasurement(noise=ComplexGaussianNoise(noise_std=5e-4))
system = ReconstructionSystem(GaussianDensity(), measurement, UnrolledReconstructor(phases=3, channels=8))
heads = embedded_subjects("train", subjects=16, slices_per_subject=4, grid=(64, 64))
images = torch.stack([torch.as_tensor(head["image"]) for head in heads])
loss, optimizer = GaussianNLLLoss(variance_weighting=0.5), torch.optim.Adam(system.parameters(), lr=3e-3)
for step in range(100):
    batch = images[torch.randint(len(images), (8,))]
    ratios = torch.empty(8).uniform_(0.05, 0.35)  # a ratio for every image: one model for all of them
    value = loss(system(batch, ratios), batch)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    if step % 25 == 0 or step == 99:
        print(f"step {step:3}: loss {value.item():.3f}")

test = torch.stack([torch.as_tensor(head["image"]) for head in embedded_subjects("test", 1, 2, grid=(64, 64))])
with torch.no_grad():
    result = system(test, 0.125, torch.Generator().manual_seed(0))
reconstruction_figure(result, test, indices=(0, 1))

# %%
# ## The checks that every law passes
#
# Masks are binary and meet their ratio; probabilities are what many masks show; a seed decides the mask; a saved
# policy comes back; bad ratios are refused; and so on. They are written once, in `tests/sampling/test_policies.py`,
# and a law joins by a line in `tests/sampling/policies.py`. Here the line is added for this run only; `0.005` is how
# far the frequency of a position may be from its probability.

import sys
from pathlib import Path

import pytest

checks = Path("../../tests/sampling").resolve()
sys.path.insert(0, str(checks))
import policies

policies.CASES.clear()
policies.CASES["gaussian_2d"] = policies.Case(lambda grid: GaussianDensity(), 0.005)
policies.CASES["gaussian_1d"] = policies.Case(lambda grid: GaussianDensity(readout_axis=0), 0.02)
quietly = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
outcome = pytest.main([str(checks / "test_policies.py"), *quietly])
assert outcome == 0

# %%
# ## What to change
#
# - A law that learns holds `nn.Parameter`s and is differentiable in `draw`; `PatternGenerationNetwork` and `LOUPE`
#   are the examples.
# - A law that belongs to a grid sets `self.grid` and says in `regrid` how to change it.
# - To keep it for yourself nothing more is needed: a bundle takes any class by its name, `--policy "{'_target_':
#   'my_module.GaussianDensity'}"`. To give it to others, see [Contributing](../contributing.md).
