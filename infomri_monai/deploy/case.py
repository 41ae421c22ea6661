"""What the operators of an application hand to each other, and how a case that fails says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "EXIT_CASE_FAILED",
    "EXIT_NOTHING_TO_DO",
    "EXIT_OK",
    "EXIT_USAGE",
    "CaseSource",
    "DeployCase",
    "DeployError",
    "counted",
]

#: everything was written
EXIT_OK = 0
#: arguments, configuration or model are wrong; nothing was written
EXIT_USAGE = 2
#: at least one case failed; the others are complete
EXIT_CASE_FAILED = 3
#: the input holds nothing that the application could process; nothing was written
EXIT_NOTHING_TO_DO = 4


class DeployError(Exception):
    """An error whose message is safe to log: it holds no identifier of a patient, no UID and no path of the input.

    Args:
        message: what is wrong, what was found and what is accepted.
        code: exit code of an application that ends with it.
        warnings: what was warned of before, of a case that failed; as safe to log.
    """

    def __init__(self, message: str, code: int = EXIT_CASE_FAILED, warnings: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code, self.warnings = code, warnings


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural unless the number is 1; a noun that ends in s, as series, is its own plural.

    Example:
        >>> counted(1, "case"), counted(0, "case"), counted(2, "series")
        ('1 case', '0 cases', '2 series')
    """
    return f"{number} {noun}{'' if number == 1 or noun.endswith('s') else 's'}"


@dataclass(frozen=True)
class CaseSource:
    """Where a case's DICOM objects get patient, study and references from. Never logged.

    Attributes:
        instances: the source's DICOM instances without pixel data, in the order of the slices: one per slice (classic) or a single
            multi-frame instance (enhanced); empty for raw k-space. ``pydicom.Dataset``.
        attributes: patient, study, frame of reference and equipment to carry over, a ``pydicom.Dataset`` with a StudyInstanceUID
            and a FrameOfReferenceUID: the first instance, or for raw k-space what is known.
        frames: number of the frame (from 1) of every slice in a multi-frame instance; empty for classic ones.
        tiled: whether the only instance is a mosaic, whose slices nothing can refer to one by one.
    """

    instances: tuple[Any, ...]
    attributes: Any
    frames: tuple[int, ...] = ()
    tiled: bool = False


@dataclass(frozen=True)
class DeployCase:
    """One case: an image whose acquisition is simulated, or raw k-space.

    Attributes:
        number: from 1, in the order of the input; logs and files name a case by it.
        domain: "image" or "kspace".
        data: float32 image or complex64 k-space, shape (1, columns, rows, slices): axis 0 of the image runs along DICOM's row
            direction, for k-space that is the readout; zero where nothing was measured.
        affine: (column, row, slice) index to RAS in mm, 4 x 4, float64. Of raw k-space the columns are counted along the readout,
            but where it has no geometry along phase encoding.
        source: patient, study, references.
        mask: of k-space, 0/1, float32, broadcasts to ``data``; None for images.
        has_geometry: whether the affine is the source's; otherwise a made-up one (identity orientation).
        warnings: what a reader of the result must know, in words.
        seconds: what loading took.
    """

    number: int
    domain: str
    data: Tensor
    affine: NDArray[np.float64]
    source: CaseSource
    mask: Tensor | None = None
    has_geometry: bool = True
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
