"""The pages of docs/results and the README's tables are what the committed results say, and nothing else writes them."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
OWN = ("report", "study_tables", "reconstruction_report")


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The benchmarks' modules, which import one another from their own folder."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield {name: importlib.import_module(name) for name in OWN}
    for name in OWN:
        sys.modules.pop(name, None)


def test_pages_and_tables_are_what_the_results_say(benchmarks: dict[str, ModuleType]):
    stale = [path for path, text in benchmarks["report"].rendered().items() if path.read_text("utf-8") != text]
    assert not stale, "run python benchmarks/report.py"


def test_a_seed_that_diverged_does_not_vanish_from_a_mean(benchmarks: dict[str, ModuleType]):
    check = benchmarks["study_tables"].check_complete
    check({"psnr": {"a": {4.0: [1.0, 2.0]}}, "probe": {"a": {4.0: [1.0]}}}, {"a": 2}, ["probe"])
    with pytest.raises(ValueError, match=r"a: psnr at 4.0 is finite in 1 of 2 runs"):
        check({"psnr": {"a": {4.0: [1.0]}}}, {"a": 2})


def test_a_file_may_not_ask_for_a_table_that_no_page_has(
    benchmarks: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "README.md").write_text("<!-- table: weather -->\n<!-- /table -->\n", encoding="utf-8")
    monkeypatch.setattr(benchmarks["report"], "ROOT", tmp_path)
    with pytest.raises(ValueError, match="weather"):
        benchmarks["report"].rendered()


def test_every_page_shows_pictures_that_are_there_and_no_picture_is_left_over():
    folder = ROOT / "docs/results"
    shown = {
        link for page in folder.glob("*.md") for link in re.findall(r"!\[.*?\]\(([^)]+)\)", page.read_text("utf-8"))
    }
    assert not [link for link in shown if not (folder / link).exists()]
    assert {f"images/{path.name}" for path in (folder / "images").iterdir()} <= shown


def test_no_digit_of_a_result_is_typed_into_a_page():
    """A number of dB, or one with a spread, stands in a template only where the data puts it."""
    typed = {
        path.name: found
        for path in sorted((ROOT / "benchmarks/pages").glob("*.md"))
        if (found := re.findall(r"\d+\.\d+(?: dB| ±)", re.sub(r"\{[{%#].*?[}%#]\}", "", path.read_text("utf-8"))))
    }
    assert not typed


def test_tables_and_sentences_of_known_numbers(benchmarks: dict[str, ModuleType]):
    tools = benchmarks["study_tables"]
    ours, other = {0.25: [30.0, 32.0], 0.125: [20.0, 20.0]}, {0.25: [29.0], 0.125: [20.5]}
    text = tools.table({"ours": ours, "other": {0.25: [29.0]}}, tools.percent, 1)
    assert text.splitlines() == [
        "|  | 12.5 % | 25 % |",
        "|---|---|---|",
        "| ours | 20.0 ± 0.0 | 31.0 ± 1.4 |",
        "| other |  | 29.0 |",
    ]
    assert tools.minus(ours, other) == [-0.5, 2.0]
    assert tools.span(tools.minus(ours, other), 1) == "−0.5 to 2.0"
    assert tools.best([ours, other]) == {0.125: [20.5], 0.25: [31.0]}
    assert tools.below(other, ours) == pytest.approx([-2.5, 100 * 2 / 31])
    assert [tools.fixed(-0.001), tools.signed(0.2, 1), tools.signed(-0.2, 1)] == ["0.00", "+0.2", "−0.2"]
    assert tools.each([1, 2, 3], 0, "and") == "1, 2 and 3"
    assert tools.falling({"a": {1: [3.0], 2: [2.0]}, "b": {1: [2.0], 2: [1.0]}})
    assert not tools.falling({"a": {1: [3.0], 2: [2.0]}, "b": {1: [2.0], 2: [2.0]}})
    with pytest.raises(ValueError, match="no longer say 'it is best'"):
        tools.claim(False, "it is best")


def test_a_study_writes_its_numbers_and_draws_them(
    benchmarks: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    tools, report = benchmarks["study_tables"], benchmarks["reconstruction_report"]
    monkeypatch.setattr(tools, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "IMAGES", tmp_path / "images")
    with pytest.raises(FileNotFoundError, match="no finished run"):
        report.write_report(tmp_path / "runs")
    for seed in (0, 1):
        folder = tmp_path / f"runs/2d_infomri-seed{seed}"
        for test in report.TEST_SETS:
            rows = [{"ratio": ratio, "psnr": 20 + 10 * ratio + seed, "ssim": None} for ratio in (0.125, 0.25)]
            (folder / test).mkdir(parents=True)
            (folder / test / "rate_distortion.json").write_text(json.dumps({"rows": rows}))
        (folder / "finished.json").write_text(json.dumps({"seconds": 7}))
    report.write_report(tmp_path / "runs")
    written = tools.read("reconstruction_study")
    assert written["results"]["psnr"]["subject5"]["2d_infomri"] == {0.125: [21.25, 22.25], 0.25: [22.5, 23.5]}
    assert written["seconds_per_run"] == [7, 7]
    assert (tmp_path / "images/reconstruction_2d_brain_50.png").exists()
