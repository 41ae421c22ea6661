"""The benchmark of the applications' time line: its stages add up to the case's time, and its report says what was measured."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark; it imports its report from its own folder."""
    for package in ("highdicom", "ismrmrd", "h5py", "matplotlib"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("deploy_timeline")
    for name in ("deploy_timeline", "deploy_timeline_report", "report", "study_tables"):
        sys.modules.pop(name, None)


def clock(network: float, **other: float) -> dict[str, float]:
    """Seconds of every stage."""
    names = ("find", "load", "simulate", "assemble", "build", "write")
    return {**dict.fromkeys(names, 0.0), "network": network, **other}


def test_a_summary_has_the_median_of_each_rounds_own_ratio(benchmark: ModuleType):
    """One round was disturbed: the ratio of medians would be another."""
    rounds = [
        (clock(1.0, load=0.1), clock(2.0)),
        (clock(10.0, load=1.0, write=1.0), clock(2.0)),
        (clock(2.0), clock(2.0)),
    ]
    summary = benchmark.summarised(rounds, 4)
    assert summary["wall"]["own_to_network"] == 0.1
    assert summary["wall"]["own_to_network_range"] == [0.0, 0.2]
    assert summary["wall"]["ms_per_slice"]["network"] == 500.0
    assert (summary["cpu"]["own_to_network"], summary["rounds"]) == (0.0, 3)


@pytest.mark.parametrize("source", ["dicom", "raw"])
def test_stages_add_up_to_the_time_of_the_case(benchmark: ModuleType, tmp_path: Path, source: str):
    benchmark.write_inputs(tmp_path, [2], 32)
    row = benchmark.Row(*benchmark.CLASSIFICATION, source=source)
    bench = benchmark.Bench(row, benchmark.ROOT / "bundles" / row.bundle, tmp_path, 2)
    plain = benchmark.AcquiredCase.ensemble
    before = torch.get_num_threads()
    for _ in range(10):  # one of them is not interrupted between two stages, however loaded the machine is
        start = time.perf_counter()
        stages = bench()
        took = time.perf_counter() - start
        assert sum(stages.wall.values()) < took
        if sum(stages.wall.values()) > took * 0.9 - 0.05:
            break
    else:
        pytest.fail("the stages do not add up to the time of the case")
    assert list(stages.wall) == list(stages.cpu) == list(benchmark.STAGES)
    assert min(stages.wall.values()) > 0
    assert benchmark.AcquiredCase.ensemble is plain
    assert torch.get_num_threads() == before


def test_the_papers_classifier_fits_its_bundle(benchmark: ModuleType, tmp_path: Path):
    row = next(r for r in benchmark.ROWS if r.paper and r.task == "classification")
    bundle = benchmark.DeployBundle(benchmark.paper_bundle(row.bundle, tmp_path / "paper"), row.task)
    assert sum(parameter.numel() for parameter in bundle.network.parameters()) > 11e6  # ResNet18


def test_the_report_holds_every_row_and_draws_them(benchmark: ModuleType, tmp_path: Path):
    rounds = [(clock(1.0, load=0.1), clock(1.0, load=0.3))]
    slow = [(clock(1.0, load=0.1, build=0.4), clock(1.0))]
    rows = [
        {"application": name, "threads": 1, "slices": 4, **benchmark.summarised(measured, 4)}
        for name, measured in (("fast one", rounds), ("slow one", slow))
    ]
    seconds = {"start and end": 5.0, "load": 0.1, "acquire": 0.1, "network": 1.0, "write": 0.1}
    start = {"application": "fast one", "slices": 4, "seconds": seconds, "total": 6.3, "own_to_network": 0.3}
    more = {"task": {"size": 32}, "machine": {"cores": 2}}
    benchmark.write_report(tmp_path, tmp_path / "images", rows, [start], more)
    written = json.loads((tmp_path / "deploy_timeline.json").read_text())
    assert (written["rows"], written["started"], written["limit"]) == (rows, [start], {"own_to_network": 0.2})
    assert (tmp_path / "images" / "deploy_timeline.png").stat().st_size > 10_000
