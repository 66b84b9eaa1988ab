"""Pictures of a comparison."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sr_lab.base.figures import add_axes, new_figure, png
from sr_lab.monitoring.comparison import Drift
from sr_lab.monitoring.features import feature
from sr_lab.monitoring.repeated import Check
from sr_lab.monitoring.stream import StreamResult

if TYPE_CHECKING:
    import pandas as pd

_BEFORE, _NOW, _SOFT, _ALARM = "#8a8f96", "#0b6e8a", "#d6d8db", "#c43d20"
_COLUMNS, _WIDTH, _DPI = 4, 13, 90


def plot_drift(
    drift: Drift, reference: "pd.DataFrame", current: "pd.DataFrame", *, q: float = 0.05, num_features: int = 8
) -> bytes:
    """How far every feature moved, and the distributions of those that moved most, as PNG."""
    ranked = sorted(drift.shifts, key=lambda shift: -shift.wasserstein)
    rows = -(-min(num_features, len(ranked)) // _COLUMNS)
    bars, plots = 0.24 * len(ranked) + 0.9, 2.3 * rows
    figure = new_figure(_WIDTH, bars + plots, dpi=_DPI)
    (axes,) = add_axes(figure, left=2.2, bottom=plots + 0.55)
    colours = [_NOW if shift.p_adjusted <= q else _SOFT for shift in ranked]
    axes.barh([feature(shift.name).label for shift in ranked], [s.wasserstein for s in ranked], color=colours)
    axes.invert_yaxis()
    axes.set_xlabel("moved by (Wasserstein, standard deviations of the reference); grey: not significant", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.margins(y=0.01)
    grid = add_axes(figure, rows, _COLUMNS, left=0.15, bottom=0.3, top=bars + 0.3, hspace=0.35, wspace=0.06)
    for place, shift in zip(grid, ranked, strict=False):
        _histogram(place, shift.name, reference[shift.name], current[shift.name])
    for place in grid[len(ranked[:num_features]) :]:
        place.set_axis_off()
    grid[0].legend(fontsize=8)
    return png(figure)


def plot_checks(checks: Sequence[Check], alpha: float) -> bytes:
    """The p-values of repeated checks, their level, and when the alarm was on, as PNG."""
    figure = new_figure(_WIDTH, 2.4, dpi=_DPI)
    (axes,), numbers = add_axes(figure), np.arange(1, len(checks) + 1)
    for number, check in zip(numbers, checks, strict=True):
        if check.alarm:
            axes.axvspan(number - 0.5, number + 0.5, color=_ALARM, alpha=0.15, lw=0)
    axes.step(numbers, [check.level for check in checks], where="mid", color=_ALARM, label="level of a check")
    axes.axhline(alpha, color=_SOFT, label="an alarm ends above")
    values = [np.nan if check.p_value is None else check.p_value for check in checks]
    axes.plot(numbers, values, "o-", color=_NOW, ms=4, lw=1, label="p-value")
    axes.set_yscale("log")
    axes.set_xlim(0.5, len(checks) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("check (red: alarm)", fontsize=9)
    axes.legend(fontsize=8)
    return png(figure)


def plot_stream(result: StreamResult, *, num_features: int = 6) -> bytes:
    """The gamblers' capital along the stream, as PNG."""
    figure = new_figure(_WIDTH, 3, dpi=_DPI)
    (axes,) = add_axes(figure)
    for rank, column in enumerate(result.log_capital.max(0).argsort()[::-1]):
        shown = rank < num_features
        axes.plot(
            np.arange(1, len(result.log_capital) + 1),
            result.log_capital[:, column] / np.log(10),
            color=f"C{rank}" if shown else _SOFT,
            lw=1.4 if shown else 0.8,
            zorder=2 if shown else 1,
            label=feature(result.names[column]).label if shown else None,
        )
    axes.axhline(result.threshold / np.log(10), color=_ALARM, ls="--", label="alarm")
    axes.set_xlabel("image", fontsize=9)
    axes.set_ylabel("evidence, powers of ten", fontsize=9)
    axes.legend(fontsize=8, ncols=2)
    return png(figure)


def _histogram(axes: Axes, name: str, before: "pd.Series", now: "pd.Series") -> None:
    known = feature(name)
    title = f"{known.label}, {known.unit}" if known.unit else known.label
    columns = {"reference": before.to_numpy(float), "now": now.to_numpy(float)}
    pooled = np.concatenate([column[np.isfinite(column)] for column in columns.values()])
    low, high = np.percentile(pooled, (0.5, 99.5)) if len(pooled) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, 25)
    for (label, column), colour in zip(columns.items(), (_BEFORE, _NOW), strict=True):
        present = column[np.isfinite(column)]
        shares = np.histogram(np.clip(present, edges[0], edges[-1]), edges)[0] / len(column)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.6, label=label)
        if len(present) < len(column):
            title += f"; {label} none in {1 - len(present) / len(column):.0%}"
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_yticks([])
