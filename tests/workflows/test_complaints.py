"""The table of complaints in docs/video.md: each of the 17 names threads, what is done, and tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("workflows/test_restore_video.py", "inference/video/test_smoothing.py", "networks/test_temporal.py")
SOURCES = [(ROOT / "tests" / file).read_text(encoding="utf-8") for file in FILES]


def rows() -> list[list[str]]:
    """The cells of each complaint."""
    page = (ROOT / "docs" / "video.md").read_text(encoding="utf-8")
    table = page.partition("## What users of other programs complain about")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return [row for row in cells if row[0].isdecimal()]


def kinds_of(source: str, table: str) -> list[str]:
    """The rows of a table of kinds in a test's source."""
    begin = re.search(rf"^{table}\b.*= {{$", source, re.MULTILINE)
    assert begin is not None, table
    return re.findall(r'^    "([^"]+)": ', source[begin.start() :].partition("\n}\n")[0], re.MULTILINE)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[1])
def test_a_complaint_has_threads_and_tests_that_exist(row: list[str]) -> None:
    _, complaint, threads, done, tests = row
    assert complaint
    assert done
    assert re.search(r"[A-Za-z0-9+-]+ \d+", threads), "a tracker and a number"
    named = re.findall(r"`(\w+)`(?: \[([^\]]+)\])?", tests)
    assert named, "no test"
    for name, brackets in named:
        homes = [source for source in SOURCES if f"def test_{name}(" in source]
        assert len(homes) == 1, name
        before = homes[0].partition(f"def test_{name}(")[0].rpartition("@pytest.mark.parametrize(")[2]
        for kind in brackets.split("; ") if brackets else []:
            table = re.search(r"\"kind\", (\w+)\)", before)
            assert table is not None, name
            assert kind in kinds_of(homes[0], table[1]), kind


def test_there_are_17_and_the_tables_hold_60_kinds() -> None:
    assert [row[0] for row in rows()] == [str(number) for number in range(1, 18)]
    assert sum(len(kinds_of(SOURCES[0], name)) for name in ("WHOLE", "BAD", "UNFIT", "DAMAGED")) >= 60
