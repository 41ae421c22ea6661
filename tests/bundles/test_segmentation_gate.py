"""What the model zoo's gate asks of the segmentation bundle alone."""

import torch
from bundle_table import SEGMENTATION
from shipped import shipped

from infomri_monai.triage import load_threshold


def test_the_channels_are_the_classes_and_two_maps():
    assert shipped(SEGMENTATION).network.num_classes + 2 == SEGMENTATION.channels


def test_shipped_files_are_without_what_only_training_needs():
    state = torch.load(SEGMENTATION.root / "models" / "model.pt", weights_only=True)
    assert not [name for name in state if name.startswith("posterior_encoder")]
    assert 0 < load_threshold(SEGMENTATION.root / "models" / "triage.json").threshold <= 1
