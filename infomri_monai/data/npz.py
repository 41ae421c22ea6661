"""Data lists from ``.npz`` stacks of real or complex slices, and the splits of the shared sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infomri_monai.data.prepare import check_finite, check_split, existing_file, prepare_images
from infomri_monai.files import is_of_disk

__all__ = ["BRAIN_COMPLEX_SPLITS", "brain_50", "brain_complex_180", "load_arrays", "npz_slices"]

#: subjects of ``brain_complex_180.npz`` in each split
BRAIN_COMPLEX_SPLITS = {"train": (0, 1, 2, 3), "validation": (4,), "test": (5,)}


def npz_slices(
    path: str | Path,
    image_key: str | None = None,
    real_key: str | None = None,
    imag_key: str | None = None,
    subject_key: str | None = None,
    subjects: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
    kspace_crop: Sequence[int] | None = None,
    magnitude: bool = False,
    normalise: bool = True,
) -> list[dict[str, Any]]:
    """Read a stack of slices into a MONAI data list.

    The array is either ``image_key`` (real or complex) or the pair ``real_key`` and ``imag_key``. Slices are chosen
    by subject, by a contiguous range of rows, or both. Pickled objects are never loaded.

    Args:
        path: the ``.npz`` file.
        image_key: name of the stack, shape (slice, height, width).
        real_key: name of the real part, any float type, same shape.
        imag_key: name of the imaginary part.
        subject_key: name of the subject number of each slice, shape (slice,); goes into the entries.
        subjects: keep these subjects only; needs ``subject_key``.
        rows: (first, stop), keep this range of slices only; stop is excluded.
        kspace_crop: (height, width) kept of the centre of k-space: lower resolution, same intensities, complex.
        magnitude: return magnitudes, taken after the crop.
        normalise: divide each slice by its largest magnitude; a slice of zeros stays zero.

    Returns:
        One dictionary a slice: "image", (1, height, width), complex64 or (real source without crop, or ``magnitude``)
        float32; "slice", the row in the file; "subject" if there is a ``subject_key``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no readable ``.npz``, a key is missing, shapes do not fit, the choice is empty, the
            crop is larger than the slices, or a chosen slice holds NaN or Inf.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "stack.npz"
        >>> np.savez(path, images=np.ones((6, 32, 32)), subject=[0, 0, 1, 1, 2, 2])
        >>> chosen = npz_slices(path, "images", subject_key="subject", subjects=[1, 2], kspace_crop=(16, 16))
        >>> [entry["slice"] for entry in chosen], chosen[0]["image"].shape
        ([2, 3, 4, 5], (1, 16, 16))
    """
    path = Path(path)
    if (image_key is None) == (real_key is None and imag_key is None) or (real_key is None) != (imag_key is None):
        raise ValueError("give either image_key or both real_key and imag_key.")
    if subjects is not None and subject_key is None:
        raise ValueError("subjects needs subject_key, the name of the subject numbers in the file.")
    names = [key for key in (image_key, real_key, imag_key) if key is not None]
    arrays = load_arrays(path, names + ([subject_key] if subject_key else []))
    length = _check_stacks(path.name, {name: arrays[name] for name in names})
    owner = arrays[subject_key] if subject_key else None
    chosen = _choose(path.name, length, rows, owner, subjects)
    parts = [arrays[name][chosen] for name in names]
    for part in parts:
        check_finite(part, chosen.tolist(), path.name)
    images = parts[0] if image_key else parts[0].astype(np.float32) + 1j * parts[1].astype(np.float32)
    images = prepare_images(images, kspace_crop, magnitude, normalise)
    check_finite(images, chosen.tolist(), path.name)  # sums of values near the end of float32 may leave it
    entries: list[dict[str, Any]] = [
        {"image": image[None], "slice": int(row)} for image, row in zip(images, chosen, strict=True)
    ]
    if owner is not None:
        for entry in entries:
            entry["subject"] = int(owner[entry["slice"]])
    return entries


def load_arrays(path: str | Path, names: Sequence[str] | None = None) -> dict[str, NDArray]:
    """Read named arrays of an ``.npz`` file; pickled objects are never loaded.

    Args:
        path: the file.
        names: the arrays wanted; None for all, in the file's order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no readable ``.npz`` or lacks a name.

    Example:
        >>> load_arrays("absent.npz")
        Traceback (most recent call last):
        FileNotFoundError: path: there is no file absent.npz.
    """
    path = existing_file(path, "path")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            available = list(getattr(file, "files", []))
            names = available if names is None else names
            missing = [name for name in names if name not in available]
            if missing:
                raise KeyError(f"{path.name} holds no array {', '.join(missing)}; it holds {', '.join(available)}.")
            return {name: file[name] for name in names}
    except KeyError as error:
        raise ValueError(error.args[0]) from error
    except Exception as error:  # NumPy passes on what zip files, the decompressor and Python's own parser raise
        if is_of_disk(error):
            raise
        raise ValueError(
            f"{path.name} is not a readable .npz file of plain arrays ({type(error).__name__})."
        ) from error


def _check_stacks(file: str, stacks: dict[str, NDArray]) -> int:
    """Return the number of slices, after checking that all stacks have one shape (slice, height, width)."""
    shape = next(iter(stacks.values())).shape
    for name, stack in stacks.items():
        if stack.ndim != 3 or stack.shape != shape or stack.dtype.kind not in "buifc":
            raise ValueError(
                f"{file}: {name!r} must be numeric with shape (slice, height, width), real and imaginary part alike, "
                f"got {stack.dtype} {stack.shape}."
            )
    return int(shape[0])


def _choose(
    name: str, length: int, rows: Sequence[int] | None, owner: NDArray | None, subjects: Sequence[int] | None
) -> NDArray[np.intp]:
    """Row numbers that lie in ``rows`` and belong to ``subjects``."""
    keep = np.ones(length, dtype=bool)
    if rows is not None:
        if len(rows) != 2 or not 0 <= rows[0] < rows[1] <= length:
            raise ValueError(f"rows must be (first, stop) with 0 <= first < stop <= {length}, got {tuple(rows)}.")
        keep[: rows[0]] = keep[rows[1] :] = False
    if owner is not None and (owner.shape != (length,) or owner.dtype.kind not in "iu"):
        raise ValueError(f"{name}: the subject numbers must be {length} integers, got {owner.dtype} {owner.shape}.")
    if owner is not None and subjects is not None:
        keep &= np.isin(owner, list(subjects))
    if not keep.any():
        available = "" if owner is None else f"; the file holds subjects {np.unique(owner).tolist()}"
        raise ValueError(f"{name}: no slice left for subjects={subjects}, rows={rows}{available}.")
    return np.flatnonzero(keep)


def brain_complex_180(
    path: str | Path,
    split: str,
    kspace_crop: Sequence[int] | None = (128, 128),
    magnitude: bool = False,
    normalise: bool = True,
) -> list[dict[str, Any]]:
    """Complex T2 brain slices of six subjects, 30 each; training on subjects 0-3, validation on 4, test on 5.

    Args:
        path: ``brain_complex_180.npz``.
        split: "train", "validation" or "test".
        kspace_crop: as in :func:`npz_slices`; None keeps 270 x 256.
        magnitude: as in :func:`npz_slices`.
        normalise: as in :func:`npz_slices`.

    Returns:
        Data list with "image", "slice" and "subject".

    Raises:
        ValueError: if ``split`` is unknown, or as in :func:`npz_slices`.

    Example:
        >>> BRAIN_COMPLEX_SPLITS["test"]
        (5,)
    """
    check_split(split, BRAIN_COMPLEX_SPLITS)
    choice = {"subject_key": "subject", "subjects": BRAIN_COMPLEX_SPLITS[split]}
    options = {"kspace_crop": kspace_crop, "magnitude": magnitude, "normalise": normalise}
    return npz_slices(path, real_key="real", imag_key="imag", **choice, **options)  # type: ignore[arg-type]


def brain_50(
    path: str | Path,
    split: str = "test",
    kspace_crop: Sequence[int] | None = (128, 128),
    magnitude: bool = True,
    normalise: bool = True,
) -> list[dict[str, Any]]:
    """The 50 real brain test slices of ADMM-Net and ISTA-Net: test only, never to train on.

    Args:
        path: ``brain_50.npz``.
        split: "test".
        kspace_crop: as in :func:`npz_slices`; None keeps 256 x 256.
        magnitude: as in :func:`npz_slices`; the source is real, so that only the crop makes it complex.
        normalise: as in :func:`npz_slices`.

    Returns:
        Data list with "image" and "slice": 0-23 are axial, one head; 24-49 sagittal, another.

    Raises:
        ValueError: if ``split`` is not "test", or as in :func:`npz_slices`.

    Example:
        >>> brain_50("brain_50.npz", split="train")
        Traceback (most recent call last):
        ValueError: brain_50 is a test set: split must be 'test', got 'train'.
    """
    if split != "test":
        raise ValueError(f"brain_50 is a test set: split must be 'test', got {split!r}.")
    return npz_slices(path, "images", kspace_crop=kspace_crop, magnitude=magnitude, normalise=normalise)
