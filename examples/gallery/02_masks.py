"""
# Masks for your matrix and your scanner

A *sampling policy* gives a mask for any ratio: which positions of k-space to measure. This example draws masks of a
**learned** policy, carries it to another matrix, and writes masks of whole lines as files that a scanner can run: a
table of phase encodes, and a Pulseq sequence.
"""

# %%
# ## A learned policy
#
# The bundles come with the policies that they were trained with. This one belongs to the reconstruction of 96 × 96
# images; one network gives the mask of every ratio from 4 to 35 %.

from pathlib import Path

import torch

from infomri_monai.figures import mask_figure
from infomri_monai.sampling import load_policy

bundle = Path("../../bundles/infomri_recon").resolve()
policy = load_policy(bundle / "models" / "policy.pt")
print(type(policy).__name__, "for the grid", policy.grid, "and ratios", policy.ratio_range)

generator = torch.Generator().manual_seed(0)
mask_figure(policy, [0.0625, 0.125, 0.25], policy.grid, generator)

# %%
# **What to look at.** Above, a mask that was drawn; below, the probability of every position. The policy prefers one
# half of k-space: an image with little phase carries at −k nearly what it carries at k, and measuring both would be a
# waste. *Redundancy* counts such pairs.
#
# ## For your matrix
#
# Another grid is asked for by name, so that nothing is interpolated behind your back. The centre of k-space stays the
# centre, the edge the edge.

mine = policy.for_grid((160, 128))
mask_figure(mine, [0.0625, 0.125, 0.25], mine.grid, generator)

# %%
# ## Whole lines, for a 2D scan
#
# A Cartesian 2D scan cannot measure single positions: it reads whole lines. `readout_axis` says along which axis, and
# a policy then chooses among the others. Here a fixed law serves; the overlay `configs/cartesian.json` of the
# reconstruction bundle trains a learned one.

from infomri_monai.sampling import VariableDensity

lines = VariableDensity(power=3, readout_axis=0)
mask_figure(lines, [0.125, 0.25, 0.5], (128, 128), generator)

# %%
# ## To the scanner
#
# `write_masks` writes a mask as arrays (`npz`, `npy`), black and white image (`png`, axis 0 horizontal: MONAI's
# `LoadImage` reads the mask back), table of phase encodes in measuring order (`csv`) and Pulseq sequence (`seq`): a
# gradient echo that measures exactly these lines. The sequence is read back before its file is kept. From a shell the
# same is, after `save_policy(lines, "policy.pt")`:
#
# ```bash
# infomri-export-masks --checkpoint policy.pt --ratios 0.25 --out masks --formats npz csv seq --grid 128 128 \
#     --ordering centric --fov 220 --te 5 --tr 12 --flip-angle 10 --slice-thickness 5 --dummies 20
# ```

import tempfile

from infomri_monai.scanner import GradientEcho, write_masks

folder = Path(tempfile.mkdtemp())
protocol = GradientEcho(fov_mm=(220, 220), te_ms=5, tr_ms=12, flip_angle_deg=10, slice_thickness_mm=5, dummies=20)
files = write_masks(
    lines, [0.25], (128, 128), folder, seed=0, formats=("npz", "csv", "seq"), ordering="centric", protocol=protocol
)
for path in files:
    print(f"{path.name:32} {path.stat().st_size} bytes")
print(*(folder / "mask_ratio0.25_seed0.csv").read_text().splitlines()[3:9], sep="\n")

# %%
# The table's columns: the order of measuring, the shot, the line from 0, and the line from the centre of k-space, in
# units of one over the field of view. Read both files back, and they are the same mask:

import numpy as np

from infomri_monai.scanner import read_phase_encodes, read_pulseq_lines

table = read_phase_encodes(folder / "mask_ratio0.25_seed0.csv")
sequence = read_pulseq_lines(folder / "mask_ratio0.25_seed0.seq")
print(len(table.positions), "lines; the sequence measures the same:", np.array_equal(table.mask, sequence.mask))

import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
axis.plot(table.positions[:, 0] - 64, "o", markersize=4)
axis.set(xlabel="excitation", ylabel="line from the centre", title="centric order: outwards from the centre of k-space")
figure

# %%
# ## Before it runs
#
# A sequence drives hardware near a person, and this one has been computed and read back, never run. What a physicist
# checks first is on the page [At the scanner](../scanner.md#before-it-runs).
#
# ## What to change
#
# - `ordering`: `"sequential"`, `"interleaved"` with `shots=4`, `"random"`.
# - `GradientEcho(max_grad=…, max_slew=…)`: the limits of your system; a protocol that cannot be timed is refused,
#   with the shortest TE or TR.
# - `seed` of `write_masks`: another draw of the same law. The same seed gives the same files, byte for byte.
