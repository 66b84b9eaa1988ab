"""A sweep over choices and seeds as a table for a paper: means with intervals, each choice against a baseline."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_lab.base.files import replacing, write_text
from sr_lab.sweeps.ablation import Choice, Setting, cells_of, compare, latex, markdown
from sr_lab.sweeps.outcome import TRIALS

__all__ = ["Ablation", "Choice", "Setting", "ablation"]


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What a sweep over choices and seeds shows.

    Attributes:
        choices: One row a choice, with its values by seed, mean, interval and test.
        table: The same as Markdown.
        output: Folder of table.md, table.tex, ablation.png and ablation.pdf.
        num_trials: Trials of the sweep.
        num_left_out: Trials among them that are not complete, and are left out.
    """

    choices: list[Choice]
    table: str
    output: Path
    num_trials: int
    num_left_out: int


def ablation(
    sweep: Path,
    output: Path,
    *,
    seed: str = "seed",
    baseline: Setting | None = None,
    objective: str | None = None,
    alpha: float = 0.05,
) -> Ablation:
    """Makes tables and plots of a sweep that has ended.

    Intervals are Student's over the seeds, the test is the paired t test by seed, corrected over the choices (Holm).

    Args:
        sweep: Folder of the sweep.
        output: Folder for the tables and plots.
        seed: Label of the parameter that is the seed.
        baseline: The choice with which the others are compared; None takes the first.
        objective: The objective by its key; None takes the first.
        alpha: Probability with which an interval misses the truth.

    Raises:
        ValueError: If the sweep has not ended, or does not have that objective, seed or baseline.
    """
    file = sweep / TRIALS
    if not file.is_file():
        raise ValueError(f"{file} does not exist: give the folder of a sweep that has ended, as sweep=runs/NAME")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    objectives = list(content["objectives"])
    chosen = objectives[0] if objective is None else objective
    if chosen not in objectives:
        raise ValueError(f"objective={chosen}: the sweep has {', '.join(objectives)}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha}: must lie between 0 and 1")
    cells = cells_of(content["trials"], objective=objectives.index(chosen), seed=seed)
    choices = compare(cells, baseline=baseline, alpha=alpha)
    table = markdown(choices, objective=chosen, alpha=alpha)
    maximize = content["objectives"][chosen] == "maximize"
    write_text(output / "table.md", table)
    write_text(output / "table.tex", latex(choices, objective=chosen, alpha=alpha, maximize=maximize))
    from sr_lab.sweeps.ablation_plot import draw  # here, because matplotlib takes a second

    with replacing(output / "ablation.png") as png, replacing(output / "ablation.pdf") as pdf:
        draw(choices, [png, pdf], objective=chosen, alpha=alpha)
    left = sum(row["state"] != "complete" for row in content["trials"])
    return Ablation(
        choices=list(choices), table=table, output=output, num_trials=len(content["trials"]), num_left_out=left
    )
