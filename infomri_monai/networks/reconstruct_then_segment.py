"""Two stages: a reconstruction network, then a segmentation network on its magnitude image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from infomri_monai.networks.certain_model import CertainModel
from infomri_monai.networks.gaussian import intensity_scale
from infomri_monai.networks.task_posterior import TaskPass

__all__ = ["ReconstructThenSegment"]


class ReconstructThenSegment(CertainModel):
    """The paper's "UNet-RS": reconstruct, then segment the magnitude (appendix B, TradPat-UNet-RS and LOUPE-UNet-RS).

    Trained in two runs: first the reconstructor alone (loss weights 0, 0, 1), then the segmenter on what the frozen reconstructor
    makes (weights 1, 0, 0).

    Args:
        reconstructor: ``reconstructor(zero_filled) -> (mean, log-variance)`` as three channels.
        segmenter: from a magnitude image (1 channel, largest value of the zero-filled image 1) to logits of C channels.
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels instead of exclusive classes.
        stage: which of the two is trained, ``"reconstruction"`` or ``"segmentation"``; the other one is fixed.

    Raises:
        ValueError: if ``stage`` is unknown, or there are too few classes.

    Example:
        >>> import torch
        >>> from monai.networks.nets import BasicUNet
        >>> from infomri_monai.networks import GaussianUNet
        >>> features = (4, 4, 4, 4, 4, 4)
        >>> unet = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=features)
        >>> ReconstructThenSegment(GaussianUNet(features=features), unet).eval()(torch.rand(1, 2, 32, 32)).shape
        torch.Size([1, 4, 32, 32])
    """

    def __init__(
        self,
        reconstructor: nn.Module,
        segmenter: nn.Module,
        num_classes: int = 2,
        multi_label: bool = False,
        stage: str = "segmentation",
    ) -> None:
        super().__init__(num_classes, multi_label, bool(getattr(reconstructor, "real_valued", False)))
        if stage not in ("reconstruction", "segmentation"):
            raise ValueError(f"stage must be 'reconstruction' or 'segmentation', got {stage!r}.")
        self.stage = stage
        self.reconstructor, self.segmenter = reconstructor, segmenter
        # only the other one: the trained one may hold parameters that are not trained by the likelihood (log_variance_line)
        (segmenter if stage == "reconstruction" else reconstructor).requires_grad_(False)

    def logits(self, zero_filled: Tensor) -> Tensor:
        """Class logits of the reconstruction's magnitude."""
        return self._logits(self.reconstructor(zero_filled), zero_filled)

    def training_pass(
        self,
        zero_filled: Tensor,
        label: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> TaskPass:
        """Logits (all zero while the reconstructor is trained) and reconstruction; the latents have no channels: their KL is 0."""
        reconstruction = self.reconstructor(zero_filled, mask)
        batch, _, height, width = zero_filled.shape
        none = reconstruction.new_zeros(batch, 0, 1, 1)
        logits = reconstruction.new_zeros(batch, self.num_classes, height, width)
        if self.stage == "segmentation":
            logits = self._logits(reconstruction, zero_filled)
        return TaskPass(logits, none, none, none, none, reconstruction)

    def reconstruct(self, zero_filled: Tensor) -> Tensor:
        """The first stage's reconstruction, (batch, 3, H, W)."""
        reconstruction: Tensor = self.reconstructor(zero_filled)
        return reconstruction

    def _logits(self, reconstruction: Tensor, zero_filled: Tensor) -> Tensor:
        unit = reconstruction[:, :2] / intensity_scale(zero_filled)
        # a tiny offset keeps the gradient of the magnitude finite at zero
        logits: Tensor = self.segmenter(torch.sqrt(unit.square().sum(1, keepdim=True) + 1e-12))
        return logits.float()
