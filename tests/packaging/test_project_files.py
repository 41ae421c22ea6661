"""Files beside the code that name a version or a chore of it: they agree with the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

import infomri_monai

ROOT = Path(__file__).resolve().parents[2]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_versions_agree():
    assert yaml.safe_load(text("CITATION.cff"))["version"] == infomri_monai.__version__
    for metadata in ROOT.glob("bundles/*/configs/metadata.json"):
        required = json.loads(metadata.read_text())["required_packages_version"]
        assert required["infomri-monai"] == infomri_monai.__version__


def test_pre_commit_uses_the_pinned_tools():
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    pinned = text("constraints.txt").splitlines()
    for hook in hooks:
        assert set(hook.get("additional_dependencies", [])) <= set(pinned)


def chores() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", text("Makefile"), flags=re.MULTILINE))


def test_every_chore_is_documented():
    (phony,) = re.findall(r"^\.PHONY: (.*)", text("Makefile").replace("\\\n", ""), flags=re.MULTILINE)
    assert chores() == set(phony.split())


@pytest.mark.parametrize("name", [".ci/run", ".github/workflows/ci.yml", ".pre-commit-config.yaml"])
def test_automation_calls_chores_that_exist(name):
    called = {
        word
        for line in re.findall(r"(?:run: |entry: |^)make ([a-z -]+)$", text(name), re.MULTILINE)
        for word in line.split()
    }
    matrix = re.findall(r"chore: \[(.*)\]", text(name))
    called |= {chore.strip() for line in matrix for chore in line.split(",")}
    assert called
    assert called <= chores()
