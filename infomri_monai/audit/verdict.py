"""What the numbers of an audit bear: the best attack at a ratio against what is known without any measurement.

Also here: Phrases that the parts of an audit's report share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from infomri_monai.audit.scene import Course

__all__ = [
    "LEAKS",
    "NO_BETTER",
    "RECOVERABLE",
    "TOO_WEAK",
    "ZERO_FILLED",
    "ProbeVerdict",
    "RatioVerdict",
    "course_words",
    "judge",
    "judge_probe",
    "listed",
]


def course_words(course: Course, ratios: Sequence[float]) -> str:
    """How a training went, as the end of a sentence.

    Example:
        >>> course_words(Course(300, 200, True, {}), [0.25])
        'for ratio 0.25 stopped because validation no longer improved after 300 steps, best at step 200.'
    """
    which = f"for {listed(ratios)} " if ratios else ""
    end = "stopped because validation no longer improved" if course.stopped_early else "ended with its budget"
    best = "the untrained network was best" if course.best_step == 0 else f"best at step {course.best_step}"
    return f"{which}{end} after {course.steps} steps, {best}."


def listed(items: Sequence[float] | Sequence[str]) -> str:
    """Names, or ratios with that word.

    Example:
        >>> listed(["a", "b", "c"]), listed([0.25, 0.125])
        ('a, b and c', 'ratios 0.25 and 0.125')
    """
    texts = [item if isinstance(item, str) else f"{item:.4g}" for item in items]
    joined = texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]
    return joined if isinstance(items[0], str) else f"ratio{'s' if len(texts) > 1 else ''} {joined}"


#: the attack that needs no training
ZERO_FILLED = "zero-filled"
RECOVERABLE, LEAKS, NO_BETTER, TOO_WEAK = "recoverable", "leaks", "no better than guessing", "attacks too weak"
_TWO_SIDED_95 = 1.96


class RatioVerdict(NamedTuple):
    """The best attack at one ratio.

    Attributes:
        ratio: requested sampled positions / all positions.
        best: name of the attacker of the highest mean PSNR on test data, or ``"zero-filled"``.
        psnr: its mean PSNR, dB, per slice.
        highest_psnr: what the 5 % of test images that it recovers best reach at least, dB.
        constant_psnr: mean PSNR of the training data's mean magnitude image, dB.
        gain: mean over images of the difference of the two, dB.
        gain_error: standard error of the gain over images; NaN for one image.
        verdict: ``"recoverable"`` if the gain reaches the margin, ``"leaks"`` if its 95 % interval lies above 0, ``"attacks too
            weak"`` if it lies below 0, else ``"no better than guessing"``. One image has no interval: the gain's sign decides.
    """

    ratio: float
    best: str
    psnr: float
    highest_psnr: float
    constant_psnr: float
    gain: float
    gain_error: float
    verdict: str

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the gain, dB."""
        return self.gain - _TWO_SIDED_95 * self.gain_error, self.gain + _TWO_SIDED_95 * self.gain_error


def judge(ratio: float, attacks: Mapping[str, Tensor], constant: Tensor, margin: float) -> RatioVerdict:
    """Compare the best attack with a guess.

    Args:
        ratio: the sampling ratio.
        attacks: attacker -> PSNR of every test image in dB, (images,); all-zero images have NaN and do not count.
        constant: PSNR of the constant guess, of the same images.
        margin: gain in dB from which the image is called recoverable.

    Example:
        >>> judge(0.25, {"unet": torch.tensor([20.0, 22.0])}, torch.tensor([12.0, 12.0]), margin=3.0).verdict
        'recoverable'
    """
    means = {name: float(values.nanmean()) for name, values in attacks.items()}
    best = max(means, key=lambda name: means[name])
    values = attacks[best]
    difference = (values - constant).double()
    difference = difference[~difference.isnan()]
    gain = float(difference.mean())
    error = float(difference.std() / math.sqrt(len(difference))) if len(difference) > 1 else math.nan
    half = 0.0 if math.isnan(error) else _TWO_SIDED_95 * error
    verdict = RECOVERABLE if gain >= margin else LEAKS if gain > half else TOO_WEAK if gain < -half else NO_BETTER
    return RatioVerdict(ratio, best, means[best], _highest(values), float(constant.nanmean()), gain, error, verdict)


def _highest(values: Tensor) -> float:
    """The 95 % quantile, interpolated unless that meets an infinite value (a perfect image)."""
    linear, lower = (float(torch.nanquantile(values.double(), 0.95, interpolation=how)) for how in ("linear", "lower"))
    return linear if math.isfinite(linear) else lower


class ProbeVerdict(NamedTuple):
    """Whether the attribute was told better than by guessing, and in which sense.

    Attributes:
        accuracy_above: accuracy above the majority rate, by more than its 95 % interval.
        balanced_above: balanced accuracy above chance, by more than its 95 % interval.
    """

    accuracy_above: bool
    balanced_above: bool

    @property
    def told(self) -> bool:
        """Whether either is above."""
        return self.accuracy_above or self.balanced_above


def judge_probe(
    accuracy: float, accuracy_error: float, majority_rate: float, balanced: float, balanced_error: float, chance: float
) -> ProbeVerdict:
    """Compare a probe's test with a guess; errors are standard errors.

    Example:
        >>> judge_probe(0.9, 0.02, 0.9, 0.75, 0.05, 0.5)  # no better than the majority, but the rare value is told
        ProbeVerdict(accuracy_above=False, balanced_above=True)
    """
    return ProbeVerdict(
        accuracy - majority_rate > _TWO_SIDED_95 * accuracy_error, balanced - chance > _TWO_SIDED_95 * balanced_error
    )
