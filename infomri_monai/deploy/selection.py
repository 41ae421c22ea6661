"""Which DICOM series are cases: rules in the format of the App SDK's series selector, and a list that says what became a case."""

from __future__ import annotations

import json
import operator
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from infomri_monai.data.dicom.quiet import quiet
from infomri_monai.data.dicom.series import SeriesCandidate, read_file
from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.files import atomic_path, system_words

__all__ = ["case_list", "check_rules", "rules_of", "selected"]

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "!=": operator.ne}
_NUMBERS = ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD")
_PLANES = ("sagittal", "coronal", "axial")

Rules = Sequence[Mapping[str, Any]]


def rules_of(words: Sequence[str]) -> list[dict[str, Any]]:
    """Rules of a command line.

    Args:
        words: each a file of the SDK's rules, ``{"selections": [{"name": ..., "conditions": {...}}]}``, or a condition such as
            ``SeriesDescription=T2``, ``SeriesNumber=3`` or ``SeriesInstanceUID=1.2.3``; all conditions must hold together.

    Returns:
        The selections, one of which must match; none selects all.

    Raises:
        DeployError: exit code ``EXIT_USAGE``; it repeats no value.

    Example:
        >>> rules_of(["SeriesDescription=T2.*FLAIR", "SeriesNumber=3"])
        [{'conditions': {'SeriesDescription': 'T2.*FLAIR', 'SeriesNumber': '3'}}]
    """
    given = [word.partition("=") for word in words if "=" in word and not Path(word).is_file()]
    rules: list[dict[str, Any]] = [{"conditions": {key: value for key, _, value in given}}] if given else []
    for word in (word for word in words if "=" not in word or Path(word).is_file()):
        try:
            rules += json.loads(Path(word).read_text(encoding="utf-8"))["selections"]
        except Exception as error:
            kind = system_words(error) if isinstance(error, OSError) else type(error).__name__
            raise DeployError(
                f"select: must be KEYWORD=VALUE or a JSON file with 'selections' as the App SDK's selector has them ({kind}).",
                EXIT_USAGE,
            ) from None
    check_rules(rules)
    return rules


def check_rules(rules: Any) -> None:
    """Check rules before any file is looked at.

    Raises:
        DeployError: exit code ``EXIT_USAGE``; it names keywords, but no value.

    Example:
        >>> check_rules([{"conditions": {"SeriesDescripton": "T2"}}])
        Traceback (most recent call last):
        infomri_monai.deploy.case.DeployError: select: 'SeriesDescripton' is no keyword of DICOM.
    """
    if not all(isinstance(rule, dict) and isinstance(rule.get("conditions"), dict) for rule in rules):
        raise DeployError("select: every selection must be a mapping with 'conditions', a mapping.", EXIT_USAGE)
    for keyword, wanted in ((k, w) for rule in rules for k, w in rule["conditions"].items()):
        if tag_for_keyword(keyword) is None:
            raise DeployError(f"select: {keyword!r} is no keyword of DICOM.", EXIT_USAGE)
        try:
            re.compile(wanted if isinstance(wanted, str) else "")
        except re.error:
            raise DeployError(f"select: the pattern of {keyword} is no regular expression.", EXIT_USAGE) from None
        if isinstance(wanted, bool) or not isinstance(wanted, (str, int, float, list, type(None))):
            raise DeployError(
                f"select: the condition of {keyword} must be a text, a number or a list of them, got {type(wanted).__name__}.",
                EXIT_USAGE,
            )
        if dictionary_VR(keyword) in _NUMBERS and isinstance(wanted, list) and not _is_range(wanted):
            raise DeployError(
                f"select: the condition of {keyword} must be a number, [low, high] or [number, one of {' '.join(_COMPARE)}].",
                EXIT_USAGE,
            )


def _is_range(wanted: list[Any]) -> bool:
    """Whether a list is two numbers, or a number and a comparison."""
    numbers = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in wanted]
    return len(wanted) == 2 and numbers[0] and (numbers[1] or (isinstance(wanted[1], str) and wanted[1] in _COMPARE))


def selected(candidate: SeriesCandidate, rules: Rules) -> bool:
    """Whether a series is to be a case, by the header of its first readable file, as the SDK's selector judges it.

    A text matches if it is the value (upper or lower case) or a regular expression that is found in it; a UID in digits and dots
    only as a whole (unlike the SDK's); a number by being equal, by ``[low, high]`` or by ``[number, ">"]``; several values, or one
    where a list is wanted, by containing all that are wanted, and none after "!". Of what cannot be read nobody knows whether it
    is wanted: it is selected, so that it fails by name instead of going unnoticed.

    Args:
        candidate: what was found.
        rules: of :func:`rules_of`; none selects all.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> from infomri_monai.data.dicom.series import find_series
        >>> folder = tempfile.mkdtemp()
        >>> _ = write_example_series(folder, slices=2)
        >>> (candidate,) = find_series(folder).candidates
        >>> [selected(candidate, [{"conditions": {"SeriesNumber": n, "ImageType": ["primary"]}}]) for n in (3, [4, 9], "4")]
        [True, False, False]
    """
    if not rules:
        return True
    with quiet():
        header = next(filter(None, map(_header, candidate.files)), None)
        return header is None or any(_match(header, rule["conditions"]) for rule in rules)


def _header(path: Path) -> Dataset | None:
    """A header; None if it cannot be read."""
    try:
        return read_file(path, pixels=False)[0]
    except Exception:  # damaged bytes, a folder, a missing right
        return None


def _match(header: Dataset, conditions: Mapping[str, Any]) -> bool:
    """Whether all conditions hold; one on a value that cannot be decoded does not."""
    try:
        return all(_holds(header, *condition) for condition in conditions.items())
    except Exception:  # of pydicom or NumPy, about a damaged value
        return False


def _holds(header: Dataset, keyword: str, wanted: Any) -> bool:
    """Whether a condition holds; an empty one always does."""
    if wanted in (None, "", []):
        return True
    value = header.get(keyword)
    if value is None or value == "":
        return False
    if keyword == "ImageOrientationPatient":
        normal = np.cross(*np.array(value, dtype=float).reshape(2, 3))
        return _PLANES[int(np.abs(normal).argmax())] == str(wanted).casefold()
    if isinstance(value, (int, float)):
        return _is_number(float(value), wanted)
    if header[keyword].VM > 1 or isinstance(wanted, list):
        text = str(list(value) if header[keyword].VM > 1 else value).casefold()
        terms = [str(term).casefold() for term in (wanted if isinstance(wanted, list) else [wanted])]
        return all((term[1:] not in text) if term.startswith("!") else (term in text) for term in terms)
    text = str(value)
    if re.fullmatch(r"[0-9.]+", str(wanted)) and dictionary_VR(keyword) == "UI":
        return text == wanted  # 1.2.3.1 is not 1.2.3.12
    return text.casefold() == str(wanted).casefold() or re.search(str(wanted), text, re.IGNORECASE) is not None


def _is_number(value: float, wanted: Any) -> bool:
    """Whether a number is the wanted one, lies in a range, or compares as wanted."""
    if isinstance(wanted, list):
        low, high = wanted
        if isinstance(high, str):
            return bool(_COMPARE[high](value, float(low)))
        return float(low) <= value <= float(high)
    if isinstance(wanted, str):
        return re.fullmatch(wanted, f"{value:.12g}") is not None
    return value == float(wanted)


def case_list(path: Path, rows: Sequence[Mapping[str, Any]], forbidden: Sequence[Path]) -> None:
    """Write which case is which series, for whoever must find the images of "case 3": it holds identifiers.

    Args:
        path: a new file, which only its owner may read.
        rows: what is known of every case, in their order.
        forbidden: folders in which it must not lie: results are handed on.

    Raises:
        DeployError: if it lies there, exists, or cannot be written; exit code ``EXIT_USAGE``.
    """
    place = path.resolve()
    if any(place.is_relative_to(folder.resolve()) for folder in forbidden):
        raise DeployError(
            "case-list: it holds identifiers and must lie outside of the input and output folders.", EXIT_USAGE
        )
    try:
        if path.exists():
            raise DeployError("case-list: the file exists; give a new one.", EXIT_USAGE)
        os.scandir(path.parent).close()  # its folder is not made: who may look into it, its owner has decided
        with atomic_path(path) as part:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump([{"case": number, **row} for number, row in enumerate(rows, 1)], file, indent=2)
            part.chmod(0o600)
    except OSError as error:
        raise DeployError(f"case-list: the file cannot be written ({system_words(error)}).", EXIT_USAGE) from None
