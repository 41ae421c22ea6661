"""Find the MR series below a folder from the files' headers; one that is damaged does not stop the others."""

from __future__ import annotations

import logging
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from infomri_monai.data.dicom.kind import image_kind, image_words
from infomri_monai.data.dicom.pixels import stored_frames
from infomri_monai.data.dicom.quiet import DicomError, quiet
from infomri_monai.data.dicom.slices import SliceHeader, mixture, slice_headers, stack_slices
from infomri_monai.data.found_files import FoundFiles, find_files

__all__ = [
    "MANUFACTURER",
    "FileHeader",
    "Role",
    "SeriesCandidate",
    "SeriesScan",
    "check_series",
    "find_series",
    "is_dicom",
    "read_file",
    "read_header",
]

_LOGGER = logging.getLogger(__name__)

#: of everything that this software makes
MANUFACTURER = "infomri_monai"
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
#: a series of more slices than this in one of its orientations is no scout
_FEW = 15
#: how a file may begin that has no preamble: with an element of group 2 or 8, of either byte order
_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")


@dataclass(frozen=True)
class SeriesCandidate:
    """One series that is a case, or says why it cannot be one. Its representation shows no path.

    Attributes:
        number: from 1, in the order of the files' paths.
        files: its files, in the order of their paths.
        problem: why it fails; "" if it may be read.
        warnings: what a reader of the result must know.
        slices: of every file, what its header says of its slices.
        notes: what was done about it, such as copies that were left out.
        uid: SeriesInstanceUID, which identifies; "" if it is not known. Like the next two for whoever asks, never for a log.
        series_number: SeriesNumber; None if it has none.
        description: SeriesDescription, else ProtocolName.
    """

    number: int
    files: tuple[Path, ...] = field(repr=False)
    problem: str = ""
    warnings: tuple[str, ...] = ()
    slices: tuple[tuple[SliceHeader, ...], ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    uid: str = field(default="", repr=False)
    series_number: int | None = field(default=None, repr=False)
    description: str = field(default="", repr=False)


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
        series_number: SeriesNumber.
        description: SeriesDescription, else ProtocolName.
    """

    path: Path = field(repr=False)
    series: str = field(default="", repr=False)
    instance: str = field(default="", repr=False)
    role: Role | None = None
    slices: tuple[SliceHeader, ...] = field(default=(), repr=False)
    problem: str = ""
    number: int = 0
    series_number: int | None = field(default=None, repr=False)
    description: str = field(default="", repr=False)


def find_series(folder: str | Path, others: Sequence[str] = (), found: FoundFiles | None = None) -> SeriesScan:
    """Find the MR series below a folder.

    Files may have any name and lie at any depth; files that are not DICOM, DICOMDIR, localizers (by their image type, or few slices
    in several planes) and what goes along with images (reports, presentation states, segmentations, plans, secondary captures and
    the like) are passed over with a note that counts them by kind. Files without preamble or transfer syntax are read. A series of
    another modality, of mixed acquisitions or with a damaged file is a candidate with a problem, which names the file by its place
    in the order of the paths. A damaged file whose series cannot be read counts to the series of its folder if that holds a single
    one, otherwise it is a candidate with a problem of its own, as is a folder that cannot be looked into. Copies of an image under
    one SOPInstanceUID are one. Folders that are links are followed, see :func:`~infomri_monai.data.found_files.find_files`.

    Args:
        folder: existing folder.
        others: suffixes of files that another reader takes; they are passed over without a note.
        found: the files to look at, where they are known.

    Returns:
        Candidates in the order of their first file's path, and notes.

    Raises:
        DicomError: if there is no such folder.

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
        raise DicomError("the input must be an existing folder of DICOM files.")
    with quiet():
        found = found or find_files(root)
        headers, passed = _read_headers(found.files, tuple(others))
        kept, aside = _sort_out(headers)
        series = _by_series(kept)
        aside["localizer"] += sum(map(_is_scout, series))
        judged = [_judge(files) for files in series if not _is_scout(files)]
    for path, reason in found.unreadable:
        judged.append(SeriesCandidate(0, (path,), f"a folder of the input cannot be read ({reason})."))
    notes = []
    if words := ", ".join(f"{count} {what}" for what, count in sorted(aside.items()) if count):
        notes.append(f"passed over series that are no MR images to process: {words}")
    if passed:
        notes.append(f"passed over {passed} file{'s that are' if passed > 1 else ' that is'} not DICOM")
    ordered = sorted(judged, key=lambda candidate: candidate.files[0])
    return SeriesScan(tuple(replace(c, number=number) for number, c in enumerate(ordered, 1)), tuple(notes))


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
        headers.append(read_header(path))
    return headers, others


def _sort_out(headers: Iterable[FileHeader]) -> tuple[list[FileHeader], Counter[str]]:
    """Files that make cases, and how many series of each kind were passed over."""
    kept, passed = [], set()
    for header in headers:
        if header.role is not None and header.role.name in ("companion", "localizer"):
            passed.add((header.role.modality if header.role.name == "companion" else "localizer", header.series))
        else:
            kept.append(header)
    return kept, Counter(what for what, _ in passed)


def _is_scout(files: Sequence[FileHeader]) -> bool:
    """Whether a series holds few slices in each of several planes; a defect makes no plane of its own by 45 degrees."""
    if any(f.problem or not f.slices for f in files):
        return False
    orientations = np.array([s.orientation for f in files for s in f.slices])
    normals = np.cross(orientations[:, :3], orientations[:, 3:])
    planes: list[list[NDArray[np.float64]]] = []
    for normal in normals / np.maximum(np.linalg.norm(normals, axis=1), 1e-9)[:, None]:
        plane = next((plane for plane in planes if abs(plane[0] @ normal) >= np.sqrt(0.5)), None)
        planes.append([normal]) if plane is None else plane.append(normal)
    return len(planes) > 1 and max(map(len, planes)) <= _FEW


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


def _judge(files: Sequence[FileHeader]) -> SeriesCandidate:
    """The series, with why it cannot be a case ("" if it can), warnings and notes."""
    kept, problem = list(files), ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    try:
        kept, notes = _without_copies(files)
        warnings = check_series(kept)
    except DicomError as error:
        problem = str(error)
    first = next((f for f in kept if not f.problem), kept[0])
    about = {"uid": first.series, "series_number": first.series_number, "description": first.description}
    paths, slices = tuple(f.path for f in kept), tuple(f.slices for f in kept)
    return SeriesCandidate(0, paths, problem, warnings, slices, notes, **about)  # type: ignore[arg-type]


def _without_copies(files: Sequence[FileHeader]) -> tuple[list[FileHeader], tuple[str, ...]]:
    """The first file of each SOPInstanceUID, and a note on the others.

    Raises:
        DicomError: if two of one UID hold different images.
    """
    kept: dict[str, tuple[int, FileHeader]] = {}
    copies = []
    for place, file in enumerate(files, 1):
        first, known = kept.setdefault(file.instance or str(place), (place, file))
        if known is file:
            continue
        try:
            same = not (file.problem or known.problem) and _same_image(known, file)
        except Exception as error:  # whatever damaged bytes or a file that has gone lead to
            said = str(error) if isinstance(error, DicomError) else f"{type(error).__name__}."
            raise DicomError(
                f"files {first} and {place} of {len(files)} (in the order of their names) have one SOPInstanceUID, and one of "
                f"them cannot be read: {said}"
            ) from None
        if not same:
            raise DicomError(
                f"files {first} and {place} of {len(files)} (in the order of their names) have one SOPInstanceUID, but hold "
                "different images; one of them was changed or damaged: keep the right one."
            )
        copies.append(place)
    which = f"{', '.join(map(str, copies))} {'is a copy' if len(copies) == 1 else 'are copies'} of others"
    note = f"of {len(files)} files (in the order of their names), {which}"
    return [file for _, file in kept.values()], (note,) * bool(copies)


def _same_image(one: FileHeader, other: FileHeader) -> bool:
    """Whether two files hold one image, perhaps compressed in two ways."""
    if one.path.read_bytes() == other.path.read_bytes():
        return True
    if one.role != other.role or repr(one.slices) != repr(other.slices):
        return False
    first, second = (stored_frames(read_file(file.path)[0]) for file in (one, other))
    return np.array_equal(first, second, equal_nan=True)


def is_dicom(path: Path) -> bool:
    """Whether a file claims to be DICOM: by the word after its preamble, by how it begins without one, or by its suffix.

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
        begin = file.read(132)
    return begin[128:] == b"DICM" or _is_bare(begin)


def _is_bare(begin: bytes) -> bool:
    """Whether bytes look like a first element without preamble: a group, a small number, and a representation or a length."""
    if begin[:2] not in _GROUPS or len(begin) < 16:
        return False
    order = "little" if begin[0] else "big"
    element, length = (int.from_bytes(begin[a:b], order) for a, b in ((2, 4), (4, 8)))  # type: ignore[arg-type]
    return element <= 0x20 and (length <= 64 or begin[4:6] in (b"UL", b"CS", b"UI", b"DA", b"TM", b"LO", b"OB"))


def read_file(path: Path, pixels: bool = True) -> tuple[Dataset, bool]:
    """Read a DICOM file, also one without preamble or without transfer syntax, whose encoding is then found out.

    Args:
        path: a file that ``is_dicom``. To be called within ``quiet``.
        pixels: read the pixel data, too.

    Returns:
        The dataset, with a transfer syntax in its file meta information; and whether something follows it in the file.

    Raises:
        DicomError: if there is no preamble and the rest is no DICOM.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> path = write_example_series(tempfile.mkdtemp(), slices=1)[0]
        >>> _ = path.write_bytes(path.read_bytes()[132:])  # no preamble
        >>> read_file(path, pixels=False)[0].file_meta.TransferSyntaxUID.name
        'Explicit VR Little Endian'
    """
    with path.open("rb") as file:
        begin = file.read(132)
        file.seek(0)
        bare = begin[128:] != b"DICM" and _is_bare(begin)
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=not pixels, force=bare)
        except Exception as error:
            if bare:
                raise DicomError(f"no preamble, and not readable without one ({type(error).__name__})") from None
            raise
        more = bool(file.read(1))
    if bare and not (dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")):
        raise DicomError("no preamble, and no SOP class in what follows without one")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
        if pixels and "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
            raise DicomError("the file names no transfer syntax, and its pixels are compressed in an unknown way.")
    return dataset, more


def read_header(path: Path) -> FileHeader:
    """Read a DICOM file's header, not its pixels. To be called within ``quiet``.

    Args:
        path: a file that ``is_dicom``.

    Returns:
        What it is; a file that cannot be read has a problem.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> read_header(write_example_series(tempfile.mkdtemp(), slices=1)[0])
        FileHeader(role=Role(name='classic', modality='MR'), problem='', number=1)
    """
    try:
        dataset, more = read_file(path, pixels=False)
        if (
            str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR
            or "DirectoryRecordSequence" in dataset
        ):
            return FileHeader(path, role=Role("companion", "DICOMDIR"))
        return _file_header(path, dataset, more)
    except DicomError as error:
        return FileHeader(path, problem=str(error))
    except Exception as error:  # the parser passes on whatever damaged bytes lead to
        _debug(error)
        return FileHeader(path, problem=f"no readable DICOM file ({type(error).__name__})")


def _file_header(path: Path, dataset: Dataset, more: bool) -> FileHeader:
    """Judge a header; ``more`` says that something follows it in the file."""
    storage = str(dataset.get("SOPClassUID", "") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if not storage:
        return FileHeader(path, problem="truncated: its header names no SOP class")
    role = _role(dataset, storage)
    header = FileHeader(path, str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("SOPInstanceUID", "")), role)
    named = str(dataset.get("SeriesDescription", "") or dataset.get("ProtocolName", ""))
    header = replace(header, series_number=_whole(dataset, "SeriesNumber"), description=named)
    if role.name not in ("classic", "enhanced"):
        return header
    complete = more or str(dataset.file_meta.get("TransferSyntaxUID", "")) == _DEFLATED
    if not complete or "Rows" not in dataset:
        return replace(header, problem="truncated: its header ends before the pixel data")
    try:
        _check(header, dataset)
        number = _whole(dataset, "InstanceNumber") or 0
        return replace(header, slices=tuple(slice_headers(dataset)), number=number)
    except DicomError as error:
        return replace(header, problem=str(error).rstrip("."))
    except Exception as error:  # values are decoded only now, and damaged ones raise whatever their parser does
        _debug(error)
        return replace(header, problem=f"damaged values in its header ({type(error).__name__})")


def _debug(error: Exception) -> None:
    """Log the lines of code that an error passed through, without its message, which may quote the header."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    _LOGGER.debug("a file's header cannot be read: %s at\n%s", type(error).__name__, lines)


def _whole(dataset: Dataset, keyword: str) -> int | None:
    """A number that is not negative; None if it is no such number."""
    text = str(dataset.get(keyword, ""))
    return int(text) if text.isdecimal() and len(text) <= 12 else None


def _check(header: FileHeader, dataset: Dataset) -> None:
    """Raise a DicomError unless the instance is identified and greyscale."""
    if not (header.series and header.instance):
        raise DicomError("an image must have a SeriesInstanceUID and a SOPInstanceUID.")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if dataset.get("SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DicomError(
            "pixels must be greyscale (MONOCHROME2), found colours or an unknown photometric interpretation."
        )


def _role(dataset: Dataset, storage: str) -> Role:
    modality = str(dataset.get("Modality", "MR" if storage in _MR else ""))
    if storage in _MR and dataset.get("Manufacturer") == MANUFACTURER:
        return Role("companion", f"MR made by {MANUFACTURER}")  # a study that is processed again
    if storage in _MR and modality == "MR":
        return Role("localizer" if image_kind(image_words([dataset])).localizer else _MR[storage], "MR")
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
        DicomError: if it cannot; says why, without identifiers.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> paths = write_example_series(tempfile.mkdtemp(), slices=3)
        >>> check_series([read_header(paths[0]), read_header(paths[2])])
        Traceback (most recent call last):
        infomri_monai.data.dicom.quiet.DicomError: missing slices: gap of 1 between slice 1 and 2.
    """
    _check_files(files)
    slices = [s for f in files for s in f.slices]
    if differing := mixture(slices):
        raise DicomError(
            f"the series mixes acquisitions: its {len(slices)} images differ in {differing}; give one series each."
        )
    kind = image_kind(slices[0].traits["image type"])
    if kind.problem:
        raise DicomError(kind.problem)
    warnings = (*stack_slices(slices).warnings, *[kind.warning] * bool(kind.warning))
    return (*warnings, *_numbering([f.number for f in files])) if len(files) > 1 else warnings


def _check_files(files: Sequence[FileHeader]) -> None:
    """All usable, MR, and either single-frame or one multi-frame image or mosaic."""
    if problems := [(place, f.problem) for place, f in enumerate(files, 1) if f.problem]:
        place, said = problems[0]
        if len(files) == 1:
            raise DicomError(f"the file cannot be used: {said}.")
        which = f"{len(problems)} of {len(files)} files"
        raise DicomError(f"{which} cannot be used: {said} (file {place} in the order of their names).")
    roles = {f.role for f in files if f.role is not None}
    if foreign := sorted(role.modality for role in roles if role.name == "foreign"):
        raise DicomError(f"the series must hold MR images, found {', '.join(foreign)}.")
    if len(files) > 1 and {role.name for role in roles} != {"classic"}:
        raise DicomError(f"a series must hold single-frame images or one multi-frame image, found {len(files)} files.")
    if len(files) > 1 and any(len(f.slices) > 1 for f in files):
        raise DicomError(
            f"the series holds {len(files)} Siemens mosaics, each a volume of its own (time points or diffusion directions); "
            "give one each."
        )


def _numbering(numbers: Sequence[int]) -> tuple[str, ...]:
    """A warning if the instances' numbers have holes: slices at an end may be missing, which positions cannot tell."""
    missing = max(numbers) - len(set(numbers))
    if min(numbers) < 1 or missing <= 0:
        return ()
    return (f"instance numbers run up to {max(numbers)}, {len(numbers)} are there: slices at an end may be missing.",)
