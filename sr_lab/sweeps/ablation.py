"""Ablations: choices over seeds, each mean with its interval, each choice against the baseline by a paired test.

The seed is the unit: what differs between two seeds is the whole training (weights, order, crops), while the data and
the validation images stay. An interval tells what another seed would give, not what other images would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sr_lab.base.statistics import half_width, holm, paired_p

Setting = tuple[tuple[str, Any], ...]
"""The values of the parameters other than the seed, by label."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One row of the table.

    Attributes:
        setting: what it is.
        values: the objective by seed.
        mean: over the seeds.
        half: half width of the mean's interval (Student); NaN for a single seed.
        paired: differences from the baseline of the seeds that both have; empty for the baseline itself.
        difference: their mean; NaN where there is none.
        difference_half: half width of its interval; NaN below two seeds.
        p: two-sided paired t test, corrected over the choices (Holm 1979); NaN where it cannot be made.
    """

    setting: Setting
    values: Mapping[Any, float]
    mean: float
    half: float
    paired: tuple[float, ...]
    difference: float
    difference_half: float
    p: float

    def differs(self, *, alpha: float) -> bool:
        """Whether the interval of its difference from the baseline excludes zero, and the corrected test agrees."""
        return abs(self.difference) > self.difference_half and not self.p >= alpha

    @property
    def name(self) -> str:
        """The setting in words."""
        return ", ".join(f"{label}={value}" for label, value in self.setting)


def compare(
    cells: Mapping[Setting, Mapping[Any, float]], *, baseline: Setting | None = None, alpha: float = 0.05
) -> list[Choice]:
    """Every choice with its statistics, the baseline first.

    Args:
        cells: the objective of each choice by seed.
        baseline: with which the others are compared, its labels in any order; None: the first.
        alpha: the intervals miss the truth with this probability.

    Raises:
        ValueError: if there is no such baseline, or fewer than two choices.
    """
    if len(cells) < 2:
        raise ValueError(f"an ablation compares two choices or more, there are {len(cells)} with a complete trial")
    wanted = next(iter(cells)) if baseline is None else baseline
    same = [setting for setting in cells if dict(setting) == dict(wanted)]
    if not same:
        names = "; ".join(", ".join(f"{label}={value}" for label, value in setting) for setting in cells)
        raise ValueError(f"no such baseline: {dict(wanted)}; there are {names}")
    baseline = same[0]
    ordered = [baseline, *(setting for setting in cells if setting != baseline)]
    pairs = {setting: _paired(cells[setting], cells[baseline]) for setting in ordered[1:]}
    p_values = holm([paired_p(differences) for differences in pairs.values()])
    corrected = dict(zip(pairs, p_values, strict=True))
    choices = []
    for setting in ordered:
        values = list(cells[setting].values())
        differences = pairs.get(setting, [])
        choices.append(
            Choice(
                setting=setting,
                values=dict(cells[setting]),
                mean=float(np.mean(values)),
                half=half_width(values, alpha=alpha),
                paired=tuple(differences),
                difference=float(np.mean(differences)) if differences else float("nan"),
                difference_half=half_width(differences, alpha=alpha),
                p=corrected.get(setting, float("nan")),
            )
        )
    return choices


def cells_of(rows: Sequence[Mapping[str, Any]], *, objective: int, seed: str) -> dict[Setting, dict[Any, float]]:
    """The objective of complete trials by choice and seed.

    Args:
        rows: trials as ``outcome.Row.as_dict`` gives them.
        objective: place of the objective.
        seed: label of the parameter that is the seed.

    Raises:
        ValueError: if no parameter has that label, or two trials are the same choice and seed.
    """
    cells: dict[Setting, dict[Any, float]] = {}
    for row in rows:
        if seed not in row["params"] and row["state"] == "complete":
            labels = ", ".join(row["params"])
            raise ValueError(
                f"seed={seed}: the sweep has no such parameter; it searched {labels}. Sweep over seeds too"
            )
        if row["state"] != "complete":
            continue
        setting = tuple((label, value) for label, value in row["params"].items() if label != seed)
        cell = cells.setdefault(setting, {})
        if row["params"][seed] in cell:
            raise ValueError(f"trials of {dict(setting)} have the seed {row['params'][seed]} twice: use sampler=grid")
        cell[row["params"][seed]] = float(row["values"][objective])
    return cells


def _paired(values: Mapping[Any, float], baseline: Mapping[Any, float]) -> list[float]:
    return [value - baseline[seed] for seed, value in values.items() if seed in baseline]


def markdown(choices: Sequence[Choice], *, objective: str, alpha: float) -> str:
    """The table as Markdown."""
    level = f"{100 * (1 - alpha):g} %"
    lines = [
        f"| choice | seeds | {objective} ({level} interval) | difference ({level} interval) | p (paired t, Holm) |",
        "|---|---|---|---|---|",
    ]
    for choice in choices:
        cells = [
            choice.name,
            str(len(choice.values)),
            _plus_minus(choice.mean, choice.half, "±"),
            *_against(choice, "±"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def latex(choices: Sequence[Choice], *, objective: str, alpha: float, maximize: bool) -> str:
    """The table as LaTeX (booktabs).

    The best mean is in bold where the seeds show it: the interval of its difference from the baseline excludes zero,
    or, where the baseline is best, those of all the others do.
    """
    sign = 1 if maximize else -1
    best = max(choices, key=lambda choice: sign * choice.mean)
    shown = [best] if best.paired else [choice for choice in choices if choice is not best]
    bold = all(choice.differs(alpha=alpha) for choice in shown)
    lines = [
        r"\begin{tabular}{lrrrr}",
        r"\toprule",
        rf"choice & seeds & {_escape(objective)} & difference & $p$ \\",
        r"\midrule",
    ]
    for choice in choices:
        mean = _plus_minus(choice.mean, choice.half, r"\pm")
        mean = rf"$\mathbf{{{mean}}}$" if bold and choice is best else f"${mean}$"
        difference, p = _against(choice, r"\pm")
        cells = [
            _escape(choice.name),
            str(len(choice.values)),
            mean,
            f"${difference}$" if difference else "--",
            p or "--",
        ]
        lines.append(" & ".join(cells).replace("<", "$<$") + r" \\")
    note = (
        f"% mean and {100 * (1 - alpha):g} % interval over seeds; paired t test against the first row, Holm-corrected; "
        "bold: the best, where that is shown"
    )
    return "\n".join([note, *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _plus_minus(mean: float, half: float, sign: str) -> str:
    return f"{mean:.3f}" if half != half else f"{mean:.3f} {sign} {half:.3f}"


def _against(choice: Choice, sign: str) -> tuple[str, str]:
    if not choice.paired:
        return "", ""
    p = "" if choice.p != choice.p else ("<0.001" if choice.p < 0.001 else f"{choice.p:.3f}")
    mean = f"{choice.difference:+.3f}"
    return (
        mean if choice.difference_half != choice.difference_half else f"{mean} {sign} {choice.difference_half:.3f}"
    ), p


def _escape(text: str) -> str:
    for character in "_%&#":
        text = text.replace(character, f"\\{character}")
    return text
