"""The measurement y = m * (F S x + noise): Fourier transform, noise, conjugate symmetry, k-space statistics."""

from infomri_monai.acquisition.centring import CentreCheck, CentreWarning, off_centre
from infomri_monai.acquisition.coils import coil_warning, combine_coils, root_sum_of_squares
from infomri_monai.acquisition.fourier import crop_kspace, image_to_kspace, kspace_to_image
from infomri_monai.acquisition.measurement import FourierMeasurement
from infomri_monai.acquisition.noise import ComplexGaussianNoise, NoiseModel, PoissonNoise, RicianNoise
from infomri_monai.acquisition.statistics import ImageChecksum, KSpaceStatistics
from infomri_monai.acquisition.symmetry import (
    conjugate_partner,
    hermitian_completion,
    redundancy_ratio,
    split_by_symmetry,
)

__all__ = [
    "CentreCheck",
    "CentreWarning",
    "ComplexGaussianNoise",
    "FourierMeasurement",
    "ImageChecksum",
    "KSpaceStatistics",
    "NoiseModel",
    "PoissonNoise",
    "RicianNoise",
    "coil_warning",
    "combine_coils",
    "conjugate_partner",
    "crop_kspace",
    "hermitian_completion",
    "image_to_kspace",
    "kspace_to_image",
    "off_centre",
    "redundancy_ratio",
    "root_sum_of_squares",
    "split_by_symmetry",
]
