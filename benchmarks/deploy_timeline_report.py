"""Table and picture of the applications' time line (called by deploy_timeline.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from infomri_monai.figures.style import PALETTE, save_figure, styled
from infomri_monai.files import atomic_path

__all__ = ["LIMIT", "STAGES", "figure", "summarised", "write_report"]

#: highest ratio of our own time to the network's
LIMIT = 0.2
#: what happens to a case, in the order of the time line
STAGES = {
    "find": "read the headers and sort the files",
    "load": "read and check the pixels or lines",
    "simulate": "masks, noise, Fourier transforms, zero-filled images (raw k-space: these images only)",
    "network": "the network",
    "assemble": "pre-processing, and putting slices together",
    "build": "build the DICOM objects",
    "write": "encode, write, read back and compare",
}
_COLOURS = dict(zip(("network", "simulate", "load", "build", "write", "find", "assemble"), PALETTE, strict=True))
#: of the application's own record, which tells fewer stages
_COLOURS_OF_START = {"start and end": "#9a9a9a", "load": _COLOURS["load"], "acquire": _COLOURS["simulate"]}
_COLOURS_OF_START |= {"network": _COLOURS["network"], "write": _COLOURS["write"]}
Clock = Mapping[str, float]


def summarised(rounds: Sequence[tuple[Clock, Clock]], slices: int) -> dict[str, Any]:
    """Medians over the rounds of one case.

    Args:
        rounds: seconds of every stage, by the wall's clock and by the CPU's.
        slices: of the case.

    Returns:
        For both clocks milliseconds of every stage per slice, and ours over the network's own: median over the rounds, lowest,
        highest. "rounds", their number.
    """
    summary: dict[str, Any] = {"rounds": len(rounds)}
    for name, clocks in zip(("wall", "cpu"), zip(*rounds, strict=True), strict=True):
        ratios = [(sum(clock.values()) - clock["network"]) / clock["network"] for clock in clocks]
        summary[name] = {
            "ms_per_slice": {s: round(1e3 * median(clock[s] for clock in clocks) / slices, 3) for s in STAGES},
            "own_to_network": round(median(ratios), 4),
            "own_to_network_range": [round(min(ratios), 4), round(max(ratios), 4)],
        }
    return summary


def write_report(
    folder: Path, rows: Sequence[Mapping[str, Any]], starts: Sequence[Mapping[str, Any]], more: Mapping[str, Any]
) -> str:
    """Write deploy_timeline.json, .md and .png.

    Args:
        folder: where to; made if absent.
        rows: "application", "threads", "slices" and what :func:`summarised` says, for every row.
        starts: "application", "slices", "seconds" by stage, "total" and "own_to_network" of every application as it is started.
        more: "task" with "size" and "machine".

    Returns:
        The tables.
    """
    result = {"limit": {"own_to_network": LIMIT}, **more, "stages": STAGES, "rows": list(rows), "started": list(starts)}
    text = _tables(rows, starts, more)
    for name, content in (("json", json.dumps(result, indent=2) + "\n"), ("md", text)):
        with atomic_path(folder / f"deploy_timeline.{name}") as part:
            part.write_text(content, encoding="utf-8")
    save_figure(figure(rows, starts), folder / "deploy_timeline.png")
    return text


def _tables(rows: Sequence[Mapping[str, Any]], starts: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> str:
    size = more["task"]["size"]
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in more["machine"].items())
    lines = [
        "# Time line of the applications",
        "",
        f"Command: `python benchmarks/deploy_timeline.py`. Slices of {size} x {size}; {machine}.",
        "",
        "## One case, milliseconds per slice",
        "",
        f"Median over the rounds, in one process that has warmed up. Ours is everything but the network; it should be at most "
        f"{LIMIT:.0%} of the network's own time. "
        + "; ".join(f"`{name}`: {says}" for name, says in STAGES.items())
        + ".",
        "",
        "| application | threads | slices | rounds | " + " | ".join(STAGES) + " | ours / network | of CPU time |",
        "|---" * (len(STAGES) + 6) + "|",
    ]
    for row in rows:
        wall = row["wall"]
        stages = " | ".join(f"{wall['ms_per_slice'][name]:.1f}" for name in STAGES)
        low, high = wall["own_to_network_range"]
        ratio = f"{wall['own_to_network']:.1%} ({low:.1%} to {high:.1%})"
        head = " | ".join(str(row[key]) for key in ("application", "threads", "slices", "rounds"))
        lines.append(f"| {head} | {stages} | {ratio} | {row['cpu']['own_to_network']:.1%} |")
    over = [f"{row['application']} ({row['threads']})" for row in rows if row["wall"]["own_to_network"] > LIMIT]
    names = list(_COLOURS_OF_START)
    lines += [
        "",
        f"Above {LIMIT:.0%} (threads): {', '.join(over) or 'none'}. The shipped networks are small, the classifier above all: a "
        "slice takes it no longer than to read the slice, to draw its mask and noise and to write the report. Ours hardly "
        "depends on the network and gains little from a second thread, which may halve the network's time: most of it is Python "
        "code of pydicom and highdicom.",
        "",
        "## From start to result, seconds",
        "",
        "`python -m infomri_monai.deploy.<name>` with the shipped bundle, one case, the number of threads that PyTorch chooses. "
        "`start and end`: Python, imports (PyTorch, MONAI, Holoscan, highdicom), finding cases, loading the model, leaving. The "
        "first case of a process pays for what is imported and planned only once.",
        "",
        "| application | slices | " + " | ".join(names) + " | total | ours / network |",
        "|---" * (len(names) + 4) + "|",
    ]
    for start in starts:
        stages = " | ".join(f"{start['seconds'][name]:.2f}" for name in names)
        ends = f"{start['total']:.2f} | {start['own_to_network']:.1%}"
        lines.append(f"| {start['application']} | {start['slices']} | {stages} | {ends} |")
    return "\n".join(lines) + "\n"


def figure(rows: Sequence[Mapping[str, Any]], starts: Sequence[Mapping[str, Any]]) -> Any:
    """Stacked bars: shares of a case's time for every row, and seconds from start to result for every application.

    Args:
        rows: as for :func:`write_report`.
        starts: as for :func:`write_report`.
    """
    with styled(2, 1, 7.4, 1.9 + 0.24 * (len(rows) + len(starts))) as (drawn, axes):
        top, bottom = axes[:, 0]
        labels = [f"{row['application']}, {row['threads']} thread{'s' * (row['threads'] > 1)}" for row in rows]
        shares = [_shares(row["wall"]["ms_per_slice"]) for row in rows]
        _stack(top, labels, shares, {name: _COLOURS[name] for name in STAGES})
        for place, row in enumerate(rows):
            total = sum(row["wall"]["ms_per_slice"].values())
            said = f"{total:.0f} ms, ours / network {row['wall']['own_to_network']:.0%}"
            top.text(101, place, said, va="center", fontsize=7.5)
        top.set(xlabel="share of a case's time, % (right: a slice's time)", xlim=(0, 100))
        top.spines["bottom"].set_bounds(0, 100)
        _stack(bottom, [str(s["application"]) for s in starts], [s["seconds"] for s in starts], _COLOURS_OF_START)
        bottom.set(xlabel="seconds from start to result")
        top.get_gridspec().set_height_ratios([len(rows) + 1, len(starts) + 1])
        drawn.get_layout_engine().set(hspace=0.06)
    return drawn


def _shares(stages: Mapping[str, float]) -> dict[str, float]:
    """Percent of the sum."""
    total = sum(stages.values())
    return {name: 100 * value / total for name, value in stages.items()}


def _stack(axes: Any, labels: Sequence[str], rows: Sequence[Mapping[str, float]], colours: Mapping[str, str]) -> None:
    """One bar for each row, its parts in the order of the colours, with a legend below the axis."""
    left = [0.0] * len(rows)
    for name, colour in colours.items():
        widths = [row[name] for row in rows]
        axes.barh(range(len(rows)), widths, left=left, color=colour, label=name, height=0.7)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.legend(ncols=len(colours), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=7.5, columnspacing=1.0)
