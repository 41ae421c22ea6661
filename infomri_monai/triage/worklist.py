"""The worklist: every case with its agreement, uncertainty and volumes, most in need of a person's eyes first."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from infomri_monai.files import atomic_folder, null_unless_finite

__all__ = ["StructureVolume", "WorklistEntry", "write_worklist"]


class StructureVolume(NamedTuple):
    """Distribution of one structure's volume over the samples.

    Attributes:
        structure: its name.
        median: in the worklist's unit of volume.
        low: lower end of the central 90 % interval.
        high: upper end.
    """

    structure: str
    median: float
    low: float
    high: float


class WorklistEntry(NamedTuple):
    """One case of a worklist; NaN for what was not measured.

    Attributes:
        case: number of the case, from 1; logs name cases by it.
        name: name of the case's files.
        agreement: mean pairwise Dice of the samples, in [0, 1].
        mean_entropy: mean predictive entropy, nats per pixel.
        volumes: one per structure, the same structures in every entry.
        acceleration: 1 / sampling ratio, >= 1.
        review: whether a person must look; None where no threshold was chosen.
        picture: path of the case's picture relative to the worklist's folder, or "".
    """

    case: int
    name: str
    agreement: float
    mean_entropy: float
    volumes: tuple[StructureVolume, ...] = ()
    acceleration: float = math.nan
    review: bool | None = None
    picture: str = ""


def write_worklist(
    entries: Iterable[WorklistEntry], folder: str | os.PathLike[str], volume_unit: str = "mm3"
) -> list[Path]:
    """Write ``worklist.csv`` and ``worklist.json`` with the same rows, both or none.

    Lowest agreement comes first, and before it what has none (NaN); equal agreements stand in the order of case numbers.

    Args:
        entries: the cases, in any order; may be none.
        folder: made if absent.
        volume_unit: unit of the volumes; stands in the headers.

    Returns:
        The two files. NaN is an empty field of the CSV file and null in the JSON file.

    Raises:
        ValueError: if case numbers repeat, entries differ in their structures, an agreement is outside [0, 1], an acceleration
            below 1, or a picture's path is not relative.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> volume = StructureVolume("tumour", 812.0, 640.0, 1010.0)
        >>> sure = WorklistEntry(1, "a", 0.93, 0.01, (volume,), 8.0, review=False)
        >>> unsure = WorklistEntry(2, "b", 0.41, 0.06, (volume,), 8.0, review=True, picture="b.png")
        >>> csv_file, json_file = write_worklist([sure, unsure], folder)
        >>> print(csv_file.read_text())
        case,name,review,agreement,mean_entropy_nats,acceleration,tumour_median_mm3,tumour_low_mm3,tumour_high_mm3,picture
        2,b,yes,0.41,0.06,8.0,812.0,640.0,1010.0,b.png
        1,a,no,0.93,0.01,8.0,812.0,640.0,1010.0,
    """
    ordered = sorted(entries, key=lambda e: (-1.0 if math.isnan(e.agreement) else e.agreement, e.case))
    _check(ordered)
    content = {
        "order": "need for review: lowest agreement first",
        "agreement": "mean pairwise Dice of the samples",
        "mean_entropy": "nats per pixel",
        "volumes": f"median and central 90 % interval over the samples, {volume_unit}",
        "cases": [_nested(entry) for entry in ordered],
    }
    with atomic_folder(folder) as part:
        with (part / "worklist.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_header(ordered, volume_unit))
            writer.writerows([_text(value) for value in _flat(entry)] for entry in ordered)
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (part / "worklist.json").write_text(text, encoding="utf-8")
    return [Path(folder) / "worklist.csv", Path(folder) / "worklist.json"]


def _structures(entry: WorklistEntry) -> list[str]:
    return [volume.structure for volume in entry.volumes]


def _header(ordered: Sequence[WorklistEntry], unit: str) -> list[str]:
    names = _structures(ordered[0]) if ordered else []
    volumes = [f"{name}_{which}_{unit}" for name in names for which in ("median", "low", "high")]
    return ["case", "name", "review", "agreement", "mean_entropy_nats", "acceleration", *volumes, "picture"]


def _flat(entry: WorklistEntry) -> list[Any]:
    """The fields in the header's order."""
    first = (entry.case, entry.name, entry.review, entry.agreement, entry.mean_entropy, entry.acceleration)
    return [*first, *(number for volume in entry.volumes for number in volume[1:]), entry.picture]


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _nested(entry: WorklistEntry) -> dict[str, Any]:
    """The entry for JSON."""
    plain = {name: null_unless_finite(value) for name, value in entry._asdict().items() if name != "volumes"}
    volumes = {
        volume.structure: {
            name: null_unless_finite(number) for name, number in volume._asdict().items() if name != "structure"
        }
        for volume in entry.volumes
    }
    return plain | {"volumes": volumes}


def _check(entries: Sequence[WorklistEntry]) -> None:
    numbers = [entry.case for entry in entries]
    if len(set(numbers)) < len(numbers):
        raise ValueError(
            f"case numbers must differ, got {sorted({n for n in numbers if numbers.count(n) > 1})} repeatedly."
        )
    for entry in entries:
        names = _structures(entry)
        if names != _structures(entries[0]) or len(set(names)) < len(names):
            raise ValueError(
                f"case {entry.case} has the structures {names}, but they must differ from each other and be the same in "
                f"every case: {_structures(entries[0])}."
            )
        if not (math.isnan(entry.agreement) or 0 <= entry.agreement <= 1):
            raise ValueError(f"agreement must lie in [0, 1] or be NaN, got {entry.agreement} for case {entry.case}.")
        if entry.acceleration < 1 or math.isinf(entry.acceleration):
            raise ValueError(f"acceleration must be finite and >= 1, got {entry.acceleration} for case {entry.case}.")
        if PurePosixPath(entry.picture).is_absolute() or PureWindowsPath(entry.picture).is_absolute():
            raise ValueError(
                f"picture must be relative to the worklist's folder, for case {entry.case} it is absolute."
            )
        others = [entry.mean_entropy, *(number for volume in entry.volumes for number in volume[1:])]
        if any(math.isinf(number) for number in others):
            raise ValueError(f"mean_entropy and volumes must be finite or NaN, got {others} for case {entry.case}.")
