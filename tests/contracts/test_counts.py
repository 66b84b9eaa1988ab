"""What a message counts agrees with its number: "1 image", never "1 images"."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sr_lab

ROOT = Path(sr_lab.__file__).parent
ALONE = ROOT / "artefacts" / "export" / "runtime"  # copied into bundles, so that it imports nothing of the house
UNITS = {"bytes", "characters", "pixels", "ms", "levels", "bits"}  # measures, of which nobody has one
VERBS = {"is", "has", "was", "does", "needs", "gives", "holds", "takes", "names", "lies", "as", "this", "us", "its"}
COUNT = re.compile(r"len\(|(.*\.)?num_\w+$|(.*\.)?(count|total|number|places|trials|threads)$")


def loose_counts(source: str) -> Iterator[tuple[int, str]]:
    """Line and words of every text in which a count stands before a plural without ``counted``."""
    for text in ast.walk(ast.parse(source)):
        if not isinstance(text, ast.JoinedStr):
            continue
        for value, after in zip(text.values, text.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            noun = re.match(r" (?:of \d+ )?(?:more |other )?([a-z]+s)\b(?! of \{)", str(after.value))
            if noun and noun[1] not in UNITS | VERBS and COUNT.match(ast.unparse(value.value)):
                yield value.lineno, f"{{{ast.unparse(value.value)}}}{after.value}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('f"{len(a)} images are bad"', True),
        ('f"{found.num_trials} trials"', True),
        ("f\"{counted(len(a), 'image', 'is/are')} bad\"", False),
        ('f"{len(a)} bytes"', False),
        ('f"{path} holds nothing"', False),
    ],
)
def test_the_rule_sees_what_it_should(source: str, found: bool) -> None:
    assert bool(list(loose_counts(source))) == found


def test_every_count_is_made_by_counted() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {words}"
        for path in sorted(ROOT.rglob("*.py"))
        if not path.is_relative_to(ALONE)
        for line, words in loose_counts(path.read_text(encoding="utf-8"))
    ]
    assert not found, "use sr_lab.base.words.counted:\n" + "\n".join(found)
