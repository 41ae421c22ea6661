"""The worklist's two files hold the same numbers, sorted by need for review, and are written both or not at all."""

from __future__ import annotations

import csv
import json
import math

import pytest
from helper import refuses
from hypothesis import given
from hypothesis import strategies as st

from infomri_monai.triage import StructureVolume, WorklistEntry, write_worklist

numbers = st.one_of(st.floats(0, 1e9), st.just(math.nan))
shares = st.one_of(st.floats(0, 1), st.just(math.nan))
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@st.composite
def worklists(draw):
    structures = draw(st.lists(names, unique=True, max_size=2))
    return [
        WorklistEntry(
            case,
            draw(names),
            draw(shares),
            draw(numbers),
            tuple(StructureVolume(name, draw(numbers), draw(numbers), draw(numbers)) for name in structures),
            draw(st.one_of(st.floats(1, 64), st.just(math.nan))),
            draw(st.sampled_from([None, True, False])),
            draw(st.sampled_from(["", "pictures/a.png"])),
        )
        for case in draw(st.lists(st.integers(1, 99), unique=True, max_size=5))
    ]


def read_csv(path):
    """Entries of the table, by the header alone."""
    number = lambda text: float(text) if text else math.nan  # noqa: E731
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    volumes = [column.removesuffix("_median_mm3") for column in header[6:-1:3]]
    assert header == [
        *("case", "name", "review", "agreement", "mean_entropy_nats", "acceleration"),
        *(f"{name}_{which}_mm3" for name in volumes for which in ("median", "low", "high")),
        "picture",
    ]
    for row in rows:
        values = [number(text) for text in row[6:-1]]
        yield WorklistEntry(
            int(row[0]),
            row[1],
            number(row[3]),
            number(row[4]),
            tuple(StructureVolume(name, *values[3 * i : 3 * i + 3]) for i, name in enumerate(volumes)),
            number(row[5]),
            {"yes": True, "no": False, "": None}[row[2]],
            row[-1],
        )


def read_json(path):
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert "mm3" in content["volumes"]
    number = lambda value: math.nan if value is None else value  # noqa: E731
    for case in content["cases"]:
        volumes = tuple(StructureVolume(n, *map(number, v.values())) for n, v in case.pop("volumes").items())
        nullable = {name: number(case[name]) for name in ("agreement", "mean_entropy", "acceleration")}
        yield WorklistEntry(**case | nullable, volumes=volumes)


@given(entries=worklists())
def test_round_trip_of_both_files(tmp_path_factory, entries):
    table, document = write_worklist(entries, tmp_path_factory.mktemp("list") / "new")
    expected = sorted(
        entries, key=lambda e: (not math.isnan(e.agreement), e.agreement if e.agreement == e.agreement else 0, e.case)
    )
    assert repr(list(read_csv(table))) == repr(list(read_json(document))) == repr(expected)
    assert sorted(file.name for file in table.parent.iterdir()) == ["worklist.csv", "worklist.json"]


ENTRY = WorklistEntry(1, "a", 0.5, 0.1, (StructureVolume("liver", 1.0, 1.0, 2.0),), 4.0)
OTHER = ENTRY._replace(case=2)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([ENTRY, ENTRY], r"case numbers must differ, got \[1\]"),
        ([ENTRY, OTHER._replace(volumes=())], r"case 2 has the structures \[\]"),
        ([ENTRY._replace(volumes=ENTRY.volumes * 2)], "must differ from each other"),
        ([ENTRY._replace(agreement=1.2)], r"agreement must lie in \[0, 1\] or be NaN, got 1.2 for case 1"),
        ([ENTRY._replace(acceleration=0.5)], "acceleration must be finite and >= 1, got 0.5"),
        ([ENTRY._replace(picture="/tmp/a.png")], "for case 1 it is absolute"),
        ([ENTRY._replace(picture="C:\\a.png")], "for case 1 it is absolute"),
        ([ENTRY._replace(mean_entropy=math.inf)], "must be finite or NaN"),
    ],
)
def test_refuses_and_leaves_old_files(tmp_path, entries, message):
    before = [path.read_bytes() for path in write_worklist([OTHER], tmp_path)]
    refuses(ValueError, message, write_worklist, entries, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("worklist.csv", "worklist.json")] == before


def test_a_list_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_worklist([ENTRY._replace(name=object())], tmp_path)
    assert list(tmp_path.iterdir()) == []
