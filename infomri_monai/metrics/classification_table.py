"""The classification table: accuracy, AUROC, calibration and what the measurement tells, one row per sampling ratio."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from infomri_monai.metrics.bootstrap import Estimate
from infomri_monai.metrics.class_labels import class_field
from infomri_monai.metrics.ratio_table import Column, RatioTable

__all__ = ["ClassificationRow", "ClassificationTable"]

_NAN = float("nan")

#: more classes than this have their areas in the files only
_SHOWN_CLASSES = 4


class ClassificationRow(NamedTuple):
    """One sampling ratio; NaN for what was not measured. Every value but areas and ``ece`` is a mean over images.

    Attributes:
        ratio: requested sampled positions / all positions.
        realised_ratio: mean ratio of the masks.
        accuracy: share of images whose most probable class is right; multi-label: of labels that are right at 0.5.
        exact_match: multi-label: share of images all of whose labels are right at 0.5.
        auroc: area under the ROC curve: of class 1 of two, else the mean over classes or labels.
        class_auroc: the same of every class or label, by name.
        ece: expected calibration error over all images together.
        brier: Brier score, added over classes; multi-label: mean over labels.
        nll: negative log-likelihood, nats.
        entropy: predictive entropy, nats.
        mutual_information: between label and mask, nats.
        kspace_entropy: entropy of what was measured, (36)/(37), nats.
        images: number of images.
        subjects: number of subjects; NaN if it is not known which images are of one.
    """

    ratio: float
    realised_ratio: float = _NAN
    accuracy: Estimate = Estimate(_NAN)
    exact_match: float = _NAN
    auroc: Estimate = Estimate(_NAN)
    class_auroc: Mapping[str, Estimate] = MappingProxyType({})
    ece: float = _NAN
    brier: float = _NAN
    nll: float = _NAN
    entropy: float = _NAN
    mutual_information: float = _NAN
    kspace_entropy: float = _NAN
    images: int = 0
    subjects: float = _NAN

    @property
    def acceleration(self) -> float:
        """All positions / requested sampled positions."""
        return 1 / self.ratio


def _with_interval(field: str, column: Column) -> dict[str, Column]:
    """A column and its interval's ends, which the text shows in the column itself."""
    header, unit, _ = column
    return {
        field: column,
        f"{field}_lower": (header, f"{unit}, lower", ""),
        f"{field}_upper": (header, f"{unit}, upper", ""),
    }


class ClassificationTable(RatioTable[ClassificationRow]):
    """Rows in ascending ratio under headers that name unit and convention; in brackets, intervals.

    In the files an interval's ends have columns of their own, ``<field>_lower`` and ``<field>_upper``. Areas of more than four
    classes are in the files only.

    Args:
        method: what was evaluated; the table's title.
        rows: rows in any order, one per ratio.
        conventions: lines printed below the table and written to the JSON file, by field.

    Raises:
        ValueError: if two rows have one ratio.

    Example:
        >>> row = ClassificationRow(0.25, accuracy=Estimate(0.9, 0.85, 0.94), auroc=Estimate(0.96), nll=0.31, images=60)
        >>> print(ClassificationTable("demo", [row]))
        demo
         accel.   ratio                 accuracy   AUROC     NLL  images
        1/ratio   asked                            class     nat
        -------  ------  -----------------------  ------  ------  ------
              4  0.2500  0.9000 [0.8500, 0.9400]  0.9600  0.3100      60
    """

    def columns(self) -> dict[str, Column]:
        """Every field in order; a class that any row knows has its own."""
        names = dict.fromkeys(name for row in self.rows for name in row.class_auroc)
        style = ".4f" if len(names) <= _SHOWN_CLASSES else ""
        classes: dict[str, Column] = {}
        for name in names:
            classes |= _with_interval(f"auroc_{class_field(name)}", (name, "AUROC", style))
        return {
            "acceleration": ("accel.", "1/ratio", ".4g"),
            "ratio": ("ratio", "asked", ".4f"),
            "realised_ratio": ("ratio", "realised", ".4f"),
            **_with_interval("accuracy", ("accuracy", "", ".4f")),
            "exact_match": ("exact", "match", ".4f"),
            **_with_interval("auroc", ("AUROC", "mean" if names else "class", ".4f")),
            **classes,
            "ece": ("ECE", "pooled", ".4f"),
            "brier": ("Brier", "", ".4f"),
            "nll": ("NLL", "nat", ".4f"),
            "entropy": ("entropy", "nat", ".4f"),
            "mutual_information": ("I(label;mask)", "nat", ".4f"),
            "kspace_entropy": ("H(k-space)", "nat", ".1f"),
            "images": ("images", "", "d"),
            "subjects": ("subjects", "", ".0f"),
        }

    def record(self, row: ClassificationRow) -> dict[str, float]:
        """The row by field."""
        values = {"acceleration": row.acceleration, **row._asdict()}
        intervals: dict[str, Estimate] = {"accuracy": values.pop("accuracy"), "auroc": values.pop("auroc")}
        intervals |= {f"auroc_{class_field(n)}": estimate for n, estimate in values.pop("class_auroc").items()}
        for field, estimate in intervals.items():
            values |= {field: estimate.value, f"{field}_lower": estimate.lower, f"{field}_upper": estimate.upper}
        return {field: values.get(field, _NAN) for field in self.columns()}
