"""Results and figures of the privacy study (called by privacy_study.py report)."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from report import IMAGES
from study_tables import check_complete, write_results

from infomri_monai.figures import PrivacyPoint, beta_mask_figure, privacy_utility_figure, save_figure
from infomri_monai.sampling import load_policy

#: quantity -> experiment -> acceleration -> one value per seed
Results = dict[str, dict[str, dict[float, list[float]]]]
#: not attackers, but what the audit compares them with
REFERENCES = ("psnr_zero_filled", "psnr_mean_training_image", "psnr_constant_image")
QUANTITIES = ("accuracy", "auroc", "ece", "kspace_entropy", "redundancy_ratio")


def read_results(runs: Path) -> tuple[Results, dict[str, dict[str, list[float]]]]:
    """Numbers of all finished runs, and the seconds of every step by experiment."""
    results: Results = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for finished in sorted(runs.glob("*/finished.json")):
        name, _, _ = finished.parent.name.rpartition("-seed")
        for step, value in json.loads(finished.read_text())["seconds"].items():
            seconds[name][step].append(value)
        evaluation = json.loads((finished.parent / "evaluation" / "classification.json").read_text())
        audit = json.loads((finished.parent / "audit" / "report.json").read_text())
        for row in evaluation["rows"]:
            _collect(results, name, row, {key: key for key in QUANTITIES if key in row})
        for attacker in audit["attackers"]:
            for row in attacker["rows"]:
                key = attacker["name"].replace(" ", "_")
                _collect(results, name, row, {"psnr": f"psnr_{key}", "ssim": f"ssim_{key}"})
            for course in attacker["courses"]:
                _add(results, f"steps_{key}", name, course["ratios"][0], course["steps"])
        for row in audit["attackers"][0]["rows"]:
            names = {"redundancy_ratio": "redundancy_ratio", "zero_filled_psnr": "psnr_zero_filled"}
            _collect(results, name, row, names)
            for floor, values in audit["floors"].items():
                _add(results, f"psnr_{floor.replace(' ', '_')}", name, row["ratio"], values["psnr"])
        probe = audit["attribute_probe"]
        for row in probe["rows"]:
            _collect(results, name, row, {"balanced_accuracy": "probe"})
        if probe["reference"]:
            _collect(results, name, probe["reference"], {"balanced_accuracy": "probe_reference"})
    check_complete(results, {name: len(own["audit"]) for name, own in seconds.items()}, ("probe", "probe_reference"))
    return results, seconds


def _collect(results: Results, name: str, row: Mapping[str, Any], quantities: Mapping[str, str]) -> None:
    for key, quantity in quantities.items():
        _add(results, quantity, name, row["ratio"], row[key])


def _add(results: Results, quantity: str, name: str, ratio: float, value: float | None) -> None:
    if value is not None and math.isfinite(value):
        results[quantity][name][round(1 / ratio, 3)].append(float(value))


def write_report(runs: Path, experiments: Mapping[str, Mapping[str, Any]]) -> None:
    """Write privacy_study.json, privacy_study_runs.json and the pictures of docs/results.

    Args:
        runs: folder of the runs.
        experiments: name -> data set and overrides.

    Raises:
        FileNotFoundError: if no run is finished.
    """
    results, seconds = read_results(runs)
    write_results("privacy_study", runs, {"seconds": seconds, "results": results})
    write_results("privacy_study_runs", runs, _attacks_and_code(runs))
    groups: dict[str, list[str]] = defaultdict(list)
    for name, experiment in experiments.items():
        if name in seconds:
            groups[experiment["data"]].append(name)
    for data, names in groups.items():
        _write_figures(runs, results, data, names, experiments)


def _attacks_and_code(runs: Path) -> dict[str, Any]:
    """How many attackers were stopped before their budget, and which commits the runs are of."""
    courses = [
        course
        for path in runs.glob("*/audit/report.json")
        if (path.parents[1] / "finished.json").exists()
        for attacker in json.loads(path.read_text())["attackers"]
        for course in attacker["courses"]
    ]
    finished = [json.loads(path.read_text()) for path in runs.glob("*/finished.json")]
    commits = Counter(run.get("commit", "not recorded") for run in finished)
    steps = [course["steps"] for course in courses]
    stopped = sum(course["stopped_early"] for course in courses)
    return {
        "attackers": len(courses),
        "stopped_early": stopped,
        "steps": [min(steps), max(steps)],
        "commits": dict(sorted(commits.items())),
    }


def _method(name: str, experiment: Mapping[str, Any]) -> str:
    """Legend of an experiment: one name for all betas, and for LOUPE's one-ratio models."""
    plain = name.removeprefix(f"{experiment['data']}_")
    return "InfoMRI" if "beta" in experiment else plain.split("_4x")[0].split("_8x")[0].replace("_", " ")


def _write_figures(
    runs: Path, results: Results, data: str, names: Sequence[str], experiments: Mapping[str, Mapping[str, Any]]
) -> None:
    planes = {
        quantity.removeprefix("psnr_").replace("_", " "): [
            PrivacyPoint(
                _method(name, experiments[name]),
                1 / acceleration,
                experiments[name].get("beta"),
                results["accuracy"][name][acceleration],
                values,
            )
            for name in names
            for acceleration, values in results[quantity][name].items()
        ]
        for quantity in sorted(results)
        if quantity.startswith("psnr_") and quantity not in REFERENCES and any(n in results[quantity] for n in names)
    }
    title = data.replace("_", " ")
    save_figure(privacy_utility_figure(planes, "accuracy", title), IMAGES / f"privacy_utility_{data}.png")
    learned = {n: experiments[n]["beta"] for n in names if "beta" in experiments[n]}
    policies = {
        beta: load_policy(runs / f"{n}-seed0" / "policy.pt")
        for n, beta in learned.items()
        if (runs / f"{n}-seed0" / "policy.pt").exists()
    }
    if policies:
        shape = next(iter(policies.values())).grid
        ratios = sorted({1 / a for n in learned for a in results["accuracy"][n]})
        save_figure(beta_mask_figure(policies, ratios, shape, title=title), IMAGES / f"masks_over_beta_{data}.png")
