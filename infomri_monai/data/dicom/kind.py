"""What kind of picture an MR image is, by all of its image type and by what its vendor's own tags say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

__all__ = ["ImageKind", "image_kind", "image_words"]

#: standard elements, of which every value counts
_KEYWORDS = ("ImageType", "FrameType", "ComplexImageComponent", "VolumeBasedCalculationTechnique")
#: group, private creator and offset of a vendor's own word: GE's raw data type, Philips, Siemens (until VE, from XA)
_VENDORS = (
    (0x0043, "GEMS_PARM_01", 0x2F),
    (0x2005, "Philips MR Imaging DD 001", 0x11),
    (0x0051, "SIEMENS MR HEADER", 0x16),
    (0x0021, "SIEMENS MR SDI 02", 0x75),
)
#: likewise of a sequence that holds such words of a frame
_NESTED = ((0x2005, "Philips MR Imaging DD 005", 0x0F), (0x0021, "SIEMENS MR SDI 02", 0xFE))
#: GE's numbers
_GE = {"0": "M", "1": "P", "2": "R", "3": "I"}

_PART = re.compile(r"[PRI](_[A-Z0-9]+)?|(PHASE|REAL|IMAG|IMAGINARY)([_ ](MAP|IMAGE|PART))?|PHASE_DIFF(ERENCE)?")
_MAP = re.compile(
    r"(E|EXP_?)?ADC([_ ].*)?|(COL|COLOR_)?FA(_.*)?|FRACT(IONAL)?_ANISO.*|TENSOR|(R|REL)?CB[FV]|MTT|TTP|TMAX|KTRANS|VELOCITY|"
    r"R2_?STAR([_ ].*)?|(FAT|WATER)_FRAC(TION)?|TEMPERATURE|B[01]|QUANTITY|STD_DEVIATION|.*[0-9_ ]MAP"
)
#: "IP" alone is not one of them: an image in phase, of Dixon's method
_PROJECTED = {"MIP", "MINIP", "MNIP", "PROJECTION", "RENDER", "RENDERED", "VRT", "SSD"}
_COMPUTED = {"MPR", "RESAMPLED", "REFORMATTED", "TRACE", "TRACEW", "SUB", "SUBTRACTION", "ADDITION", "DIVISION", "MEAN"}


class ImageKind(NamedTuple):
    """What a picture is.

    Attributes:
        problem: why it is no magnitude image of slices; "" if it may be one.
        warning: what a reader must know of it; "" if nothing.
        localizer: whether it is a scout.
    """

    problem: str = ""
    warning: str = ""
    localizer: bool = False


def image_words(places: Sequence[Dataset]) -> tuple[str, ...]:
    """All words that say what kind of picture an image is, in capitals, each once, sorted.

    Args:
        places: functional groups of a frame and the instance, or the instance alone.

    Example:
        >>> dataset = Dataset()
        >>> dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        >>> dataset.private_block(0x43, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", 1)
        >>> image_words([dataset])
        ('ORIGINAL', 'OTHER', 'P', 'PRIMARY')
    """
    found: set[str] = set()
    framed = any("MRImageFrameTypeSequence" in place for place in places)
    for place in (
        places[: len(places) - framed] if len(places) > 1 else places
    ):  # what a frame says goes before its instance
        items = [place, *(place.get("MRImageFrameTypeSequence") or ())]
        for group, creator, offset in _NESTED:
            items += [item for item in _private(place, group, creator, offset) if isinstance(item, Dataset)]
        for item in items:
            found.update(word for keyword in _KEYWORDS for word in _texts(item.get(keyword)))
            for group, creator, offset in _VENDORS:
                words = [part for word in _texts(_private(item, group, creator, offset)) for part in word.split("/")]
                found.update(_GE.get(word, "") if group == 0x0043 else word for word in words)
    return tuple(sorted(found - {"", "NONE"}))


def _private(dataset: Dataset, group: int, creator: str, offset: int) -> list[Any]:
    """The values of a private element; numbers that nobody decoded are little endian."""
    try:
        value = dataset.private_block(group, creator)[offset].value
    except KeyError:
        return []
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little") if group == 0x0043 else value.decode("latin-1").split("\\")
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _texts(value: Any) -> list[str]:
    """Values as text in capitals."""
    several = isinstance(value, Iterable) and not isinstance(value, str)
    return [str(v).strip(" \0").upper() for v in (value if several else [value]) if v is not None]


def image_kind(words: Sequence[str]) -> ImageKind:
    """Judge a picture by its words.

    k-space is simulated from magnitudes of slices as they were acquired. Phase, real and imaginary parts, quantities that were
    computed (ADC, FA, T1, perfusion, velocity ...) and projections are something else. Reformatted, averaged or subtracted images
    are still magnitudes of slices, whose k-space nobody acquired: they are taken with a warning.

    Args:
        words: of :func:`image_words`.

    Example:
        >>> image_kind(["DERIVED", "PRIMARY", "ADC_UNSPECIFIED"]).problem
        'the series must hold magnitude images, found a computed map (such as ADC, FA, T1 or velocity).'
        >>> image_kind(["DERIVED", "SECONDARY", "CSA MPR"]).warning
        'the images were computed from others (reformatted, averaged or subtracted), not acquired as they are.'
    """
    tokens = {token for word in words for token in re.split(r"[ _]", word)}
    localizer = "LOCALIZER" in tokens
    for found, what in (
        (any(_PART.fullmatch(word) for word in words), "phase, real or imaginary parts"),
        (any(_MAP.fullmatch(word) for word in words), "a computed map (such as ADC, FA, T1 or velocity)"),
        (bool(tokens & _PROJECTED or {"MAX_IP", "MIN_IP"} & set(words)), "a projection or rendering"),
    ):
        if found:
            return ImageKind(f"the series must hold magnitude images, found {what}.", localizer=localizer)
    if tokens & _COMPUTED:
        words_ = "the images were computed from others (reformatted, averaged or subtracted), not acquired as they are."
        return ImageKind(warning=words_, localizer=localizer)
    return ImageKind(localizer=localizer)
