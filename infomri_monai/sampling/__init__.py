"""Which k-space positions to measure: one small interface, one policy per file."""

from infomri_monai.sampling.pgn import PatternGenerationNetwork
from infomri_monai.sampling.policy import MaskSample, SamplingPolicy

__all__ = ["MaskSample", "PatternGenerationNetwork", "SamplingPolicy"]
