"""Pure functions of the paper's quantities, in nats."""

from infomri_monai.information.likelihood import bernoulli_entropy, categorical_entropy, gaussian_kl, gaussian_nll
from infomri_monai.information.marginal_entropy import (
    MarginalEntropy,
    measurement_entropy,
    pair_entropy,
    position_entropy,
)

__all__ = [
    "MarginalEntropy",
    "bernoulli_entropy",
    "categorical_entropy",
    "gaussian_kl",
    "gaussian_nll",
    "measurement_entropy",
    "pair_entropy",
    "position_entropy",
]
