"""The plan of the house, read from the code: its size, no circle of imports, and imports that only point down."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "infomri_monai"
#: the doors that check what comes in, and the families of tests that try every door, weigh; several coils will ask again
MOST_FILES, MOST_LINES, MOST_TEST_SHARE = 192, 19_000, 1.25
#: rooms from the ground up: a room imports from its own floor and from those below
FLOORS = (
    ("files", "arrays"),
    ("acquisition", "information"),
    ("sampling", "networks"),
    ("scanner", "transforms", "systems", "losses", "metrics", "triage"),
    ("engines", "audit", "handlers", "data", "figures"),
    ("deploy",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
#: tokens that are no code
_NO_CODE = {
    getattr(tokenize, name) for name in ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER", "ENCODING")
}


class Import(NamedTuple):
    """A module of the house that another imports, where, and whether that happens when the other one is imported."""

    target: str
    line: int
    at_import: bool


@cache
def modules() -> dict[str, Path]:
    """All modules of the house and their files."""
    found = {}
    for folder, package in ((ROOT / PACKAGE, PACKAGE), (ROOT / "transforms", f"{PACKAGE}.transforms")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif node.module is not None:
        for alias in node.names:  # a module of a package, or something out of a module
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in modules() else node.module


def _imports(node: ast.AST, at_import: bool = True) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield from (Import(name, child.lineno, at_import) for name in _names(child) if name in modules())
        lazy = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        types = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        yield from _imports(child, at_import and not lazy and not types)


@cache
def imports(module: str) -> tuple[Import, ...]:
    """What a module imports of the house, also inside functions and for types alone."""
    return tuple(_imports(ast.parse(modules()[module].read_text(encoding="utf-8"))))


def room(module: str) -> str:
    """The room of a module; the package's own ``__init__`` has none."""
    return module.split(".")[1] if "." in module else ""


def code_lines(path: Path) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    text = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {n for t in tokens if t.type not in _NO_CODE for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and body and isinstance(body[0], ast.Expr) and ast.get_docstring(node) is not None:
            lines -= set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    return len(lines)


def longest(paths: list[Path], number: int = 5) -> str:
    """The files with most code, for a message."""
    sizes = sorted(((code_lines(path), path.relative_to(ROOT)) for path in paths), reverse=True)
    return ", ".join(f"{path} ({lines})" for lines, path in sizes[:number])


def test_code_lines_are_counted(tmp_path):
    (tmp_path / "a.py").write_text(
        '"""Words.\n\nMore."""\n\n# why\nx = """two\nlines"""  # a string\n\n\ndef f():\n    """Says."""\n    return x\n'
    )
    assert code_lines(tmp_path / "a.py") == 4


def test_no_module_imports_itself_by_others():
    graph = {module: [i.target for i in imports(module) if i.at_import] for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' <- '.join(error.args[1])}")


def test_every_room_is_on_a_floor():
    unknown = {room(module) for module in modules()} - set(FLOOR) - {""}
    assert not unknown, f"rooms without a floor in tests/test_house.py: {sorted(unknown)}"


@pytest.mark.parametrize("name", sorted(FLOOR))
def test_imports_only_point_down(name):
    up = [
        f"{modules()[module].relative_to(ROOT)}:{i.line} imports {i.target}"
        for module in modules()
        if room(module) == name
        for i in imports(module)
        if FLOOR.get(room(i.target), -1) > FLOOR[name]
    ]
    assert not up, "imports that point up:\n" + "\n".join(up)


def test_the_house_has_few_files():
    number = len(modules())
    assert number <= MOST_FILES, f"{number} files, at most {MOST_FILES} are wanted"


def test_the_house_is_small():
    paths = list(modules().values())
    lines = sum(map(code_lines, paths))
    assert lines <= MOST_LINES, f"{lines} lines of code, at most {MOST_LINES} are wanted; the longest: {longest(paths)}"


def test_the_tests_are_in_proportion():
    tests = sorted((ROOT / "tests").rglob("*.py"))
    lines, package = sum(map(code_lines, tests)), sum(map(code_lines, modules().values()))
    most = MOST_TEST_SHARE * package
    assert lines <= most, (
        f"{lines} lines of tests, at most {most:.0f} are wanted ({MOST_TEST_SHARE} x {package}); the longest: {longest(tests)}"
    )
