"""Pure functions of the paper's quantities, in nats."""

from infomri_monai.information.likelihood import gaussian_nll

__all__ = ["gaussian_nll"]
