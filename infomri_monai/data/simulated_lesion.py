"""A simulated focal lesion of a synthetic brain, drawn on the fine grid before k-space is cropped."""

from __future__ import annotations

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.embedded import TISSUES, DrawnSlice
from infomri_monai.transforms import smooth_field

ndimage, _ = optional_import("scipy.ndimage")

__all__ = ["add_lesion"]

#: diameter of the lesion, mm; the heads are about 190 mm long
DIAMETER = (18.0, 34.0)
#: relative difference of the lesion's intensity from the tissue's that it replaces, hypo- or hyperintense
DIFFERENCE = (0.6, 1.0)
BORDER = (1.0, 2.5)  # width of the soft border, mm
ROUGHNESS, WAVELENGTH = 0.25, 15.0  # of the border: relative to the radius; mm


def add_lesion(drawn: DrawnSlice, draw: np.random.Generator) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """Replace some tissue by a lesion: an ellipse with an irregular, soft border, centred in grey or white matter.

    The lesion is darker or brighter than the tissue it replaces by 60 to 100 %, never brighter than 90 % of the slice's largest
    magnitude, so that scaling the image to a maximum of 1 does not give it away; its phase is the tissue's.

    Args:
        drawn: a slice on the fine grid.
        draw: source of size (18 to 34 mm), place, shape and intensity.

    Returns:
        The image with the lesion, complex64, and where the lesion makes up more than half, bool; both (2 height, 2 width).

    Example:
        >>> from infomri_monai.data.embedded import draw_subject
        >>> drawn = next(draw_subject(0, 1, (64, 64), seed=0))
        >>> image, lesion = add_lesion(drawn, np.random.default_rng(0))
        >>> bool((image != drawn.image).any() and not (image != drawn.image)[drawn.label == 0].any() and lesion.any())
        True
    """
    radius, elongation, angle = draw.uniform(*DIAMETER) / 2, draw.uniform(1, 1.6), draw.uniform(0, np.pi)
    difference, border = draw.uniform(*DIFFERENCE), draw.uniform(*BORDER)
    sign, place = draw.choice([-1, 1]), draw.uniform()
    brain = ndimage.binary_fill_holes(drawn.label != TISSUES["background"])
    tissue = (drawn.label == TISSUES["grey"]) | (drawn.label == TISSUES["white"])
    inside = ndimage.distance_transform_edt(brain) * drawn.scale > 0.8 * radius
    candidates = np.flatnonzero(tissue & (inside if (tissue & inside).any() else True))
    centre = np.unravel_index(candidates[int(place * len(candidates))], brain.shape)
    y, x = np.ogrid[: brain.shape[0], : brain.shape[1]]
    y, x = (y - centre[0]) * drawn.scale, (x - centre[1]) * drawn.scale
    along, across = y * np.sin(angle) + x * np.cos(angle), y * np.cos(angle) - x * np.sin(angle)
    rough = smooth_field(brain.shape, WAVELENGTH / drawn.scale, draw).clip(-1.2, 1.2)
    distance = np.hypot(along / elongation**0.5, across * elongation**0.5) - radius * (1 - ROUGHNESS * rough)
    profile = brain * (0.5 - 0.5 * np.tanh(2 * distance / border))
    profile[profile < 0.01] = 0
    magnitude = np.abs(drawn.image)
    level, brightest = magnitude[tissue & (profile > 0.5)].mean(), 0.9 * magnitude.max()
    if sign > 0 and brightest < level * (1 + DIFFERENCE[0]):
        sign = -1
    target = min(level * (1 + sign * difference), brightest)
    changed = magnitude + profile * (target - magnitude) * 0.9  # a trace of the tissue's texture stays
    image = changed * np.exp(1j * np.angle(drawn.image))
    return np.where(profile > 0, image, drawn.image).astype(np.complex64), profile > 0.5
