"""Ignite handler that writes the diagnosis of every case: one table of all, one JSON file each, and never an image.

Also here: The table of a classification's cases: what is known of each, or why it failed.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ignite import distributed as idist

from infomri_monai.engines.classification import VolumeClassification
from infomri_monai.files import atomic_path, null_unless_finite
from infomri_monai.handlers.cases import WriteCases, case_sidecar, write_files

__all__ = ["ReportRow", "WriteClassification", "write_report"]


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


_UNITS = (
    "probabilities: 0 to 1; entropy, mutual_information: nats (independent labels: entropy summed over them); ratio: share of "
    "k-space positions; null: not known (a slice without signal; mutual information of one mask)"
)


class WriteClassification(WriteCases):
    """Write the diagnoses of an evaluator whose inferer is a :class:`~infomri_monai.engines.ClassificationInferer`.

    ``report.csv`` has a row for every case, in the order of their numbers: the case's number and name, whether it succeeded or
    why not, how it was acquired, the probability of every label, their entropy, the mutual information between label and mask
    (empty for a single mask), and warnings. ``<case>.json`` holds the same and the values of every slice; a case that failed has
    none. No image, no k-space and no mask is written, nor anything from which one could be computed but the probabilities.

    The report is written anew after every case, so that an interruption loses nothing, and belongs to one run. Several ranks
    write ``report.rank<i>.csv`` until the end, when rank 0 puts them together.

    Args:
        output_dir: folder of the files; made if absent.
        name_by: ``"stem"`` or ``"index"``, see :class:`~infomri_monai.handlers.cases.WriteCases`; names stand in the
            report too.
        labels: names of the classes, or labels if ``multi_label``; None numbers them from 0.
        multi_label: independent labels instead of exclusive classes, as the network's.

    Raises:
        ValueError: as WriteCases; if names repeat; at the start of a run if their number or ``multi_label`` is not the network's.
        RuntimeError: at the end of the run, if cases failed; it lists their numbers and reasons.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        name_by: str = "stem",
        labels: Sequence[str] | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__(output_dir, name_by)
        if not isinstance(multi_label, bool):
            raise ValueError(f"multi_label must be True or False, got {multi_label!r}.")
        if labels is not None and (isinstance(labels, str) or not labels or len(set(labels)) < len(labels)):
            raise ValueError(f"labels must be different names, one for each class, got {labels!r}.")
        self.labels = None if labels is None else tuple(str(label) for label in labels)
        self.multi_label = multi_label
        self.rows: dict[int, ReportRow] = {}
        self._names: tuple[str, ...] = ()

    def begin(self, network: Any) -> None:
        """Forget the rows of an earlier run; check names and kind of the labels against the network."""
        if bool(network.multi_label) is not self.multi_label:
            raise ValueError(f"multi_label={self.multi_label}, but the network has multi_label={network.multi_label}.")
        number = int(network.num_classes)
        self._names = self.labels or tuple(f"class_{i}" for i in range(number))
        if len(self._names) != number:
            raise ValueError(f"labels must be {number} names, one for each class of the network, got {self.labels}.")
        self.rows = {}

    def write(self, result: VolumeClassification, batch: dict[str, Any], index: int, network: Any) -> None:
        """Write the case's JSON file and note its row."""
        row = ReportRow(index, self.names[index], result=result, warnings=_warnings(result, network))
        details = self._details(result, row.warnings)
        sidecar = case_sidecar(result.record, result.ratio, type(network).__name__, details)
        write_files(self.prefix(index), {}, sidecar, "")
        self.rows[index] = row

    def follow(self, index: int) -> None:
        """Write the report as it stands."""
        if index in self.failures:
            self.rows[index] = ReportRow(index, self.names[index], reason=self.failures[index])
        rank, alone = idist.get_rank(), idist.get_world_size() == 1
        write_report(
            self.rows.values(),
            self.output_dir / ("report.csv" if alone else f"report.rank{rank}.csv"),
            self._names,
            self.multi_label,
        )

    def end(self) -> None:
        """Put the ranks' rows together; a case that several ranks have seen is there once."""
        parts: list[dict[int, ReportRow]] = idist.all_gather(self.rows)  # type: ignore[assignment]
        if idist.get_rank() != 0:
            return
        merged = {index: row for part in reversed(parts) for index, row in part.items()}
        write_report(merged.values(), self.output_dir / "report.csv", self._names, self.multi_label)
        for rank in range(len(parts)):
            (self.output_dir / f"report.rank{rank}.csv").unlink(missing_ok=True)

    def _details(self, result: VolumeClassification, warnings: Sequence[str]) -> dict[str, Any]:
        """What the JSON file says about the diagnosis; null for what is unknown."""
        of_slices = result.slice_probabilities.T.tolist()
        alone = result.masks == 1
        return {
            "labels": list(self._names),
            "multi_label": self.multi_label,
            "masks": result.masks,
            "ratio_of_all_masks": float(result.ratio_of_all_masks.mean()),
            "case_rule": result.case_rule,
            "slices": len(result.ratio),
            "probabilities": dict(zip(self._names, result.probabilities.tolist(), strict=True)),
            "most_probable": self._names[int(result.probabilities.argmax())],
            "entropy": result.entropy,
            "mutual_information": None if alone else result.mutual_information,
            "slice_probabilities": {name: _nulls(own) for name, own in zip(self._names, of_slices, strict=True)},
            "slice_entropy": _nulls(result.slice_entropy.tolist()),
            "slice_mutual_information": None if alone else _nulls(result.slice_mutual_information.tolist()),
            "warnings": list(warnings),
            "units": _UNITS,
        }


def _nulls(values: Sequence[float]) -> list[float | None]:
    return [null_unless_finite(value) for value in values]


def _warnings(result: VolumeClassification, network: Any) -> tuple[str, ...]:
    """What a reader must know before trusting the numbers."""
    record, empty = result.record, int(result.slice_entropy.isnan().sum())
    said = {
        "k-space was simulated from an image": record.simulated,
        "the sampling ratio lies outside the range that the policy was trained for": record.ratio_extrapolated,
        f"{result.masks} masks are as many acquisitions, see ratio_of_all_masks": result.masks > 1,
        f"{empty} of {len(result.ratio)} slices have no signal and do not count": empty > 0,
        "the network takes the measured object for real-valued": not record.simulated
        and getattr(network, "real_valued", False),
    }
    return tuple(text for text, holds in said.items() if holds)
