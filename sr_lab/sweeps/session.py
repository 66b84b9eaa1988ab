"""The parent of a sweep: makes the queue, starts the workers, and watches until every trial has ended."""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from sr_lab.base.files import claim, write_text
from sr_lab.base.words import counted
from sr_lab.sweeps.launchers import Launcher, WorkersFailed, worker_task
from sr_lab.sweeps.outcome import Row, rows
from sr_lab.sweeps.plan import Plan
from sr_lab.sweeps.queue import fill, lost, unfinished
from sr_lab.sweeps.sampling import Grid
from sr_lab.sweeps.storage import create_storage, open_storage

_LOOK_SECONDS = 0.5
_SETTINGS, _IDENTITY, IDENTITY = "settings", "identity", "sweep.json"


class GivenUp(RuntimeError):
    """The first trials all failed; the message says of what.

    Attributes:
        result: What was found until then, where a search has written it down.
    """

    result: Any = None


def prepare(plan: Plan, *, num_trials: int | None, settings: Mapping[str, Any]) -> optuna.Study:
    """Makes storage, study and queue, or finds those of an earlier call.

    Args:
        plan: the sweep's.
        num_trials: the budget; a larger one than before adds trials. None: the whole grid.
        settings: what makes two trials comparable, plain values; another call with others is refused.

    Raises:
        ValueError: if the study was made under other settings or from another folder, the folder holds the trials of
            another study, or there is no budget.
    """
    points = _points(plan, num_trials)
    create_storage(plan.storage)
    study = optuna.create_study(
        study_name=plan.name,
        storage=open_storage(plan.storage),
        directions=list(plan.objectives.values()),
        load_if_exists=True,
    )
    before = study.user_attrs.get(_SETTINGS)
    now: dict[str, str] = {key: _text(value) for key, value in settings.items()}
    if before is None:
        study.set_user_attr(_SETTINGS, now)
    else:
        remedy = "Give name=... for a new sweep, or the former values to go on with this one"
        claim(before, now, where=f"sweep {plan.name}", remedy=remedy)
    _claim(plan, study)
    fill(study, points)
    return plan.open()


def _claim(plan: Plan, study: optuna.Study) -> None:
    """Joins the study and the folder of its trials for good: whoever comes from another folder has other trials.

    A sweep that an earlier release began has no mark; it is taken over by a folder that holds trials.
    """
    mark = plan.folder / IDENTITY
    begun = any(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
    there = any(plan.folder.glob("[0-9]*/"))
    theirs = study.user_attrs.get(_IDENTITY)
    ours = json.loads(mark.read_text(encoding="utf-8"))["identity"] if mark.is_file() else None
    if ours is not None and ours != theirs and there:
        raise ValueError(
            f"{plan.folder} holds the trials of another sweep than {plan.name} in {plan.storage}: give name=... or "
            "output=... for a new sweep, or the former storage to go on with that one"
        )
    if (theirs is not None and ours != theirs) or (theirs is None and begun and not there):
        raise ValueError(
            f"the storage holds a sweep {plan.name} that was begun from another folder than {plan.folder.parent}: its "
            "trials lie there. Give name=... for a sweep of your own, or go on with that one where it was begun"
        )
    identity = theirs or uuid.uuid4().hex
    write_text(mark, json.dumps({"identity": identity, "name": plan.name}) + "\n")
    if theirs is None:
        study.set_user_attr(_IDENTITY, identity)


def _points(plan: Plan, num_trials: int | None) -> list[dict[str, Any]]:
    grid = plan.sampler(seed=plan.seed)
    if isinstance(grid, Grid) and num_trials is None:
        return grid.points(plan.space)
    if not isinstance(num_trials, int) or num_trials < 1:
        raise ValueError(f"num_trials={num_trials}: at least 1; null, the whole grid, goes with sampler=grid")
    return grid.points(plan.space)[:num_trials] if isinstance(grid, Grid) else [{} for _ in range(num_trials)]


def _text(value: Any) -> str:
    """A value to compare, short enough for any database."""
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) < 200 else hashlib.sha256(text.encode()).hexdigest()


def watch(
    plan: Plan, study: optuna.Study, launcher: Launcher, folder: Path, *, progress: Callable[[Sequence[Row]], object]
) -> list[Row]:
    """Starts the workers and returns the trials when none waits or runs any more.

    Args:
        plan: the sweep's.
        study: as ``prepare`` gave it.
        launcher: where the workers run.
        folder: for the launcher's scripts and logs.
        progress: called with the trials whenever one changed.

    Raises:
        WorkersFailed: if workers ended and left trials.
        GivenUp: if the first trials of this call all failed.
    """
    seen: list[Row] | None = None
    _put_back_lost(plan, study)
    found = rows(study, plan)
    if not unfinished(study):
        return found
    before = {row.number for row in found if row.ended}
    launcher.start(worker_task(plan), folder)
    next_look = 0.0
    try:
        while True:
            alive = launcher.num_alive()
            if time.monotonic() >= next_look:
                _put_back_lost(plan, study)
                next_look = time.monotonic() + plan.heartbeat
            found = rows(study, plan)
            if found != seen:
                progress(found)
                seen = found
                _give_up([row for row in found if row.ended and row.number not in before], study, plan)
            if not alive:
                break
            time.sleep(_LOOK_SECONDS)
    finally:
        launcher.stop()
    if left := unfinished(study):
        raise WorkersFailed(
            f"every worker ended, with {counted(len(left), 'trial')} left: the same command goes on with them"
        )
    return rows(study, plan)


def _give_up(ended: Sequence[Row], study: optuna.Study, plan: Plan) -> None:
    """Raises ``GivenUp`` where every one of ``ended``, enough trials to judge by, failed, and others are left."""
    if plan.give_up is None or len(ended) < plan.give_up or any(row.state != "failed" for row in ended):
        return
    if left := len(unfinished(study)):
        raise GivenUp(
            f"every trial of the first {len(ended)} failed, so the remaining {left} will not be done. Trial "
            f"{ended[0].number}, "
            f"{ended[0].error}\nMend that; the same command goes on with the others (give_up=null: whatever fails), "
            "and name=... begins a new sweep"
        )


def _put_back_lost(plan: Plan, study: optuna.Study) -> None:
    for trial in list(lost(study, older_than=plan.grace)):
        plan.requeue(study, trial)
