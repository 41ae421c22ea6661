"""
# A DICOM study through the segmentation application

In a hospital, images come and go as DICOM. Three applications run the bundles there, on the MONAI Deploy App SDK:
DICOM or raw k-space in, DICOM out, geometry and patient carried over. This example sends a made-up study through the
segmentation application and reads what comes out.
"""

# %%
# ## A study
#
# An oblique MR series of eight slices, of a synthetic head and an invented patient.

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append("..")  # examples/hospital, which makes DICOM series up
from hospital.mr_series import write_example_series

work = Path(tempfile.mkdtemp())
series = write_example_series(work / "in", slices=8, grid=(96, 96))
print(len(series), "files:", series[0].name, "to", series[-1].name)

# %%
# ## Run the application
#
# It is a command, the same here as in a shell: a folder in, a folder out, and a bundle as the model. It ends with 0
# if every case was written.

bundle = Path("../../bundles/infomri_segmentation").resolve()
command = [
    "-m",
    "infomri_monai.deploy.segmentation",
    "-i",
    str(work / "in"),
    "-o",
    str(work / "out"),
    "-m",
    str(bundle),
]
done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
print("exit code", done.returncode)
assert done.returncode == 0, done.stderr[-2000:]
for path in sorted((work / "out").rglob("*.*")):
    print(path.relative_to(work / "out"), path.stat().st_size, "bytes")

# %%
# Each case has a folder: the segmentation as DICOM SEG, the probability of every tissue, a map of the entropy, and a
# report. `summary.json` says what became of every case, without anything that names a patient.

import json

summary = json.loads((work / "out" / "summary.json").read_text())
print(json.dumps(summary["cases"], indent=1)[:900])

# %%
# ## Look at it
#
# DICOM SEG is read by any viewer for DICOM; in Python by highdicom. Segments and source images lie in the same place.

import highdicom
import matplotlib.pyplot as plt
import pydicom

segmentation = highdicom.seg.segread(work / "out" / "case_0001" / "segmentation.dcm")
names = [segment.SegmentLabel for segment in segmentation.SegmentSequence]
volume = segmentation.get_volume(combine_segments=True)
source = highdicom.image.get_volume_from_series([pydicom.dcmread(path) for path in series])
labels = volume.match_geometry(source).array
middle = source.shape[0] // 2

figure, axes = plt.subplots(1, 2, figsize=(7, 3.8), layout="constrained")
for axis in axes:
    axis.imshow(source.array[middle], cmap="gray")
    axis.set(xticks=[], yticks=[])
axes[0].set_title("source")
colours = plt.get_cmap("Set1")
for number, name in enumerate(names, start=1):
    axes[1].contour(labels[middle] == number, levels=[0.5], colors=[colours(number)], linewidths=0.8)
    axes[1].plot([], color=colours(number), label=name)
axes[1].set_title("segments, from an eighth of k-space")
figure.legend(loc="outside lower center", ncols=len(names))
figure

# %%
# ## The report
#
# A structured report (TID 1500) with volumes, their 90 % intervals and the agreement of the samples, and whether a
# person must look.

from hospital.report import report_text

print(report_text(pydicom.dcmread(work / "out" / "case_0001" / "triage.dcm")))

# %%
# **What to look at.** The acquisition was *simulated*, as DICOM has only magnitudes: every object says so. Only raw
# k-space (ISMRMRD, fastMRI, `.npz`) shows what a real undersampled scan gives. This is research software, not a
# medical device.
#
# ## What to change
#
# - `-c settings.yaml` changes single settings, as `bundle: {ratio: 0.25, samples: 32}`.
# - `infomri_monai.deploy.reconstruction` and `infomri_monai.deploy.privacy_classification` are the other two.
# - From and to a PACS, exit codes, messages: [In a hospital](../deploy.md).
