"""Networks: reconstructors that return a mean and a variance per pixel."""

from infomri_monai.networks.checkpoint import load_network
from infomri_monai.networks.gaussian import channels_to_complex, complex_to_channels
from infomri_monai.networks.gaussian_unet import GaussianUNet
from infomri_monai.networks.unrolled import UnrolledReconstructor

__all__ = ["GaussianUNet", "UnrolledReconstructor", "channels_to_complex", "complex_to_channels", "load_network"]
