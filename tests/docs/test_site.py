"""The documentation site: links of pages that live elsewhere, the gallery's scripts, and a build of the whole site."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from helper import refuses

pytest.importorskip("mkdocs")
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples" / "gallery").glob("[0-9]*.py"))


def loaded(name: str) -> ModuleType:
    """A module that lies beside the pages, in no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site_build = loaded("site_build")


def rewritten(text: str, source: str, place: str) -> tuple[str, dict[str, str]]:
    pictures: dict[str, str] = {}
    return site_build._LINK.sub(lambda link: site_build._link(link, source, place, pictures), text), pictures


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[r](../../infomri_recon/docs/README.md)", "[r](infomri_recon.md)"),
        ("[r](../../infomri_recon/docs/README.md#network)", "[r](infomri_recon.md#network)"),
        ("[c](../../../docs/conventions.md)", "[c](../conventions.md)"),
        ("![m](../../../docs/images/masks.png)", "![m](../images/masks.png)"),
        ("![m](masks.png)", "![m](../pictures/masks.png)"),
        ("[study](../../../benchmarks/study.py)", "study"),
        ("[arXiv](https://arxiv.org/abs/2604.12709)", "[arXiv](https://arxiv.org/abs/2604.12709)"),
        ("[below](#network)", "[below](#network)"),
    ],
)
def test_links_of_a_page_that_lives_elsewhere(text, expected):
    source = "bundles/infomri_segmentation/docs/README.md"
    assert rewritten(text, source, site_build.PAGES[source])[0] == expected


def test_docstrings_are_translated_for_the_site():
    result = doctest.testmod(loaded("docstrings"))
    assert result.attempted == 2
    assert result.failed == 0


def test_pictures_of_a_page_that_lives_elsewhere_come_along():
    _, pictures = rewritten("![a](a.png)", "bundles/infomri_recon/docs/README.md", "bundles/infomri_recon.md")
    assert pictures == {"bundles/infomri_recon/docs/a.png": "pictures/a.png"}


@pytest.mark.parametrize(
    ("page", "refused"),
    [
        ('<script src="https://cdn.example/x.js"></script>', True),
        ('<link rel="stylesheet" href="//fonts.example/css">', True),
        ("<img src=http://pictures.example/a.png>", True),
        ('<link rel="canonical" href="https://example.org/">', False),
        ('<a href="https://arxiv.org">paper</a><img src="./index.html">', False),
    ],
)
def test_a_site_that_loads_from_elsewhere_is_refused(tmp_path, page, refused):
    (tmp_path / "index.html").write_text(page)
    config = SimpleNamespace(site_dir=tmp_path)
    if refused:
        refuses(PluginError, "loads from elsewhere", site_build.on_post_build, config)
    else:
        site_build.on_post_build(config)


def test_a_picture_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "index.html").write_text('<p><img alt="a" src="../a.png" /></p>')
    refuses(PluginError, r"index.html: no file ../a.png", site_build.on_post_build, SimpleNamespace(site_dir=tmp_path))


def test_every_example_has_a_title_and_says_what_to_change():
    assert len(SCRIPTS) == 8
    for script in SCRIPTS:
        text = script.read_text()
        assert re.match(r'"""\n# \w', text), script.name
        assert "What to look at" in text or "What was" in text or "## The checks" in text, script.name
        assert "## What to change" in text, script.name


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_runs(script, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, script], cwd=script.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    """Without running the examples, which `make docs` does."""
    environment = {**os.environ, "RUN_GALLERY": "false", "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    assert {
        f"{page}index.html" for page in ("", "gallery/08_dicom_study/", "bundles/infomri_recon/", "contributing/")
    } <= pages
    api = (tmp_path / "api" / "transforms" / "index.html").read_text()
    assert "SimulateAcquisitiond" in api
    assert "standard deviation per real component" in api
