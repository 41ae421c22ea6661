"""Numbers with their noun: 1 case, 2 cases."""

from __future__ import annotations

__all__ = ["counted", "passed_over"]


def counted(number: int | None, noun: str) -> str:
    """A number and its noun, in the plural unless the number is 1.

    Args:
        number: "?" stands for None.
        noun: in the singular; one that ends in s, as series, is its own plural.

    Example:
        >>> counted(1, "case"), counted(0, "case"), counted(2, "series"), counted(None, "instance")
        ('1 case', '0 cases', '2 series', '? instances')
    """
    return f"{'?' if number is None else number} {noun}{'' if number == 1 or noun.endswith('s') else 's'}"


def passed_over(files: int) -> str:
    """That so many files are not DICOM.

    Example:
        >>> passed_over(1), passed_over(2)
        ('passed over 1 file that is not DICOM', 'passed over 2 files that are not DICOM')
    """
    return f"passed over {counted(files, 'file')} that {'is' if files == 1 else 'are'} not DICOM"
