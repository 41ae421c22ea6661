"""What MONAI's supervised engines lack for amortised sampling: the batch's ratios and generators."""

from infomri_monai.engines.autocast import AutocastInferer
from infomri_monai.engines.prepare import PrepareAmortizedBatch, PrepareRatioSweep

__all__ = ["AutocastInferer", "PrepareAmortizedBatch", "PrepareRatioSweep"]
