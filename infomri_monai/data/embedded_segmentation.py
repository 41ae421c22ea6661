"""The default segmentation data: the synthetic brains with simulated raters of their tissues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infomri_monai.data.embedded import TISSUES, embedded_subjects
from infomri_monai.data.simulated_raters import add_raters, check_subset, rater_model

__all__ = ["embedded_segmentation"]


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
