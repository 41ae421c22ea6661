"""What readers share: the checks of their arguments and files, the split of cases, and what is done to a stack of slices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from infomri_monai.acquisition import crop_kspace, image_to_kspace, kspace_to_image
from infomri_monai.arrays import as_numbers


def existing_file(path: str | Path, name: str) -> Path:
    """The path, if there is such a file; else FileNotFoundError, which begins with the argument's ``name``.

    Example:
        >>> existing_file("nowhere.csv", "labels_csv")
        Traceback (most recent call last):
        FileNotFoundError: labels_csv: there is no file nowhere.csv.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{name}: there is no file {path}.")
    return Path(path)


def read_text(path: str | Path, name: str) -> str:
    """The text of an existing file in UTF-8; else an error that begins with the argument's ``name``.

    Example:
        >>> read_text("nowhere.csv", "labels_csv")
        Traceback (most recent call last):
        FileNotFoundError: labels_csv: there is no file nowhere.csv.
    """
    path = existing_file(path, name)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{name}: {path.name} is no text in UTF-8.") from None


def existing_folder(path: str | Path, name: str = "folder") -> Path:
    """The path, if there is such a folder; else FileNotFoundError, which begins with the argument's ``name``."""
    if not Path(path).is_dir():
        raise FileNotFoundError(f"{name}: there is no folder {path}.")
    return Path(path)


def check_present(paths: Sequence[Path], folder: Path, hint: str = "") -> None:
    """Raise FileNotFoundError, naming the first five, if any of a folder's files is missing; ``hint`` ends the message."""
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        listed = ", ".join(missing[:5])
        raise FileNotFoundError(f"folder {folder} lacks {len(missing)} of {len(paths)} files: {listed}{hint}.")


def check_axis(axis: int) -> int:
    """Return an axis of a volume if it is 0, 1 or 2, else raise ValueError."""
    if axis not in (0, 1, 2):
        raise ValueError(f"axis must be 0, 1 or 2, got {axis!r}.")
    return axis


def check_validation(share: float) -> dict[str, float]:
    """The parts "train" and "validation" of the training cases, if ``share`` of the latter lies between 0 and 1."""
    if not 0 < share < 1:
        raise ValueError(f"validation must lie between 0 and 1, got {share}.")
    return {"train": 1 - share, "validation": share}


def check_subset(subset: int | None) -> int:
    """The step that keeps every ``subset``-th entry of a list; None keeps all.

    Raises:
        ValueError: unless it is None or a whole number of at least 1.

    Example:
        >>> "abcdefg"[:: check_subset(3)]
        'adg'
    """
    if subset is None:
        return 1
    if isinstance(subset, bool | Sequence) or int(subset) != subset or subset < 1:
        raise ValueError(f"subset must be None or a whole number of at least 1, got {subset!r}.")
    return int(subset)


def check_size(size: Sequence[int], name: str) -> tuple[int, int]:
    """Return an in-plane size as two positive integers.

    Args:
        size: (height, width); a list, as a JSON configuration holds it, will do.
        name: the argument's name in error messages.

    Raises:
        ValueError: if there are not exactly two whole numbers of at least 1.

    Example:
        >>> check_size([64, 48], "grid")
        (64, 48)
    """
    values = list(size) if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str) else [size]
    if len(values) != 2 or any(isinstance(n, bool) or int(n) != n or n < 1 for n in values):
        raise ValueError(f"{name} must be (height, width), two whole numbers of at least 1, got {size!r}.")
    return int(values[0]), int(values[1])


def in_float32(values: NDArray) -> NDArray:
    """Numbers as float32, complex ones as complex64; what these cannot hold becomes Inf.

    Example:
        >>> in_float32(np.array([1.0, 1e300]))
        array([ 1., inf], dtype=float32)
    """
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.complex64 if np.iscomplexobj(values) else np.float32, copy=False)


def check_finite(images: NDArray, rows: Sequence[int], where: str) -> None:
    """Refuse a stack that holds NaN or Inf, or what float32, in which images are kept, cannot hold.

    Args:
        images: stack, shape (slice, height, width).
        rows: the index of each slice in its source, for the message.
        where: the source's name, for the message.

    Raises:
        ValueError: naming the source and the first slices with a non-finite value.

    Example:
        >>> check_finite(np.ones((2, 4, 4)), [7, 8], "stack.npz")
    """
    bad = [row for row, image in zip(rows, images, strict=True) if not np.isfinite(in_float32(image)).all()]
    if bad:
        raise ValueError(f"{where}: slice {', '.join(map(str, bad[:5]))} of {len(bad)} affected holds NaN or Inf.")


def scale_to_unit(images: NDArray) -> tuple[NDArray, NDArray]:
    """Divide every slice by its largest magnitude; a slice of zeros stays as it is.

    Args:
        images: real or complex stack, shape (slice, height, width).

    Returns:
        The scaled stack and the factors it was divided by, shape (slice,), which restore the source's units.

    Example:
        >>> scale_to_unit(np.array([[[2.0, -4.0]], [[0.0, 0.0]]]))[0].tolist()
        [[[0.5, -1.0]], [[0.0, 0.0]]]
    """
    scale = np.abs(images).max(axis=(1, 2))
    scale = np.where(scale > 0, scale, np.ones_like(scale))
    return images / scale[:, None, None], scale


def crop_kspace_keeping_intensity(kspace: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Centre-crop k-space and scale it so that the image's mean intensity stays what it was.

    Args:
        kspace: complex, shape (..., height, width), DC at ``n // 2``.
        size: (height, width), at most the k-space grid.

    Raises:
        ValueError: if ``size`` does not fit the grid.

    Example:
        >>> flat = image_to_kspace(3 * torch.ones(8, 8))
        >>> kspace_to_image(crop_kspace_keeping_intensity(flat, (4, 4))).real.mean().item()
        3.0
    """
    positions = kspace.shape[-2] * kspace.shape[-1]
    return crop_kspace(kspace, list(size)) * (size[0] * size[1] / positions) ** 0.5


def prepare_images(
    images: NDArray, kspace_crop: Sequence[int] | None = None, magnitude: bool = False, normalise: bool = True
) -> NDArray:
    """Crop in k-space, then take the magnitude if asked, then scale each slice to a maximum of 1.

    Args:
        images: finite real or complex stack, shape (slice, height, width).
        kspace_crop: (height, width) kept of k-space, or None; the cropped image is complex and keeps its intensities.
        magnitude: return the magnitude, taken after the crop.
        normalise: divide each slice by its largest magnitude (a slice of zeros stays zero).

    Returns:
        complex64 if the input is complex or was cropped and ``magnitude`` is False, else float32; (slice, height,
        width).

    Raises:
        ValueError: if ``kspace_crop`` is larger than the images.

    Example:
        >>> prepare_images(np.ones((2, 8, 6)), kspace_crop=(4, 4), magnitude=True).shape
        (2, 4, 4)
    """
    images = as_numbers(images, "images").detach().cpu().numpy()
    if kspace_crop is not None:
        size = check_size(kspace_crop, "kspace_crop")
        if any(m > n for m, n in zip(size, images.shape[1:], strict=True)):
            raise ValueError(f"kspace_crop={size} must not exceed the image size {images.shape[1:]}.")
        stack = torch.as_tensor(images.astype(np.complex64, copy=False))
        images = kspace_to_image(crop_kspace_keeping_intensity(image_to_kspace(stack), size)).numpy()
    if magnitude:
        images = np.abs(images)
    images = images.astype(np.complex64 if np.iscomplexobj(images) else np.float32)
    return scale_to_unit(images)[0] if normalise else images


Case = TypeVar("Case")


def check_split(split: str, accepted: Iterable[str] = ("train", "validation", "test")) -> str:
    """Return ``split`` if it is one of the accepted names.

    Args:
        split: the name given.
        accepted: the names there are.

    Raises:
        ValueError: if it is not.

    Example:
        >>> check_split("val")
        Traceback (most recent call last):
        ValueError: split must be one of ('train', 'validation', 'test'), got 'val'.
    """
    if split not in (names := tuple(accepted)):
        raise ValueError(f"split must be one of {names}, got {split!r}.")
    return split


def split_cases(cases: Sequence[Case], parts: Mapping[str, float], seed: int | None = None) -> dict[str, list[Case]]:
    """Divide cases into named parts; the same cases, fractions and seed give the same parts on every machine.

    Args:
        cases: what is divided, one a patient where patients are known, in a reproducible order (sorted names).
        parts: name and fraction of each part, in order; the fractions sum to 1. Part i ends at
            ``round(n (f_1 + ... + f_i))``.
        seed: the parts take the cases in the order of the SHA-256 digest of "seed index"; None leaves them as they are, so that
            the parts are contiguous blocks (for slices of which neighbours may share a patient).

    Returns:
        The cases of each part in their original order. Disjoint, and together all of them.

    Raises:
        ValueError: if a fraction is negative, they do not sum to 1, or ``seed`` is negative.

    Example:
        >>> split_cases("abcdefghij", {"train": 0.8, "validation": 0.2})["validation"]
        ['i', 'j']
        >>> split_cases("abcdefghij", {"train": 0.8, "validation": 0.2}, seed=0)["validation"]
        ['d', 'j']
    """
    if any(f < 0 for f in parts.values()) or abs(sum(parts.values()) - 1) > 1e-6:
        raise ValueError(f"parts must be fractions of at least 0 that sum to 1, got {dict(parts)}.")
    if seed is not None and seed < 0:
        raise ValueError(f"seed must be None or not negative, got {seed}.")
    number = len(cases)
    order = list(range(number))
    if seed is not None:  # a digest, because NumPy's random streams may change between versions
        order.sort(key=lambda i: hashlib.sha256(f"{seed} {i}".encode()).digest())
    ends = np.rint(np.cumsum(list(parts.values())) * number).astype(int)
    starts = [0, *ends[:-1]]
    taken = (sorted(order[start:end]) for start, end in zip(starts, ends, strict=True))
    return {name: [cases[i] for i in chosen] for name, chosen in zip(parts, taken, strict=True)}
