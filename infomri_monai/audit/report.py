"""The audit's report, in words that follow the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from infomri_monai.audit.probe import ProbeReport
from infomri_monai.audit.scene import Budget, Course
from infomri_monai.audit.verdict import (
    LEAKS,
    NO_BETTER,
    RECOVERABLE,
    TOO_WEAK,
    ZERO_FILLED,
    RatioVerdict,
    course_words,
    listed,
)
from infomri_monai.figures.style import acceleration_text
from infomri_monai.files import null_unless_finite
from infomri_monai.metrics.rate_distortion import RateDistortionRow

__all__ = ["CONSTANT", "AttackerReport", "AuditReport"]

#: name of the guess that needs no measurement
CONSTANT = "constant guess"

LIMITS = (
    "This is what these attackers reached, not a bound on what an attacker can reach: stronger networks, longer training, other "
    "losses, generative priors or knowledge about the person may recover more.",
    "The attackers are given the masks (networks without a mask input do not use them) and train on measurements with the "
    "defender's noise, of images of the same distribution as the tested ones. An attacker without such data may do worse; one with "
    "images of the same person may do better.",
    "PSNR and SSIM measure likeness on average over pixels and images. They do not say whether a person can be recognised, and a "
    "low mean does not protect every single image.",
    "Intervals and standard errors take the test images as independent; of slices of one person they are too narrow.",
    "There is no differential privacy and no other formal guarantee, of the samples or of the trained networks.",
)


class AttackerReport(NamedTuple):
    """One attacker.

    Attributes:
        name: its name.
        network: class of its network.
        parameters: number of its parameters.
        learning_rate: of its training.
        courses: one training, or one per ratio: the ratios it served and how it went.
        rows: its test at every ratio.
    """

    name: str
    network: str
    parameters: int
    learning_rate: float
    courses: list[tuple[tuple[float, ...], Course]]
    rows: list[RateDistortionRow]

    def words(self) -> list[str]:
        """One sentence per training."""
        known = f"{self.network}, {self.parameters:,} parameters, Adam {self.learning_rate:g}"
        return [f"**{self.name}** ({known}): {course_words(course, ratios)}" for ratios, course in self.courses]


class AuditReport(NamedTuple):
    """Everything the report says.

    Attributes:
        method: what was audited.
        facts: name -> value: policy, grid, noise, images, attackers' knowledge.
        budget: the attackers' budget.
        margin: gain in dB from which the image is called recoverable.
        attackers: the attackers.
        constant: PSNR and SSIM of the constant guess.
        verdicts: one per ratio.
        probe: the attribute probe.
        warnings: what makes the audit say less than it seems to.
    """

    method: str
    facts: Mapping[str, Any]
    budget: Budget
    margin: float
    attackers: Sequence[AttackerReport]
    constant: tuple[float, float]
    verdicts: Sequence[RatioVerdict]
    probe: ProbeReport
    warnings: Sequence[str] = ()

    def summary(self) -> str:
        """One paragraph."""
        groups = {
            v: [row.ratio for row in self.verdicts if row.verdict == v]
            for v in (RECOVERABLE, LEAKS, NO_BETTER, TOO_WEAK)
        }
        told = {
            RECOVERABLE: f"the image is recoverable: an attack is {self.margin:g} dB or more above a guess without any measurement",
            LEAKS: f"something of the image leaks: the best attack is above the guess, by less than {self.margin:g} dB",
            NO_BETTER: "no attack was measurably better than the guess",
            TOO_WEAK: "every attack stayed below the guess, so these attacks were too weak to say anything",
        }
        parts = [f"at {listed(ratios)} {told[verdict]}" for verdict, ratios in groups.items() if ratios]
        text = "; ".join(parts)
        return (
            f"{text[0].upper()}{text[1:]}. This is what {len(self.attackers)} trained attacker"
            f"{'s' if len(self.attackers) > 1 else ''} and the zero-filled image show: empirical evidence about these attackers, "
            "not a guarantee."
        )

    def markdown(self) -> str:
        """The report."""
        budget = self.budget
        limit = f"{budget.max_epochs} passes over the training data" + (
            f" or {budget.max_steps} steps" if budget.max_steps else ""
        )
        sections = {
            "What was attacked": [f"{name}: {value}" for name, value in self.facts.items()],
            "Attackers": [
                *(line for attacker in self.attackers for line in attacker.words()),
                f"**{ZERO_FILLED}**: the measurement transformed back, no training.",
                f"**{CONSTANT}**: the training images' mean magnitude, the same for every image: what is known without any "
                "measurement.",
                f"Budget: batches of {budget.batch_size}, at most {limit}, ended after {budget.patience} validations in a row "
                "without a lower mean squared error; the weights of the best validation were tested.",
            ],
            "What was shown": [self._ratio_words(verdict) for verdict in self.verdicts],
            "The attribute probe": self.probe.words(),
            "What was not shown": [*self.warnings, *self._unfinished(), *LIMITS],
        }
        blocks = [f"# Privacy audit: {self.method}", self.summary(), self._table()]
        blocks += [f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in sections.items()]
        return "\n\n".join(blocks) + "\n"

    def content(self) -> dict[str, Any]:
        """The report for ``report.json``; NaN and infinity are null."""
        content = {
            "method": self.method,
            "summary": self.summary(),
            "facts": dict(self.facts),
            "budget": self.budget._asdict() | {"device": str(self.budget.device)},
            "recoverable_margin_db": self.margin,
            "constant_guess": {"psnr": self.constant[0], "ssim": self.constant[1]},
            "verdicts": [verdict._asdict() for verdict in self.verdicts],
            "attackers": [
                attacker._asdict()
                | {"courses": [{"ratios": list(ratios), **course._asdict()} for ratios, course in attacker.courses]}
                | {"rows": [row._asdict() for row in attacker.rows]}
                for attacker in self.attackers
            ],
            "attribute_probe": self.probe._asdict()
            | {
                "rows": [row._asdict() for row in self.probe.rows],
                "full": self.probe.full and self.probe.full._asdict(),
                "courses": [{"name": name, **course._asdict()} for name, course in self.probe.courses],
                "words": self.probe.words(),
            },
            "not_shown": [*self.warnings, *self._unfinished(), *LIMITS],
        }
        return _plain(content)

    def metrics(self) -> dict[str, float]:
        """The numbers by name, for a tracking server."""
        numbers: dict[str, float] = {"constant_guess_psnr": self.constant[0], "constant_guess_ssim": self.constant[1]}
        for attacker in self.attackers:
            for row in attacker.rows:
                numbers[f"{attacker.name}_psnr_at_{row.ratio:.4f}"] = row.psnr
                numbers[f"{attacker.name}_ssim_at_{row.ratio:.4f}"] = row.ssim
            numbers[f"{attacker.name}_steps"] = sum(course.steps for _, course in attacker.courses)
        for verdict in self.verdicts:
            numbers[f"best_attack_psnr_at_{verdict.ratio:.4f}"] = verdict.psnr
            numbers[f"best_attack_gain_at_{verdict.ratio:.4f}"] = verdict.gain
        for told in self.probe.rows:
            numbers[f"probe_accuracy_at_{told.ratio:.4f}"] = told.accuracy
            numbers[f"probe_balanced_accuracy_at_{told.ratio:.4f}"] = told.balanced_accuracy
        return {name: value for name, value in numbers.items() if math.isfinite(value)}

    def _ratio_words(self, row: RatioVerdict) -> str:
        low, high = row.interval
        interval = f" (95 % interval over images {low:+.2f} to {high:+.2f})" if low == low else ""
        against = (
            f"the best attack, {row.best}, reaches {row.psnr:.2f} dB, {row.gain:+.2f} dB{interval} against the "
            f"{row.constant_psnr:.2f} dB of a guess without any measurement"
        )
        worst = f"on the 5 % of images recovered best it reaches {row.highest_psnr:.2f} dB or more"
        told = {
            RECOVERABLE: "The image is recoverable to that extent",
            LEAKS: "The measurement gives something of the image away, to that extent",
            NO_BETTER: "None of these attacks was measurably better than guessing: resistance to these attackers, not a guarantee",
            TOO_WEAK: "The attacks do not even reach what is known without a measurement, so they show no resistance",
        }[row.verdict]
        untrained = (
            "; no trained attacker did better than the zero-filled image, so their training was not worth its effort, and a better "
            "one may recover more"
            if row.best == ZERO_FILLED
            else ""
        )
        return f"Ratio {row.ratio:.4g} ({acceleration_text(row.ratio)}): {against}. {told}; {worst}{untrained}."

    def _unfinished(self) -> list[str]:
        names = [a.name for a in self.attackers if any(not course.stopped_early for _, course in a.courses)]
        if not names:
            return []
        return [
            f"The training of {listed(names)} ended with its budget, not because validation had stopped improving: with more steps "
            "it may recover more."
        ]

    def _table(self) -> str:
        ratios = [verdict.ratio for verdict in self.verdicts]
        rows = {a.name: {row.ratio: (row.psnr, row.ssim) for row in a.rows} for a in self.attackers}
        first = self.attackers[0].rows
        rows[ZERO_FILLED] = {row.ratio: (row.zero_filled_psnr, row.zero_filled_ssim) for row in first}
        rows[CONSTANT] = dict.fromkeys(ratios, self.constant)
        lines = ["| PSNR in dB / SSIM, per slice | " + " | ".join(f"ratio {ratio:.4g}" for ratio in ratios) + " |"]
        lines.append("| --- |" + " ---: |" * len(ratios))
        for name, values in rows.items():
            cells = [_cell(*min(values.items(), key=lambda item: abs(item[0] - ratio))[1]) for ratio in ratios]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def _cell(psnr: float, ssim: float) -> str:
    return f"{psnr:.2f} / {ssim:.3f}"


def _plain(value: Any) -> Any:
    """For JSON: NaN and infinity are null, also inside."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return null_unless_finite(value)
