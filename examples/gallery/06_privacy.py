"""
# Privacy, and its audit

A diagnosis may need less than a picture. The privacy bundle learns which samples suffice to say *lesion* or *no
lesion*, and answers without ever writing an image. How private that is has to be **measured**: an audit trains
attackers who try to rebuild the image from the same samples.
"""

# %%
# ## Classify without a picture
#
# The shipped weights on four embedded cases, all with a simulated lesion, from an eighth of k-space. From a shell, in
# the bundle's folder: `python -m monai.bundle run --config_file configs/inference.json`.

import tempfile
from pathlib import Path

import pandas as pd
from monai.bundle import run

work = Path(tempfile.mkdtemp())
bundle = Path("../../bundles/infomri_privacy_classification").resolve()
run(config_file=str(bundle / "configs" / "inference.json"), bundle_root=str(bundle), output_dir=str(work / "out"))
print(*sorted(path.name for path in (work / "out").iterdir()), sep="\n")
report = pd.read_csv(work / "out" / "report.csv")
print(report[["name", "ratio_realised", "most_probable", "probability_lesion", "entropy_nats"]].to_string(index=False))

# %%
# No image, no k-space, no mask: a report. But whoever holds the *measurements* could try to rebuild the picture.
#
# ## Attack it
#
# `PrivacyAudit` copies and freezes the policy and trains attackers against it, on images of the same kind, with the
# true masks: here a small unrolled network, and a plain three-layer one. We audit two policies at 8×: the shipped
# one, and a uniform random law. The training is far too short for a real audit (the bundle's is 1 to 2 orders
# longer); it shows how one is read.


from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.audit import PrivacyAudit
from infomri_monai.data import embedded_lesions
from infomri_monai.networks import ThreeLayerReconstructor, UnrolledReconstructor
from infomri_monai.sampling import UniformRandom, load_policy

data = {
    f"{split}_data": embedded_lesions(split, subjects=subjects, complex_valued=False)
    for split, subjects in (("train", 40), ("validation", 4), ("test", 6))
}
policies = {"shipped": load_policy(bundle / "models" / "policy.pt"), "uniform": UniformRandom()}
audits = {}
for name, policy in policies.items():
    audits[name] = PrivacyAudit(
        policy=policy,
        measurement=FourierMeasurement(noise=ComplexGaussianNoise(noise_std=0.01)),
        attackers={
            "three_layers": ThreeLayerReconstructor(),
            "unrolled": UnrolledReconstructor(phases=3, channels=8, real_valued=True),
        },
        ratios=[0.125],
        output_dir=work / name,
        method=name,
        batch_size=8,
        max_steps=40,
        learning_rate=3e-3,
        attribute_key=None,
        **data,
    )
    audits[name].run()
    print(
        name,
        {key: round(value, 2) for key, value in audits[name].state.metrics.items() if key.endswith("psnr_at_0.1250")},
    )

# %%
# Each number is the PSNR, in dB, of what an attacker made of the measurements: **lower is more private**. Read them
# beside the mean image of the training set, which is what is known of a head without any measurement:

print((work / "shipped" / "report.md").read_text().split("## What was attacked")[0])

# %%
from PIL import Image

Image.open(work / "shipped" / "reconstructions.png")

# %%
Image.open(work / "uniform" / "reconstructions.png")

# %%
# **What to look at.** Always the strongest attacker. A weak one flatters a mask: what it cannot rebuild, another may.
# Where an attacker does worse than the linear one, or than the mean training image, it has not been trained for long
# enough to say anything: with a longer budget it would find more
# ([Results](../results/privacy.md)). The shipped weights were trained with a small weight of privacy (β = −1e-5), and
# their own audit finds the image recoverable. None of this is a guarantee: it is resistance to the attackers that were
# tried.
#
# ## What to change
#
# - `max_steps` (per ratio), `patience`: attackers that end with their budget have not shown what they can do.
# - `beta` of the bundle's training (`--beta -3e-4`): more privacy, and what it costs in accuracy.
# - `attribute_key="attribute"`: a probe that tries to read a second, private label off the measurements.
# - The bundle's own audit: `--config_file "['configs/train.json','configs/audit.json']"`, see [its
#   page](../bundles/infomri_privacy_classification.md).
