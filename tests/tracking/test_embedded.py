"""The store in a file: torn, older, newer, foreign; copied, moved, linked."""

import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sr_lab.base.databases import read_sqlite
from sr_lab.cli import main
from sr_lab.tracking.embedded import LOCATIONS, MovedError, StoreError, knows, made_at, relocate, state
from sr_lab.tracking.places import require_reopenable, settle
from sr_lab.tracking.registry.versions import locate
from sr_lab.tracking.run import Run
from sr_lab.tracking.spool import Spool
from sr_lab.tracking.store import check_uri, connect

pytestmark = pytest.mark.usefixtures("forked")

MakeRun = Callable[..., Run]


def _execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def _uri(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def empty(store: str, tmp_path: Path) -> Path:
    """A database as MLflow makes it, with no run."""
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    tables = ("tags", "runs", "experiment_tags", "registered_models", "model_versions", "logged_models")
    _execute(path, "PRAGMA foreign_keys=OFF", *(f"DELETE FROM {table}" for table in tables))
    _execute(path, "DELETE FROM experiments WHERE experiment_id <> 0")
    return path


@pytest.fixture
def project(release_0_1: Path) -> Path:
    """A project with a store and a run of release 0.1, whose record does not name its folder."""
    return release_0_1


def test_a_store_that_was_left_unfinished_is_made_anew(empty: Path) -> None:
    for torn in ("DELETE FROM alembic_version", "DROP TABLE alembic_version"):
        _execute(empty, torn)
        assert state(empty) == "unfinished"
        check_uri(_uri(empty))  # it will be made
    connect(_uri(empty)).create_experiment("e")
    assert state(empty) == "current"
    assert state(empty.with_name("mlflow.db.unfinished1")) == "unfinished"
    connect(_uri(empty))
    assert connect(_uri(empty)).get_experiment_by_name("e") is not None


def test_the_first_table_alone_is_an_unfinished_store(tmp_path: Path) -> None:
    _execute(tmp_path / "x.db", "CREATE TABLE experiments (experiment_id INTEGER)")
    assert state(tmp_path / "x.db") == "unfinished"
    assert state(tmp_path / "nothing.db") == "absent"
    (tmp_path / "empty.db").touch()
    assert state(tmp_path / "empty.db") == "absent"


def test_a_store_of_another_version_is_refused_with_what_helps(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "mlflow.db"
    monkeypatch.chdir(project)
    _execute(path, "UPDATE alembic_version SET version_num = 'cbc13b556ace'")
    assert main(["history", "name=photos"]) == 1
    told = capsys.readouterr().err
    tool, *rest = shlex.split(told.partition("by  ")[2].splitlines()[0])
    assert rest == ["db", "upgrade", _uri(path)]
    assert shutil.which(tool) is not None
    assert "Traceback" not in told
    _execute(path, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert main(["history", "name=photos"]) == 1
    assert "newer MLflow than the one that is installed: pip install --upgrade mlflow" in capsys.readouterr().err
    with pytest.raises(StoreError, match="newer MLflow"):  # before a training begins
        Run(uri=_uri(path), experiment="e", name="n", directory=project / "runs" / "b" / "tracking", ship=False)


def test_tables_of_another_program_are_left_alone(tmp_path: Path) -> None:
    _execute(tmp_path / "x.db", "CREATE TABLE studies (a)", "CREATE TABLE alembic_version (version_num)")
    with pytest.raises(StoreError, match=r"tables of another program \(alembic_version, studies"):
        connect(_uri(tmp_path / "x.db"))


def _all_places(path: Path) -> set[str]:
    found: set[str] = set()
    for table, column in LOCATIONS:
        found |= {str(place) for (place,) in read_sqlite(path, f"SELECT {column} FROM {table}") if place}
    return {place for place in found if "mlruns" in place}


@pytest.mark.parametrize("original", ["stays", "gone"])
def test_a_copied_or_moved_project_is_refused_and_made_its_own(
    project: Path, tmp_path: Path, original: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "a copy's"
    shutil.copytree(project, copy) if original == "stays" else project.rename(copy)
    path = copy / "mlflow.db"
    before = (project / "mlflow.db").read_bytes() if original == "stays" else b""
    monkeypatch.chdir(copy)
    for words in (
        ["history", "name=photos"],
        ["register", "run=runs/a", "name=photos"],
        ["sync"],
    ):
        assert main(words) == 1
        told = capsys.readouterr().err
        assert str(project) in told
        assert str(path) in told
        assert "Traceback" not in told
    with pytest.raises(MovedError) as caught:
        Run(uri=_uri(path), experiment="e", name="n", directory=copy / "runs" / "b" / "tracking", ship=False)
    program, *words = shlex.split(str(caught.value).partition(":  ")[2])
    assert program == "srlab"
    assert main(words) == 0
    assert "below" in capsys.readouterr().out
    assert main(["relocate"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert made_at(path) is None
    assert len(places := _all_places(path)) >= 3
    assert all(place.startswith((copy.as_uri() + "/", f"{copy}/")) for place in places)
    uri, run_id = locate("runs/a", uri=None, default_uri="sqlite:///else.db")
    assert uri == _uri(path)
    assert main(["register", "run=runs/a", "name=photos", "alias=copied"]) == 0
    assert "photos version" in capsys.readouterr().out
    spool = Spool(copy / "runs" / "a" / "tracking")
    assert (spool.identity.uri, spool.identity.directory) == (uri, str(spool.directory))
    assert spool.state.run_id == run_id
    if original == "stays":
        assert (project / "mlflow.db").read_bytes() == before
        assert "copied" not in connect(_uri(project / "mlflow.db")).get_registered_model("photos").aliases
    else:
        assert not project.exists()


def test_a_project_behind_a_link_is_the_same_project(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(project)
    monkeypatch.chdir(tmp_path / "link")
    assert main(["history", "name=photos"]) == 0
    check_uri(_uri(tmp_path / "link" / "mlflow.db"))
    assert locate("runs/a", uri=None, default_uri="x")[0] == _uri(project / "mlflow.db")


def test_the_files_have_to_come_along(project: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(project / "mlflow.db", tmp_path / "alone")
    with pytest.raises(StoreError, match=r"mlruns and not in .*alone.mlruns: copy or move that folder too"):
        relocate(tmp_path / "alone" / "mlflow.db")
    shutil.copytree(project / "mlruns", tmp_path / "alone" / "mlruns")
    shutil.rmtree(tmp_path / "alone" / "mlruns", ignore_errors=True)
    (tmp_path / "alone" / "mlruns").mkdir()
    assert len(relocate(tmp_path / "alone" / "mlflow.db").missing) > 0


def test_a_server_has_nothing_to_relocate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["relocate", "tracking_uri=http://127.0.0.1:9"]) == 1
    assert main(["relocate", f"tracking_uri=sqlite:///{tmp_path}/none.db"]) == 1
    told = capsys.readouterr().err
    assert "a server keeps its artefacts" in told
    assert "there is no MLflow store at" in told


def test_a_run_is_found_where_its_project_is(make_run: MakeRun, store: str, tmp_path: Path) -> None:
    place = tmp_path / "project"
    place.mkdir()
    run = make_run(uri=_uri(place / "mlflow.db"), directory=place / "runs" / "a" / "tracking")
    run.finish()
    moved = place.rename(tmp_path / "moved")
    spool = Spool(moved / "runs" / "a" / "tracking")
    assert settle(spool).uri == _uri(moved / "mlflow.db")  # not sent so far: the store is made there
    assert settle(spool) == spool.identity


def test_a_run_whose_store_is_gone_says_so_at_once(make_run: MakeRun, store: str, tmp_path: Path) -> None:
    run = make_run()
    run.finish()
    spool = Spool(run.spool.directory)
    spool.acknowledge(spool.state.__class__(run_id="f" * 32))
    gone = tmp_path / "gone.db"
    spool.readdress(_uri(gone))
    spool.acknowledge(spool.state.__class__(run_id="f" * 32))
    with pytest.raises(StoreError, match=rf"its store is gone: there is no {gone}\. .* srlab sync directory="):
        Run.reopen(spool.directory)
    assert not gone.exists()


def test_a_copied_run_whose_store_stayed_is_not_the_run(make_run: MakeRun, store: str, tmp_path: Path) -> None:
    run = make_run(directory=tmp_path / "a" / "tracking")
    run.finish()
    shutil.copytree(tmp_path / "a", tmp_path / "deep" / "er" / "b")
    with pytest.raises(StoreError, match=r"er/b is a copy of .*/a, whose store"):
        settle(Spool(tmp_path / "deep" / "er" / "b" / "tracking"))
    shutil.rmtree(tmp_path / "a")  # then it was moved
    assert settle(Spool(tmp_path / "deep" / "er" / "b" / "tracking")).uri == store


def test_a_run_in_the_trash_is_refused_before_anything_is_measured(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = project / "runs" / "a" / "tracking"
    run_id = str(Spool(directory).state.run_id)
    assert require_reopenable(directory).name == Spool(directory).identity.name
    assert knows(project / "mlflow.db", Spool(directory).identity.uid)
    _execute(project / "mlflow.db", f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = '{run_id}'")
    with pytest.raises(StoreError, match=rf"run {run_id} .* was deleted .* runs restore --run-id {run_id}"):
        Run.reopen(directory)


@pytest.mark.parametrize(
    "words",
    [
        ["history", "name=x", "tracking_uri={}"],
        ["rollback", "name=x", "reason=r", "tracking_uri={}"],
        ["approve", "name=x", "by=ann", "tracking_uri={}"],
        ["register", "run=0123", "name=x", "default_uri={}"],
        ["relocate", "tracking_uri={}"],
        ["sync", "uri={}"],
        ["interpolate", "artefacts=['models:/x/1','models:/x/2']", "output=o", "tracking_uri={}"],
    ],
    ids=lambda words: words[0],
)
def test_no_command_shows_a_traceback_for_a_store_that_is_none(
    words: list[str], make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    (tmp_path / "folder").mkdir()
    make_run(directory=tmp_path / "runs" / "a" / "tracking").finish()
    monkeypatch.chdir(tmp_path)
    uris = ["folder", "sqlite:///folder", "sqlite:///text.db", "sqlite://x.db", "1"]
    if words[0] == "history":
        uris += [
            "sqlite:///text.db/x.db", "''", "null", "nonsense", "file:///tmp", "mysql://h/x", "mssql://h/x",
            "'http://[::1'", "'http://h:port'", "sqlite:///", "'sqlite:///x.db?a=1'", "postgresql://127.0.0.1:1/x",
        ]  # fmt: skip
    for uri in uris:
        code = main([word.format(uri) for word in words])
        told = capsys.readouterr()
        assert code in (1, 2), (uri, told)
        assert "Traceback" not in told.err + told.out, uri
        assert told.err.strip(), uri


def test_the_environments_store_is_the_default_of_every_command(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", _uri(project / "mlflow.db"))
    assert main(["history", "name=photos"]) == 0
    assert main(["history", "name=photos", "tracking_uri=sqlite:///else.db"]) == 1
    assert f"no tracking store at {_uri(tmp_path / 'else.db')}" in capsys.readouterr().err
    conf = Path(__file__).parents[2] / "conf"
    for file in [*conf.glob("*.yaml"), conf / "tracking" / "mlflow.yaml"]:
        for line in file.read_text(encoding="utf-8").splitlines():
            if "sqlite:///mlflow.db" in line:
                assert "${oc.env:MLFLOW_TRACKING_URI,'sqlite:///mlflow.db'}" in line, (file, line)
