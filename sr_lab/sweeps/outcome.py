"""What became of the trials: plain rows for tables, plots and tracking."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from sr_lab.base.statistics import half_width
from sr_lab.base.words import counted
from sr_lab.sweeps.plan import Plan
from sr_lab.sweeps.queue import ERROR, attempt, latest, original, same_as
from sr_lab.training.run_folder import RunFolder

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
        same_as: Number of the earlier trial of the same settings whose values these are; None for one that was trained.
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
    same_as: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it neither waits nor runs."""
        return self.state not in ("waiting", "running")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "curve": {str(step): value for step, value in self.curve.items()}}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Complete trials that differ in nothing but a replicate (a seed); where nothing is replicated, one trial.

    Attributes:
        params: What is searched, by label, without the replicates.
        numbers: The trials.
        values: Mean of each objective over them, in the sweep's order.
        halves: Half width of each mean's 95 % interval (Student); NaN for a single trial.
    """

    params: Mapping[str, Any]
    numbers: tuple[int, ...]
    values: tuple[float, ...]
    halves: tuple[float, ...]

    def text(self, plan: Plan) -> str:
        """The objectives, for people."""
        pairs = zip(plan.objectives, self.values, self.halves, strict=True)
        return ", ".join(
            f"{key} {mean:.5g}" + ("" if len(self.numbers) < 2 else f" ± {half:.2g}") for key, mean, half in pairs
        )

    @property
    def title(self) -> str:
        """Which trials it is."""
        if len(self.numbers) == 1:
            return f"trial {self.numbers[0]}"
        return f"mean of {counted(len(self.numbers), 'trial')} ({', '.join(str(number) for number in self.numbers)})"


def rows(study: optuna.Study, plan: Plan) -> list[Row]:
    """Every trial of the sweep, in order."""
    trials = study.get_trials(deepcopy=False)
    seconds: dict[int, float] = {}
    for trial in trials:
        seconds[original(trial)] = seconds.get(original(trial), 0.0) + _duration(trial)
    return [_row(trial, plan, seconds[original(trial)]) for trial in latest(trials)]


def settings(found: Sequence[Row], plan: Plan) -> list[Setting]:
    """The complete trials, those together that differ in replicates alone, in the order of their first."""
    together: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        if row.state == "complete":
            key = tuple((label, type(row.params.get(label)), row.params.get(label)) for label in plan.searched)
            together.setdefault(key, []).append(row)
    return [_setting(trials, plan) for trials in together.values()]


def best(found: Sequence[Row], plan: Plan) -> Setting | None:
    """The setting with the best mean of the first objective; the earlier of two equal ones.

    Only settings with as many complete trials as any other compete: one whose unlucky seeds failed has no better mean.
    None where no trial is complete, or where nothing but replicates is searched: among seeds there is no winner.
    """
    if not plan.searched:
        return None
    sign = -1 if next(iter(plan.objectives.values())) == "maximize" else 1
    there = settings(found, plan)
    most = max((len(setting.numbers) for setting in there), default=0)
    rivals = [setting for setting in there if len(setting.numbers) == most]
    return min(rivals, key=lambda setting: (sign * setting.values[0], setting.numbers[0]), default=None)


def front(found: Sequence[Row], plan: Plan) -> list[Setting]:
    """The settings that no other one beats in every objective (Pareto), best first objective first."""
    signs = [-1 if direction == "maximize" else 1 for direction in plan.objectives.values()]
    there = [
        (setting, [sign * value for sign, value in zip(signs, setting.values, strict=True)])
        for setting in settings(found, plan)
    ]
    kept = [
        (setting, mine)
        for setting, mine in there
        if not any(
            all(o <= m for o, m in zip(other, mine, strict=True))
            and (other != mine or rival.numbers[0] < setting.numbers[0])
            for rival, other in there
            if rival is not setting
        )
    ]
    return [setting for setting, _ in sorted(kept, key=lambda pair: pair[1])]


def _setting(trials: Sequence[Row], plan: Plan) -> Setting:
    columns = list(zip(*(row.values for row in trials), strict=True))
    return Setting(
        params={label: trials[0].params[label] for label in plan.searched},
        numbers=tuple(row.number for row in trials),
        values=tuple(fmean(column) for column in columns),
        halves=tuple(half_width(column, alpha=0.05) for column in columns),
    )


def _row(trial: FrozenTrial, plan: Plan, seconds: float) -> Row:
    result = _read(RunFolder(plan.trial_folder(original(trial))).result_file)
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
        same_as=same_as(trial),
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
