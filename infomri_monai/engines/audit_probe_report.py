"""What an audit's report says of the attribute probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from infomri_monai.engines.attribute_probe import ProbeRow
from infomri_monai.engines.audit_verdict import judge_probe
from infomri_monai.engines.audit_words import course_words
from infomri_monai.engines.training_budget import Course

__all__ = ["ProbeReport"]


class ProbeReport(NamedTuple):
    """The attribute probe; ``skipped`` says why there is none, else it is empty.

    Attributes:
        attribute: the entries' key.
        skipped: the reason.
        rows: the test at every ratio.
        full: the same network trained and tested on fully sampled measurements; None if that was not asked for.
        courses: what was trained and how it went.
    """

    attribute: str
    skipped: str = ""
    rows: Sequence[ProbeRow] = ()
    full: ProbeRow | None = None
    courses: Sequence[tuple[str, Course]] = ()

    def words(self) -> list[str]:
        """What was and was not told."""
        if self.skipped:
            return [
                f"No attribute probe: {self.skipped} Nothing is said about other labels that the measurements may give away."
            ]
        lines = [_probe_line(row, f"At ratio {row.ratio:.4g}", self.attribute) for row in self.rows]
        if self.full is not None:
            lines.append(_probe_line(self.full, "From fully sampled measurements", self.attribute))
            if not _told(self.full):
                lines.append(
                    "As this probe cannot tell the attribute from complete data either, its failure on undersampled data is no "
                    "sign of protection."
                )
        lines += [f"Training {name}: {course_words(course, ())}" for name, course in self.courses]
        return lines


def _told(row: ProbeRow) -> bool:
    return judge_probe(
        row.accuracy, row.accuracy_error, row.majority_rate, row.balanced_accuracy, row.balanced_error, row.chance
    ).told


def _probe_line(row: ProbeRow, where: str, attribute: str) -> str:
    told = (
        f"`{attribute}` can be inferred better than by guessing"
        if _told(row)
        else f"this probe did not measurably infer `{attribute}` better than a guess, which does not exclude that another one can"
    )
    return (
        f"{where} accuracy is {row.accuracy:.3f} ± {row.accuracy_error:.3f} (always the most frequent value: "
        f"{row.majority_rate:.3f}), balanced accuracy {row.balanced_accuracy:.3f} ± {row.balanced_error:.3f} (chance: "
        f"{row.chance:.3f}) on {row.images} images: {told}."
    )
