"""How a result came about, in the words of its DICOM objects."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from infomri_monai.deploy.case import Derivation, ModelIdentity
from infomri_monai.engines.case import AcquisitionRecord

__all__ = ["acquisition_words", "derivation"]

#: characters of a derivation's text; the writers add a note to it
_LONGEST = 960


def acquisition_words(record: AcquisitionRecord, ratio: Tensor) -> str:
    """One sentence on the acquisition; that it is simulated, :func:`~infomri_monai.deploy.dicom.common.derivation_text` says.

    Args:
        record: how k-space came about.
        ratio: realised sampling ratio of every slice.

    Example:
        >>> import torch
        >>> measured = AcquisitionRecord(False, *(None,) * 7, (64, 64), "native", (0, 0))
        >>> acquisition_words(measured, torch.tensor([0.25]))
        'k-space was measured by the scanner at 25 % of its positions (4x undersampled).'
    """
    share = _share(float(ratio.double().mean()))
    if not record.simulated:
        return f"k-space was measured by the scanner at {share}."
    noise = f", with noise of standard deviation {record.noise_std:g}" if record.noise_std else ""
    relative = " of the DC magnitude" if record.noise_relative_to_dc else ""
    return f"k-space was sampled at {share} by {record.policy}, seed {record.seed}{noise}{relative if noise else ''}."


def _share(ratio: float) -> str:
    """How much of k-space was sampled."""
    if ratio in (0, 1):
        return "all of its positions" if ratio else "none of its positions"
    return f"{100 * ratio:.4g} % of its positions ({1 / ratio:.3g}x undersampled)"


def derivation(
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
    """
    mean = float(ratio.double().mean())
    rate = f" {1 / mean:.3g}x" if mean > 0 else ""
    title = f"InfoMRI {what}{rate}"  # the writers add that it was simulated
    warned = [f"Warning: {warning.rstrip('.')}." for warning in warnings]
    text = " ".join(
        [acquisition_words(record, ratio), "Research software, not for clinical use.", more, *warned]
    ).strip()
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    return Derivation(title, text, record.simulated, model)
