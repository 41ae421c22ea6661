"""
# Reconstruct your own images, and read σ

The reconstruction bundle comes with trained weights. It reads NIfTI, DICOM and raw k-space, and gives two images for
each: the reconstruction, and **σ**, a standard deviation for every pixel: how far off the network expects to be. The
files here are made up on the spot; with your own, start at *Reconstruct a folder*.
"""

# %%
# ## A folder of NIfTI
#
# One synthetic head of four slices, with its pixels in millimetres, as a scanner's export would have it.

import tempfile
from pathlib import Path

import nibabel
import numpy as np

from infomri_monai.data import embedded_subjects

work = Path(tempfile.mkdtemp())
heads = embedded_subjects("test", subjects=2, slices_per_subject=4, grid=(96, 96))
volume = np.stack([1000 * abs(head["image"][0]).T for head in heads[:4]], axis=-1).astype(np.float32)
(work / "nifti").mkdir()
nibabel.save(nibabel.Nifti1Image(volume, np.diag([-2.3, -2.3, 5, 1])), work / "nifti" / "head.nii.gz")
print(volume.shape, "largest value", volume.max())

# %%
# ## Reconstruct a folder
#
# `monai.bundle.run` runs the bundle. A stored image has no k-space left, so the acquisition is *simulated* at the
# ratio that you ask for, and every output says so. `swap_axes=True` hands a slice to the network upright, as one
# looks at it, which is how it was trained. From a shell, in the bundle's folder:
#
# ```bash
# python -m monai.bundle run --config_file configs/inference.json --dataset_dir FOLDER --ratio 0.125 --swap_axes True
# ```

from monai.bundle import run

bundle = Path("../../bundles/infomri_recon").resolve()
settings = {"config_file": str(bundle / "configs" / "inference.json"), "bundle_root": str(bundle), "swap_axes": True}
run(**settings, dataset_dir=str(work / "nifti"), ratio=0.125, output_dir=str(work / "from_nifti"))
print(*sorted(path.name for path in (work / "from_nifti").iterdir()), sep="\n")

# %%
# The picture of the case: what was measured, the ground truth, the zero-filled image, the reconstruction, its error,
# and what the network expected the error to be, on the same colour scale.

from PIL import Image

Image.open(work / "from_nifti" / "head.png")

# %%
# ## Read σ
#
# `head_sigma.nii.gz` is the standard deviation of the magnitude in `head_mean.nii.gz`, in its units. Here the truth is
# known, so that we can check it: if σ is honest, about 90 % of the errors in the head are smaller than 1.64 σ.


def read(name):
    return nibabel.as_closest_canonical(nibabel.load(work / name)).get_fdata()  # the same order of axes for all


truth, mean, sigma = (
    read(name) for name in ("nifti/head.nii.gz", "from_nifti/head_mean.nii.gz", "from_nifti/head_sigma.nii.gz")
)
inside, error = truth > 0.1 * truth.max(), abs(mean - truth)
print(f"median intensity in the head {np.median(truth[inside]):.0f}, median sigma {np.median(sigma[inside]):.0f}")
print(f"errors below 1.64 sigma: {100 * (error < 1.64 * sigma).mean():.0f} % of all pixels")
print(f"                         {100 * (error < 1.64 * sigma)[inside].mean():.0f} % of those in the head")

import matplotlib.pyplot as plt

groups = np.array_split(np.argsort(sigma[inside]), 12)
figure, axis = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
expected = [sigma[inside][group].mean() for group in groups]
axis.plot(expected, [np.sqrt((error[inside][group] ** 2).mean()) for group in groups], "o-", label="this head")
axis.plot([0, max(expected)], [0, max(expected)], "--", color="grey", label="honest")
axis.set(xlabel="sigma that the network says", ylabel="error that occurred (r.m.s.)")
axis.legend()
figure

# %%
# **What to look at.** σ grows with the error, as it should: where it is large, edges mostly, detail should not be
# trusted. It is calibrated for the pixels in the head of images like those that the network was trained on. On another
# anatomy or contrast σ can be wrong together with the image, so compare both with the zero-filled image first, and
# train ([the next example](04_train_on_your_folder.md)).
#
# ## DICOM
#
# A folder with a DICOM series works the same way.

import sys

sys.path.append("..")  # examples/hospital, which makes DICOM series up
from hospital.mr_series import write_example_series

write_example_series(work / "dicom", slices=3, grid=(96, 96))
run(**settings, dataset_dir=str(work / "dicom"), ratio=0.125, output_dir=str(work / "from_dicom"))
print(*sorted(path.name for path in (work / "from_dicom").iterdir()), sep="\n")

# %%
# ## Raw k-space
#
# Here nothing is simulated: the file holds what was measured. A `.npz` holds complex `kspace`, (height, width) or
# (slices, height, width), its centre at `n // 2`, and a `mask` of the measured positions; fastMRI's HDF5 files are
# read too. We measure a second head with the policy's mask.

import torch

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.sampling import load_policy

policy = load_policy(bundle / "models" / "policy.pt")
with torch.no_grad():
    mask = policy(0.125, (96, 96), torch.Generator().manual_seed(0)).mask[0, 0]
images = torch.stack([torch.as_tensor(head["image"][0]) for head in heads[4:]])
(work / "raw").mkdir()
np.savez(work / "raw" / "scan.npz", kspace=FourierMeasurement()(images[:, None], mask)[:, 0].numpy(), mask=mask.numpy())

run(**settings, dataset_dir=str(work / "raw"), kind="kspace", output_dir=str(work / "from_raw"))
mean, sigma = (
    nibabel.load(work / "from_raw" / f"scan_{name}.nii.gz").get_fdata()[..., 1] for name in ("mean", "sigma")
)

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for axis, picture, title in zip(
    axes, (images[1].abs().numpy(), mean, sigma), ("truth", "reconstruction", "sigma"), strict=True
):
    shown = axis.imshow(picture, cmap="magma" if title == "sigma" else "gray")
    axis.set(title=title, xticks=[], yticks=[])
    figure.colorbar(shown, ax=axis, shrink=0.8)
figure

# %%
# The sidecar says what kind of acquisition it was:

import json

record = json.loads((work / "from_raw" / "scan.json").read_text())
print(json.dumps(record, indent=1)[:700])

# %%
# ## What to change
#
# - `ratio`: from 0.04 to 0.35 is what the policy was trained for; outside, log and sidecar say that it extrapolates.
# - `grid_mode="crop_pad"` keeps the network on its own 96 × 96 grid; the default carries the policy to the image's.
# - `model_path`, `policy_path`: your own training.
# - When a run ends with a long traceback and `RuntimeError: Failed to instantiate …`, which is MONAI's, the reason is the
#   first error line above it: `FileNotFoundError: dataset_dir … holds no NIfTI …`.
# - `name_by="index"` where file names hold names of people.
