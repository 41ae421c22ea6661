"""The files that an audit leaves: tables, report, pictures."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from infomri_monai.audit.attack import AttackOutcome, Scene
from infomri_monai.audit.probe import ProbeTable
from infomri_monai.audit.report import CONSTANT, AuditReport
from infomri_monai.audit.verdict import ZERO_FILLED
from infomri_monai.engines.prepare import seeded_generator
from infomri_monai.figures import rate_distortion_figure, save_figure, training_figure
from infomri_monai.figures.privacy import AttackExample, attack_figure
from infomri_monai.files import atomic_path, null_unless_finite
from infomri_monai.metrics import PSNR, SSIM
from infomri_monai.metrics.rate_distortion import RateDistortionRow, RateDistortionTable
from infomri_monai.metrics.tables import RatioTable
from infomri_monai.systems.reconstruction import ReconstructionSystem

__all__ = ["attack_examples", "attacker_tables", "draw_curves_of", "write_report", "write_tables"]


def attacker_tables(report: AuditReport) -> list[RateDistortionTable]:
    """One rate-distortion table per attacker, and one of the constant guess."""
    conventions = {"psnr": PSNR.convention, "ssim": SSIM.convention}
    conventions |= {f"zero_filled_{name}": text for name, text in conventions.items()}
    tables = [RateDistortionTable(attacker.name, attacker.rows, conventions) for attacker in report.attackers]
    first = report.attackers[0].rows
    rows = [RateDistortionRow(row.ratio, math.nan, report.constant[0], math.nan, report.constant[1]) for row in first]
    rows = [row._replace(images=other.images) for row, other in zip(rows, first, strict=True)]
    return [*tables, RateDistortionTable(CONSTANT, rows, conventions)]


def write_tables(tables: Sequence[RatioTable], folder: Path, name: str) -> None:
    """Write tables of one kind together as ``.csv`` (the method is the first column), ``.json`` (a list) and ``.md``."""
    records = [(table.method, record) for table in tables for record in table.records()]
    with atomic_path(folder / f"{name}.csv") as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", *tables[0].columns()])
        writer.writerows([method, *("" if math.isnan(v) else v for v in r.values())] for method, r in records)
    content = [
        {
            "method": table.method,
            "conventions": table.conventions,
            "rows": [{k: null_unless_finite(v) for k, v in record.items()} for record in table.records()],
        }
        for table in tables
    ]
    with atomic_path(folder / f"{name}.json") as part:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
    with atomic_path(folder / f"{name}.md") as part:
        part.write_text("\n".join(table.markdown() for table in tables), encoding="utf-8")


def write_report(report: AuditReport, folder: Path) -> None:
    """Write ``report.md`` and ``report.json``, ``attackers.*`` and, if the probe ran, ``attribute_probe.*``."""
    write_tables(attacker_tables(report), folder, "attackers")
    probe = report.probe
    if probe.rows:
        tables = [ProbeTable(f"{probe.attribute}, from the policy's measurements", list(probe.rows))]
        if probe.full is not None:
            tables.append(ProbeTable(f"{probe.attribute}, from fully sampled measurements", [probe.full]))
        write_tables(tables, folder, "attribute_probe")
    with atomic_path(folder / "report.json") as part:
        text = json.dumps(report.content(), indent=2, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
    with atomic_path(folder / "report.md") as part:
        part.write_text(report.markdown(), encoding="utf-8")


def draw_curves_of(report: AuditReport, folder: Path) -> None:
    """Draw ``attackers.png`` (PSNR against ratio) and ``learning_curves.png`` (validation PSNR against gradient steps)."""
    curves = {attacker.name: {row.ratio: row.psnr for row in attacker.rows} for attacker in report.attackers}
    first = report.attackers[0].rows
    curves[ZERO_FILLED] = {row.ratio: row.zero_filled_psnr for row in first}
    curves[CONSTANT] = {row.ratio: report.constant[0] for row in first}
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
