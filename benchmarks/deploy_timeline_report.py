"""Results and picture of the applications' time line (called by deploy_timeline.py)."""

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
    folder: Path,
    images: Path,
    rows: Sequence[Mapping[str, Any]],
    starts: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
) -> None:
    """Write deploy_timeline.json, and deploy_timeline.png.

    Args:
        folder: where the numbers go; made if absent.
        images: where the picture goes; made if absent.
        rows: "application", "threads", "slices" and what :func:`summarised` says, for every row.
        starts: "application", "slices", "seconds" by stage, "total" and "own_to_network" of every application as it is started.
        more: "task" with "size" and "machine".
    """
    result = {"limit": {"own_to_network": LIMIT}, **more, "stages": STAGES, "rows": list(rows), "started": list(starts)}
    with atomic_path(folder / "deploy_timeline.json") as part:
        part.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    save_figure(figure(rows, starts), images / "deploy_timeline.png")


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
