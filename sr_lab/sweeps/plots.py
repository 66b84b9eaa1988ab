"""The plots of a sweep's report, as SVG."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from sr_lab.sweeps.outcome import Row, Setting
from sr_lab.sweeps.space import Float, Integer, Parameter

COLOURS = {"complete": "#2f6f9f", "pruned": "#c98a1b", "failed": "#c43d20", "running": "#9aa0a6", "waiting": "#d5d7d9"}
_SOFT, _LINE = "#646a72", "#e2e2dd"


WORDS = {"pruned": "ended early"}
"""How a state is called, where it is called otherwise than Optuna calls it."""


def history(rows: Sequence[Row], objective: str, *, maximize: bool, best: bool = True) -> str:
    """The first objective of every trial in their order, and the best so far up to the last one.

    Args:
        rows: The trials.
        objective: Name of the first objective.
        maximize: Whether more is better.
        best: Whether the best so far is drawn; among repetitions there is none.
    """
    figure, axes = _figure(9.6, 3.4)
    complete = [row for row in rows if row.state == "complete"]
    if complete and best:
        values = np.array([row.values[0] for row in complete])
        so_far = np.maximum.accumulate(values) if maximize else np.minimum.accumulate(values)
        places = [*(row.number for row in complete), max(row.number for row in rows if row.ended)]
        colour = COLOURS["complete"]
        axes.step(places, [*so_far, so_far[-1]], where="post", color=colour, lw=1.2, alpha=0.6, label="best so far")
    for state in ("complete", "pruned"):
        there = [row for row in rows if row.state == state and row.values]
        if not there:
            continue
        face = COLOURS[state] if state == "complete" else "none"
        numbers, values_of = [row.number for row in there], [row.values[0] for row in there]
        axes.scatter(
            numbers, values_of, s=26, color=COLOURS[state], facecolor=face, label=WORDS.get(state, state), zorder=3
        )
    for row in rows:
        if row.state == "failed":
            axes.axvline(row.number, color=COLOURS["failed"], lw=1, alpha=0.5, ls=":")
    if any(row.state == "failed" for row in rows):
        axes.plot([], [], color=COLOURS["failed"], ls=":", label="failed")
    axes.set(xlabel="trial", ylabel=objective)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return _svg(figure)


def importance(shares: Mapping[str, float]) -> str:
    """A bar a parameter, the largest on top."""
    figure, axes = _figure(9.6, 0.7 + 0.36 * len(shares))
    labels = list(shares)[::-1]
    bars = axes.barh(labels, [shares[label] for label in labels], color=COLOURS["complete"], height=0.62)
    axes.bar_label(bars, fmt="%.2f", padding=4, fontsize=9, color=_SOFT)
    axes.set_xlim(0, 1.08 * max(shares.values(), default=1) or 1)
    axes.set_xlabel("share of what the parameters explain")
    return _svg(figure)


def parallel(rows: Sequence[Row], space: Mapping[str, Parameter], objective: str, *, maximize: bool) -> str:
    """A line a complete trial over one axis a parameter, coloured by the first objective; the best are drawn last."""
    complete = [row for row in rows if row.state == "complete"]
    ordered = sorted(complete, key=lambda row: row.values[0], reverse=not maximize)
    columns = [_column(label, parameter, ordered) for label, parameter in space.items()]
    values = np.array([row.values[0] for row in ordered])
    low, high = _limits(values)
    columns.append(((values - low) / (high - low), [(0.0, f"{low:.5g}"), (1.0, f"{high:.5g}")], objective))
    figure, axes = _figure(max(9.6, 1.7 * len(columns)), 4.0)
    norm, colours = Normalize(low, high), colormaps["viridis" if maximize else "viridis_r"]
    for index, value in enumerate(values):
        heights = [column[0][index] for column in columns]
        axes.plot(range(len(columns)), heights, color=colours(norm(value)), lw=1.6, alpha=0.8)
    for place, (_, ticks, title) in enumerate(columns):
        axes.vlines(place, 0, 1, color=_SOFT, lw=1)
        for height, text in ticks:
            axes.text(place + 0.03, height, text, fontsize=8, color=_SOFT, va="center")
        axes.text(place, 1.06, title, ha="center", fontsize=9.5)
    axes.set_xlim(-0.1, len(columns) - 0.7)
    axes.set_ylim(-0.06, 1.14)
    axes.axis("off")
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, fraction=0.025, pad=0.02)
    bar.outline.set_visible(False)
    return _svg(figure)


def slices(rows: Sequence[Row], space: Mapping[str, Parameter], objective: str) -> str:
    """The first objective over each parameter."""
    across = min(4, len(space))
    down = math.ceil(len(space) / across)
    figure = Figure(figsize=(9.6, 2.6 * down), layout="constrained")
    plots = np.atleast_1d(figure.subplots(down, across, sharey=True, squeeze=False)).ravel()
    for axes in plots[len(space) :]:
        axes.axis("off")
    for axes, (label, parameter) in zip(plots, space.items(), strict=False):
        style(axes)
        numeric = isinstance(parameter, Float | Integer)
        if not numeric:
            names = [str(value) for value in parameter.grid(label)]
            axes.set_xticks(range(len(names)), names)
            axes.set_xlim(-0.5, len(names) - 0.5)
        for state in ("complete", "pruned"):
            there = [row for row in rows if row.state == state and row.values and label in row.params]
            places = [row.params[label] if numeric else names.index(str(row.params[label])) for row in there]
            face = COLOURS[state] if state == "complete" else "none"
            axes.scatter(places, [row.values[0] for row in there], s=20, color=COLOURS[state], facecolor=face, zorder=3)
        if isinstance(parameter, Float | Integer) and parameter.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        axes.tick_params(axis="x", labelsize=8)
    plots[0].set_ylabel(objective)
    return _svg(figure)


def pareto(settings: Sequence[Setting], front: Sequence[Setting], objectives: Sequence[str]) -> str:
    """First objective against the second, the front joined and numbered."""
    figure, axes = _figure(9.6, 4.4)
    others = [found.values for found in settings]
    axes.scatter([v[1] for v in others], [v[0] for v in others], s=24, color="#b9c4cc", label="every trial")
    ordered = sorted(front, key=lambda found: found.values[1])
    places, heights = [found.values[1] for found in ordered], [found.values[0] for found in ordered]
    axes.plot(
        places, heights, color=COLOURS["complete"], marker="o", ms=5.5, lw=1.3, drawstyle="steps-post", label="front"
    )
    for found, x, y in zip(ordered, places, heights, strict=True):
        axes.annotate(
            str(found.numbers[0]), (x, y), textcoords="offset points", xytext=(5, -11), fontsize=8, color=_SOFT
        )
    axes.set(xlabel=objectives[1], ylabel=objectives[0])
    _legend(axes)
    return _svg(figure)


def curves(rows: Sequence[Row], objective: str) -> str:
    """What each trial reported after each of its validations."""
    figure, axes = _figure(9.6, 3.4)
    for row in rows:
        if row.curve:
            steps = sorted(row.curve)
            colour = COLOURS[row.state]
            axes.plot(steps, [row.curve[step] for step in steps], color=colour, lw=1.1, alpha=0.75)
            axes.plot(steps[-1:], [row.curve[steps[-1]]], color=colour, marker="o", ms=3.5)
    for state in ("complete", "pruned"):
        if any(row.state == state and row.curve for row in rows):
            axes.plot([], [], color=COLOURS[state], marker="o", ms=3.5, label=WORDS.get(state, state))
    axes.set(xlabel="validations", ylabel=objective)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return _svg(figure)


def cost(rows: Sequence[Row]) -> str:
    """Seconds of each trial, coloured by how it ended."""
    figure, axes = _figure(9.6, 2.6)
    for state, colour in COLOURS.items():
        there = [row for row in rows if row.state == state]
        if there:
            seconds, label = [row.seconds for row in there], WORDS.get(state, state)
            axes.bar([row.number for row in there], seconds, color=colour, width=0.8, label=label)
    axes.set(xlabel="trial", ylabel="seconds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return _svg(figure)


def _column(label: str, parameter: Parameter, rows: Sequence[Row]) -> tuple[np.ndarray, list[tuple[float, str]], str]:
    """Heights in [0, 1] of the trials' values on a parameter's axis, its ticks and its title."""
    values = [row.params[label] for row in rows]
    if isinstance(parameter, Float | Integer):
        scale = np.log10 if parameter.log else np.asarray
        low, high = _limits(scale(np.array([parameter.low, parameter.high], dtype=float)))
        heights = (scale(np.array(values, dtype=float)) - low) / (high - low)
        title = f"{label} (log)" if parameter.log else label
        return heights, [(0.0, f"{parameter.low:.4g}"), (1.0, f"{parameter.high:.4g}")], title
    names = parameter.grid(label)
    place = {(type(name), name): (k + 0.5) / len(names) for k, name in enumerate(names)}
    ticks = [(place[(type(name), name)], str(name)) for name in names]
    return np.array([place[(type(value), value)] for value in values]), ticks, label


def _legend(axes: Axes) -> None:
    """Above the plot, where it hides nothing of it."""
    axes.legend(frameon=False, fontsize=9, ncols=5, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    style(axes)
    return figure, axes


def style(axes: Axes) -> None:
    """The report's look: no box, faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_LINE)
    axes.tick_params(colors=_SOFT, labelsize=9)
    axes.grid(color=_LINE, lw=0.6)
    axes.set_axisbelow(True)


def _svg(figure: Figure) -> str:
    """The drawing alone, for a page: without the XML head, text as text."""
    stream = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "srlab", "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        FigureCanvasSVG(figure)
        figure.savefig(
            stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")), transparent=True
        )
    text = stream.getvalue()
    return text[text.index("<svg") :]
