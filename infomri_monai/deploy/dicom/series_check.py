"""Whether the files of one series make one case: all readable, MR, magnitude, of one acquisition, without holes or doubles."""

from __future__ import annotations

from collections.abc import Sequence

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.dicom.headers import FileHeader
from infomri_monai.deploy.dicom.slices import SliceHeader, mixture
from infomri_monai.deploy.dicom.stack import stack_slices

__all__ = ["check_series"]

#: third value of the image type, or complex component, of what is no magnitude; Philips has R_FFE, P_SE and the like
_NO_MAGNITUDE = ("P", "R", "I", "PHASE", "PHASE MAP", "REAL", "IMAGINARY")


def check_series(files: Sequence[FileHeader]) -> tuple[str, ...]:
    """Check that a series can be a case.

    Args:
        files: headers of the series' files, at least one.

    Returns:
        Warnings that a reader of the result must know.

    Raises:
        DeployError: if it cannot; says why, without identifiers.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> from infomri_monai.deploy.dicom.headers import read_header
        >>> paths = write_example_series(tempfile.mkdtemp(), slices=3)
        >>> check_series([read_header(paths[0]), read_header(paths[2])])
        Traceback (most recent call last):
        infomri_monai.deploy.case.DeployError: missing slices: gap of 1 between slice 1 and 2.
    """
    _check_files(files)
    slices = [s for f in files for s in f.slices]
    if differing := mixture(slices):
        raise DeployError(
            f"the series mixes acquisitions: its {len(slices)} images differ in {differing}; give one series each."
        )
    _check_magnitude(slices[0])
    warnings = stack_slices(slices).warnings
    return (*warnings, *_numbering([f.number for f in files])) if len(files) > 1 else warnings


def _check_files(files: Sequence[FileHeader]) -> None:
    """All usable, MR, different from one another, and either single-frame or one multi-frame image."""
    if problems := [f.problem for f in files if f.problem]:
        which = "the file" if len(files) == 1 else f"{len(problems)} of {len(files)} files"
        raise DeployError(f"{which} cannot be used: {problems[0]}.")
    roles = {f.role for f in files if f.role is not None}
    if foreign := sorted(role.modality for role in roles if role.name == "foreign"):
        raise DeployError(f"the series must hold MR images, found {', '.join(foreign)}.")
    if copies := len(files) - len({f.instance for f in files}):
        raise DeployError(f"{copies} of {len(files)} files are copies of others; keep one of each.")
    if len(files) > 1 and {role.name for role in roles} != {"classic"}:
        raise DeployError(f"a series must hold single-frame images or one multi-frame image, found {len(files)} files.")


def _check_magnitude(header: SliceHeader) -> None:
    kinds = {*header.traits["image type"][2:], *header.traits["complex component"]}
    if kinds & set(_NO_MAGNITUDE) or any(kind.startswith(("R_", "I_", "P_")) for kind in kinds):
        raise DeployError("the series must hold magnitude images, found phase, real or imaginary parts.")


def _numbering(numbers: Sequence[int]) -> tuple[str, ...]:
    """A warning if the instances' numbers have holes: slices at an end may be missing, which positions cannot tell."""
    missing = max(numbers) - len(set(numbers))
    if min(numbers) < 1 or missing <= 0:
        return ()
    return (f"instance numbers run up to {max(numbers)}, {len(numbers)} are there: slices at an end may be missing.",)
