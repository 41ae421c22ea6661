"""Which k-space positions to measure: one small interface, one policy per file."""

from infomri_monai.sampling.checkpoint import load_policy, save_policy
from infomri_monai.sampling.equispaced import Equispaced
from infomri_monai.sampling.learned import LearnedPolicy
from infomri_monai.sampling.loupe import LOUPE
from infomri_monai.sampling.pgn import PatternGenerationNetwork, warm_started_pgn
from infomri_monai.sampling.poisson_disk import PoissonDisk
from infomri_monai.sampling.policy import MaskSample, SamplingPolicy
from infomri_monai.sampling.radial import Radial
from infomri_monai.sampling.spectrum import Spectrum
from infomri_monai.sampling.uniform import UniformRandom
from infomri_monai.sampling.variable_density import VariableDensity

__all__ = [
    "LOUPE",
    "Equispaced",
    "LearnedPolicy",
    "MaskSample",
    "PatternGenerationNetwork",
    "PoissonDisk",
    "Radial",
    "SamplingPolicy",
    "Spectrum",
    "UniformRandom",
    "VariableDensity",
    "load_policy",
    "save_policy",
    "warm_started_pgn",
]
