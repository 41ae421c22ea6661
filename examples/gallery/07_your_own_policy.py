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
# A *system* joins policy, measurement and network. Here the reconstruction bundle's trained network meets masks of the
# new law, which it has never seen, and then trains on them for a few steps.

from pathlib import Path

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.figures import reconstruction_figure
from infomri_monai.losses import GaussianNLLLoss
from infomri_monai.metrics import psnr
from infomri_monai.networks import UnrolledReconstructor, load_network
from infomri_monai.systems import ReconstructionSystem

weights = Path("../../bundles/infomri_recon/models/model.pt").resolve()
network = load_network(UnrolledReconstructor(phases=5, channels=16), weights)
measurement = FourierMeasurement(noise=ComplexGaussianNoise(noise_std=0.01))
system = ReconstructionSystem(GaussianDensity(), measurement, network)


def images_of(split, subjects):
    heads = embedded_subjects(split, subjects=subjects, slices_per_subject=2, grid=(96, 96))
    return torch.stack([torch.as_tensor(head["image"]) for head in heads])


test = images_of("test", 4)


def reconstruct():
    with torch.no_grad():
        result = system(test, 0.125, torch.Generator().manual_seed(0))
    quality = [float(psnr(image, test).mean()) for image in (result.zero_filled, result.mean)]
    print("PSNR: zero-filled {:.2f} dB, reconstruction {:.2f} dB".format(*quality))
    return result


reconstruct()
torch.manual_seed(0)
images, loss = images_of("train", 12), GaussianNLLLoss(variance_weighting=0.5)
optimizer = torch.optim.Adam(system.network.parameters(), lr=5e-4)
for _ in range(12):
    batch = images[torch.randint(len(images), (4,))]
    ratios = torch.empty(4).uniform_(0.05, 0.35)  # a ratio for every image: one model for all of them
    optimizer.zero_grad()
    loss(system(batch, ratios), batch).backward()
    optimizer.step()
result = reconstruct()
reconstruction_figure(result, test, indices=(0, 1))

# %%
# **What to look at.** The network makes use of masks that it was not trained with, and a dozen steps change little. What
# a law is worth shows a training of its own: [example 4](04_train_on_your_folder.md), with `policy` replaced.
#
# ## The checks that every law passes
#
# Masks are binary and meet their ratio; probabilities are what many masks show; a seed decides the mask; a saved
# policy comes back; bad ratios are refused; and so on. They are written once, in `tests/sampling/test_policies.py`,
# and a law joins by a line in `tests/sampling/policies.py`. Here the line is added for this run only; `0.005` is how
# far the frequency of a position may be from its probability.

import sys

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
