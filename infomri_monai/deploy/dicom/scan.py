"""Find the MR series below a folder from the files' headers; one that is damaged does not stop the others."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.dataset import Dataset

from infomri_monai.deploy.case import EXIT_USAGE, DeployError, counted, system_words
from infomri_monai.deploy.dicom.identity import MANUFACTURER
from infomri_monai.deploy.dicom.slices import SliceHeader, mixture, slice_headers, stack_slices
from infomri_monai.deploy.logs import quiet

__all__ = [
    "FileHeader",
    "FoundFiles",
    "Role",
    "SeriesCandidate",
    "SeriesScan",
    "check_series",
    "find_files",
    "find_series",
    "is_dicom",
    "read_header",
]

_MR = {
    "1.2.840.10008.5.1.4.1.1.4": "classic",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced",
    "1.2.840.10008.5.1.4.1.1.4.4": "enhanced",  # legacy converted
}
_DICOMDIR = "1.2.840.10008.1.3.10"
_DEFLATED = "1.2.840.10008.1.2.1.99"
#: Secondary Capture, MR Spectroscopy, Raw Data, Parametric Map, Segmentation (all of them), presentation states
_COMPANION_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.4.2",
    "1.2.840.10008.5.1.4.1.1.66",
    "1.2.840.10008.5.1.4.1.1.30",
    "1.2.840.10008.5.1.4.1.1.11",
)
# modalities, separated by spaces
_COMPANIONS = "SR PR KO SEG RTSTRUCT RTPLAN RTDOSE REG FID RWV DOC SC PLAN AU ECG"
#: of images; any other word in the header is not repeated in a message
_FOREIGN = "CT PT NM US CR DX MG XA RF OT XC ES SM OP OPT IVUS GM PX IO"
#: third value of the image type, or complex component, of what is no magnitude; Philips has R_FFE, P_SE and the like
_NO_MAGNITUDE = ("P", "R", "I", "PHASE", "PHASE MAP", "REAL", "IMAGINARY")
#: what file systems keep at the top of a volume, often closed to all users but one
_SYSTEM = {"lost+found", "system volume information", "$recycle.bin"}


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


class Role(NamedTuple):
    """What an instance is to us.

    Attributes:
        name: "classic" or "enhanced" for MR images, "foreign" for other images, "companion", "localizer".
        modality: as it may stand in a message.
    """

    name: str
    modality: str


@dataclass(frozen=True)
class FileHeader:
    """One file. Its representation shows neither path nor UIDs.

    Attributes:
        path: the file.
        series: SeriesInstanceUID; "" if it could not be read.
        instance: SOPInstanceUID.
        role: what the instance is; None if it could not be found out.
        slices: of MR images that have no problem.
        problem: why the file cannot be used; "" if it can.
        number: InstanceNumber; 0 if it has none.
    """

    path: Path = field(repr=False)
    series: str = field(default="", repr=False)
    instance: str = field(default="", repr=False)
    role: Role | None = None
    slices: tuple[SliceHeader, ...] = field(default=(), repr=False)
    problem: str = ""
    number: int = 0


def find_series(folder: str | Path, others: Sequence[str] = (), found: FoundFiles | None = None) -> SeriesScan:
    """Find the MR series below a folder.

    Files may have any name and lie at any depth; files that are not DICOM, DICOMDIR, localizers and what goes along with images
    (reports, presentation states, segmentations, secondary captures and the like) are passed over with a note. A series of another
    modality, of mixed acquisitions or with a damaged file is a candidate with a problem. A damaged file whose series cannot be
    read counts to the series of its folder if that holds a single one, otherwise it is a candidate with a problem of its own, as is
    a folder that cannot be looked into. Folders that are links are followed, see :func:`find_files`.

    Args:
        folder: existing folder.
        others: suffixes of files that another reader takes; they are passed over without a note.
        found: what :func:`find_files` found in the folder, where that is known.

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
        notes.append(f"passed over {counted(passed, 'file')} that {'is' if passed == 1 else 'are'} not DICOM")
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


class FoundFiles(NamedTuple):
    """What lies below a folder.

    Attributes:
        files: in the order of their paths.
        unreadable: folders that cannot be looked into, in the order of their paths, and why, in words without identifiers.
    """

    files: tuple[Path, ...]
    unreadable: tuple[tuple[Path, str], ...]


def find_files(root: Path) -> FoundFiles:
    """Find all files below a folder, also those in folders that are links.

    A folder that is reached in several ways counts once, by the first of its paths; one that holds the root, where a link leads
    upwards, not at all. Files and folders whose name begins with a dot are passed over, as are pipes, sockets and devices,
    and what file systems keep at the top of a volume: ``lost+found``, ``System Volume Information`` and ``$RECYCLE.BIN``. A
    link to nothing counts as a file, so that whoever opens it says that it is missing.

    Args:
        root: existing folder.

    Returns:
        The files, and the folders that cannot be looked into.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "a").mkdir(), (root / "b").symlink_to(root / "a"), (root / "a/scan.h5").touch(), (root / ".hidden").touch()
        (None, None, None, None)
        >>> [path.relative_to(root).as_posix() for path in find_files(root).files]
        ['a/scan.h5']
    """
    files: list[Path] = []
    unreadable: list[tuple[Path, str]] = []
    seen = {_identity(folder) for folder in root.resolve().parents}
    pending = [root]
    while pending:
        folder = pending.pop()
        if (identity := _identity(folder)) in seen:
            continue
        seen.add(identity)
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            unreadable.append((folder, system_words(error)))
            continue
        for path, is_folder in _kinds(entries):
            (pending if is_folder else files).append(path)
    return FoundFiles(tuple(sorted(files)), tuple(sorted(unreadable)))


def _kinds(entries: list[os.DirEntry[str]]) -> Iterator[tuple[Path, bool]]:
    """Paths of folders and files, and whether they are folders."""
    for entry in entries:
        if entry.name.startswith(".") or entry.name.casefold() in _SYSTEM:
            continue
        try:
            if entry.is_dir():
                yield Path(entry.path), True
            elif entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):
                yield Path(entry.path), False
        except OSError:  # what it is cannot be told: whoever opens it will be told why
            yield Path(entry.path), False


def _identity(path: Path) -> tuple[int, int] | str:
    """Device and inode of a folder, or its path if they cannot be told."""
    try:
        status = os.stat(path)
    except OSError:
        return str(path)
    return status.st_dev, status.st_ino


def is_dicom(path: Path) -> bool:
    """Whether a file claims to be DICOM: by the word after its preamble, or by its suffix.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> _ = path.write_text("no image")
        >>> is_dicom(path)
        False
    """
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_header(path: Path) -> FileHeader | None:
    """Read a DICOM file's header, not its pixels. To be called within ``quiet``.

    Args:
        path: a file that ``is_dicom``.

    Returns:
        What it is; a file that cannot be read has a problem. None for a DICOMDIR.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> read_header(write_example_series(tempfile.mkdtemp(), slices=1)[0])
        FileHeader(role=Role(name='classic', modality='MR'), problem='', number=1)
    """
    try:
        with path.open("rb") as file:
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
            more = bool(file.read(1))
        if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR:
            return None
        return _file_header(path, dataset, more)
    except Exception as error:  # the parser passes on whatever damaged bytes lead to
        return FileHeader(path, problem=f"no readable DICOM file ({type(error).__name__})")


def _file_header(path: Path, dataset: Dataset, more: bool) -> FileHeader:
    """Judge a header; ``more`` says that something follows it in the file."""
    storage = str(dataset.get("SOPClassUID", "") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if not storage:
        return FileHeader(path, problem="truncated: its header names no SOP class")
    role = _role(dataset, storage)
    header = FileHeader(path, str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("SOPInstanceUID", "")), role)
    if role.name not in ("classic", "enhanced"):
        return header
    complete = more or str(dataset.file_meta.get("TransferSyntaxUID", "")) == _DEFLATED
    if not complete or "Rows" not in dataset:
        return replace(header, problem="truncated: its header ends before the pixel data")
    try:
        _check(header, dataset)
        number = str(dataset.get("InstanceNumber", ""))
        return replace(header, slices=tuple(slice_headers(dataset)), number=int(number) if number.isdecimal() else 0)
    except DeployError as error:
        return replace(header, problem=str(error).rstrip("."))
    except Exception as error:  # values are decoded only now, and damaged ones raise whatever their parser does
        return replace(header, problem=f"damaged values in its header ({type(error).__name__})")


def _check(header: FileHeader, dataset: Dataset) -> None:
    """Raise a DeployError unless the instance is identified and greyscale."""
    if not (header.series and header.instance):
        raise DeployError("an image must have a SeriesInstanceUID and a SOPInstanceUID.")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if dataset.get("SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DeployError(
            "pixels must be greyscale (MONOCHROME2), found colours or an unknown photometric interpretation."
        )


def _role(dataset: Dataset, storage: str) -> Role:
    modality = str(dataset.get("Modality", "MR" if storage in _MR else ""))
    image_type = dataset.get("ImageType") or ()
    if storage in _MR and dataset.get("Manufacturer") == MANUFACTURER:
        return Role("companion", f"MR made by {MANUFACTURER}")  # a study that is processed again
    if storage in _MR and modality == "MR":
        return Role("localizer" if "LOCALIZER" in tuple(image_type) else _MR[storage], "MR")
    if modality in _COMPANIONS.split() or any(storage == c or storage.startswith(c + ".") for c in _COMPANION_CLASSES):
        return Role("companion", modality if modality in (*_COMPANIONS.split(), "MR") else "other")
    if "Rows" not in dataset:
        return Role("companion", "other")
    other = "MR of another SOP class" if modality == "MR" else "another modality"
    return Role("foreign", modality if modality in _FOREIGN.split() else other)


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
