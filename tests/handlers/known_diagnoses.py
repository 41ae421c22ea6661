"""Cases whose diagnosis is known: a classifier that reads it off the image, in the evaluator of the bundle."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch

from infomri_monai.networks import ImageClassifier


class CornerBackbone(torch.nn.Module):
    """The logits are the first pixels of the real part's first row, in units of the second row's first pixel."""

    def __init__(self, classes=2):
        super().__init__()
        self.classes = classes

    def forward(self, channels):
        """(batch, 2, H, W) to (batch, classes)."""
        return channels[:, 0, 0, : self.classes] / channels[:, 0, 1, :1].clamp(min=1e-6)


def classifier(classes=2, **options):
    """It diagnoses fully sampled images of :func:`write_case` as they say."""
    return ImageClassifier(CornerBackbone(classes), num_classes=classes, **options).eval()


def write_case(path: Path, logits, seed=0, shape=(13, 11)):
    """A volume whose slices have these logits, (slices, classes), small and not negative; the rest is noise."""
    logits = np.asarray(logits, dtype=np.float32)
    volume = np.random.default_rng(seed).uniform(0.5, 2, (*shape, len(logits))).astype(np.float32)
    volume[0, : logits.shape[1]], volume[1, 0] = logits.T, 1
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(volume, np.diag([2.0, 2.0, 3.0, 1.0])).to_filename(path)
    return volume
