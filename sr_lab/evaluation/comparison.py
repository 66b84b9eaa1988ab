"""One picture of an evaluation: a grid of crops that a person would look at."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sr_lab.base.words import counted
from sr_lab.evaluation.headings import heading, shorten
from sr_lab.evaluation.pictures import ERROR_RANGE, Array, Pictures, error_colours
from sr_lab.evaluation.scores import ImageScores, Scores
from sr_lab.images import write_image

_PANEL = 256
_GAP = 10
_MARGIN = 28
_CAPTION = 44
_INK, _SOFT, _PAPER, _ACCENT = (28, 30, 33), (106, 111, 118), (252, 252, 250), (196, 61, 32)


def write_comparison(scores: Scores, path: Path, *, num_images: int = 4) -> None:
    """Writes a PNG with a row of crops for each of up to ``num_images`` images, from worst to best.

    Columns: the whole original with the crop's place, low image, bicubic, restored, original, error map.
    """
    ranked = scores.worst_first()
    if scores.clips:
        ranked = [image for image in ranked if image.name in scores.drawn]
    count = min(num_images, len(ranked))
    chosen = [ranked[round(i * (len(ranked) - 1) / max(1, count - 1))] for i in range(count)]
    pictures = scores.pictures(chosen)
    chosen = [image for image in chosen if image.name in pictures]
    columns = _columns(scores)
    width = 2 * _MARGIN + len(columns) * _PANEL + (len(columns) - 1) * _GAP
    top = _MARGIN + 88
    height = top + max(1, count) * (_PANEL + _CAPTION + _GAP) + _MARGIN
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text(
        (_MARGIN, _MARGIN - 6),
        heading(scores.names[0], str(scores.benchmark.folder), scores.scale),
        fill=_INK,
        font=_font(26),
    )
    draw.text((_MARGIN, _MARGIN + 28), _subtitle(scores), fill=_SOFT, font=_font(16))
    for column, name in enumerate(columns):
        left = _MARGIN + column * (_PANEL + _GAP)
        draw.text((left, top - 24), name, fill=_INK, font=_font(16))
    if not chosen:
        draw.text((_MARGIN, top), "no image was scored", fill=_ACCENT, font=_font(20))
    for row, image in enumerate(chosen):
        _draw_row(canvas, scores, image, pictures[image.name], columns, top + row * (_PANEL + _CAPTION + _GAP))
    write_image(path, np.asarray(canvas))


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: it knows more characters than Pillow's own."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size - 2)


def _columns(scores: Scores) -> list[str]:
    middle = ["bicubic"] if len(scores.names) == 1 else ["bicubic", "restored"]
    return ["image", "low resolution", *middle, "original", f"error, 0 to {ERROR_RANGE} levels"]


def _subtitle(scores: Scores) -> str:
    if not scores.scored:
        return scores.protocol.name
    parts = []
    for key in scores.metrics:
        value = scores.words(key).value
        text = f"{key} {value(scores.mean(key))}"
        if len(scores.names) > 1:
            text += f" (bicubic {value(scores.mean(key, scores.names[1]))})"
        parts.append(text)
    return f"{counted(len(scores.scored), 'image')}, protocol {scores.protocol.name}: mean " + ",  ".join(parts)


def _draw_row(
    canvas: Image.Image, scores: Scores, image: ImageScores, pictures: Pictures, columns: list[str], top: int
) -> None:
    key, ours, theirs = scores.first_key, scores.names[0], scores.names[:2][-1]
    value, unit = scores.words(key).value, scores.words(key).unit
    draw = ImageDraw.Draw(canvas)
    small, strong = _font(14), _font(15)
    panels: dict[str, tuple[Array, str]] = {
        "low resolution": (pictures.low, f"{pictures.low.shape[1]} x {pictures.low.shape[0]} pixels"),
        "bicubic": (pictures.bicubic, f"{value(image.value(theirs, key))}, whole image"),
        "restored": (pictures.restored, value(image.value(ours, key))),
        "original": (pictures.target, ""),
        columns[-1]: (error_colours(pictures.error), f"mean {pictures.error.mean():.1f} in this crop"),
    }
    for column, name in enumerate(columns):
        left = _MARGIN + column * (_PANEL + _GAP)
        if name == "image":
            _draw_thumbnail(canvas, pictures, left, top)
            draw.text((left, top + _PANEL + 6), shorten(image.name, 32), fill=_INK, font=strong)
            continue
        picture, caption = panels[name]
        canvas.paste(_fit(picture), (left, top))
        improved = name == "restored" and len(scores.names) > 1
        if improved:
            caption += f"  ({scores.gain(image, key):+.2f})" if unit == "dB" else ""
        worse = improved and scores.gain(image, key) < 0
        draw.text((left, top + _PANEL + 6), caption, fill=_ACCENT if worse else _SOFT, font=small)


def _draw_thumbnail(canvas: Image.Image, pictures: Pictures, left: int, top: int) -> None:
    picture = Image.fromarray(pictures.thumbnail)
    factor = _PANEL / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    canvas.paste(picture.resize(size, Image.Resampling.LANCZOS), (left, top))
    x0, y0, x1, y1 = pictures.box
    box = (left + x0 * size[0], top + y0 * size[1], left + x1 * size[0] - 1, top + y1 * size[1] - 1)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle(box, outline=(255, 255, 255), width=4)
    draw.rectangle((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), outline=_ACCENT, width=2)


def _fit(picture: Array) -> Image.Image:
    """The picture enlarged to a panel without any smoothing, its sides in proportion."""
    image = Image.fromarray(picture)
    factor = _PANEL / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST)
