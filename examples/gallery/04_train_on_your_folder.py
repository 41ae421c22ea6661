"""
# Train on your own folder

Policy and network are trained together: the mask learns what the network can make use of. This example trains the
reconstruction bundle on a folder of NIfTI volumes, for a few epochs on a small grid, evaluates it, and reconstructs
with the result. The folder is made up on the spot.
"""

# %%
# ## Two folders
#
# One to train on, one to watch the training with. Never the same person in both. All images must have one size.

import tempfile
from pathlib import Path

import nibabel
import numpy as np

from infomri_monai.data import embedded_subjects

work = Path(tempfile.mkdtemp())
for split, subjects in (("train", 24), ("validation", 4)):
    (work / split).mkdir()
    slices = embedded_subjects(split, subjects=subjects, slices_per_subject=4, grid=(64, 64), complex_valued=False)
    for number in range(subjects):
        volume = np.stack([entry["image"][0].T for entry in slices[4 * number : 4 * number + 4]], axis=-1)
        image = nibabel.Nifti1Image(volume, np.diag([-3.5, -3.5, 5, 1]))
        nibabel.save(image, work / split / f"subject{number:02}.nii.gz")
print(
    len(list((work / "train").iterdir())),
    "volumes to train on,",
    len(list((work / "validation").iterdir())),
    "to validate",
)

# %%
# ## Train
#
# A bundle is a list of named parts, and any of them can be replaced when it is run. Here: where the images come from,
# their size, and how long to train. `real_valued=True` says that the images are magnitudes, so that one half of
# k-space tells the other. `volume_key="volume"` is needed with a folder: the embedded data call a volume "subject",
# files call it "volume". From a shell, in the bundle's folder, with absolute paths:
#
# ```bash
# python -m monai.bundle run --config_file configs/train.json --grid "[64,64]" --real_valued True --volume_key volume \
#     --max_epochs 5 --val_interval 1 \
#     --train_data "{'_target_': 'infomri_monai.data.image_slices', 'folder': 'TRAIN'}" \
#     --validation_data "{'_target_': 'infomri_monai.data.image_slices', 'folder': 'VALIDATION'}" --output_dir OUT
# ```

from monai.bundle import run

bundle = Path("../../bundles/infomri_recon").resolve()


def slices_of(folder):
    return {"_target_": "infomri_monai.data.image_slices", "folder": str(work / folder)}


settings = {
    "bundle_root": str(bundle),
    "output_dir": str(work / "output"),
    "grid": [64, 64],
    "real_valued": True,
    "volume_key": "volume",
    "train_data": slices_of("train"),
    "validation_data": slices_of("validation"),
    "max_epochs": 5,
    "val_interval": 1,
}
run(config_file=str(bundle / "configs" / "train.json"), **settings)
print(*sorted(path.name for path in (work / "output").iterdir()), sep="\n")

# %%
# `model.pt` is the network, `policy.pt` the policy, `checkpoints/` what an interrupted training goes on from
# (`resume_from`).

from PIL import Image

Image.open(work / "output" / "training.png")

# %%
# **What to look at.** The loss should fall and the PSNR of the validation images rise; where that turns down while the
# loss still falls, the network learns your training images by heart. The zero-filled image may get worse meanwhile: the
# mask serves the network, not the eye. Five epochs on a hundred slices show the way and no more; the default is 25.
#
# ## What the mask became

from infomri_monai.figures import mask_figure
from infomri_monai.sampling import load_policy

mask_figure(load_policy(work / "output" / "policy.pt"), [0.0625, 0.125, 0.25], (64, 64))

# %%
# ## Evaluate
#
# The evaluation takes the same settings, with `evaluate.json` behind `train.json`. For a result to report,
# `test_data` is a third folder, looked at once.

configs = [str(bundle / "configs" / name) for name in ("train.json", "evaluate.json")]
run(config_file=configs, **settings, test_data=slices_of("validation"))
print((work / "output" / "evaluation" / "rate_distortion.md").read_text())

# %%
# ## What to change
#
# - `max_epochs`, `learning_rate`, `batch_size`; `num_workers` for large files; `tracking="mlflow"` to follow it in
#   MLflow.
# - `config_file=["configs/train.json", "configs/cartesian.json"]`: whole lines, for 2D scans; `configs/unet.json`:
#   another network. The overlays are listed on [the bundle's page](../bundles/infomri_recon.md).
# - On more than one GPU: `torchrun` with `configs/multi_gpu_train.json`.
# - Then reconstruct with it: `model_path` and `policy_path` in [the example before](03_your_own_data.md).
