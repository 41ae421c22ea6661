"""Datasets made of keywords and values: items of sequences, and stand-ins without a patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["item", "unnamed"]

#: of patient and study, which highdicom's constructors ask for
_IDENTITY = "PatientID PatientName PatientBirthDate PatientSex AccessionNumber StudyID StudyDate StudyTime ReferringPhysicianName"


def item(**elements: Any) -> Dataset:
    """A dataset with these elements.

    Example:
        >>> item(Rows=4, Columns=6).Columns
        6
    """
    made = pydicom.Dataset()
    made.update(elements)
    return made


def unnamed(**elements: Any) -> Dataset:
    """A dataset with these elements, and empty ones of patient and study, for constructors that ask for them.

    The patient's own are set afterwards, letter by letter: highdicom quotes them in warnings and refuses some.

    Example:
        >>> unnamed(Rows=4).PatientName
        ''
    """
    return item(**dict.fromkeys(_IDENTITY.split(), ""), **elements)
