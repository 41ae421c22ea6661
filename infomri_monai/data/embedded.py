"""The default data: made-up brains on the anatomy of the MNI152 template, with tissues as labels or with simulated lesions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.labels import add_raters, rater_model
from infomri_monai.data.prepare import check_size, check_split, check_subset, prepare_images
from infomri_monai.transforms import smooth_field

__all__ = [
    "CONTRASTS",
    "SPLITS",
    "TEMPLATE_SLICES",
    "TISSUES",
    "DrawnSlice",
    "add_lesion",
    "check_embedded",
    "draw_subject",
    "embedded_lesions",
    "embedded_segmentation",
    "embedded_subjects",
    "template_slice",
]

ndimage, _ = optional_import("scipy.ndimage")


#: axial slices (1 mm apart) that hold both hemispheres and ventricles or centrum semiovale
TEMPLATE_SLICES = (60, 124)


@lru_cache(maxsize=1)
def _template() -> tuple[NDArray, NDArray, NDArray]:
    """T1 intensity, grey and white matter probability at 1 mm, each (x, y, z) float32 in [0, 1]."""
    datasets, _ = optional_import("nilearn.datasets")  # here, because its import takes seconds
    loaders = (datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    t1, grey, white = (load(resolution=1).get_fdata(dtype=np.float32) for load in loaders)
    return t1, grey, white


@lru_cache(maxsize=128)
def template_slice(index: int) -> NDArray[np.float32]:
    """One axial slice of the template, anterior at the top.

    Args:
        index: slice in ``TEMPLATE_SLICES``, in millimetres above the volume's lower end.

    Returns:
        float32, shape (4, height, width) at 1 mm: T1 intensity, grey and white matter probability, signed distance in
        millimetres to the brain's surface (negative inside), with the brain's centre in the middle.

    Raises:
        ValueError: if ``index`` lies outside ``TEMPLATE_SLICES``.
        monai.utils.OptionalImportError: if nilearn is not installed (extra ``data``).

    Example:
        >>> t1, grey, white, distance = template_slice(90)
        >>> bool(distance.min() < -30 and grey.max() <= 1)
        True
    """
    first, last = TEMPLATE_SLICES
    if not first <= index <= last:
        raise ValueError(f"index must lie in [{first}, {last}], got {index}.")
    t1, grey, white = (volume[:, ::-1, index].T for volume in _template())
    brain = ndimage.binary_fill_holes(t1 > 0.05)
    distance = ndimage.distance_transform_edt(~brain) - ndimage.distance_transform_edt(brain)
    maps = np.stack([t1, grey, white, distance]).astype(np.float32)
    shift = [round(n / 2 - c) for n, c in zip(brain.shape, ndimage.center_of_mass(brain), strict=True)]
    return np.roll(maps, shift, axis=(1, 2))


#: the splits; subject k of split i is number 3 k + i, so that no two splits share a subject
SPLITS = ("train", "validation", "test")
#: the label of each tissue
TISSUES = {"background": 0, "csf": 1, "grey": 2, "white": 3}

#: relative intensity of CSF, grey, white, skull, marrow, scalp
CONTRASTS = {
    "T1": (0.18, 0.52, 0.78, 0.08, 0.55, 0.85),
    "T2": (0.95, 0.58, 0.40, 0.06, 0.35, 0.50),
    "FLAIR": (0.12, 0.68, 0.52, 0.06, 0.30, 0.55),
}
FIELD_OF_VIEW = (224.0, 196.0)  # mm that the grid covers at least, with square pixels


class DrawnSlice(NamedTuple):
    """A slice on the fine grid."""

    image: NDArray[np.complex64]  # (2 height, 2 width)
    label: NDArray[np.uint8]  # same shape, values of TISSUES
    scale: float  # side of a pixel, millimetres
    contrast: str  # key of CONTRASTS


def embedded_subjects(
    split: str,
    subjects: int = 60,
    slices_per_subject: int = 4,
    grid: Sequence[int] = (96, 96),
    seed: int = 0,
    complex_valued: bool = True,
) -> list[dict[str, Any]]:
    """Make a MONAI data list of synthetic brain slices.

    Every subject has its own head shape (affine and smooth deformation), cortical folds, tissue contrast (near T1, T2
    or FLAIR), bias field, vessels, texture and smooth phase. The object is drawn with twice the resolution and its
    k-space cropped, as a scanner's is: tissue borders are sharp, partial volume and ringing are the ones of that
    resolution. The same arguments give the same arrays; asking for more subjects keeps the ones there were, and a
    subject's anatomy is the same on every square grid of at least 64. Plain keyword arguments: a
    bundle names the function as ``_target_`` in its configuration and hands the list to ``monai.data.Dataset``.

    Args:
        split: "train", "validation" or "test"; subjects are disjoint.
        subjects: number of subjects.
        slices_per_subject: axial slices of each, spread over 64 mm; at most 16.
        grid: (height, width) in pixels, each from 16 to 512. Pixels are square, and the grid spans the head.
        seed: any non-negative integer; another one gives other subjects.
        complex_valued: keep the phase. False gives the magnitude.

    Returns:
        One dictionary a slice: "image", complex64 (float32 if not ``complex_valued``), shape (1, height, width),
        largest magnitude 1; "label", uint8, same shape, values of ``TISSUES``; "subject" and "slice", integers.

    Raises:
        ValueError: if an argument is outside its range.
        monai.utils.OptionalImportError: if nilearn is not installed (extra ``data``).

    Example:
        >>> first = embedded_subjects("test", subjects=1, slices_per_subject=2, grid=(64, 48))[0]
        >>> first["image"].shape, str(first["image"].dtype), first["label"].max()
        ((1, 64, 48), 'complex64', np.uint8(3))

    References:
        Fonov V. et al., "Unbiased average age-appropriate atlases for pediatric studies", NeuroImage 2011 (the
        template).
    """
    shape = check_embedded(split, subjects, slices_per_subject, grid, seed)
    numbers = [len(SPLITS) * k + SPLITS.index(split) for k in range(subjects)]
    return [e for n in numbers for e in _subject(n, slices_per_subject, shape, seed, complex_valued)]


def check_embedded(
    split: str, subjects: int, slices_per_subject: int, grid: Sequence[int], seed: int
) -> tuple[int, int]:
    """Check the arguments that the embedded sets share; see :func:`embedded_subjects`.

    Returns:
        The grid as (height, width).

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> check_embedded("train", 1, 1, [64, 48], seed=0)
        (64, 48)
    """
    check_split(split)
    for name, value, highest in (("subjects", subjects, 10**6), ("slices_per_subject", slices_per_subject, 16)):
        if not 1 <= value <= highest:
            raise ValueError(f"{name} must lie in [1, {highest}], got {value}.")
    shape = check_size(grid, "grid")
    if min(shape) < 16 or max(shape) > 512:
        raise ValueError(f"grid must lie in [16, 512] along each axis, got {shape}.")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}.")
    return shape


def _subject(number: int, slices: int, shape: tuple[int, int], seed: int, complex_valued: bool) -> list[dict[str, Any]]:
    entries = []
    for index, drawn in enumerate(draw_subject(number, slices, shape, seed)):
        image = prepare_images(drawn.image[None], kspace_crop=shape, magnitude=not complex_valued)
        start = (shape[0] % 2, shape[1] % 2)  # position n // 2 of the fine grid is position m // 2 of the coarse one
        label = drawn.label[None, start[0] :: 2, start[1] :: 2]
        entries.append({"image": image, "label": label, "subject": number, "slice": index})
    return entries


def draw_subject(number: int, slices: int, shape: tuple[int, int], seed: int) -> Iterator[DrawnSlice]:
    """Draw a subject's slices with twice the resolution, before k-space is cropped.

    Args:
        number: the subject's number; any non-negative integer.
        slices: number of slices, at most 16.
        shape: (height, width) of the coarse grid.
        seed: as in :func:`embedded_subjects`.

    Returns:
        The slices, from the lowest to the highest.

    Example:
        >>> drawn = next(draw_subject(0, 1, (32, 32), seed=0))
        >>> drawn.image.shape, drawn.contrast in CONTRASTS
        ((64, 64), True)
    """
    draw = np.random.default_rng([seed, number])
    name = str(draw.choice(list(CONTRASTS)))
    contrast = np.array(CONTRASTS[name])
    intensities = np.clip(contrast + draw.normal(0, 0.04, contrast.size), 0.02, 1.1)
    detail = draw.uniform(-0.3, 0.6)  # how much of the template's own contrast inside a tissue is kept, and its sign
    angle, shear = np.deg2rad(draw.normal(0, 5)), draw.normal(0, 0.03)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle) + shear]])
    affine = rotation / draw.normal(1, 0.04, 2).clip(0.92, 1.05)
    edges = np.linspace(*TEMPLATE_SLICES, slices + 1)
    for index, own in enumerate(draw.spawn(slices)):
        maps, scale = _deformed(template_slice(int(own.uniform(*edges[index : index + 2]))), shape, affine, own)
        yield DrawnSlice(*_scan(maps, intensities, detail, scale, own), scale, name)


def _deformed(
    template: NDArray, shape: tuple[int, int], affine: NDArray, draw: np.random.Generator
) -> tuple[NDArray, float]:
    """Sample the template's maps on the fine grid (2 x ``shape``) after deformation; also its pixel size in mm."""
    fine = (2 * shape[0], 2 * shape[1])
    scale = max(extent / n for extent, n in zip(FIELD_OF_VIEW, fine, strict=True))
    y, x = ((np.arange(n, dtype=np.float32) - n // 2) * scale for n in fine)
    position = np.einsum("ij,jhw->ihw", affine, np.stack(np.meshgrid(y, x, indexing="ij")))
    for wavelength, amplitude in ((40.0, 2.5), (9.0, 0.7)):  # head shape, folds; millimetres
        position += np.stack([amplitude * smooth_field(fine, wavelength / scale, draw) for _ in range(2)])
    position += np.array(template.shape[1:])[:, None, None] / 2
    maps = [ndimage.map_coordinates(m, position, order=1, mode="nearest", output=np.float32) for m in template]
    return np.stack(maps), scale


def _scan(
    maps: NDArray, intensities: NDArray, detail: float, scale: float, draw: np.random.Generator
) -> tuple[NDArray[np.complex64], NDArray[np.uint8]]:
    """Turn the deformed maps into a complex image and tissue labels on the fine grid."""
    t1, grey, white, distance = maps

    def field(millimetres: float) -> NDArray[np.float32]:
        return smooth_field(t1.shape, millimetres / scale, draw)

    rim, sulcus = 2.5 + 0.8 * field(25), np.abs(field(16)) < 0.13  # CSF outside the template's brain and in its folds
    brain = distance < rim
    widths = [rim, 1.5 + 0 * rim, 2.0 + 0.5 * field(30), 1.5 + 0 * rim, 5 + 1.2 * field(90)]
    layer = (distance[None] >= np.cumsum(widths, axis=0)).sum(0)  # brain, inner table, marrow, outer table, scalp, air
    vessel = np.exp(-((field(12) / 0.08) ** 2)) * (field(12) > 0.9) * (layer != 5)
    bias = np.exp(0.12 * field(150))
    phase = draw.uniform(-np.pi, np.pi) + 0.5 * field(150) + 0.15 * field(40)
    # the fields below reach the grid's resolution; drawn last, they leave the anatomy the same on every grid
    grey, white = grey + 0.1 * field(5), white + 0.1 * field(5)
    label = 1 + np.stack([np.clip(1 - maps[1] - maps[2], 0, 1) + 0.1 * field(4), grey, white]).argmax(0)
    label = np.where(brain, label, TISSUES["background"])
    label[brain & ((distance > 0) | (sulcus & (label == TISSUES["grey"]) & (distance > -16)))] = TISSUES["csf"]
    image = np.array([0, *intensities[[3, 4, 3, 5]], 0])[layer]
    image = np.where(brain, np.array([0, *intensities[:3]])[label], image)
    within_tissue = ((t1 - np.array([0, 0.45, 0.72, 0.9])[label]) * detail).clip(-0.12, 0.12)
    image = (image + within_tissue * (brain & (distance < 0))) * (1 - 0.6 * vessel)
    texture = 1 + 0.03 * field(6) + 0.08 * field(3) * (layer == 4) + 0.03 * field(2.5)
    return (image * texture * bias * np.exp(1j * phase)).astype(np.complex64), label.astype(np.uint8)


def embedded_segmentation(
    split: str,
    subjects: int = 60,
    slices_per_subject: int = 4,
    grid: Sequence[int] = (96, 96),
    seed: int = 0,
    raters: int = 6,
    rater_options: Mapping[str, float] | None = None,
    complex_valued: bool = True,
    subset: int | None = None,
) -> list[dict[str, Any]]:
    """Synthetic brain slices, classes background, CSF, grey and white matter, raters simulated. No download.

    Args:
        split: "train", "validation" or "test"; subjects are disjoint.
        subjects: as :func:`~infomri_monai.data.embedded_subjects`.
        slices_per_subject: as :func:`~infomri_monai.data.embedded_subjects`.
        grid: (height, width) in pixels, each from 16 to 512.
        seed: of the subjects and of the simulated raters.
        raters: number of simulated raters; 1 keeps the true tissues as they are.
        rater_options: "bias", "amplitude", "wavelength" of :class:`~infomri_monai.transforms.SimulateRaters`, pixels.
        complex_valued: keep the phase. False gives the magnitude.
        subset: keep every n-th entry.

    Returns:
        One dictionary a slice: "image", complex64 (float32 if not ``complex_valued``), (1, *grid), largest magnitude 1; "label",
        uint8 (rater, *grid), values of ``TISSUES``; "subject"; "slice"; "simulated_raters", a bool.

    Raises:
        ValueError: if an argument is outside its range.
        monai.utils.OptionalImportError: if nilearn is not installed (extra ``data``).

    Example:
        >>> entry = embedded_segmentation("test", subjects=1, slices_per_subject=1, grid=(48, 32), raters=3)[0]
        >>> entry["image"].shape, entry["label"].shape, entry["simulated_raters"]
        ((1, 48, 32), (3, 48, 32), True)
    """
    step, model = check_subset(subset), rater_model(raters, len(TISSUES), rater_options, seed)
    entries = embedded_subjects(split, subjects, slices_per_subject, grid, seed, complex_valued)
    return [add_raters(entry, len(TISSUES), model) for entry in entries[::step]]


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


_LESION = 1  # keeps the lesions' numbers apart from the anatomy's


def embedded_lesions(
    split: str,
    subjects: int = 60,
    slices_per_subject: int = 4,
    grid: Sequence[int] = (64, 64),
    seed: int = 0,
    complex_valued: bool = True,
    prevalence: float = 0.5,
    subset: int | None = None,
) -> list[dict[str, Any]]:
    """Synthetic brain slices, half of them with a simulated lesion; the label says which.

    The brains are those of :func:`~infomri_monai.data.embedded_subjects`: without a lesion a slice is the same array. A lesion is
    18 to 34 mm across (9 to 18 % of the head's length), 60 to 100 % darker or brighter than the tissue it replaces, soft and
    irregular at its border, and drawn before k-space is cropped, see
    :func:`~infomri_monai.data.embedded.add_lesion`. A share ``prevalence ** 0.5`` of the subjects is ill, and that share of
    an ill subject's slices has a lesion: ill subjects have slices without one.

    "attribute" is a second label that the diagnosis does not need, for an attacker to infer: the subject's contrast weighting,
    drawn independently of the lesion.

    Args:
        split: "train", "validation" or "test"; subjects are disjoint.
        subjects: number of subjects.
        slices_per_subject: axial slices of each, at most 16.
        grid: (height, width) in pixels, each from 16 to 512.
        seed: of the subjects and of the lesions.
        complex_valued: keep the phase. False gives the magnitude.
        prevalence: expected share of slices with a lesion, from 0 to 1.
        subset: keep every n-th entry.

    Returns:
        One dictionary a slice: "image", complex64 (float32 if not ``complex_valued``), (1, *grid), largest magnitude 1; "label",
        int64, 1 with a lesion, else 0; "attribute", int64, 0 near T1, 1 near T2, 2 near FLAIR; "subject"; "slice"; "simulated",
        True.

    Raises:
        ValueError: if an argument is outside its range.
        monai.utils.OptionalImportError: if nilearn is not installed (extra ``data``).

    Example:
        >>> entry = embedded_lesions("test", subjects=1, slices_per_subject=1, grid=(48, 32), prevalence=1)[0]
        >>> entry["image"].shape, entry["label"], entry["attribute"] in (0, 1, 2)
        ((1, 48, 32), np.int64(1), True)
    """
    shape = check_embedded(split, subjects, slices_per_subject, grid, seed)
    if not 0 <= prevalence <= 1:
        raise ValueError(f"prevalence must lie in [0, 1], got {prevalence}.")
    step, entries = check_subset(subset), []
    for number in (len(SPLITS) * k + SPLITS.index(split) for k in range(subjects)):
        draw = np.random.default_rng([seed, number, _LESION])
        ill = draw.uniform() < prevalence**0.5
        drawn = draw_subject(number, slices_per_subject, shape, seed)
        for index, (one, own) in enumerate(zip(drawn, draw.spawn(slices_per_subject), strict=True)):
            lesion = ill and own.uniform() < prevalence**0.5
            image = add_lesion(one, own)[0] if lesion else one.image
            image = prepare_images(image[None], kspace_crop=shape, magnitude=not complex_valued)
            entry = {
                "image": image,
                "label": np.int64(lesion),
                "attribute": np.int64(list(CONTRASTS).index(one.contrast)),
            }
            entries.append(entry | {"subject": number, "slice": index, "simulated": True})
    return entries[::step]
