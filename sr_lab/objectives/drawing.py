"""A dashboard drawn with the numbers of a Prometheus, where no Grafana is there: a picture of its panels."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Series = Sequence[tuple[str, Sequence[float], Sequence[float]]]
"""Label, times and values of each line."""
COLUMNS = 4


def draw_dashboard(
    model: Mapping[str, Any], ask: Callable[[str], Series], file: Path, *, marks: Mapping[str, float] | None = None
) -> int:
    """Draws every panel; how many of them show something.

    Args:
        model: As ``dashboards`` makes it.
        ask: Answers an expression with the lines of its values.
        file: The PNG file that is written.
        marks: Moments by name, drawn as vertical lines.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = model["panels"]
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 2.8 * rows + 0.5), layout="constrained")
    figure.suptitle(str(model["title"]))
    shown = 0
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, COLUMNS, number + 1)
        lines = [
            (target["legendFormat"], line) for target in panel["targets"] for line in ask(str(target["expr"]))
        ]  # fmt: skip
        for legend, (label, times, values) in lines:
            name = label if legend == "__auto" or "{{" in legend else f"{legend} {label}"
            axes.plot(times, values, marker=".", markersize=2, linewidth=1, label=name[:48] or "-")
        for moment in (marks or {}).values():
            axes.axvline(moment, color="grey", linewidth=0.6, linestyle=":")
        axes.set_title(f"{panel['title']} [{panel['fieldConfig']['defaults']['unit']}]", fontsize=8, wrap=True)
        axes.tick_params(labelsize=6)
        if lines:
            shown += 1
            axes.legend(fontsize=5, loc="upper left")
        else:
            axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes, fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(file)
    return shown
