"""MNIST digits from an ``.npz`` file of arrays, a classification task with a private attribute: how far the writing slants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infomri_monai.data.npz import load_arrays
from infomri_monai.data.prepare import check_size, check_split, check_subset

__all__ = ["MNIST_SPLITS", "digit_slant", "mnist"]

#: rows of each split: first and stop of the 60,000 published training images, or of the published test images
MNIST_SPLITS = {"train": (0, 50_000), "validation": (50_000, 55_000), "test": (0, 5_000)}


def mnist(
    path: str | Path, split: str, subset: int | None = None, pad: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Handwritten digits; label, the digit.

    The paper's 50,000 / 5,000 / 5,000 images: training images 0 to 49,999, training images 50,000 to 54,999, and the first 5,000
    test images. The shared ``mnist.npz`` holds 5,000 test images, all of which are used. Training images from 55,000 on are not.
    The official sets share no writer; images of one writer can be in training and in validation.

    "attribute" is a second label that the diagnosis does not need, for an attacker to infer: whether the handwriting slants more
    to the right than half of the training images of the same digit do, see :func:`digit_slant`. Relative to its digit, so that
    knowing the digit says nothing about it: its prevalence is 1/2 for every digit in training; in all it is 0.48 in validation and
    0.32 in test, whose writers are others.

    Args:
        path: ``mnist.npz``, which holds ``x_train``, ``y_train``, ``x_test`` and ``y_test``.
        split: "train", "validation" or "test".
        subset: keep every n-th image of the split.
        pad: (height, width), zeros around the image to this size, e.g. (32, 32), its position 14 at n // 2; None keeps 28 x 28.

    Returns:
        One dictionary an image: "image", float32 (1, height, width), in [0, 1], not scaled; "label", int64, 0 to 9; "attribute",
        int64, 0 or 1; "slice", the index in the published training or test set. The images are views of one array.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if an argument is outside its range, a file is damaged, or shapes, types, counts or digits are wrong.

    Example:
        >>> mnist("mnist.npz", split="val")
        Traceback (most recent call last):
        ValueError: split must be one of ('train', 'validation', 'test'), got 'val'.

    References:
        LeCun Y. et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998.
    """
    check_split(split, MNIST_SPLITS)
    step = check_subset(subset)
    size = (28, 28) if pad is None else check_size(pad, "pad")
    if min(size) < 28:
        raise ValueError(f"pad must be at least the images' 28 x 28, got {size}.")
    path = Path(path)
    training = _read(path, "train", MNIST_SPLITS["validation"][1])
    images, digits = training if split != "test" else _read(path, "test", MNIST_SPLITS["test"][1])
    rows = np.arange(*MNIST_SPLITS[split])[::step]
    threshold = _median_slant(*(part[slice(*MNIST_SPLITS["train"])] for part in training))
    attribute = (digit_slant(images[rows]) > threshold[digits[rows]]).astype(np.int64)
    stack = np.zeros((len(rows), 1, *size), dtype=np.float32)
    top, left = (n // 2 - 14 for n in size)
    stack[:, 0, top : top + 28, left : left + 28] = images[rows]
    stack /= 255
    labels = digits[rows].astype(np.int64)
    return [
        {"image": image, "label": label, "attribute": private, "slice": int(row)}
        for image, label, private, row in zip(stack, labels, attribute, rows, strict=True)
    ]


def digit_slant(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far the strokes lean to the right: pixels to the right per pixel upwards, from the ink's second moments.

    The regression of the ink's column on its row, -cov(x, y) / var(y), as is usual in deslanting handwriting.

    Args:
        images: (image, height, width), not negative.

    Returns:
        Slants, (image,); 0 upright or empty, 1 for 45 degrees, usually 0 to 0.5.

    Example:
        >>> digit_slant(np.fliplr(np.eye(8, dtype=np.uint8))[None]).tolist()
        [1.0]
    """
    height, width = images.shape[1:]
    y, x = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    ink = np.maximum(images.sum((1, 2), dtype=np.float64), 1)
    rows, columns = images.sum(2, dtype=np.float64), images.sum(1, dtype=np.float64)
    mean_y, mean_x = rows @ y / ink, columns @ x / ink
    products = np.einsum("nyx,y,x->n", images, y, x)  # buffered: no copy of the whole set
    variance = rows @ y**2 / ink - mean_y**2
    return -(products / ink - mean_x * mean_y) / np.maximum(variance, 1e-9)


def _median_slant(images: NDArray[np.uint8], digits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Median slant of each digit; infinite for a digit that does not occur."""
    slant = digit_slant(images)
    return np.array([np.median(slant[digits == d]) if (digits == d).any() else np.inf for d in range(10)])


def _read(path: Path, part: str, least: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (image, 28, 28) and digits (image,) of the published training or test set, checked."""
    if path.is_dir():
        raise ValueError(
            f"path must be the file mnist.npz, got the folder {path}; of the published idx files, torchvision.datasets.MNIST makes "
            "the arrays for numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)."
        )
    images, digits = load_arrays(path, [f"x_{part}", f"y_{part}"]).values()
    where = f"{path.name}: x_{part} and y_{part}"
    if images.shape[1:] != (28, 28) or digits.shape != images.shape[:1] or len(digits) < least:
        raise ValueError(
            f"{where} must hold at least {least} images of 28 x 28 and as many digits, got {images.shape}, {digits.shape}."
        )
    if images.dtype != np.uint8 or digits.dtype.kind not in "iu" or digits.min() < 0 or digits.max() > 9:
        raise ValueError(f"{where} must be uint8 and digits from 0 to 9, got {images.dtype} and {digits.dtype}.")
    return images, digits
