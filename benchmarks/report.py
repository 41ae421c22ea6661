"""The pages of docs/results and the tables in README.md, written from benchmarks/results/*.json.

    python benchmarks/report.py           writes them
    python benchmarks/report.py --check   writes nothing; fails, with the names of the files, where they would change

The words of a page are in benchmarks/pages, its digits come from the JSON. What stands in README.md or a bundle's page between
``<!-- table: NAME -->`` and ``<!-- /table -->`` is the table that a page or benchmarks/pages/tables.md has between the same marks.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import jinja2
from study_tables import FILTERS, FUNCTIONS

__all__ = ["IMAGES", "rendered", "write_pages"]

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "benchmarks/pages"
SHORT = "tables.md"  # no page, but the README's tables
PAGES = ROOT / "docs/results"
#: where the benchmarks draw the pages' pictures
IMAGES = PAGES / "images"
MARKED = re.compile(r"<!-- table: (?P<name>\w+) -->\n(?P<content>.*?)<!-- /table -->", re.DOTALL)


def rendered() -> dict[Path, str]:
    """What every generated page and every file with marked tables should hold.

    Raises:
        ValueError: if a file asks for a table that no page has.
    """
    options = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    words = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, **options)
    words.filters.update(FILTERS)
    words.globals.update(FUNCTIONS)
    texts = {
        path.name: re.sub("\n{3,}", "\n\n", words.get_template(path.name).render())
        for path in sorted(TEMPLATES.glob("*.md"))
    }
    tables = {found["name"]: found[0] for text in texts.values() for found in MARKED.finditer(text)}
    pages = {PAGES / name: text for name, text in texts.items() if name != SHORT}
    for path in (ROOT / "README.md", *sorted(ROOT.glob("bundles/*/docs/README.md"))):
        text = path.read_text(encoding="utf-8")
        if unknown := {found["name"] for found in MARKED.finditer(text)} - set(tables):
            raise ValueError(f"{path} asks for the tables {sorted(unknown)}; there are {sorted(tables)}.")
        pages[path] = MARKED.sub(lambda found: tables[found["name"]], text)
    return pages


def write_pages() -> list[Path]:
    """Write what differs from :func:`rendered`, and say which files that were."""
    changed = {path: text for path, text in rendered().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in changed.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(changed)


def main() -> None:
    """Write the pages, or say that they are not what the results say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where something would change")
    if parser.parse_args().check:
        stale = [path for path, text in rendered().items() if not path.exists() or path.read_text("utf-8") != text]
        if stale:
            sys.exit("not what the results say (run benchmarks/report.py): " + ", ".join(map(str, stale)))
    else:
        print("\n".join(f"written: {path.relative_to(ROOT)}" for path in write_pages()) or "nothing has changed")


if __name__ == "__main__":
    main()
