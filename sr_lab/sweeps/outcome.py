"""What became of the trials: plain rows for tables, plots and tracking."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from sr_lab.sweeps.plan import Plan
from sr_lab.sweeps.queue import ERROR, attempt, latest, original
from sr_lab.sweeps.worker import RESULT

TRIALS = "trials.json"
State = Literal["complete", "pruned", "failed", "running", "waiting"]
_STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial, all its attempts together.

    Attributes:
        number: of its first attempt, and of its folder.
        state: how it ended, or that it has not.
        params: what it searched, by label.
        values: its objectives, in the sweep's order; of a pruned trial the last one reported; empty if there is none.
        curve: value after so many validations, where a pruner asked for it.
        attempts: how often it was started.
        seconds: that its training took; of all attempts as far as they were told, else of the last one.
        error: what it failed of; empty for one that did not.
        steps: optimizer steps done; None where no result tells.
        max_steps: optimizer steps of its budget; None where no result tells.
    """

    number: int
    state: State
    params: Mapping[str, Any]
    values: Sequence[float]
    curve: Mapping[int, float]
    attempts: int
    seconds: float
    error: str
    steps: int | None = None
    max_steps: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it neither waits nor runs."""
        return self.state not in ("waiting", "running")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "curve": {str(step): value for step, value in self.curve.items()}}


def rows(study: optuna.Study, plan: Plan) -> list[Row]:
    """Every trial of the sweep, in order."""
    trials = study.get_trials(deepcopy=False)
    seconds: dict[int, float] = {}
    for trial in trials:
        seconds[original(trial)] = seconds.get(original(trial), 0.0) + _duration(trial)
    return [_row(trial, plan, seconds[original(trial)]) for trial in latest(trials)]


def best(found: Sequence[Row], plan: Plan) -> Row | None:
    """The complete trial with the best first objective; the earlier of two equal ones; None where none is complete."""
    sign = -1 if next(iter(plan.objectives.values())) == "maximize" else 1
    complete = [row for row in found if row.state == "complete"]
    return min(complete, key=lambda row: (sign * row.values[0], row.number), default=None)


def front(found: Sequence[Row], plan: Plan) -> list[Row]:
    """The complete trials that no other one beats in every objective (Pareto), best first objective first."""
    signs = [-1 if direction == "maximize" else 1 for direction in plan.objectives.values()]
    complete = [
        (row, [sign * value for sign, value in zip(signs, row.values, strict=True)])
        for row in found
        if row.state == "complete"
    ]
    kept = [
        (row, mine)
        for row, mine in complete
        if not any(
            all(o <= m for o, m in zip(other, mine, strict=True)) and (other != mine or rival.number < row.number)
            for rival, other in complete
            if rival is not row
        )
    ]
    return [row for row, _ in sorted(kept, key=lambda pair: pair[1])]


def _row(trial: FrozenTrial, plan: Plan, seconds: float) -> Row:
    result = _read(plan.trial_folder(original(trial)) / RESULT)
    error = str(trial.user_attrs.get(ERROR, ""))
    if trial.state == TrialState.FAIL and not error:
        times = attempt(trial)
        error = f"its process was killed {times} time{'s' * (times != 1)}"
    return Row(
        number=original(trial),
        state=_STATES[trial.state],
        params=dict(trial.params),
        values=list(trial.values or []),
        curve=dict(trial.intermediate_values),
        attempts=attempt(trial),
        seconds=round(seconds, 1),
        error=error,
        steps=result.get("steps"),
        max_steps=result.get("max_steps"),
    )


def _duration(trial: FrozenTrial) -> float:
    if trial.datetime_start is None or trial.datetime_complete is None:
        return 0.0
    return (trial.datetime_complete - trial.datetime_start).total_seconds()


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
