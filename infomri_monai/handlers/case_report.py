"""The table of a classification's cases: what is known of each, or why it failed."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from infomri_monai.atomic import atomic_path
from infomri_monai.engines.volume_classification import VolumeClassification

__all__ = ["ReportRow", "write_report"]


class ReportRow(NamedTuple):
    """A case of the report.

    Attributes:
        case: its number, from 1; logs name cases by it.
        name: name of its file.
        result: what the inferer returned; None if the case failed.
        reason: why it failed.
        warnings: what a reader must know before trusting the numbers.
    """

    case: int
    name: str
    result: VolumeClassification | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()


def write_report(
    rows: Iterable[ReportRow], path: str | os.PathLike[str], labels: Sequence[str], multi_label: bool = False
) -> None:
    """Write the table, completely or not at all; fields that are not known are empty.

    Args:
        rows: the cases, in any order; may be none.
        path: the CSV file.
        labels: names of the classes or labels.
        multi_label: also list the labels of probability above one half.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.csv"
        >>> write_report([ReportRow(1, "a", reason="ValueError: image holds NaN or Inf values.")], path, ["no", "yes"])
        >>> header, row = path.read_text().splitlines()
        >>> header.split(",")[-6:-3]
        ['probability_no', 'probability_yes', 'most_probable']
        >>> row.rstrip(",")
        '1,a,failed,ValueError: image holds NaN or Inf values.'
    """
    probabilities = [f"probability_{label}" for label in labels]
    columns = [
        *("case", "name", "status", "reason", "simulated", "ratio_requested", "ratio_realised", "ratio_of_all_masks"),
        *("acceleration", "masks", "slices", "case_rule", *probabilities, "most_probable"),
        *(["above_one_half"] if multi_label else []),
        *("entropy_nats", "mutual_information_nats", "warnings"),
    ]
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_fields(row, labels, multi_label) for row in sorted(rows, key=lambda row: row.case))


def _fields(row: ReportRow, labels: Sequence[str], multi_label: bool) -> dict[str, Any]:
    result = row.result
    fields = {"case": row.case, "name": row.name, "status": "ok" if result else "failed", "reason": row.reason}
    if result is None:
        return fields
    known = dict(zip(labels, result.probabilities.tolist(), strict=True))
    ratio, requested = float(result.ratio.mean()), result.record.ratio_requested
    fields |= {
        "simulated": "yes" if result.record.simulated else "no",
        "ratio_requested": "" if requested is None else requested,
        "ratio_realised": ratio,
        "ratio_of_all_masks": float(result.ratio_of_all_masks.mean()),
        "acceleration": 1 / ratio if ratio > 0 else "",
        "masks": result.masks,
        "slices": len(result.ratio),
        "case_rule": result.case_rule,
        **{f"probability_{label}": probability for label, probability in known.items()},
        "most_probable": max(known, key=known.__getitem__),
        "entropy_nats": result.entropy,
        "mutual_information_nats": "" if result.masks == 1 else result.mutual_information,
        "warnings": "; ".join(row.warnings),
    }
    if multi_label:
        fields["above_one_half"] = "; ".join(label for label, probability in known.items() if probability > 0.5)
    return fields
