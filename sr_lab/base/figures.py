"""Figures whose parts have fixed places, in inches.

matplotlib's own layouts measure every text and draw everything once more for it: more than half of a figure's time.
"""

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, *, dpi: int = 100) -> "Figure":
    r"""An empty figure of this size in inches; it is drawn into memory and never shown.

    Example:
        >>> from sr_lab.base.figures import add_axes, new_figure, png
        >>> figure = new_figure(4, 3, dpi=50)
        >>> (axes,) = add_axes(figure)
        >>> lines = axes.plot([1, 4, 9])
        >>> png(figure)[:4]
        b'\x89PNG'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def add_axes(
    figure: "Figure",
    rows: int = 1,
    columns: int = 1,
    *,
    left: float = 0.7,
    right: float = 0.15,
    bottom: float = 0.5,
    top: float = 0.1,
    sharex: bool = False,
    **gaps: Any,
) -> "list[Axes]":
    """Adds a grid of axes to a part of a figure and gives them row by row.

    Args:
        figure: The figure.
        rows: Number of rows.
        columns: Number of columns.
        left: Margin on the left in inches, with room for the labels of the first column.
        right: Margin on the right in inches.
        bottom: Margin below in inches; of an upper part with the height of what stands below it.
        top: Margin above in inches; of a lower part with the height of what stands above it.
        sharex: Whether the rows have one horizontal axis, labelled below the last one.
        **gaps: ``wspace`` and ``hspace``, gaps as shares of the mean width and height of the axes, ``width_ratios``
            and ``height_ratios``.
    """
    width, height = figure.get_size_inches()
    sides = {"left": left / width, "right": 1 - right / width, "bottom": bottom / height, "top": 1 - top / height}
    grid = figure.add_gridspec(rows, columns, **sides, **gaps)
    return list(grid.subplots(squeeze=False, sharex=sharex).ravel())


def png(figure: "Figure") -> bytes:
    """The figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
