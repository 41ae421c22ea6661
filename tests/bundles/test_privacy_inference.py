"""What the privacy bundle's inference alone promises: a report, and never an image."""

from __future__ import annotations

import csv
import json

import pytest
from bundle_table import PRIVACY
from inferring import copied_bundle, infer, network, refusal, write_kspace, write_volumes
from running import files


@pytest.fixture
def root(tmp_path, monkeypatch):
    copied = copied_bundle(PRIVACY.root, tmp_path / "bundle", network(PRIVACY.root, **PRIVACY.tiny_model))
    monkeypatch.chdir(copied)
    return copied


def largest_list(content):
    """Length of the longest list anywhere in a JSON value."""
    if isinstance(content, dict):
        return max((largest_list(value) for value in content.values()), default=0)
    if isinstance(content, list):
        return max([len(content), *(largest_list(value) for value in content)])
    return 0


def rows(folder):
    with (folder / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("masks", [1, 3])
def test_of_volumes_there_is_a_report_and_no_image(root, tmp_path, masks):
    write_volumes(tmp_path / "in", ("a", "b"), (29, 34, 3))
    infer(dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"), masks=masks, **PRIVACY.tiny_model)
    assert files(tmp_path / "out") == {"a.json", "b.json", "report.csv"}
    for name in ("a", "b"):
        content = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert largest_list(content) <= 3  # slices, axes or classes: nothing as long as a row of pixels
    table = rows(tmp_path / "out")
    assert [(row["case"], row["name"]) for row in table] == [("1", "a"), ("2", "b")]
    for row in table:
        probabilities = [float(value) for name, value in row.items() if name.startswith("probability")]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)


def test_measured_kspace_has_one_mask(root, tmp_path):
    write_kspace(tmp_path / "in" / "scan.npz")
    values = {"dataset_dir": str(tmp_path / "in"), "output_dir": str(tmp_path / "out"), "kind": "kspace"}
    infer(**values, **PRIVACY.tiny_model)
    assert files(tmp_path / "out") == {"scan.json", "report.csv"}
    assert "masks" in refusal(**values, masks=2, **PRIVACY.tiny_model)
