"""
# Segmentation with disagreement and triage

From a few measurements one can often draw more than one plausible outline. The segmentation bundle therefore draws
**many segmentations** of one measurement: where they agree the answer is sure, where they do not a person should
look. A **worklist** sorts the cases by that.
"""

# %%
# ## Some cases
#
# Six synthetic heads of three slices each, as NIfTI. Their true tissues are known, which we use at the end only.

import tempfile
from pathlib import Path

import nibabel
import numpy as np

from infomri_monai.data import embedded_subjects

work = Path(tempfile.mkdtemp())
(work / "in").mkdir()
(work / "truth").mkdir()
entries = embedded_subjects("test", subjects=6, slices_per_subject=3, grid=(64, 64), complex_valued=False)
affine = np.diag([-3.5, -3.5, 5, 1])
for number in range(6):
    own = entries[3 * number : 3 * number + 3]
    for key, folder in (("image", "in"), ("label", "truth")):
        volume = np.stack([entry[key][0].T for entry in own], axis=-1)
        nibabel.save(nibabel.Nifti1Image(volume, affine), work / folder / f"head{number}.nii.gz")

# %%
# ## Segment them at 8×
#
# `samples=16` segmentations of cerebrospinal fluid, grey and white matter, from an eighth of k-space. From a shell,
# in the bundle's folder:
#
# ```bash
# python -m monai.bundle run --config_file configs/inference.json --dataset_dir FOLDER --ratio 0.125 --samples 16 --swap_axes True
# ```

from monai.bundle import run

bundle = Path("../../bundles/infomri_segmentation").resolve()
settings = {
    "config_file": str(bundle / "configs" / "inference.json"),
    "bundle_root": str(bundle),
    "dataset_dir": str(work / "in"),
    "swap_axes": True,
    "samples": 16,
}
run(**settings, ratio=0.125, output_dir=str(work / "8x"))
print(*sorted(path.name for path in (work / "8x").glob("head0*")), sep="\n")

# %%
from PIL import Image

Image.open(work / "8x" / "head0.png")

# %%
# **What to look at.** The samples differ along borders; the *entropy* map says where. *Mutual information* is the
# part that the samples disagree about, as opposed to what each of them finds blurred.
#
# ## The worklist
#
# *Agreement* is the mean Dice of all pairs of samples. A case below the threshold in the bundle's `triage.json`,
# which was chosen on validation data, goes to review; the least sure comes first.

import pandas as pd

worklist = pd.read_csv(work / "8x" / "worklist.csv")
print(worklist.iloc[:, :5].to_string(index=False))

# %%
# ## Does disagreement know when it is wrong?
#
# Compare agreement with the Dice against the truth, at four accelerations.

import matplotlib.pyplot as plt


def read(path):
    return nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()  # the same order of axes for all


figure, axis = plt.subplots(figsize=(5.4, 4.2), layout="constrained")
for ratio in (0.25, 0.125, 0.0625, 0.03125):
    out = work / f"{1 / ratio:.0f}x"
    if not out.exists():
        run(**settings, ratio=ratio, figure=False, output_dir=str(out))
    table = pd.read_csv(out / "worklist.csv").set_index("name")
    for case in table.index:
        label, found = read(work / "truth" / f"{case}.nii.gz"), read(out / f"{case}_segmentation.nii.gz")
        tissues = [(found == k, label == k) for k in (1, 2, 3)]
        table.loc[case, "dice"] = np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in tissues])
    axis.plot(table["agreement"], table["dice"], "o", label=f"{1 / ratio:.0f}×")
    print(
        f"{1 / ratio:2.0f}×: agreement {table['agreement'].mean():.3f}, Dice against the truth {table['dice'].mean():.3f}"
    )
axis.set(xlabel="agreement of the samples", ylabel="Dice against the truth, mean of three tissues")
axis.legend()
figure

# %%
# **What to look at.** Fewer measurements: less agreement, and worse segmentations. Within one acceleration the order
# is a guide, no proof; on a kind of case that the network never saw it can be sure and wrong. The weights are small
# and trained on synthetic heads: they are there to try the commands with.
#
# ## What to change
#
# - `samples`: more samples, a finer estimate of agreement and of the 90 % interval of each volume (in `head0.json`).
# - `save_samples=True` keeps every sample; `reconstruct=True` gives the image too.
# - `kind="kspace"` for raw k-space, `model_path`, `policy_path`, `triage_path` for a training of your own.
