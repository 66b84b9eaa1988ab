"""Contact sheets: titled sections of captioned pictures, as one PNG and as one self-contained page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sr_lab.base.files import write_bytes
from sr_lab.base.page import render
from sr_lab.images import to_uint8, write_image

_GAP, _MARGIN, _LINE = 16, 32, 16
_INK, _SOFT, _PAPER, _FRAME = (28, 30, 33), (98, 103, 110), (252, 252, 250), (214, 216, 219)


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        picture: (H, W, 3) uint8.
        title: one line above the picture's lines.
        lines: below it.
        details: parameter and value of each row of the page's fold-out table; empty for none.
    """

    picture: npt.NDArray[np.uint8]
    title: str
    lines: Sequence[str] = ()
    details: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Section:
    """A titled row of panels, wrapped where it is longer than the sheet is wide."""

    title: str
    note: str
    panels: Sequence[Panel]


def picture(image: Tensor) -> npt.NDArray[np.uint8]:
    """(1, C, H, W) in [0, 1] as (H, W, 3): grey in all channels, of many bands the first three."""
    image = image[:, :3] if image.shape[1] >= 3 else image[:, :1].expand(-1, 3, -1, -1)
    return np.ascontiguousarray(to_uint8(image)[0].permute(1, 2, 0).cpu().numpy())


def write_sheet(
    title: str, subtitle: str, sections: Sequence[Section], *, png: Path, html: Path, columns: int = 6, side: int = 256
) -> None:
    """Writes the sheet, each file whole or not at all.

    Args:
        title: of the sheet.
        subtitle: below it.
        sections: from top to bottom.
        png: the picture.
        html: the page.
        columns: panels beside each other in the picture.
        side: of a panel in pixels; pictures are enlarged to it without smoothing.
    """
    write_image(png, np.asarray(draw_sheet(title, subtitle, sections, columns=columns, side=side)))
    page = render(Path(__file__).with_name("contact_sheet.html.j2"), title=title, subtitle=subtitle, sections=sections)
    write_bytes(html, page.encode())


def draw_sheet(title: str, subtitle: str, sections: Sequence[Section], *, columns: int, side: int) -> Image.Image:
    """The sheet as a picture."""
    heading, text, strong, small = (_font(size) for size in (26, 15, 14, 12))
    width = 2 * _MARGIN + columns * side + (columns - 1) * _GAP
    bold = _font(18)
    plan: list[tuple[int, Section, list[tuple[int, list[tuple[Panel, list[str]]]]]]] = []
    top = _MARGIN + 72
    for section in sections:
        start, rows = top, []
        top += 30 + (_LINE + 6) * len(_wrap(section.note, text, width - 2 * _MARGIN)) + 6
        for first in range(0, len(section.panels), columns):
            cells = []
            for panel in section.panels[first : first + columns]:
                cells.append((panel, [part for line in panel.lines for part in _wrap(line, small, side)]))
            rows.append((top, cells))
            tallest = max(_fitted(panel, side)[1] for panel, _ in cells)
            top += tallest + 26 + _LINE * max(len(lines) for _, lines in cells) + _GAP
        plan.append((start, section, rows))
        top += 18
    canvas = Image.new("RGB", (width, top + _MARGIN - 18), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN - 6), title, fill=_INK, font=heading)
    draw.text((_MARGIN, _MARGIN + 30), subtitle, fill=_SOFT, font=text)
    for start, section, rows in plan:
        draw.line((_MARGIN, start - 10, width - _MARGIN, start - 10), fill=_FRAME)
        draw.text((_MARGIN, start), section.title, fill=_INK, font=bold)
        for number, line in enumerate(_wrap(section.note, text, width - 2 * _MARGIN)):
            draw.text((_MARGIN, start + 28 + number * (_LINE + 6)), line, fill=_SOFT, font=text)
        for row, cells in rows:
            bottom = row + max(_fitted(panel, side)[1] for panel, _ in cells)
            for column, (panel, lines) in enumerate(cells):
                left = _MARGIN + column * (side + _GAP)
                shown = Image.fromarray(panel.picture).resize(_fitted(panel, side), Image.Resampling.NEAREST)
                canvas.paste(shown, (left, row))
                draw.text((left, bottom + 5), _cut(panel.title, strong, side), fill=_INK, font=strong)
                for number, line in enumerate(lines):
                    draw.text((left, bottom + 24 + number * _LINE), line, fill=_SOFT, font=small)
    return canvas


def _fitted(panel: Panel, side: int) -> tuple[int, int]:
    height, width = panel.picture.shape[:2]
    factor = side / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: it knows more characters than Pillow's own."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _wrap(line: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The line broken between words; what continues is indented."""
    lines: list[str] = []
    for word in line.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word if not lines else f"   {word}" if line.startswith(("\u2022", "+")) else word)
    return [_cut(part, font, width) for part in lines]


def _cut(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"
