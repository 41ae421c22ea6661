"""The report of an audit: what its numbers bear, in words that follow them, and the files that it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infomri_monai.audit.attack import AttackerReport, AttackOutcome
from infomri_monai.audit.linear import LINEAR
from infomri_monai.audit.probe import ProbeReport, ProbeTable
from infomri_monai.audit.scene import CERTAIN, Budget, Scene, listed
from infomri_monai.engines.prepare import seeded_generator
from infomri_monai.figures import acceleration_text, rate_distortion_figure, save_figure, training_figure
from infomri_monai.figures.privacy import AttackExample, attack_figure
from infomri_monai.files import atomic_path
from infomri_monai.metrics.rate_distortion import IMAGE_QUALITY, RateDistortionRow, RateDistortionTable
from infomri_monai.metrics.tables import RatioTable, finite, write_json, write_rows
from infomri_monai.systems.reconstruction import ReconstructionSystem

__all__ = [
    "ZERO_FILLED",
    "AuditReport",
    "RatioVerdict",
    "attack_examples",
    "draw_curves_of",
    "judge",
    "write_examples",
    "write_report",
]

#: of the attacks that need no training, the measurement transformed back
ZERO_FILLED = "zero-filled"
RECOVERABLE, LEAKS, NO_BETTER, TOO_WEAK = "recoverable", "leaks", "no better than guessing", "attacks too weak"

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


class RatioVerdict(NamedTuple):
    """The best attack at one ratio.

    Attributes:
        ratio: requested sampled positions / all positions.
        best: name of the attack of the highest mean PSNR on test data, ``"zero-filled"`` and ``"linear MMSE"`` among them.
        psnr: its mean PSNR, dB, per slice.
        highest_psnr: what the 5 % of test images that it recovers best reach at least, dB.
        floor_psnr: mean PSNR of the better guess without a measurement, the mean training image or a constant one, dB.
        gain: mean over images of the difference of the two, dB.
        gain_error: standard error of the gain over images; NaN for one image.
        verdict: ``"recoverable"`` if the gain reaches the margin, ``"leaks"`` if its 95 % interval lies above 0, ``"attacks too
            weak"`` if it lies below 0, else ``"no better than guessing"``. One image has no interval: the gain's sign decides.
    """

    ratio: float
    best: str
    psnr: float
    highest_psnr: float
    floor_psnr: float
    gain: float
    gain_error: float
    verdict: str

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the gain, dB."""
        return self.gain - CERTAIN * self.gain_error, self.gain + CERTAIN * self.gain_error


def judge(ratio: float, attacks: Mapping[str, Tensor], floor: Tensor, margin: float) -> RatioVerdict:
    """Compare the best attack with a guess.

    Args:
        ratio: the sampling ratio.
        attacks: attacker -> PSNR of every test image in dB, (images,); all-zero images have NaN and do not count.
        floor: PSNR of the guess without a measurement, of the same images.
        margin: gain in dB from which the image is called recoverable.

    Example:
        >>> judge(0.25, {"unet": torch.tensor([20.0, 22.0])}, torch.tensor([12.0, 12.0]), margin=3.0).verdict
        'recoverable'
    """
    means = {name: float(values.nanmean()) for name, values in attacks.items()}
    best = max(means, key=lambda name: means[name])
    values = attacks[best]
    difference = (values - floor).double()
    difference = difference[~difference.isnan()]
    gain = float(difference.mean())
    error = float(difference.std() / math.sqrt(len(difference))) if len(difference) > 1 else math.nan
    half = 0.0 if math.isnan(error) else CERTAIN * error
    verdict = RECOVERABLE if gain >= margin else LEAKS if gain > half else TOO_WEAK if gain < -half else NO_BETTER
    return RatioVerdict(ratio, best, means[best], _highest(values), float(floor.nanmean()), gain, error, verdict)


def _highest(values: Tensor) -> float:
    """The 95 % quantile, interpolated unless that meets an infinite value (a perfect image)."""
    linear, lower = (float(torch.nanquantile(values.double(), 0.95, interpolation=how)) for how in ("linear", "lower"))
    return linear if math.isfinite(linear) else lower


class AuditReport(NamedTuple):
    """Everything the report says.

    Attributes:
        method: what was audited.
        facts: name -> value: policy, grid, noise, images, attackers' knowledge.
        budget: the attackers' budget.
        margin: gain in dB from which the image is called recoverable.
        attackers: the attackers.
        floors: PSNR and SSIM of the guesses without a measurement.
        verdicts: one per ratio.
        probe: the attribute probe.
        warnings: what makes the audit say less than it seems to.
    """

    method: str
    facts: Mapping[str, Any]
    budget: Budget
    margin: float
    attackers: Sequence[AttackerReport]
    floors: Mapping[str, tuple[float, float]]
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
            f"{text[0].upper()}{text[1:]}. This is what {len(self._trained)} trained attacker"
            f"{'s' if len(self._trained) > 1 else ''} and the attacks without training show: empirical evidence about these "
            "attackers, not a guarantee."
        )

    @property
    def _trained(self) -> list[AttackerReport]:
        return [attacker for attacker in self.attackers if attacker.name != LINEAR]

    def markdown(self) -> str:
        """The report."""
        budget = self.budget
        limit = f"{budget.max_epochs} passes over the training data" + (
            f" or {budget.max_steps} steps" if budget.max_steps else ""
        )
        closed = (
            f"**{LINEAR}**: the best affine estimate from the samples and their noise, in closed form from the training images' "
            "mean and covariance, for every image's own mask; for Gaussian images no attack is better."
        )
        sections = {
            "What was attacked": [f"{name}: {value}" for name, value in self.facts.items()],
            "Attackers": [
                *(line for attacker in self.attackers for line in attacker.words()),
                f"**{ZERO_FILLED}**: the measurement transformed back, no training.",
                *([closed] if len(self.attackers) > len(self._trained) else []),
                f"{listed([f'**{name}**' for name in self.floors])}: the training images' mean magnitude, and its mean at every "
                "pixel: what is known without any measurement.",
                f"Budget: batches of {budget.batch_size}, at most {limit} for every ratio, ended after {budget.patience} "
                "validations in a row without a mean squared error lower by 0.5 %, each of which went back to the best weights "
                "with a third of the learning rate; the weights of the best validation were tested.",
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
            "floors": {name: {"psnr": psnr, "ssim": ssim} for name, (psnr, ssim) in self.floors.items()},
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
                "reference": self.probe.reference and self.probe.reference._asdict(),
                "courses": [{"name": name, **course._asdict()} for name, course in self.probe.courses],
                "words": self.probe.words(),
            },
            "not_shown": [*self.warnings, *self._unfinished(), *LIMITS],
        }
        return finite(content)

    def metrics(self) -> dict[str, float]:
        """The numbers by name, for a tracking server."""
        numbers: dict[str, float] = {}
        for name, (psnr, ssim) in self.floors.items():
            numbers |= {f"{name}_psnr": psnr, f"{name}_ssim": ssim}
        for attacker in self.attackers:
            for row in attacker.rows:
                numbers[f"{attacker.name}_psnr_at_{row.ratio:.4f}"] = row.psnr
                numbers[f"{attacker.name}_ssim_at_{row.ratio:.4f}"] = row.ssim
            if attacker.courses:
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
            f"{row.floor_psnr:.2f} dB of a guess without any measurement"
        )
        worst = f"on the 5 % of images recovered best it reaches {row.highest_psnr:.2f} dB or more"
        told = {
            RECOVERABLE: "The image is recoverable to that extent",
            LEAKS: "The measurement gives something of the image away, to that extent",
            NO_BETTER: "None of these attacks was measurably better than guessing: resistance to these attackers, not a guarantee",
            TOO_WEAK: "The attacks do not even reach what is known without a measurement, so they show no resistance",
        }[row.verdict]
        untrained = (
            f"; no trained attacker did better than {'the zero-filled image' if row.best == ZERO_FILLED else 'the linear one'}, so "
            "their training was not worth its effort, and a better one may recover more"
            if row.best in (ZERO_FILLED, LINEAR)
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
        rows |= {name: dict.fromkeys(ratios, values) for name, values in self.floors.items()}
        lines = ["| PSNR in dB / SSIM, per slice | " + " | ".join(f"ratio {ratio:.4g}" for ratio in ratios) + " |"]
        lines.append("| --- |" + " ---: |" * len(ratios))
        for name, values in rows.items():
            cells = [_cell(*min(values.items(), key=lambda item: abs(item[0] - ratio))[1]) for ratio in ratios]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def _cell(psnr: float, ssim: float) -> str:
    return f"{psnr:.2f} / {ssim:.3f}"


def attacker_tables(report: AuditReport) -> list[RateDistortionTable]:
    """One rate-distortion table per attacker, and one per guess without a measurement."""
    conventions = IMAGE_QUALITY | {f"zero_filled_{name}": text for name, text in IMAGE_QUALITY.items()}
    tables = [RateDistortionTable(attacker.name, attacker.rows, conventions) for attacker in report.attackers]
    first = report.attackers[0].rows
    for name, (psnr, ssim) in report.floors.items():
        rows = [RateDistortionRow(row.ratio, math.nan, psnr, math.nan, ssim, images=row.images) for row in first]
        tables.append(RateDistortionTable(name, rows, conventions))
    return tables


def write_tables(tables: Sequence[RatioTable], folder: Path, name: str) -> None:
    """Write tables of one kind together as ``.csv`` (the method is the first column), ``.json`` (a list) and ``.md``."""
    rows = [{"method": table.method} | record for table in tables for record in table.records()]
    write_rows(folder / f"{name}.csv", rows, ["method", *tables[0].columns()])
    write_json(folder / f"{name}.json", [table.content() for table in tables])
    with atomic_path(folder / f"{name}.md") as part:
        part.write_text("\n".join(table.markdown() for table in tables), encoding="utf-8")


def write_report(report: AuditReport, folder: Path) -> None:
    """Write ``report.md`` and ``report.json``, ``attackers.*`` and, if the probe ran, ``attribute_probe.*``."""
    write_tables(attacker_tables(report), folder, "attackers")
    probe = report.probe
    if probe.rows and probe.full is not None:
        tables = [ProbeTable(f"{probe.attribute}, from the policy's measurements", list(probe.rows))]
        tables.append(ProbeTable(f"{probe.attribute}, from fully sampled measurements", [probe.full]))
        write_tables(tables, folder, "attribute_probe")
    write_json(folder / "report.json", report.content())
    with atomic_path(folder / "report.md") as part:
        part.write_text(report.markdown(), encoding="utf-8")


def draw_curves_of(report: AuditReport, folder: Path) -> None:
    """Draw ``attackers.png`` (PSNR against ratio) and ``learning_curves.png`` (validation PSNR against gradient steps)."""
    curves = {attacker.name: {row.ratio: row.psnr for row in attacker.rows} for attacker in report.attackers}
    first = report.attackers[0].rows
    curves[ZERO_FILLED] = {row.ratio: row.zero_filled_psnr for row in first}
    curves |= {name: {row.ratio: psnr for row in first} for name, (psnr, _) in report.floors.items()}
    shown = {name: finite for name, c in curves.items() if (finite := {s: v for s, v in c.items() if math.isfinite(v)})}
    save_figure(rate_distortion_figure(shown), folder / "attackers.png")
    learning = {}
    for attacker in report.attackers:
        for ratios, course in attacker.courses:
            name = f"{attacker.name}, ratio {ratios[0]:.4g}" if len(attacker.courses) > 1 else attacker.name
            learning[name] = (course.history["step"], course.history["psnr"])
    panels = {"validation PSNR [dB], mean over ratios": learning}
    save_figure(training_figure(panels, step_name="gradient step"), folder / "learning_curves.png")


def attack_examples(
    scene: Scene,
    networks: Callable[[float], Mapping[str, nn.Module]],
    outcomes: Mapping[str, AttackOutcome],
    seed: int,
    device: torch.device,
) -> list[AttackExample]:
    """Of every ratio two test images, measured anew: the one that the best attacker recovers best, and the median one.

    Args:
        scene: what the attackers meet.
        networks: the trained attackers for a ratio.
        outcomes: their tests, which decide what is shown.
        seed: of masks and noise, the same for every attacker.
        device: where to reconstruct.
    """
    examples = []
    for place, ratio in enumerate(next(iter(outcomes.values())).images["ratio"].tolist()):
        by_attacker = [outcome.images["psnr"][place] for outcome in outcomes.values()]
        best = max(by_attacker, key=lambda values: float(values.nanmean()))
        order = best.nan_to_num(nan=-math.inf).argsort(descending=True)
        kept = order[: int((~best.isnan()).sum())]
        if not len(kept):  # all-zero images only
            continue
        for label, index in (("recovered best", int(kept[0])), ("median", int(kept[len(kept) // 2]))):
            image = torch.as_tensor(scene.data.test[index][scene.image_key]).unsqueeze(0)
            text = f"ratio {ratio:.4g}\n{label}"
            key = (seed, place, index)
            examples.append(_example(text, scene, networks(ratio), image, ratio, key, device))
    return examples


@torch.no_grad()
def _example(
    label: str,
    scene: Scene,
    networks: Mapping[str, nn.Module],
    image: Tensor,
    ratio: float,
    key: tuple[int, ...],
    device: torch.device,
) -> AttackExample:
    results = {}
    for name, network in networks.items():
        system = ReconstructionSystem(scene.policy, scene.measurement, network).to(device).eval()
        results[name] = system(image.to(device), ratio, seeded_generator(device, *key))
    reconstructions = {name: result.mean[0, 0].cpu() for name, result in results.items()}
    zero_filled = next(iter(results.values())).zero_filled[0, 0].cpu()
    return AttackExample(label, image[0, 0], zero_filled, reconstructions)


def write_examples(examples: Sequence[AttackExample], method: str, folder: Path) -> None:
    """Draw ``reconstructions.png``."""
    if examples:
        title = f"What attackers make of the measurements: {method}"
        save_figure(attack_figure(examples, title), folder / "reconstructions.png")
