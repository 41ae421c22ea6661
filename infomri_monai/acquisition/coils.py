"""Coils: how the k-space of several is combined to that of one, which is what the networks are for today."""

from __future__ import annotations

from torch import Tensor

from infomri_monai.acquisition.fourier import image_to_kspace, kspace_to_image
from infomri_monai.acquisition.measurement import apply_mask
from infomri_monai.arrays import takes

__all__ = ["coil_warning", "combine_coils", "root_sum_of_squares"]


@takes(coils="whole")
def coil_warning(coils: int) -> str:
    """What a user must know of k-space that :func:`combine_coils` made of several coils.

    Args:
        coils: their number, at least 2.

    Example:
        >>> coil_warning(4)[:44]
        '4 coils were combined by root-sum-of-squares'
    """
    return (
        f"{coils} coils were combined by root-sum-of-squares of the zero-filled images: networks are for one coil, and the "
        "phase of the object and the consistency with the measured data are lost."
    )


@takes(kspace="complex", mask="mask")
def combine_coils(kspace: Tensor, mask: Tensor) -> Tensor:
    """k-space of one slice as of one coil: as it is where there is one, else :func:`root_sum_of_squares`.

    Args:
        kspace: complex, shape (coil, height, width); what lies outside the mask is not used.
        mask: 0/1, shape (height, width).

    Returns:
        Complex, shape (height, width), zero outside the mask.

    Example:
        >>> import torch
        >>> combine_coils(torch.full((1, 2, 2), 3j), torch.tensor([[1, 0], [1, 0]]))
        tensor([[0.+3.j, 0.+0.j],
                [0.+3.j, 0.+0.j]])
    """
    measured = apply_mask(kspace, mask)
    return measured[0] if len(measured) == 1 else root_sum_of_squares(measured, mask)


@takes(kspace="complex", mask="mask")
def root_sum_of_squares(kspace: Tensor, mask: Tensor) -> Tensor:
    """k-space of the root-sum-of-squares of the zero-filled coil images, at the measured positions.

    The sum is no linear combination: the aliasing of an undersampled acquisition becomes non-negative, and the phase of the
    object is lost. On synthetic heads with four smooth sensitivities and a quarter of the lines, the result is 10 % (l2) off the
    k-space of the object's magnitude, and an image reconstructed from it has 1.5 dB less than one from a single homogeneous coil.
    The first principal component as a virtual coil stays consistent with the data but is shaded by its sensitivity: between 0.5 dB
    better (broad sensitivities) and 0.6 dB worse (narrow ones). Reconstructing every coil by itself and combining the images is
    1.7 dB better.

    Args:
        kspace: complex, shape (coil, height, width), zero where nothing was measured, DC at ``n // 2``.
        mask: 0/1, shape (height, width).

    Returns:
        Complex, shape (height, width), zero outside the mask.

    Example:
        >>> import torch
        >>> full = image_to_kspace(torch.stack([torch.full((4, 4), 3.0), torch.full((4, 4), 4.0)]))
        >>> kspace_to_image(root_sum_of_squares(full, torch.ones(4, 4))).real[0]
        tensor([5., 5., 5., 5.])

    References:
        Roemer P. et al., "The NMR phased array", Magn Reson Med 1990.
    """
    images = kspace_to_image(kspace)
    return apply_mask(image_to_kspace(images.abs().square().sum(0).sqrt()), mask)
