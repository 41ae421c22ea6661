"""Find the MR series below a folder from the files' headers; one that is damaged does not stop the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.counted import passed_over
from infomri_monai.deploy.dicom.headers import FileHeader, is_dicom, read_header
from infomri_monai.deploy.dicom.series_check import check_series
from infomri_monai.deploy.dicom.slices import SliceHeader
from infomri_monai.deploy.files import FoundFiles, find_files
from infomri_monai.deploy.quiet import quiet

__all__ = ["SeriesCandidate", "SeriesScan", "find_series"]


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
