"""Sweeps: what a trial costs beside the bare run, and whether random kills lose anything.

    python benchmarks/sweeps.py overhead --repeats 5
    python benchmarks/sweeps.py kills --trials 200

``overhead`` runs one tiny training alone and as the only trial of a sweep, in turn and in turned order; both are the
whole process, with and without what the trial reports to a pruner. ``kills`` runs a stub objective with two workers,
one of which, or of whose trials, is killed with -9 again and again, and now and then everything; then it counts.
"""

import argparse
import contextlib
import functools
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import psutil

from sr_lab.images import write_image
from sr_lab.sweeps.outcome import rows
from sr_lab.sweeps.plan import Plan
from sr_lab.sweeps.queue import original
from sr_lab.sweeps.session import prepare
from sr_lab.sweeps.space import Float
from sr_lab.sweeps.worker import Worker
from sr_lab.training.run_folder import RunFolder

STUB = Path(__file__).resolve().parents[1] / "tests" / "sweeps" / "stub.py"
TRAIN = (sys.executable, "-m", "sr_lab.cli", "train")


def settings(folder: Path) -> list[str]:
    """A training of a few steps on two noise pictures."""
    generator = np.random.default_rng(0)
    for part in ("train", "val"):
        write_image(folder / part / "0.png", generator.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = ["data=folder", f"data.train.roots={folder / 'train'}", f"data.val.roots={folder / 'val'}", "data.crop=24"]
    tiny = ["data.batch_size=2", f"data.cache={folder / 'cache'}", "model.network.num_features=8", "tracking=none"]
    return [*data, *tiny, "max_steps=20", "val_every=10", "preflight=false", "trainer.enable_progress_bar=false"]


def make_plan(folder: Path, **changes) -> Plan:
    arguments = {
        "name": "benchmark",
        "storage": f"sqlite:///{folder / 'study.db'}",
        "folder": folder / "trials",
        "directory": folder,
        "command": TRAIN,
        "train": tuple(settings(folder)),
        "space": {"lr": Float(key="optimizer.lr", low=1e-4, high=1e-2, log=True)},
        "objectives": {"val/psnr_y": "maximize"},
        "sampler": functools.partial(optuna.samplers.TPESampler),
    }
    return Plan(**(arguments | changes))


def overhead(repeats: int) -> None:
    never = {"n_startup_trials": repeats + 2}  # reports are read at every validation, and no trial ends early
    judge = {
        "_target_": "sr_lab.sweeps.judge.Judge",
        "pruner": {"_target_": "optuna.pruners.MedianPruner", **never},
    }
    callback = {"_target_": "sr_lab.training.early_end.EarlyEnd", "monitor": "val/psnr_y", "judge": judge}
    times: dict[str, list[float]] = {"bare run": [], "trial": [], "trial, pruner": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        median = {"pruner": optuna.pruners.MedianPruner(**never), "early_end": callback}
        plans = {
            "trial": make_plan(folder),
            "trial, pruner": replace(make_plan(folder), name="pruned", folder=folder / "pruned", **median),
        }
        studies = {}

        def bare(repeat: int) -> None:
            words = [*settings(folder), f"name=bare{repeat}", f"output={folder / f'bare{repeat}'}"]
            subprocess.run([*TRAIN, *words], check=True, stdout=subprocess.DEVNULL, cwd=folder)

        def trial(row: str, repeat: int) -> None:
            studies[row] = prepare(plans[row], num_trials=repeat + 1, settings={})
            assert Worker(plan=plans[row]).work() == 1
            assert rows(studies[row], plans[row])[-1].state == "complete"

        ways = {"bare run": bare, **{row: functools.partial(trial, row) for row in plans}}
        for repeat in range(repeats + 1):
            for row in list(ways)[:: 1 if repeat % 2 else -1]:
                start = time.perf_counter()
                ways[row](repeat)
                times[row] += [time.perf_counter() - start] if repeat else []
    bare = statistics.median(times["bare run"])
    print(f"{'':16}{'median s':>10}{'more than bare s':>19}   each")
    for row, each in times.items():
        more = statistics.median(a - b for a, b in zip(each, times["bare run"], strict=True))
        listed = " ".join(f"{value:.1f}" for value in each)
        print(f"{row:16}{statistics.median(each):10.2f}{'' if row == 'bare run' else f'{more:+.2f}':>19}   {listed}")
    print(f"the bare run does 20 steps and two validations in {bare:.1f} s, imports and export included")


PARENT = """
import pickle, sys
from pathlib import Path
from sr_lab.sweeps.launchers import Local
from sr_lab.sweeps.session import watch
if __name__ == "__main__":
    plan, launcher = pickle.loads(Path(sys.argv[1]).read_bytes()), Local(num_workers=2, threads=1, restarts=10**6)
    watch(plan, plan.open(), launcher, Path("launcher"), progress=lambda rows: None)
"""


def kills(trials: int, seed: int, every: float) -> None:
    import pickle

    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = make_plan(
            folder,
            command=(sys.executable, "-S", str(STUB)),
            train=("steps=10", "seconds=0.03"),
            space={"x": Float(key="x", low=0, high=1)},
            objectives={"val/score": "maximize"},
            max_retries=20,
            heartbeat=1,
            grace=3,
        )
        study = prepare(plan, num_trials=trials, settings={})
        (folder / "plan.pickle").write_bytes(pickle.dumps(plan))
        (folder / "parent.py").write_text(PARENT)
        counts = {"a trial": 0, "a worker": 0, "everything": 0}
        start = time.perf_counter()
        process = _parent(folder)
        while process.poll() is None:
            time.sleep(generator.expovariate(1 / every))
            what = generator.choices(list(counts), weights=[5, 4, 1])[0]
            if _kill(process, what, generator):
                counts[what] += 1
            if what == "everything":
                process.wait()
                process = _parent(folder)
        seconds = time.perf_counter() - start
        print(
            f"{trials} trials, two workers, {seconds:.0f} s; killed with -9: {counts}; exit code {process.returncode}"
        )
        count(plan, study, trials, folder / "study.db")


def count(plan: Plan, study: optuna.Study, trials: int, database: Path) -> None:
    """Print what became of the trials, by the storage and by what each trial wrote itself."""
    found = rows(study, plan)
    finished = [trial for trial in study.get_trials() if trial.state.name == "COMPLETE"]
    repeats = len(finished) - len({original(trial) for trial in finished})
    lines = [_history(plan, row.number) for row in found]
    resumed = sum(line.startswith("start at") and line != "start at 0" for each in lines for line in each)
    wrong = sum(abs(row.values[0] + (row.params["x"] - 0.3) ** 2) > 1e-12 for row in found if row.values)
    missing = sum(not RunFolder(plan.trial_folder(row.number)).result_file.exists() for row in found)
    check = sqlite3.connect(database).execute("PRAGMA integrity_check").fetchone()[0]
    states = [trial.state.name for trial in study.get_trials()]
    print(f"complete {len(finished)}, lost {trials - len(found)}, finished twice {repeats}")
    print(
        f"trained to the end once {sum(each.count('end') == 1 for each in lines)}, went on from a checkpoint {resumed}"
    )
    print(f"values that are not the objective's {wrong}, without result {missing}, storage: {check}")
    print(f"rows in the storage {len(states)}: { {state: states.count(state) for state in sorted(set(states))} }")


def _parent(folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(folder / "parent.py"), str(folder / "plan.pickle")]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)


def _kill(parent: "subprocess.Popen[bytes]", what: str, generator: random.Random) -> bool:
    """Kills one process of the kind as soon as there is one; False where the sweep ends before."""
    mark = {"a trial": STUB.name, "a worker": "spawn_main"}.get(what)
    while parent.poll() is None:
        if mark is None:
            os.kill(parent.pid, signal.SIGKILL)
            return True
        try:
            family = psutil.Process(parent.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return False
        generator.shuffle(family)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                if mark in " ".join(process.cmdline()):
                    process.kill()
                    return True
        time.sleep(0.01)
    return False


def _history(plan: Plan, number: int) -> list[str]:
    file = plan.trial_folder(number) / "history.txt"
    return file.read_text().splitlines() if file.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "kills"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=3.0, help="mean seconds between two kills")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if arguments.what == "overhead":
        overhead(arguments.repeats)
    else:
        kills(arguments.trials, arguments.seed, arguments.every)


if __name__ == "__main__":
    main()
