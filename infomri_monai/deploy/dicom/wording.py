"""What a derived DICOM object says about itself: how it was made, by which model, and whether k-space was simulated."""

from __future__ import annotations

from typing import Any

import infomri_monai
from infomri_monai.deploy.case import Derivation

__all__ = [
    "MANUFACTURER",
    "SIMULATED",
    "content_description",
    "derivation_text",
    "equipment",
    "image_type",
    "series_description",
]

#: of everything that this software makes
MANUFACTURER = "infomri_monai"
#: stands in the series description and as fourth value of the image type of everything made from simulated k-space
SIMULATED = "SIMULATED"
#: before the derivation text of everything made from simulated k-space
SIMULATION_NOTE = "SIMULATED from magnitude images, not acquired. "


def equipment(derivation: Derivation) -> dict[str, Any]:
    """This software and the model, as the constructors of highdicom name them.

    Args:
        derivation: names the model; its name and version have at most 64 characters together.

    Returns:
        ``manufacturer``, ``manufacturer_model_name`` (the model's name), ``software_versions`` (ours, the model's) and
        ``device_serial_number`` (SHA-256 of the weights).

    Raises:
        ValueError: if a text is empty or too long.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> made_by = equipment(Derivation("", "", False, ModelIdentity("unet", "0.2.0", "ab" * 32)))
        >>> made_by["manufacturer"], made_by["software_versions"][1], made_by["device_serial_number"][:4]
        ('infomri_monai', 'unet 0.2.0', 'abab')
    """
    name, version, checksum = derivation.model
    texts = {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": name,
        "software_versions": [f"infomri_monai {infomri_monai.__version__}", f"{name} {version}"],
        "device_serial_number": checksum,
    }
    for text in (name, checksum, *texts["software_versions"]):
        if not 0 < len(text) <= 64 or "\\" in text:
            raise ValueError(f"derivation.model: texts must have 1 to 64 characters and no backslash, got {text!r}.")
    return texts


def series_description(derivation: Derivation) -> str:
    """The title, marked as simulated where it is and does not say so.

    Raises:
        ValueError: if it has more than 64 characters, the mark included.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> series_description(Derivation("sigma 8x", "", True, ModelIdentity("unet", "1", "0")))
        'sigma 8x SIMULATED'
    """
    title = derivation.title.strip()
    if derivation.simulated and SIMULATED not in title.upper():
        title = f"{title} {SIMULATED}"
    return _text("title", title, 64)


def derivation_text(derivation: Derivation) -> str:
    """The derivation description, which begins with the mark of a simulation where there is one.

    Raises:
        ValueError: if it has more than 1024 characters, the mark included.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> derivation_text(Derivation("", "Posterior mean, 8x.", True, ModelIdentity("unet", "1", "0")))
        'SIMULATED from magnitude images, not acquired. Posterior mean, 8x.'
    """
    return _text("text", (SIMULATION_NOTE if derivation.simulated else "") + derivation.text.strip(), 1024)


def content_description(what: str, derivation: Derivation) -> str:
    """What the pixels of an object are, marked as simulated where they are.

    Args:
        what: at most 53 characters; the mark takes 11 of DICOM's 64.
        derivation: whether k-space was simulated.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> content_description("Predictive entropy", Derivation("", "", True, ModelIdentity("unet", "1", "0")))
        'SIMULATED: Predictive entropy'
    """
    return f"{SIMULATED}: {what}" if derivation.simulated else what


def _text(name: str, text: str, longest: int) -> str:
    """The text, if DICOM takes it."""
    if not 0 < len(text) <= longest or "\\" in text:
        raise ValueError(
            f"derivation.{name} must have 1 to {longest} characters (a mark of a simulation included) and no backslash, got "
            f"{len(text)}: {text!r}."
        )
    return text


def image_type(derivation: Derivation) -> list[str]:
    """Values of ImageType of a derived image: DERIVED, SECONDARY, OTHER and, where k-space was simulated, SIMULATED.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> image_type(Derivation("", "", True, ModelIdentity("unet", "1", "0")))
        ['DERIVED', 'SECONDARY', 'OTHER', 'SIMULATED']

    References:
        DICOM PS3.3 2024e, C.8.3.1.1.1 (values 4 and on are an implementation's own).
    """
    return ["DERIVED", "SECONDARY", "OTHER", *([SIMULATED] if derivation.simulated else [])]
