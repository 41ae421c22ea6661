"""The default classification data: synthetic brains with or without a simulated lesion. No download, no patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infomri_monai.data.embedded import CONTRASTS, SPLITS, check_embedded, draw_subject
from infomri_monai.data.prepare import prepare_images
from infomri_monai.data.simulated_lesion import add_lesion
from infomri_monai.data.simulated_raters import check_subset

__all__ = ["embedded_lesions"]

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
    :func:`~infomri_monai.data.simulated_lesion.add_lesion`. A share ``prevalence ** 0.5`` of the subjects is ill, and that share of
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
