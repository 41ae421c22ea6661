"""A structured report as plain text, for people without a viewer; no identifier of patient, study or image is in it."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from infomri_monai.deploy.logs import guarded

__all__ = ["report_text"]


def report_text(report: Dataset) -> str:
    """The content tree of a structured report, a line each, indented.

    References are counted, not named; header, UIDs and names of persons are left out. So the text may be logged as far as the
    report's own texts may.

    Args:
        report: any structured report, e.g. of :func:`~infomri_monai.deploy.segmentation.objects.triage_report` or read from a file.

    Returns:
        Lines such as "Volume (Median): 812.5 mm3", without a newline at the end.

    Raises:
        DeployError: if it is no structured report.

    Example:
        >>> import pydicom
        >>> name, item, report = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        >>> name.CodeMeaning = "Warning"
        >>> item.ValueType, item.TextValue, item.ConceptNameCodeSequence = "TEXT", "no signal", [name]
        >>> report.ValueType, report.ContentSequence = "CONTAINER", [item]
        >>> print(report_text(report))
        Report
          Warning: no signal
    """
    with guarded("reading the report"):
        if report.ValueType != "CONTAINER":
            raise ValueError
        return "\n".join(_lines(report, 0))


def _lines(item: Dataset, depth: int) -> list[str]:
    """An item and what it contains."""
    children = list(item.get("ContentSequence", []))
    modifiers = [child for child in children if child.get("RelationshipType") == "HAS CONCEPT MOD"]
    inline = [_value(child) for child in modifiers] if item.ValueType == "NUM" else []
    name = _name(item) + (f" ({', '.join(inline)})" if inline else "")
    value = _value(item)
    margin = "  " * depth
    first, *more = value.splitlines() or [""]
    lines = [f"{margin}{name}: {first}" if value else f"{margin}{name}", *(f"{margin}  {line}" for line in more)]
    shown = [child for child in children if child.ValueType != "UIDREF" and not (inline and child in modifiers)]
    for (kind, title), group in groupby(shown, key=lambda child: (child.ValueType, _name(child))):
        alike = list(group)
        if kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
            classes = sorted({_class(child) for child in alike})
            lines.append(f"{margin}  {title}: {len(alike)} x {', '.join(classes)}")
        else:
            lines += [line for child in alike for line in _lines(child, depth + 1)]
    return lines


def _name(item: Dataset) -> str:
    """What an item is about."""
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else "Report"


def _class(item: Dataset) -> str:
    """The kind of object that an item refers to."""
    return str(UID(item.ReferencedSOPSequence[0].ReferencedSOPClassUID).name)


def _value(item: Dataset) -> str:
    """What an item says."""
    kind = item.ValueType
    if kind == "TEXT":
        return str(item.TextValue)
    if kind == "CODE":
        return str(item.ConceptCodeSequence[0].CodeMeaning)
    if kind == "NUM":
        return _number(item)
    return ""


def _number(item: Any) -> str:
    """Number and unit."""
    if not item.MeasuredValueSequence:
        return "not known"
    measured = item.MeasuredValueSequence[0]
    value = measured.get("FloatingPointValue", measured.NumericValue)
    units = str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
    return f"{float(value):.6g}" + ("" if units == "1" else f" {units.replace('{', '').replace('}', '')}")
