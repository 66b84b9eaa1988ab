"""Workers run trials as child processes, and nothing that is killed loses or repeats one."""

import functools
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import forking
import optuna
import psutil
import pytest

from sr_lab.sweeps.launchers import Local, WorkersFailed
from sr_lab.sweeps.outcome import best, front, rows
from sr_lab.sweeps.plan import Plan
from sr_lab.sweeps.sampling import Grid
from sr_lab.sweeps.session import GivenUp, prepare, watch
from sr_lab.sweeps.space import Choice, Float, Integer
from sr_lab.sweeps.worker import Share, Worker

pytestmark = pytest.mark.usefixtures("forked")


def run(plan: Plan, num_trials: int | None) -> list:
    """All trials by one worker in this process."""
    study = prepare(plan, num_trials=num_trials, settings={})
    Worker(plan=plan).work()
    return rows(study, plan)


def history(plan: Plan, number: int) -> list[str]:
    return (plan.trial_folder(number) / "history.txt").read_text().splitlines()


def trials_at_work(plan: Plan) -> list[psutil.Process]:
    """Processes of the plan's trials, whoever their parent is."""
    word = f"output={plan.folder}"
    return [p for p in psutil.process_iter(["cmdline"]) if any(w.startswith(word) for w in p.info["cmdline"] or ())]


def parent_of(plan: Plan, folder: Path) -> list[str]:
    """The command line of a process that runs the plan's sweep with two workers."""
    script = folder / "parent.py"
    script.write_text(
        "import pickle, sys\n"
        "from pathlib import Path\n"
        "from sr_lab.base.signals import Stopped, handled\n"
        "from sr_lab.sweeps.launchers import Local\n"
        "from sr_lab.sweeps.session import watch\n"
        "if __name__ == '__main__':\n"
        "    plan = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "    try:\n"
        "        with handled():\n"
        "            watch(plan, plan.open(), Local(num_workers=2, threads=1), Path('l'), progress=lambda rows: None)\n"
        "    except Stopped as stop:\n"
        "        sys.exit(stop.exit_code)\n"
    )
    (folder / "plan.pickle").write_bytes(pickle.dumps(plan))
    return [sys.executable, str(script), str(folder / "plan.pickle")]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_workers_run_every_trial_once(make_plan):
    plan = make_plan("fail_above=0.7")
    study = prepare(plan, num_trials=12, settings={})
    found = watch(plan, study, Local(num_workers=2, threads=1), plan.directory, progress=lambda rows: None)
    assert [row.number for row in found] == list(range(12))
    assert all(history(plan, row.number)[0] == "start at 0" for row in found)
    assert all(len(history(plan, row.number)) == (1 if row.state == "failed" else 2) for row in found)
    failed = [row for row in found if row.params["x"] > 0.7]
    assert failed
    assert {row.state for row in failed} == {"failed"}
    assert all("exit code 1: the loss is not finite at x=" in row.error for row in failed)
    top = best(found, plan)
    assert abs(top.params["x"] - 0.3) == min(abs(row.params["x"] - 0.3) for row in found)
    assert len({row.params["x"] for row in found}) == 12, "two workers drew the same"


def test_draws_are_those_of_seed_worker_and_trial(make_plan, tmp_path):
    values = []
    for name in ("a", "b"):
        plan = make_plan(storage=f"sqlite:///{tmp_path / name}.db", folder=tmp_path / name)
        study = prepare(plan, num_trials=4, settings={})
        assert Worker(plan=plan, index=0).work() == 4
        values.append([trial.params["x"] for trial in study.trials])
    assert values[0] == values[1]


def test_killed_trials_go_on_from_their_checkpoint_and_are_given_up_at_the_cap(make_plan):
    """Every start that comes by the stub's half is killed there: with one retry the trial gets past it."""
    plan = make_plan("kill=1", "steps=4", max_retries=1)
    (row,) = run(plan, 1)
    assert (row.state, row.attempts) == ("complete", 2)
    assert history(plan, 0) == ["start at 0", "start at 3", "end"]
    plan = make_plan("kill=1", "steps=4", max_retries=0, name="given up", folder=plan.folder / "given_up")
    (row,) = run(plan, 1)
    assert (row.state, row.attempts, row.error) == ("failed", 1, "its process was killed 1 time")
    assert history(plan, 0) == ["start at 0"]


def test_a_grid_holds_every_combination_once(make_plan):
    space = {"x": Float(key="x", low=0, high=0.5, step=0.25), "steps": Choice(key="steps", values=[1, 2])}
    plan = make_plan(space=space, sampler=functools.partial(Grid))
    found = run(plan, None)
    combinations = [(row.params["x"], row.params["steps"]) for row in found]
    assert combinations == [(0.0, 1), (0.0, 2), (0.25, 1), (0.25, 2), (0.5, 1), (0.5, 2)]
    with pytest.raises(ValueError, match=r"space\.x\.step"):
        Grid.points({"x": Float(key="x", low=0, high=1)})


def test_two_objectives_give_the_front(make_plan):
    sampler = functools.partial(optuna.samplers.NSGAIISampler, population_size=4)
    plan = make_plan(objectives={"val/score": "maximize", "val/cost": "minimize"}, sampler=sampler)
    found = run(plan, 8)
    kept = front(found, plan)
    assert kept
    for row in kept:
        assert not any(o.values[0] > row.values[0] and o.values[1] < row.values[1] for o in found)
    assert all(row.params["x"] <= 0.3 or row is kept[0] for row in kept), "beyond the best score only cost grows"


def test_cma_es_and_tpe_sample_over_the_queue(make_plan, tmp_path):
    for name, sampler in (("cma", optuna.samplers.CmaEsSampler), ("tpe", optuna.samplers.TPESampler)):
        space = {"x": Float(key="x", low=0, high=1), "steps": Integer(key="steps", low=1, high=3)}
        plan = make_plan(
            space=space,
            storage=f"sqlite:///{tmp_path / name}.db",
            folder=tmp_path / name,
            sampler=functools.partial(sampler, n_startup_trials=2),
        )
        assert [row.state for row in run(plan, 5)] == ["complete"] * 5


def test_an_objective_that_is_not_measured_is_the_trials_error(make_plan):
    (row,) = run(make_plan(objectives={"val/other": "maximize"}), 1)
    assert row.error == "ValueError: val/other was not measured; there are val/cost, val/score"


def test_an_objective_that_is_not_a_number_is_the_trials_error_and_not_tried_again(make_plan, tmp_path):
    plan = make_plan()
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "metadata.json").write_text('{"metrics": {"val/score": NaN}}')
    with pytest.raises(ValueError, match="val/score is not a number"):
        plan.read_values(tmp_path)


def test_where_the_first_trials_all_fail_the_others_are_not_begun(make_plan):
    plan = make_plan("fail_above=-1", "hang=0004", give_up=2)  # the fifth holds them up until that is seen
    study = prepare(plan, num_trials=60, settings={})
    seen = []
    with pytest.raises(GivenUp, match=r"(?s)of the first \d+ failed.*loss is not finite at x=.*give_up=null"):
        watch(plan, study, Local(num_workers=1, threads=1), plan.directory, progress=seen.append)
    ended = sum(row.ended for row in rows(study, plan))
    assert 2 <= ended <= 4
    fine = replace(plan, train=("fail_above=2",))
    found = watch(fine, study, Local(num_workers=2, threads=1), plan.directory, progress=lambda rows: None)
    assert [row.state for row in found].count("complete") == 60 - ended, "the same command goes on with the others"


def test_a_sweep_that_was_killed_whole_goes_on(make_plan, tmp_path):
    """The parent is killed with -9: its workers and their trials end with it, and a second call does the rest."""
    plan = make_plan("steps=20", "hang=0000,0001", grace=5)
    study = prepare(plan, num_trials=4, settings={})
    process = forking.Started(parent_of(plan, tmp_path))
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not all((plan.trial_folder(n) / "checkpoint").exists() for n in (0, 1)):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and (left := trials_at_work(plan)):
        time.sleep(0.02)
    assert not left, "the trials live on without their sweep"
    found = watch(plan, study, Local(num_workers=2, threads=1), tmp_path / "l", progress=lambda rows: None)
    assert [(row.number, row.state) for row in found] == [(n, "complete") for n in range(4)]
    assert [row.attempts for row in found] == [2, 2, 1, 1]
    assert int(history(plan, 0)[1].split()[-1]) > 0, "it began anew"


def test_a_killed_worker_is_replaced_and_its_trial_done(make_plan):
    plan = make_plan("steps=10", "hang=0000", grace=5)
    study = prepare(plan, num_trials=3, settings={})
    killed = []

    class Killing(Local):
        def num_alive(self):
            if not killed and (plan.trial_folder(0) / "checkpoint").exists():
                killed.append(self._processes[0].pid)
                os.kill(killed[0], signal.SIGKILL)
                self._processes[0].join()
            return super().num_alive()

    found = watch(plan, study, Killing(num_workers=1, threads=1), plan.directory, progress=lambda rows: None)
    assert [row.state for row in found] == ["complete"] * 3
    assert found[0].attempts == 2


def test_a_trial_that_is_asked_to_end_goes_on_and_counts_as_a_retry(make_plan):
    plan = make_plan("steps=10", "hang=0000", max_retries=1)
    study = prepare(plan, num_trials=1, settings={})
    worker = threading.Thread(target=lambda: Worker(plan=plan).work())
    worker.start()
    wait_until(lambda: (plan.trial_folder(0) / "checkpoint").exists())
    for process in trials_at_work(plan):
        process.terminate()
    worker.join()
    (row,) = rows(study, plan)
    assert (row.state, row.attempts, row.error) == ("complete", 2, "")
    assert history(plan, 0) == ["start at 0", "start at 1", "end"]


def test_a_sweep_that_is_interrupted_puts_its_trials_back_without_counting(make_plan, tmp_path):
    """As a terminal's Ctrl-C: the signal goes to every process of the sweep's group."""
    plan = make_plan("steps=20", "hang=0000,0001", max_retries=0)
    study = prepare(plan, num_trials=3, settings={})
    process = forking.Started(parent_of(plan, tmp_path), start_new_session=True)
    wait_until(lambda: all((plan.trial_folder(n) / "checkpoint").exists() for n in (0, 1)))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=300) == 130
    wait_until(lambda: not trials_at_work(plan))
    assert [(row.state, row.attempts) for row in rows(study, plan)] == [("waiting", 1)] * 3
    Worker(plan=plan).work()
    assert [(row.state, row.attempts) for row in rows(study, plan)] == [("complete", 1)] * 3
    assert [history(plan, n)[1] for n in (0, 1)] == ["start at 1"] * 2


def test_settings_that_are_known_are_not_trained_again(make_plan):
    space = {"x": Choice(key="x", values=[0.1, 0.2, 1, 1.0]), "steps": Choice(key="steps", values=[1])}
    plan = make_plan(space=space)
    found = run(plan, 12)
    trained = [row for row in found if row.same_as is None]
    assert len(trained) <= 4
    for row in found:
        first = next(other for other in trained if other.number == (row.number if row.same_as is None else row.same_as))
        assert (row.values, row.params) == (first.values, first.params)
        assert plan.trial_folder(row.number).exists() == (row is first)


def test_the_same_settings_that_run_elsewhere_are_waited_for(make_plan):
    plan = make_plan("hang=0000", space={"x": Choice(key="x", values=[0.5])})
    study = prepare(plan, num_trials=2, settings={})
    workers = [threading.Thread(target=Worker(plan=plan, index=index).work) for index in range(2)]
    for worker in workers:
        worker.start()
    wait_until(lambda: (plan.trial_folder(0) / "checkpoint").exists())
    for process in trials_at_work(plan):
        process.kill()
    for worker in workers:
        worker.join()
    found = rows(study, plan)
    assert [row.state for row in found] == ["complete"] * 2
    assert [row.same_as is None for row in found].count(True) == 1


def test_workers_that_cannot_work_end_the_sweep(make_plan):
    study = prepare(plan := make_plan(), num_trials=2, settings={})
    broken = make_plan(storage="sqlite:////nowhere/else.db")
    with pytest.raises(WorkersFailed, match="exit code 1"):
        watch(broken, study, Local(num_workers=1, threads=1), plan.directory, progress=lambda rows: None)


def test_cores_and_gpus_are_shared_out(monkeypatch):
    monkeypatch.setattr("sr_lab.sweeps.launchers.num_cores", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cpu = Local()
    assert (cpu.num_workers, cpu.share(0), cpu.share(1)) == (2, Share(threads=1), Share(threads=1))
    monkeypatch.setattr("sr_lab.sweeps.launchers.num_cores", lambda: 16)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    gpu = Local()
    assert [gpu.share(index) for index in range(gpu.num_workers)] == [
        Share(threads=8, gpu="2"),
        Share(threads=8, gpu="5"),
    ]
    environment = gpu.share(1).environment()
    assert (environment["OMP_NUM_THREADS"], environment["CUDA_VISIBLE_DEVICES"]) == ("8", "5")
