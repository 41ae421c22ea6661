"""Tables and figures of the segmentation study (called by segmentation_study.py report)."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import torch
from study_tables import cell, spread, table

from infomri_monai.figures import curves_by_acceleration_figure, ged_by_samples_figure, save_figure
from infomri_monai.files import atomic_path
from infomri_monai.triage import share_removed

METRICS = {
    "ged": "GED (squared, V-statistic)",
    "ged_unbiased": "GED (squared, U-statistic)",
    "dice": "Dice of the majority",
    "dice_samples": "Dice, mean over samples",
    "ece": "ECE, pooled, 10 bins",
    "ece_per_image": "ECE per image, 10 bins",
    "brier": "Brier score",
    "diversity": "diversity: mean 1 - IoU of two samples",
    "entropy": "entropy, nats per pixel",
}
DRAWN = ("ged", "dice", "ece", "brier", "diversity")
#: metric -> experiment -> acceleration -> one value per seed
Results = dict[str, dict[str, dict[float, list[float]]]]


def read_results(runs: Path) -> tuple[Results, Results, dict[str, list[float]], list[int]]:
    """Tables of all finished runs; GED by K; share of the worst tenth that triage removes; seconds of training."""
    results: Results = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    by_samples: Results = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    removed: dict[str, list[float]] = defaultdict(list)
    seconds = []
    for finished in sorted(runs.glob("*/finished.json")):
        name, _, _ = finished.parent.name.rpartition("-seed")
        seconds.append(json.loads(finished.read_text())["seconds"])
        report = finished.parent / "evaluation"
        for row in json.loads((report / "segmentation.json").read_text())["rows"]:
            for metric, value in row.items():
                if isinstance(value, float) and math.isfinite(value):
                    results[metric][name][round(1 / row["ratio"], 3)].append(value)
        with (report / "cases.csv").open(newline="") as file:
            cases = list(csv.DictReader(file))
        for acceleration in sorted({round(float(case["acceleration"]), 3) for case in cases}):
            own = [case for case in cases if round(float(case["acceleration"]), 3) == acceleration]
            for column in own[0]:
                if column.startswith("ged_"):
                    value = mean(float(case[column]) for case in own)
                    by_samples[name][f"{acceleration:.3g}"][int(column.removeprefix("ged_"))].append(value)
        score = "agreement" if cases[0]["agreement"] else "entropy"
        sign = 1 if score == "agreement" else -1
        shares = []
        for acceleration in sorted({case["acceleration"] for case in cases}):
            own = [case for case in cases if case["acceleration"] == acceleration]
            trust = [sign * float(case[score]) for case in own]
            shares.append(share_removed(trust, [float(case["dice"]) for case in own]))
        removed[name].append(mean(shares))
    return results, by_samples, removed, seconds


def write_report(runs: Path, folder: Path, protocol: str, groups: dict[str, Sequence[str]]) -> None:
    """Write segmentation_study.json and .md, and the figures beside them.

    Args:
        runs: folder of the runs.
        folder: folder of the results.
        protocol: data, budget and command, in words.
        groups: title -> experiments that stand in one table.

    Raises:
        FileNotFoundError: if no run is finished.
    """
    results, by_samples, removed, seconds = read_results(runs)
    if not seconds:
        raise FileNotFoundError(f"{runs} holds no finished run; call the action 'train' first.")
    hardware = f"CPU, one thread a run, {platform.machine()}, torch {torch.__version__}"
    lines = ["# Segmentation study, simulated raters", "", protocol, ""]
    lines += [f"Training took {min(seconds)}-{max(seconds)} s a run on a shared machine ({hardware}).", ""]
    groups = {group: names for group, names in groups.items() if any(name in results["ged"] for name in names)}
    for group, names in groups.items():
        for metric, title in METRICS.items():
            rows = {name: results[metric][name] for name in names if name in results[metric]}
            digits = 4 if metric in ("ece", "ece_per_image", "brier", "entropy") else 3
            lines += [f"## {group}: {title}", "", table(rows, "×", digits)]
    for name, curves in by_samples.items():
        if any(len(curve) > 1 for curve in curves.values()):
            rows = {f"{acceleration}×": dict(curve) for acceleration, curve in curves.items()}
            lines += [f"## GED (V-statistic) by number of samples K, {name}", "", table(rows, " samples")]
    lines += [
        "## Triage: share of the worst tenth (by Dice) among the least certain 20 %, mean over accelerations",
        "",
        "Certainty: agreement of the samples; of models with one segmentation the negative mean entropy.",
        "",
        "| | share |\n|---|---|",
        *(f"| {name} | {cell(values, 3)} |" for name, values in removed.items()),
    ]
    with atomic_path(folder / "segmentation_study.md") as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with atomic_path(folder / "segmentation_study.json") as part:
        content = {"hardware": hardware, "seconds_per_run": seconds, "results": results}
        content |= {"ged_by_samples": by_samples, "share_removed": removed}
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _write_figures(folder, results, by_samples, groups)


def _write_figures(folder: Path, results: Results, by_samples: Results, groups: dict[str, Sequence[str]]) -> None:
    for group, names in groups.items():
        curves = {
            METRICS[metric].split(":")[0]: {n: spread(results[metric][n]) for n in names if n in results[metric]}
            for metric in DRAWN
        }
        if all(curves.values()):
            figure = curves_by_acceleration_figure(curves, f"{group} (simulated raters)")
            save_figure(figure, folder / f"segmentation_{group.lower().replace(', ', '_').replace(' ', '_')}.png")
    for name, curves in by_samples.items():
        if name.endswith("_infomri"):
            spreads = {f"{acceleration}×": spread(dict(curve)) for acceleration, curve in curves.items()}
            figure = ged_by_samples_figure(spreads, title=f"{name} (simulated raters)")
            save_figure(figure, folder / f"ged_by_samples_{name}.png")
