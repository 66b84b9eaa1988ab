"""The queue of a sweep: its trials wait in the storage, and each is taken, run and told once.

The whole budget is put into the queue at the start, so that no two workers can draw one trial too many. A trial whose
process was killed ends as FAIL without an error, and the same configuration goes back into the queue as a new attempt.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

ORIGINAL, ATTEMPT, ERROR, SAME_AS = "original", "attempt", "error", "same_as"


def original(trial: FrozenTrial) -> int:
    """Number of the first attempt at this trial's configuration."""
    return int(trial.user_attrs.get(ORIGINAL, trial.number))


def attempt(trial: FrozenTrial) -> int:
    """Which attempt it is, from 1."""
    return int(trial.user_attrs.get(ATTEMPT, 1))


def same_as(trial: FrozenTrial) -> int | None:
    """Number of the trial whose value it has, as their settings are the same; None where it was trained itself."""
    number = trial.user_attrs.get(SAME_AS)
    return None if number is None else int(number)


def same(one: FrozenTrial, other: FrozenTrial) -> bool:
    """Whether two trials have the same settings; 1, 1.0 and true are three values."""
    kinds = [{label: (type(value), value) for label, value in trial.params.items()} for trial in (one, other)]
    return kinds[0] == kinds[1]


def was_killed(trial: FrozenTrial) -> bool:
    """Whether its process ended without a word."""
    return trial.state == TrialState.FAIL and ERROR not in trial.user_attrs


def latest(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The last attempt at each configuration, in the order of the first ones."""
    last: dict[int, FrozenTrial] = {}
    for trial in trials:
        known = last.get(original(trial))
        if known is None or attempt(trial) >= attempt(known):
            last[original(trial)] = trial
    return [last[number] for number in sorted(last)]


def unfinished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that wait or run."""
    return study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))


def fill(study: optuna.Study, points: Sequence[Mapping[str, Any]]) -> int:
    """Puts trials into the queue until it has held ``points`` in all; returns how many were added.

    Args:
        study: the sweep's.
        points: fixed values of each trial; what is not fixed is drawn when the trial is taken.
    """
    known = sum(ORIGINAL not in trial.user_attrs for trial in study.get_trials(deepcopy=False))
    for point in points[known:]:
        study.enqueue_trial(dict(point))
    return max(0, len(points) - known)


def claim(study: optuna.Study) -> int | None:
    """Takes the first waiting trial: its id, or None where none waits.

    The sign of life comes before the change of state: a worker that is killed in between leaves no trial that runs
    for ever.
    """
    storage: Any = study._storage
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        storage.record_heartbeat(trial._trial_id)
        try:
            if storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING):
                return trial._trial_id
        except optuna.exceptions.UpdateFinishedTrialError:
            continue
    return None


def requeue(study: optuna.Study, trial: FrozenTrial, *, max_retries: int, counted: bool = True) -> None:
    """Puts a killed trial back into the queue as a new attempt, with what was drawn and reported so far.

    Args:
        study: the sweep's.
        trial: one that ended as FAIL.
        max_retries: after how many further attempts it stays failed.
        counted: False for a worker that was asked to leave, which is no fault of the trial.
    """
    if ERROR in trial.user_attrs or (counted and attempt(trial) > max_retries):
        return
    distributions: dict[str, BaseDistribution] = dict(trial.distributions)
    marks = {**trial.user_attrs, ORIGINAL: original(trial), ATTEMPT: attempt(trial) + counted}
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=distributions,
            user_attrs=marks,
            system_attrs=dict(trial.system_attrs),
            intermediate_values=trial.intermediate_values,
        )
    )


def lost(study: optuna.Study, *, older_than: float) -> Iterator[FrozenTrial]:
    """Killed trials that nobody put back, because whoever noticed was killed at that moment.

    Args:
        study: the sweep's.
        older_than: seconds since the trial was failed; a worker alive puts it back at once.
    """
    trials = study.get_trials(deepcopy=False)
    before = datetime.now() - timedelta(seconds=older_than)
    for trial in latest(trials):
        if was_killed(trial) and trial.datetime_complete is not None and trial.datetime_complete < before:
            yield trial
