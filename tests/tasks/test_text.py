"""Errors of a text that was read, against a table of edits worked out by hand and by another implementation."""

import random

import pytest

from sr_lab.images.found import Found
from sr_lab.tasks.text import text_errors, text_of

pytest.importorskip("rapidfuzz")


def words(text: str, *confidences: float) -> tuple[Found, ...]:
    parts = text.split()
    given = confidences or (1.0,) * len(parts)
    return tuple(
        Found(text=part, box=(0.0, 0.0, 1.0, 1.0), confidence=sure) for part, sure in zip(parts, given, strict=True)
    )


def edits(one, other) -> int:
    """The textbook's table (Wagner and Fischer 1974)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


def test_rates_are_those_of_the_shortest_edit():
    draw = random.Random(0)
    for _ in range(50):
        one, other = ("".join(draw.choice("ab1 ") for _ in range(draw.randint(1, 20))) for _ in range(2))
        if not one.strip() or not other.strip():
            continue
        errors = text_errors(words(one), words(other))
        ours, theirs = " ".join(one.split()), " ".join(other.split())
        assert errors.characters == edits(ours, theirs)
        assert errors.words == edits(ours.split(), theirs.split())
        assert errors.cer == errors.characters / len(theirs)


def test_only_wrong_characters_of_sure_words_are_invented():
    truth = words("total 1150 EUR")
    sure = text_errors(words("total 1750 EUR", 0.9, 0.9, 0.9), truth)
    unsure = text_errors(words("total 1750 EUR", 0.9, 0.5, 0.9), truth)
    assert (sure.characters, sure.invented, sure.invented_digits) == (1, 1, 1)
    assert (unsure.characters, unsure.invented, unsure.invented_digits) == (1, 0, 0)


def test_what_is_missing_is_not_invented_and_what_is_added_is():
    missing = text_errors(words("total"), words("total 42"))
    added = text_errors(words("total 42"), words("total"))
    assert (missing.characters, missing.invented) == (3, 0)
    assert (added.invented, added.invented_digits) == (2, 2)


def test_line_breaks_and_runs_of_blanks_count_as_one_blank():
    lines = (Found(text="one  two", box=(0, 0, 1, 1)), Found(text=" three\n", box=(0, 0, 1, 1)))
    assert text_of(lines) == "one two three"
    assert text_errors(lines, words("one two three")).characters == 0


def test_nothing_read_is_an_error_rate_of_one():
    errors = text_errors((), words("total 42"))
    assert (errors.cer, errors.wer, errors.invented) == (1.0, 1.0, 0)
