"""Tables and figures of the privacy study (called by privacy_study.py report)."""

from __future__ import annotations

import json
import math
import platform
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from study_tables import table

from infomri_monai.figures import PrivacyPoint, beta_mask_figure, privacy_utility_figure, save_figure
from infomri_monai.files import atomic_path
from infomri_monai.sampling import load_policy

#: quantity -> experiment -> acceleration -> one value per seed
Results = dict[str, dict[str, dict[float, list[float]]]]
#: not attackers, but what the audit compares them with
REFERENCES = ("psnr_zero_filled", "psnr_constant_guess")
TITLES = {
    "accuracy": ("accuracy", 4),
    "auroc": ("AUROC", 4),
    "ece": ("expected calibration error", 4),
    "kspace_entropy": ("marginal entropy of the measurement, nats per image", 1),
    "redundancy_ratio": ("redundancy ratio (43)", 3),
}


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
            _collect(results, name, row, {key: key for key in TITLES if key in row})
        for attacker in audit["attackers"]:
            for row in attacker["rows"]:
                _collect(results, name, row, {"psnr": f"psnr_{attacker['name']}", "ssim": f"ssim_{attacker['name']}"})
        for row in audit["attackers"][0]["rows"]:
            names = {"redundancy_ratio": "redundancy_ratio", "zero_filled_psnr": "psnr_zero_filled"}
            _collect(results, name, row, names)
            _add(results, "psnr_constant_guess", name, row["ratio"], audit["constant_guess"]["psnr"])
        for row in (audit["attribute_probe"] or {}).get("rows", []):
            _collect(results, name, row, {"balanced_accuracy": "probe"})
    return results, seconds


def _collect(results: Results, name: str, row: Mapping[str, Any], quantities: Mapping[str, str]) -> None:
    for key, quantity in quantities.items():
        _add(results, quantity, name, row["ratio"], row[key])


def _add(results: Results, quantity: str, name: str, ratio: float, value: float | None) -> None:
    if value is not None and math.isfinite(value):
        results[quantity][name][round(1 / ratio, 3)].append(float(value))


def _titles(results: Results) -> dict[str, tuple[str, int]]:
    titles = dict(TITLES)
    for quantity in sorted(results):
        if quantity.startswith(("psnr_", "ssim_")):
            kind, _, attacker = quantity.partition("_")
            unit, digits = ("[dB], per image", 2) if kind == "psnr" else ("per image", 3)
            titles[quantity] = f"{kind.upper()} {unit}: {attacker.replace('_', ' ')}", digits
    return titles | {"probe": ("balanced accuracy of the attribute probe", 3)}


def write_report(runs: Path, folder: Path, protocol: str, experiments: Mapping[str, Mapping[str, Any]]) -> None:
    """Write privacy_study.json and .md, and the figures beside them.

    Args:
        runs: folder of the runs.
        folder: folder of the results.
        protocol: data, budget and command, in words.
        experiments: name -> data set and overrides.

    Raises:
        FileNotFoundError: if no run is finished.
    """
    results, seconds = read_results(runs)
    if not seconds:
        raise FileNotFoundError(f"{runs} holds no finished run; call the action 'train' first.")
    hardware = f"CPU, one thread a run, {platform.machine()}, torch {torch.__version__}"
    lines = ["# Privacy study", "", protocol, "", _attacks_and_code(runs), "", f"Hardware: {hardware}.", ""]
    groups: dict[str, list[str]] = defaultdict(list)
    for name, experiment in experiments.items():
        if name in seconds:
            groups[experiment["data"]].append(name)
    for data, names in groups.items():
        for quantity, (title, digits) in _titles(results).items():
            rows = {name: results[quantity][name] for name in names if name in results[quantity]}
            if rows:
                lines += [f"## {data}: {title}", "", table(rows, "×", digits)]
        _write_figures(folder, runs, results, data, names, experiments)
    lines += ["## Seconds of every step", "", "| | train | evaluate | audit |", "|---|---|---|---|"]
    for name, steps in seconds.items():
        lines.append(f"| {name} | " + " | ".join(_range(steps[step]) for step in ("train", "evaluate", "audit")) + " |")
    with atomic_path(folder / "privacy_study.md") as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with atomic_path(folder / "privacy_study.json") as part:
        content = {"hardware": hardware, "seconds": seconds, "results": results}
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _attacks_and_code(runs: Path) -> str:
    """How many attackers were stopped before their budget, and which commits the runs are of."""
    stopped = [
        course["stopped_early"]
        for path in runs.glob("*/audit/report.json")
        if (path.parents[1] / "finished.json").exists()
        for attacker in json.loads(path.read_text())["attackers"]
        for course in attacker["courses"]
    ]
    finished = [json.loads(path.read_text()) for path in runs.glob("*/finished.json")]
    commits = Counter(run.get("commit", "not recorded") for run in finished)
    listed = ", ".join(f"{name} ({number} runs)" for name, number in sorted(commits.items()))
    return f"Of {len(stopped)} attackers {sum(stopped)} were stopped early, the others ended with the budget. Commits: {listed}."


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.0f}-{max(values):.0f}" if values else ""


def _method(name: str, experiment: Mapping[str, Any]) -> str:
    """Legend of an experiment: one name for all betas, and for LOUPE's one-ratio models."""
    plain = name.removeprefix(f"{experiment['data']}_")
    return "InfoMRI" if "beta" in experiment else plain.split("_4x")[0].split("_8x")[0].replace("_", " ")


def _write_figures(
    folder: Path,
    runs: Path,
    results: Results,
    data: str,
    names: Sequence[str],
    experiments: Mapping[str, Mapping[str, Any]],
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
    save_figure(privacy_utility_figure(planes, "accuracy", title), folder / f"privacy_utility_{data}.png")
    learned = {n: experiments[n]["beta"] for n in names if "beta" in experiments[n]}
    policies = {
        beta: load_policy(runs / f"{n}-seed0" / "policy.pt")
        for n, beta in learned.items()
        if (runs / f"{n}-seed0" / "policy.pt").exists()
    }
    if policies:
        shape = next(iter(policies.values())).grid
        ratios = sorted({1 / a for n in learned for a in results["accuracy"][n]})
        save_figure(beta_mask_figure(policies, ratios, shape, title=title), folder / f"masks_over_beta_{data}.png")
