"""A sweep over choices and seeds as a table for a paper: means with intervals, each choice tested against the baseline.

    srlab sweep experiment=E sweep=ablation_loss
    srlab report sweep=runs/E_ablation_loss 'baseline={loss: "[l1]"}'

Writes OUTPUT/table.md, OUTPUT/table.tex (booktabs), OUTPUT/ablation.png and OUTPUT/ablation.pdf. Intervals are
Student's over the seeds, the test is the paired t test by seed, corrected over the choices (Holm). The numbers are of
the validation images that the sweep saw: they rank choices and are no benchmark result.
"""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr_lab.base.files import replacing, write_text
from sr_lab.config.compose import plain
from sr_lab.sweeps.ablation import Setting, cells_of, compare, latex, markdown
from sr_lab.sweeps.ablation_plot import draw
from sr_lab.sweeps.outcome import TRIALS


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    file = Path(cfg.sweep) / TRIALS
    if not file.is_file():
        raise ValueError(f"{file} does not exist: give the folder of a sweep that has ended, as sweep=runs/NAME")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    objectives = list(content["objectives"])
    objective = objectives[0] if cfg.objective is None else cfg.objective
    if objective not in objectives:
        raise ValueError(f"objective={objective}: the sweep has {', '.join(objectives)}")
    if not 0 < cfg.alpha < 1:
        raise ValueError(f"alpha={cfg.alpha}: must lie between 0 and 1")
    cells = cells_of(content["trials"], objective=objectives.index(objective), seed=cfg.seed)
    choices = compare(cells, baseline=_baseline(cfg), alpha=cfg.alpha)
    output = Path(cfg.output)
    maximize = content["objectives"][objective] == "maximize"
    table = markdown(choices, objective=objective, alpha=cfg.alpha)
    write_text(output / "table.md", table)
    write_text(output / "table.tex", latex(choices, objective=objective, alpha=cfg.alpha, maximize=maximize))
    with replacing(output / "ablation.png") as png, replacing(output / "ablation.pdf") as pdf:
        draw(choices, [png, pdf], objective=objective, alpha=cfg.alpha)
    left = sum(row["state"] != "complete" for row in content["trials"])
    print(table, end="")
    if left:
        print(f"{left} of {len(content['trials'])} trials are not complete and are left out")
    print(f"tables and plots: {output}")
    return 0


def _baseline(cfg: DictConfig) -> Setting | None:
    return None if cfg.baseline is None else tuple(plain(cfg.baseline).items())
