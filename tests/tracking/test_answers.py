import sqlite3
from pathlib import Path

import pytest

from sr_lab.tracking.answers import is_of_database, sentence, shortened

HTML = "API request to endpoint /x failed with error code 404 != 200. Response body: '<!doctype html><title>Not Found"


def test_a_page_for_people_is_not_repeated() -> None:
    text = sentence(ValueError(HTML + "</title><p>nothing here'"), "http://u:p@h/prefix")
    assert "<" not in text
    assert "a page (Not Found), code 404" in text
    assert text.endswith("http://***@h/prefix")


def test_artefacts_that_do_not_come_have_their_reason() -> None:
    text = (
        "The following failures occurred while downloading one or more artifacts from file:///a/mlruns:\n"
        "##### File MLmodel #####\nTraceback (most recent call last):\n  File 'x', line 1\n"
        "FileNotFoundError: [Errno 2] No such file or directory: '/a/mlruns/MLmodel'\n"
    )
    expected = "files could not be fetched from file:///a/mlruns: FileNotFoundError: [Errno 2] No such file"
    assert sentence(ValueError(text), "sqlite:////a.db").startswith(expected)
    bare = text.splitlines()[0]
    assert sentence(ValueError(bare), "sqlite:////a.db").endswith("no reason was given")


def test_a_sentence_is_cut_between_words() -> None:
    text = shortened("word " * 200, 20)
    assert text == "word word word word ..."
    assert "\n" not in sentence(ValueError("a\n b"), "http://h")


def test_a_locked_database_tells_what_to_do(tmp_path: Path) -> None:
    error = RuntimeError("(sqlite3.OperationalError) database is locked\n[SQL: INSERT ...]")
    assert "then try again" in sentence(error, f"sqlite:///{tmp_path}/x.db")
    full = RuntimeError("(sqlite3.OperationalError) database or disk is full\n[SQL: INSERT INTO runs ...]")
    assert sentence(full, f"sqlite:///{tmp_path}/x.db") == "database or disk is full"


@pytest.mark.parametrize("error", [sqlite3.OperationalError("x"), ModuleNotFoundError("No module named 'MySQLdb'")])
def test_errors_below_mlflow_are_known(error: Exception) -> None:
    assert is_of_database(error)
    assert not is_of_database(KeyError("x"))
