"""What the model zoo's gate asks of the reconstruction bundle alone."""

import torch
from bundle_table import RECON
from shipped import shipped, zero_filled


def test_the_shipped_weights_are_calibrated():
    state = torch.load(RECON.root / "models" / "model.pt", weights_only=True)
    assert state["log_variance_line"].abs().max() > 0


def test_the_exported_call_without_a_mask_is_the_call_with_it():
    """What Deploy and the zoo call recovers the mask from the image's own k-space (paper, III-D)."""
    inputs = zero_filled(RECON)
    policy, _, network = shipped(RECON)
    mask = policy(0.125, (96, 96), torch.Generator().manual_seed(0)).mask.detach()
    with torch.no_grad():
        out, expected = network(inputs), network(inputs, mask)
    assert out.shape == expected.shape
    assert float((out - expected).abs().max()) <= 1e-4
