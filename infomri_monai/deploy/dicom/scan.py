"""Find the MR series below a folder from the files' headers; one that is damaged does not stop the others.

Also here: Whether the files of one series make one case: all readable, MR, magnitude, of one acquisition, without
holes or doubles.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.dicom.headers import FileHeader, is_dicom, read_header
from infomri_monai.deploy.dicom.slices import SliceHeader, mixture, stack_slices
from infomri_monai.deploy.files import FoundFiles, find_files, passed_over
from infomri_monai.deploy.logs import quiet

__all__ = ["SeriesCandidate", "SeriesScan", "check_series", "find_series"]

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


@dataclass(frozen=True)
class SeriesCandidate:
    """One series that is a case, or says why it cannot be one. Its representation shows no path.

    Attributes:
        number: from 1, in the order of the files' paths.
        files: its files, in the order of their paths.
        problem: why it fails; "" if it may be read.
        warnings: what a reader of the result must know.
        slices: of every file, what its header says of its slices.
    """

    number: int
    files: tuple[Path, ...] = field(repr=False)
    problem: str = ""
    warnings: tuple[str, ...] = ()
    slices: tuple[tuple[SliceHeader, ...], ...] = field(default=(), repr=False)


class SeriesScan(NamedTuple):
    """What a folder holds.

    Attributes:
        candidates: series and damaged files, numbered.
        notes: what was passed over, in words without identifiers.
    """

    candidates: tuple[SeriesCandidate, ...]
    notes: tuple[str, ...]


def find_series(folder: str | Path, others: Sequence[str] = (), found: FoundFiles | None = None) -> SeriesScan:
    """Find the MR series below a folder.

    Files may have any name and lie at any depth; files that are not DICOM, DICOMDIR, localizers and what goes along with images
    (reports, presentation states, segmentations, secondary captures and the like) are passed over with a note. A series of another
    modality, of mixed acquisitions or with a damaged file is a candidate with a problem. A damaged file whose series cannot be
    read counts to the series of its folder if that holds a single one, otherwise it is a candidate with a problem of its own, as is
    a folder that cannot be looked into. Folders that are links are followed, see :func:`~infomri_monai.deploy.files.find_files`.

    Args:
        folder: existing folder.
        others: suffixes of files that another reader takes; they are passed over without a note.
        found: what :func:`~infomri_monai.deploy.files.find_files` found in the folder, where that is known.

    Returns:
        Candidates in the order of their first file's path, and notes.

    Raises:
        DeployError: if there is no such folder.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> root = Path(tempfile.mkdtemp())
        >>> _ = write_example_series(root / "a", slices=2), write_example_series(root / "b", "enhanced", slices=2)
        >>> find_series(root).candidates
        (SeriesCandidate(number=1, problem='', warnings=()), SeriesCandidate(number=2, problem='', warnings=()))
    """
    root = Path(folder)
    if not root.is_dir():
        raise DeployError("the input must be an existing folder of DICOM files.", EXIT_USAGE)
    with quiet():
        found = found or find_files(root)
        headers, passed = _read_headers(found.files, tuple(others))
        groups, notes = _sort_out(headers)
        series = _by_series(groups)
        judged = [(files, *_judge(files)) for files in series]
    for path, reason in found.unreadable:
        judged.append(([FileHeader(path)], f"a folder of the input cannot be read ({reason}).", ()))
    if passed:
        notes.append(passed_over(passed))
    ordered = sorted(judged, key=lambda item: item[0][0].path)
    candidates = [
        SeriesCandidate(number, tuple(f.path for f in files), problem, warnings, tuple(f.slices for f in files))
        for number, (files, problem, warnings) in enumerate(ordered, 1)
    ]
    return SeriesScan(tuple(candidates), tuple(notes))


def _read_headers(paths: Sequence[Path], others_of: tuple[str, ...]) -> tuple[list[FileHeader], int]:
    """Headers of the DICOM files among some, and the number of the others but those with the suffixes."""
    headers, others = [], 0
    for path in paths:
        try:
            if not is_dicom(path):
                others += path.suffix.lower() not in others_of
                continue
        except OSError as error:
            if path.suffix.lower() not in others_of:
                headers.append(FileHeader(path, problem=f"not to be opened ({type(error).__name__})"))
            continue
        if (header := read_header(path)) is not None:
            headers.append(header)
    return headers, others


def _sort_out(headers: Iterable[FileHeader]) -> tuple[list[FileHeader], list[str]]:
    """Files that make cases, and notes on the series passed over."""
    kept, passed = [], defaultdict(set)
    for header in headers:
        if header.role is not None and header.role.name in ("companion", "localizer"):
            what = header.role.modality if header.role.name == "companion" else "localizer"
            passed[what].add(header.series)
        else:
            kept.append(header)
    counts = Counter({what: len(series) for what, series in passed.items()})
    if not counts:
        return kept, []
    words = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    return kept, [f"passed over series that are no MR images to process: {words}"]


def _by_series(headers: Sequence[FileHeader]) -> list[list[FileHeader]]:
    """Files of a series together; damaged ones with the series that they belong to, if that is known."""
    series: dict[str, list[FileHeader]] = defaultdict(list)
    folders: dict[Path, set[str]] = defaultdict(set)
    for header in headers:
        if not header.problem:
            series[header.series].append(header)
            folders[header.path.parent].add(header.series)
    alone = []
    for header in headers:
        if header.problem:
            nearby = folders.get(header.path.parent, set())
            if header.series in series or len(nearby) == 1:
                series[header.series if header.series in series else next(iter(nearby))].append(header)
            elif header.series and header.role is not None:
                series[header.series].append(header)
            else:
                alone.append([header])
    return [sorted(files, key=lambda f: f.path) for files in series.values()] + alone


def _judge(files: Sequence[FileHeader]) -> tuple[str, tuple[str, ...]]:
    """Why a series cannot be a case ("" if it can), and warnings."""
    try:
        return "", check_series(files)
    except DeployError as error:
        return str(error), ()
