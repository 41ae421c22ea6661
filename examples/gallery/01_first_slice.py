"""
# Your first undersampled slice

A scanner measures an image's **k-space**: its Fourier transform, one position after the other. Measuring fewer
positions is faster, and what is left out must be made up for. This example takes a slice, keeps an eighth of its
k-space, and looks at what that does. Nothing is learned yet; it is one MONAI transform.
"""

# %%
# ## A slice
#
# The package can draw synthetic heads, so that there is something to try things with: complex images, largest
# magnitude 1, in MONAI's channel-first layout. Your own slices work the same way; a NIfTI file is read by
# `LoadImaged` as ever.

from infomri_monai.data import embedded_subjects

sample = embedded_subjects("test", subjects=1, slices_per_subject=1, grid=(96, 96))[0]
print({key: getattr(value, "shape", value) for key, value in sample.items()})

# %%
# ## Undersample it
#
# `SimulateAcquisitiond` transforms the image to k-space, adds the noise of a receiver, and keeps the positions that a
# *sampling policy* chooses: here `VariableDensity`, a random law that prefers the centre of k-space, where most of an
# image's energy lies. `ratio` is the share of positions that is kept: 0.125 is an acceleration of 8.

from infomri_monai.sampling import VariableDensity
from infomri_monai.transforms import SimulateAcquisitiond

simulate = SimulateAcquisitiond("image", policy=VariableDensity(), ratio=0.125)
simulate.set_random_state(seed=0)
measured = simulate(sample)
print("new keys:", sorted(set(measured) - set(sample)))
print("share of k-space that was kept:", float(measured["ratio"]))

# %%
# ## Look at it
#
# The **zero-filled image** is the simplest answer: zeros where nothing was measured, transformed back. It has two
# channels, real and imaginary part, which is what a network takes.

import matplotlib.pyplot as plt
import torch

image = torch.as_tensor(sample["image"]).abs()
zero_filled = measured["zero_filled"].norm(dim=0, keepdim=True)
pictures = {"image": image, "measured positions": measured["mask"], "zero-filled": zero_filled}

figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
for axis, (title, picture) in zip(axes, pictures.items(), strict=False):
    axis.imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set(title=title, xticks=[], yticks=[])
axes[3].imshow((image - zero_filled).abs()[0].numpy(), cmap="gray", vmin=0, vmax=0.3)
axes[3].set(title="error, three times as bright", xticks=[], yticks=[])
figure

# %%
# **What to look at.** The zero-filled image is blurred and has noise-like ripples: incoherent aliasing, the price of
# leaving positions out at random.
#
# ## How good is it?
#
# As a number: the peak signal-to-noise ratio of magnitudes, in decibel; 6 dB more is half the error.

from infomri_monai.metrics import psnr
from infomri_monai.sampling import Equispaced, PoissonDisk, Radial, UniformRandom

for policy in (UniformRandom(), Equispaced(readout_axis=0), Radial(), VariableDensity(), PoissonDisk()):
    simulate = SimulateAcquisitiond("image", policy=policy, ratio=0.125).set_random_state(seed=0)
    zero_filled = simulate(sample)["zero_filled"].norm(dim=0, keepdim=True)
    print(f"{type(policy).__name__:16} {float(psnr(zero_filled[None], image[None])):.1f} dB")

# %%
# The law matters, at the same number of measurements. Which positions are worth measuring is what this package
# learns; that is [the next example](02_masks.md), and [the third](03_your_own_data.md) reconstructs better images
# than these.
#
# ## What to change
#
# - `ratio=(0.05, 0.25)` draws a ratio anew for every sample, as a training wants it.
# - `policy="policy.pt"` takes a learned policy from its file.
# - `noise_std` is the noise per real component, relative to the largest magnitude of the image; 0 for none.
# - With files: `Compose([LoadImaged("image"), EnsureChannelFirstd("image"), ScaleIntensityd("image"), simulate])`. A
#   volume is acquired slice by slice, with one mask for all. Without `ScaleIntensityd` the units stay the file's.
# - As a NIfTI file with the source's geometry: `SaveImage("OUT", "zero_filled", separate_folder=False)(measured["zero_filled"]
#   .norm(dim=0, keepdim=True))`, MONAI's own; the image must come from `LoadImaged`, which keeps affine and file name.
# - A learned policy has a grid of its own: `load_policy("policy.pt").for_grid((181, 217))` carries it to your slices.
