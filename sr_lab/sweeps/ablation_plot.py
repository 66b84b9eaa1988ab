"""The plot of an ablation: every seed, the means with their intervals, and the differences from the baseline."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sr_lab.sweeps.ablation import Choice
from sr_lab.sweeps.plots import COLOURS, style

_INK, _SEED = COLOURS["complete"], "#b9c4cc"


def draw(choices: Sequence[Choice], files: Sequence[Path], *, objective: str, alpha: float) -> None:
    """Writes the plot; the suffix of each file tells its format (PNG, PDF, SVG).

    Left, a point a seed, joined with the baseline's of that seed, and the mean with its interval; right, the mean
    difference from the baseline with its interval.
    """
    figure = Figure(figsize=(9.6, 1.3 + 0.5 * len(choices)), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for axes in (left, right):
        style(axes)
    for seed in {seed: None for choice in choices for seed in choice.values}:
        there = [(choice.values[seed], row) for row, choice in enumerate(choices) if seed in choice.values]
        left.plot(*zip(*there, strict=True), color=_SEED, lw=0.8, marker="o", ms=3.5)
    for row, choice in enumerate(choices):
        left.errorbar(choice.mean, row, xerr=_bar(choice.half), fmt="D", color=_INK, capsize=3, ms=5.5, zorder=4)
        if choice.paired:
            half = _bar(choice.difference_half)
            right.errorbar(choice.difference, row, xerr=half, fmt="D", color=_INK, capsize=3, ms=5.5)
            if choice.p == choice.p:
                right.annotate(
                    f"p = {choice.p:.3f}" if choice.p >= 0.001 else "p < 0.001",
                    (choice.difference, row),
                    textcoords="offset points",
                    xytext=(0, 7),
                    ha="center",
                    fontsize=8,
                )
    right.axvline(0, color="#646a72", lw=1)
    left.set_yticks(range(len(choices)), [choice.name for choice in choices])
    left.set_ylim(len(choices) - 0.5, -0.5)
    level = f"{100 * (1 - alpha):g} % interval"
    left.set_xlabel(f"{objective}: seeds, mean, {level}")
    right.set_xlabel(f"difference from {choices[0].name}, {level}")
    for file in files:
        figure.savefig(file)


def _bar(half: float) -> float | None:
    return None if half != half else half
