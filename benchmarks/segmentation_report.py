"""Results and figures of the segmentation study (called by segmentation_study.py report)."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from report import IMAGES
from study_tables import check_complete, spread, write_results

from infomri_monai.figures import curves_by_acceleration_figure, ged_by_samples_figure, save_figure
from infomri_monai.triage import share_removed

#: metric -> its title in a picture
DRAWN = {
    "ged": "GED (squared, V-statistic)",
    "dice": "Dice of the majority",
    "ece": "ECE, pooled, 10 bins",
    "brier": "Brier score",
    "diversity": "diversity",
}
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
    check_complete(results, {name: len(values) for name, values in removed.items()})
    return results, by_samples, removed, seconds


def write_report(runs: Path, groups: Mapping[str, Sequence[str]]) -> None:
    """Write segmentation_study.json and the pictures of docs/results.

    Args:
        runs: folder of the runs.
        groups: title -> experiments that are drawn in one picture.

    Raises:
        FileNotFoundError: if no run is finished.
    """
    results, by_samples, removed, seconds = read_results(runs)
    content = {"seconds_per_run": seconds, "results": results, "ged_by_samples": by_samples, "share_removed": removed}
    write_results("segmentation_study", runs, content)
    for group, names in groups.items():
        curves = {
            title: {name: spread(results[metric][name]) for name in names if name in results[metric]}
            for metric, title in DRAWN.items()
        }
        if all(curves.values()):
            figure = curves_by_acceleration_figure(curves, f"{group} (simulated raters)")
            save_figure(figure, IMAGES / f"segmentation_{group.lower().replace(', ', '_').replace(' ', '_')}.png")
    for name, curves_by_samples in by_samples.items():
        if name.endswith("_infomri"):
            spreads = {f"{acceleration}×": spread(dict(curve)) for acceleration, curve in curves_by_samples.items()}
            figure = ged_by_samples_figure(spreads, title=f"{name} (simulated raters)")
            save_figure(figure, IMAGES / f"ged_by_samples_{name}.png")
