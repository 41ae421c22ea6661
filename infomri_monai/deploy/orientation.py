"""Whether raw k-space stands for the network as its training images did: a scanner may read out in any direction."""

from __future__ import annotations

import numpy as np

from infomri_monai.deploy.case import DeployCase

__all__ = ["orientation_warning"]

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
#: where the axes of the patient (LPS) run from and to
_RUNS = (("right", "left"), ("anterior", "posterior"), ("feet", "head"))
#: by the axis that the slices' normal is nearest to: the plane, and which way is down in its pictures, LPS
_PLANES = (("sagittal", (0, 0, -1)), ("coronal", (0, 0, -1)), ("axial", (0, 1, 0)))


def orientation_warning(case: DeployCase) -> str:
    """What to tell if a case's anatomy is turned by more than 45 degrees from how one looks at its plane.

    Upright, the readout runs down: in axial slices from anterior to posterior, in coronal and sagittal ones from head to feet.
    k-space is never turned, as its lines would no longer be those of the policy. A mirrored image counts as upright.

    Args:
        case: raw k-space with a geometry; of images, and where there is none, nothing is told.

    Returns:
        The warning, or "".

    Example:
        >>> import torch
        >>> from infomri_monai.deploy.case import CaseSource
        >>> affine = np.diag([-2.0, -2.0, 4.0, 1.0])  # RAS: the readout runs to the left, phase encoding to the back
        >>> orientation_warning(DeployCase(1, "kspace", torch.zeros(1, 8, 8, 1), affine, CaseSource((), None)))[:63]
        'the anatomy lies on its side for the model: the axial slices we'

    References:
        DICOM PS3.3 (2024), C.7.6.2.1.1: the axes of the patient.
    """
    if case.domain != "kspace" or not case.has_geometry:
        return ""
    read, phase = (case.affine[:3, axis] * _RAS_TO_LPS for axis in (0, 1))
    read = read / np.linalg.norm(read)
    normal = np.cross(read, phase)
    normal /= np.linalg.norm(normal)
    plane, down = _PLANES[int(np.abs(normal).argmax())]
    in_plane = down - (down @ normal) * normal
    cosine = float(read @ in_plane / np.linalg.norm(in_plane))
    if cosine >= np.sqrt(0.5):
        return ""
    posture = "is upside down" if cosine <= -np.sqrt(0.5) else "lies on its side"
    return (
        f"the anatomy {posture} for the model: the {plane} slices were read out from {_run(read)}, it was trained on upright "
        f"ones, read out from {_run(np.array(down, float))}; its results may be worse."
    )


def _run(direction: np.ndarray) -> str:
    """Where a direction (LPS) mainly runs, in words."""
    axis = int(np.abs(direction).argmax())
    return " to ".join(_RUNS[axis] if direction[axis] > 0 else _RUNS[axis][::-1])
