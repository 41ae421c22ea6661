"""Tables and curves of the reconstruction study (called by reconstruction_study.py report)."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import torch

from infomri_monai.figures import mask_figure, rate_distortion_figure, save_figure
from infomri_monai.files import atomic_path
from infomri_monai.sampling import load_policy

TEST_SETS = ("subject5", "brain_50")
GROUPS = {
    "2D masks": (
        "2d_infomri",
        "2d_spectrum",
        "2d_variable_density",
        "2d_poisson_disk",
        "2d_radial",
        "2d_uniform",
    ),
    "1D masks (Cartesian lines)": (
        "1d_infomri",
        "1d_variable_density",
        "1d_equispaced_centre",
        "1d_equispaced",
        "1d_uniform",
    ),
    "Amortised against one ratio only": ("2d_infomri", "single_0.0625", "single_0.125", "single_0.25"),
    "Start of the policy": (
        "2d_infomri",
        "start_frozen",
        "start_symmetric",
        "start_symmetric_frozen",
        "start_uniform",
        "start_paper",
    ),
    "Loss": ("2d_infomri", "loss_nll", "loss_mse"),
    "Cartesian lines, learned and frozen": ("1d_infomri", "1d_start_frozen"),
    "Amortised against one ratio only, twice the steps": (
        "long_infomri",
        "long_single_0.0625",
        "long_single_0.125",
        "long_single_0.25",
    ),
    "Real-valued images (magnitudes)": (
        "real_half_plane",
        "real_symmetric_start",
        "real_symmetric_frozen",
        "real_no_completion",
    ),
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


def table(results: Results, metric: str, test: str, names: Sequence[str], digits: int = 2) -> str:
    """Markdown table: a row per experiment, a column per ratio, mean ± standard deviation over seeds."""
    found = {name: results[metric][test][name] for name in names if name in results[metric][test]}
    if not found:
        return "(not run)\n"
    ratios = sorted(next(iter(found.values())))
    lines = ["| | " + " | ".join(f"{100 * s:.4g} %" for s in ratios) + " |", "|---" * (len(ratios) + 1) + "|"]
    for name, curve in found.items():
        cells = []
        for s in ratios:
            spread = f" ± {stdev(curve[s]):.{digits}f}" if len(curve[s]) > 1 else ""
            cells.append(f"{mean(curve[s]):.{digits}f}{spread}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_report(runs: Path, folder: Path) -> None:
    """Write reconstruction_study.json and .md, and the figures beside them."""
    results, seconds = read_results(runs)
    if not seconds:
        raise FileNotFoundError(f"{runs} holds no finished run; call the action 'train' first.")
    hardware = f"CPU, one thread a run, {platform.machine()}, torch {torch.__version__}"
    with atomic_path(folder / "reconstruction_study.md") as part:
        part.write_text("\n".join(_page(results, seconds, hardware)) + "\n", encoding="utf-8")
    with atomic_path(folder / "reconstruction_study.json") as part:
        content = {"hardware": hardware, "seconds_per_run": seconds, "results": results}
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _write_figures(runs, folder, results)


def _page(results: Results, seconds: Sequence[int], hardware: str) -> list[str]:
    """The lines of the page."""
    lines = [
        "# Reconstruction study on real brain MRI",
        "",
        "Commands: `python benchmarks/reconstruction_study.py train --data ../shared/data` and `… report`.",
        "",
        f"Data: `brain_complex_180`, k-space crop 64², subjects 0-3 train (120 slices), "
        "4 validate, 5 test (`subject5`, 30 slices);"
        f" `brain_50` (50 slices, other heads and contrast) test only. Seeds 0, 1, 2: mean ± standard deviation. "
        f"Equal budget for all: 24 epochs = 360 steps of batch 8 (`long_`: 48 epochs), unrolled network of 5 phases and "
        f"16 channels, learning rate 6e-3, likelihood weighted with sigma (but for the rows of the loss), ratio U(0.04, 0.35), "
        f"noise 5e-4 of DC per real component. Training took {min(seconds)}-{max(seconds)} s a run on a shared machine "
        f"({hardware}). "
        "Learning rates, the loss and the network's conditioning on the ratio were chosen on subject 4 with seed 0.",
        "",
        "Trained in two sittings: `2d_`, fixed laws, `single_`, `start_frozen` and one seed of `start_symmetric` first, the others "
        "after changes that touch no draw but for the last digit of a ratio; `real_half_plane` and `real_symmetric_start` last, "
        "after the gradient of the completed k-space was mended. The MLP of the PGN learns at 1e-2 in `start_uniform` and "
        "`start_paper`, at 1e-3 elsewhere.",
        "",
        "PSNR is of magnitudes, per slice, data range = the slice's maximum, mean over slices.",
    ]
    for test in TEST_SETS:
        for group, names in GROUPS.items():
            lines += ["", f"## {group}, {test}: PSNR [dB]", "", table(results, "psnr", test, names)]
    for metric, title in (
        ("ssim", "SSIM"),
        ("zero_filled_psnr", "zero-filled PSNR [dB]"),
        ("redundancy_ratio", "redundancy ratio (43)"),
        ("standardized_squared_error", "standardised squared error (1 if calibrated)"),
        ("pooled_correlation", "correlation of σ with |error|, pooled over slices"),
        ("correlation", "correlation of σ with |error|, per slice"),
        ("coverage", "coverage of the 90 % interval"),
    ):
        names = sorted(results[metric]["subject5"])
        for test in TEST_SETS:
            lines += ["", f"## {title}, {test}", "", table(results, metric, test, names)]
    return lines


def _write_figures(runs: Path, folder: Path, results: Results) -> None:
    for label, group in (("2d", "2D masks"), ("1d", "1D masks (Cartesian lines)")):
        for test in TEST_SETS:
            curves = {n: results["psnr"][test][n] for n in GROUPS[group] if n in results["psnr"][test]}
            if curves:
                figure = rate_distortion_figure(curves, title=f"{group}, {test}")
                save_figure(figure, folder / f"reconstruction_{label}_{test}.png")
        policy_path = runs / f"{label}_infomri-seed0" / "policy.pt"
        if policy_path.exists():
            policy = load_policy(policy_path)
            generator = torch.Generator().manual_seed(0)
            figure = mask_figure(policy, [0.05, 0.0625, 0.125, 0.1875, 0.25], policy.grid or (), generator)
            save_figure(figure, folder / f"masks_{label}_infomri.png")
