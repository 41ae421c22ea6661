"""How a result came about, in the words of its DICOM objects: what was acquired, by which model, whether it was simulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from infomri_monai.engines.case import AcquisitionRecord

__all__ = ["SIMULATED", "Derivation", "ModelIdentity", "acquisition_words", "derived"]

#: stands in the series description and as fourth value of the image type of everything made from simulated k-space
SIMULATED = "SIMULATED"
_NOTE = "SIMULATED from magnitude images, not acquired. "
_RELATIVE = {"peak": " of the peak magnitude", "dc": " of the DC magnitude"}
#: characters of a derivation's text; the note is put before it
_LONGEST = 960


class ModelIdentity(NamedTuple):
    """Which model gave a result.

    Attributes:
        name: of the bundle, from its metadata.
        version: of the bundle, from its metadata.
        checksum: SHA-256 of the weights' file, hexadecimal.
    """

    name: str
    version: str
    checksum: str


class Derivation(NamedTuple):
    """How a DICOM object came about; stands in its series description, derivation text and image type.

    Attributes:
        title: of the series, at most 64 characters, e.g. "InfoMRI reconstruction 8x SIMULATED".
        text: derivation description, at most 1024 characters: acquisition, ratio, model and version in words.
        simulated: whether k-space was simulated from DICOM images, which must stand in every object.
        model: which model gave it.

    Example:
        >>> made = Derivation("sigma 8x", "Posterior deviation.", True, ModelIdentity("unet", "1", "0"))
        >>> made.series_description, made.content("Predictive entropy")
        ('sigma 8x SIMULATED', 'SIMULATED: Predictive entropy')
        >>> made._replace(title="Simulated 8x").series_description, made._replace(simulated=False).series_description
        ('Simulated 8x', 'sigma 8x')
        >>> made.description
        'SIMULATED from magnitude images, not acquired. Posterior deviation.'
    """

    title: str
    text: str
    simulated: bool
    model: ModelIdentity

    @property
    def series_description(self) -> str:
        """The title, marked as simulated where it is and does not say so; ValueError beyond 64 characters."""
        title = self.title.strip()
        if self.simulated and SIMULATED not in title.upper():
            title = f"{title} {SIMULATED}"
        return _fitting("title", title, 64)

    @property
    def description(self) -> str:
        """The text after the note of a simulation, where it is one; ValueError beyond 1024 characters."""
        return _fitting("text", (_NOTE if self.simulated else "") + self.text.strip(), 1024)

    def content(self, what: str) -> str:
        """What the pixels of an object are, marked as simulated where they are.

        Args:
            what: at most 53 characters; the mark takes 11 of DICOM's 64.
        """
        return f"{SIMULATED}: {what}" if self.simulated else what


def _fitting(name: str, text: str, longest: int) -> str:
    """The text, if DICOM takes it."""
    if not 0 < len(text) <= longest or "\\" in text:
        raise ValueError(
            f"derivation.{name} must have 1 to {longest} characters (a mark of a simulation included) and no backslash, got "
            f"{len(text)}: {text!r}."
        )
    return text


def acquisition_words(record: AcquisitionRecord, ratio: Tensor) -> str:
    """One sentence on the acquisition; that it is simulated, :attr:`Derivation.description` says.

    Args:
        record: how k-space came about.
        ratio: realised sampling ratio of every slice.

    Example:
        >>> import torch
        >>> measured = AcquisitionRecord(False, *(None,) * 7, (64, 64), "native", (0, 0))
        >>> acquisition_words(measured, torch.tensor([0.25]))
        'k-space was measured by the scanner at 25 % of its positions (4x undersampled).'
    """
    mean = float(ratio.double().mean())
    share = f"{100 * mean:.4g} % of its positions ({1 / mean:.3g}x undersampled)" if mean else "none of its positions"
    if mean == 1:
        share = "all of its positions"
    if not record.simulated:
        return f"k-space was measured by the scanner at {share}."
    noise = f", with noise of standard deviation {record.noise_std:g}" if record.noise_std else ""
    relative = _RELATIVE.get(record.noise_reference or "", "") if noise else ""
    return f"k-space was sampled at {share} by {record.policy}, seed {record.seed}{noise}{relative}."


def derived(
    what: str,
    record: AcquisitionRecord,
    ratio: Tensor,
    model: ModelIdentity,
    more: str = "",
    warnings: Sequence[str] = (),
) -> Derivation:
    """The derivation of a DICOM object.

    Args:
        what: what the object shows, at most 30 characters, e.g. "reconstruction".
        record: how k-space came about.
        ratio: realised sampling ratio of every slice.
        model: which model gave it.
        more: a further sentence.
        warnings: what a reader must know; a text that gets too long ends in "...".

    Example:
        >>> import torch
        >>> measured = AcquisitionRecord(False, *(None,) * 7, (64, 64), "native", (0, 0))
        >>> model = ModelIdentity("unet", "1", "0")
        >>> [derived("sigma", measured, torch.tensor([ratio]), model).title for ratio in (0.125, 0.3, 0.0)]
        ['InfoMRI sigma 8x', 'InfoMRI sigma 3.33x', 'InfoMRI sigma']
    """
    mean = float(ratio.double().mean())
    rate = f" {1 / mean:.3g}x" if mean > 0 else ""
    warned = [f"Warning: {warning.rstrip('.')}." for warning in warnings]
    words = [acquisition_words(record, ratio), "Research software, not for clinical use.", more, *warned]
    text = " ".join(words).strip()
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    return Derivation(f"InfoMRI {what}{rate}", text, record.simulated, model)
