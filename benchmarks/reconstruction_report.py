"""Results and curves of the reconstruction study (called by reconstruction_study.py report)."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import torch
from report import IMAGES
from study_tables import read, write_results

from infomri_monai.figures import mask_figure, rate_distortion_figure, save_figure
from infomri_monai.sampling import load_policy

TEST_SETS = ("subject5", "brain_50")
#: title -> experiments that are drawn in one picture
DRAWN = {
    "2D masks": ("infomri", "spectrum", "variable_density", "poisson_disk", "radial", "uniform"),
    "1D masks (Cartesian lines)": ("infomri", "variable_density", "equispaced_centre", "equispaced", "uniform"),
}
#: metric -> test set -> experiment -> ratio -> one value per seed
Results = dict[str, dict[str, dict[str, dict[float, list[float]]]]]


def read_results(runs: Path) -> tuple[Results, list[int]]:
    """All finished runs, and the seconds that training took."""
    results: Results = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list))))
    seconds = []
    for finished in sorted(runs.glob("*/finished.json")):
        name, _, _ = finished.parent.name.rpartition("-seed")
        seconds.append(json.loads(finished.read_text())["seconds"])
        for test in TEST_SETS:
            for row in json.loads((finished.parent / test / "rate_distortion.json").read_text())["rows"]:
                for metric, value in row.items():
                    if value is not None:
                        results[metric][test][name][row["ratio"]].append(value)
    return results, seconds


def write_report(runs: Path) -> None:
    """Write reconstruction_study.json and the pictures of docs/results; experiments of which there is no run keep their figures.

    Raises:
        FileNotFoundError: if no run is finished.
    """
    results, seconds = read_results(runs)
    for metric, tests in ((read("reconstruction_study") or {}).get("results") or {}).items():
        for test, experiments in tests.items():
            results[metric][test] = {**experiments, **results[metric][test]}
    write_results("reconstruction_study", runs, {"seconds_per_run": seconds, "results": results})
    for title, names in DRAWN.items():
        label = title[:2].lower()
        for test in TEST_SETS:
            found = results["psnr"][test]
            if curves := {f"{label}_{n}": found[f"{label}_{n}"] for n in names if f"{label}_{n}" in found}:
                figure = rate_distortion_figure(curves, title=f"{title}, {test}")
                save_figure(figure, IMAGES / f"reconstruction_{label}_{test}.png")
        policy_path = runs / f"{label}_infomri-seed0" / "policy.pt"
        if policy_path.exists():
            policy = load_policy(policy_path)
            generator = torch.Generator().manual_seed(0)
            figure = mask_figure(policy, [0.05, 0.0625, 0.125, 0.1875, 0.25], policy.grid or (), generator)
            save_figure(figure, IMAGES / f"masks_{label}_infomri.png")
