"""The queue: each trial is taken once, whatever is killed."""

import multiprocessing
import shutil
import sqlite3
from concurrent.futures import ProcessPoolExecutor

import optuna
import pytest
from optuna.trial import TrialState

from sr_lab.sweeps.outcome import rows
from sr_lab.sweeps.queue import attempt, claim, fill, lost, original, requeue, unfinished
from sr_lab.sweeps.session import IDENTITY, prepare
from sr_lab.sweeps.storage import open_storage

pytestmark = pytest.mark.usefixtures("forked")


def claims(uri: str) -> list[int]:
    """Takes trials until none is left; runs in a process of its own."""
    study = optuna.load_study(study_name="stub", storage=open_storage(uri))
    taken = []
    while (trial := claim(study)) is not None:
        taken.append(trial)
    return taken


def new_database(server: str, name: str) -> str:
    """Uri of a new database: MLflow's tables, of other tests, lie in the server's first one."""
    import psycopg2

    server = server.replace("+psycopg2", "")
    connection = psycopg2.connect(server)
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{server.rpartition('/')[0]}/{name}"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_processes_that_take_at_the_same_time_never_take_the_same(make_plan, request, kind):
    uri = {} if kind == "sqlite" else {"storage": new_database(request.getfixturevalue("postgres"), "sweeps")}
    plan = make_plan(**uri)
    study = prepare(plan, num_trials=40, settings={})
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("fork")) as pool:
        taken = [trial for part in pool.map(claims, [plan.storage] * 4) for trial in part]
    assert sorted(taken) == sorted(trial._trial_id for trial in study.get_trials())


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("postgresql://ada:geheim@127.0.0.1:9/sweeps", ValueError, "PGPASSWORD"),
        ("postgresql://ada@127.0.0.1:9/sweeps", ConnectionError, "Connection refused"),
        ("sweeps.db", ValueError, "give sqlite:///FILE.db"),
        ("oracle://ada@127.0.0.1:9/sweeps", ValueError, "needs its driver"),
    ],
)
def test_a_storage_that_cannot_be_used_is_named_without_its_password(make_plan, uri, error, message):
    with pytest.raises(error, match=f"storage=.*{message}") as caught:
        prepare(make_plan(storage=uri), num_trials=1, settings={})
    assert "geheim" not in str(caught.value)


def test_the_database_of_another_program_is_refused(make_plan, tmp_path):
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('bf29a5ff90ea')")
    with pytest.raises(ValueError, match=r"mlflow.db holds tables of another program .* give one of its own"):
        prepare(make_plan(storage=f"sqlite:///{tmp_path / 'mlflow.db'}"), num_trials=1, settings={})


def test_storage_is_in_wal_mode_before_a_worker_opens_it(make_plan, tmp_path):
    prepare(make_plan(), num_trials=1, settings={})
    assert sqlite3.connect(tmp_path / "study.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_filling_again_adds_only_what_is_missing(make_plan):
    study = prepare(make_plan(), num_trials=3, settings={})
    assert fill(study, [{}] * 3) == 0
    assert fill(study, [{}] * 5) == 2
    assert len(unfinished(study)) == 5


def test_a_sweep_does_not_go_on_under_other_settings(make_plan):
    prepare(make_plan(), num_trials=1, settings={"training": {"lr": 1}})
    with pytest.raises(ValueError, match=r"training was .*, is "):
        prepare(make_plan(), num_trials=1, settings={"training": {"lr": 2}})


def test_a_sweep_of_another_folder_in_a_shared_storage_is_not_taken_for_ones_own(make_plan, tmp_path):
    plan = make_plan()
    study = prepare(plan, num_trials=1, settings={})
    claim(study)
    other = make_plan(folder=tmp_path / "elsewhere" / "trials")
    with pytest.raises(ValueError, match=r"begun from another folder than .*elsewhere.*name=\.\.\."):
        prepare(other, num_trials=1, settings={})
    shutil.copytree(plan.folder, other.folder)
    prepare(other, num_trials=1, settings={})  # a folder that was moved is the same sweep's
    plan.trial_folder(0).mkdir()
    with pytest.raises(ValueError, match="holds the trials of another sweep"):
        prepare(make_plan(name="new"), num_trials=1, settings={})


def test_a_sweep_that_an_earlier_release_began_goes_on_in_its_folder(make_plan, tmp_path):
    plan = make_plan()
    claim(prepare(plan, num_trials=1, settings={}))
    (plan.folder / IDENTITY).unlink()
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("DELETE FROM study_user_attributes WHERE key = 'identity'")
    with pytest.raises(ValueError, match="begun from another folder"):
        prepare(plan, num_trials=1, settings={})
    plan.trial_folder(0).mkdir()
    prepare(plan, num_trials=1, settings={})


def fail(study: optuna.Study) -> optuna.trial.FrozenTrial:
    trial_id = claim(study)
    study.tell(study._storage.get_trial(trial_id).number, state=TrialState.FAIL)
    return study._storage.get_trial(trial_id)


def test_a_killed_trial_comes_back_with_its_values_and_at_most_so_often(make_plan):
    plan = make_plan(max_retries=2)
    study = prepare(plan, num_trials=1, settings={})
    study.trials[0]
    for expected in (1, 2, 3):
        trial = fail(study)
        assert (original(trial), attempt(trial)) == (0, expected)
        plan.requeue(study, trial)
    assert unfinished(study) == []
    (row,) = rows(study, plan)
    assert (row.state, row.attempts, row.error) == ("failed", 3, "its process was killed 3 times")


def test_a_worker_that_was_asked_to_leave_costs_the_trial_no_attempt(make_plan):
    study = prepare(make_plan(), num_trials=1, settings={})
    requeue(study, fail(study), max_retries=0, counted=False)
    (trial,) = unfinished(study)
    assert attempt(trial) == 1


def test_a_killed_trial_that_nobody_put_back_is_found(make_plan):
    study = prepare(make_plan(), num_trials=2, settings={})
    trial = fail(study)
    assert list(lost(study, older_than=60)) == [], "its worker may still put it back"
    assert [found.number for found in lost(study, older_than=-1)] == [trial.number]
    requeue(study, trial, max_retries=3)
    assert not list(lost(study, older_than=-1))
