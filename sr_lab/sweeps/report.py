"""A sweep's report: one HTML page that needs no other file."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna

from sr_lab.base.files import write_text
from sr_lab.base.page import render
from sr_lab.sweeps import plots
from sr_lab.sweeps.outcome import Row, best, front, settings
from sr_lab.sweeps.plan import Plan

REPORT = "report.html"
FEWEST_FOR_IMPORTANCE = 6


def write_report(
    path: Path, study: optuna.Study, plan: Plan, rows: Sequence[Row], *, title: str, experiment: str
) -> None:
    """Writes the page.

    Args:
        path: the file.
        study: where the importances come from.
        plan: the sweep's.
        rows: its trials.
        title: of the page.
        experiment: what was trained.
    """
    objectives = list(plan.objectives)
    maximize = plan.objectives[objectives[0]] == "maximize"
    complete = [row for row in rows if row.state == "complete"]
    top = best(rows, plan)
    alone = [] if plan.searched else settings(rows, plan)
    replicated = len(plan.searched) < len(plan.space)
    winners = front(rows, plan) if len(objectives) > 1 else []
    pictures: dict[str, str] = {}
    if complete:
        pictures["history"] = plots.history(rows, objectives[0], maximize=maximize, best=not replicated)
        pictures["parallel"] = plots.parallel(rows, plan.space, objectives[0], maximize=maximize)
        pictures["slices"] = plots.slices(rows, plan.space, objectives[0])
    shares = importances(study, complete)
    if shares:
        pictures["importance"] = plots.importance(shares)
    if winners:
        pictures["pareto"] = plots.pareto(settings(rows, plan), winners, objectives)
    if any(row.curve for row in rows):
        pictures["curves"] = plots.curves(rows, objectives[0])
    pictures["cost"] = plots.cost(rows)
    page = render(
        Path(__file__).with_name("report.html.j2"),
        title=title,
        experiment=experiment,
        plan=plan,
        rows=rows,
        best=top,
        shown=top or next(iter(alone), None),
        replicated=replicated,
        reused=sum(row.same_as is not None for row in rows),
        front=winners,
        pictures=pictures,
        states={state: sum(row.state == state for row in rows) for state in plots.COLOURS},
        seconds=sum(row.seconds for row in rows),
        seconds_by_state={s: sum(row.seconds for row in rows if row.state == s) for s in plots.COLOURS},
        saved=saved_steps(rows),
        num_for_importance=FEWEST_FOR_IMPORTANCE,
    )
    write_text(path, page)


def importances(study: optuna.Study, complete: Sequence[Row]) -> Mapping[str, float]:
    """How much of the first objective's spread each parameter explains (PED-ANOVA, Watanabe et al. 2023).

    Empty where there are too few trials to say, or nothing differs.
    """
    differing = {
        label for row in complete for label in row.params if row.params[label] != complete[0].params.get(label)
    }
    values = {row.values[0] for row in complete}
    if len(complete) < FEWEST_FOR_IMPORTANCE or len(differing) < 2 or len(values) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares: dict[str, float] = optuna.importance.get_param_importances(study, target=lambda trial: trial.values[0])
    return {label: share for label, share in shares.items() if share == share}


def saved_steps(rows: Sequence[Row]) -> float | None:
    """Share of the optimizer steps that ending trials early saved; None where none was ended so."""
    known = [(row.steps, row.max_steps) for row in rows if row.steps is not None and row.max_steps is not None]
    if not any(row.state == "pruned" for row in rows) or not known:
        return None
    return 1 - sum(steps for steps, _ in known) / sum(most for _, most in known)
