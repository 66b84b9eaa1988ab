"""Pages with a known truth: printed text, QR and bar codes, made by us of a seed, in several sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from sr_lab.base.extras import install
from sr_lab.base.randomness import digest64
from sr_lab.images.found import Found, Truth
from sr_lab.tasks.base import Pixels

Kind = Literal["text", "codes"]

FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Bold")
"""Fonts that matplotlib ships."""

_MULTIPLE = 24
_WORDS = [
    "account", "amount", "approved", "balance", "before", "binding", "charge", "clause", "contract", "copy",
    "credit", "customer", "date", "delivery", "deposit", "discount", "due", "enclosed", "freight", "gross", "house",
    "invoice", "item", "letter", "limit", "machine", "material", "model", "month", "net", "notice", "number",
    "office", "order", "page", "paid", "part", "payment", "period", "price", "quantity", "rate", "receipt",
    "reference", "remark", "return", "sample", "section", "serial", "service", "sheet", "signed", "supply", "table",
    "tax", "total", "transfer", "unit", "valid", "value", "vessel", "weight", "within", "year",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page.

    Attributes:
        name: Its place below the originals.
        scene: Its content, which it shares with the same page in other sizes.
        pixels: (H, W, 3), 8 bits; both sides are multiples of 24, so that it shrinks by 2, 3, 4, 6 and 8.
        truth: What is on it.
    """

    name: str
    scene: str
    pixels: Pixels
    truth: Truth


def pages(*, kind: Kind, count: int, sizes: Sequence[int], seed: int) -> Iterator[Page]:
    """Pages of the same contents in every size.

    Args:
        kind: ``text``, or ``codes`` (a QR code and a bar code a page).
        count: Contents.
        sizes: Of text the height of the font, of codes the side of a module, in pixels of the original.
        seed: Of every draw; page ``k`` does not depend on how many there are.

    Raises:
        ValueError: if a number is out of range.
        ModuleNotFoundError: for codes without zxing-cpp.

    Example:
        >>> page = next(pages(kind="text", count=1, sizes=[20], seed=0))
        >>> page.name, page.truth.group, page.pixels.shape[0] % 24
        ('size_20/000', '20 px', 0)
    """
    if kind not in ("text", "codes"):
        raise ValueError(f"kind={kind}: text or codes")
    if count < 1 or not sizes or min(sizes) < (6 if kind == "text" else 1):
        raise ValueError(f"count={count}, sizes={list(sizes)}: at least one page, fonts of 6 pixels, modules of 1")
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"sizes={list(sizes)}: one is given twice")
    for number in range(count):
        for size in sizes:
            random = np.random.default_rng(digest64("document", kind, seed, number))
            page, found = _text_page(random, size) if kind == "text" else _code_page(random, size)
            task = {"ocr": found, "rapidocr": found} if kind == "text" else {"barcode": found}
            yield Page(
                name=f"size_{size}/{number:03d}", scene=f"{kind}_{number:03d}", pixels=page,
                truth=Truth(found=task, group=f"{size} px"),
            )  # fmt: skip


def _text_page(random: np.random.Generator, size: int) -> tuple[Pixels, tuple[Found, ...]]:
    """Lines of words, amounts, dates and numbers, dark on light."""
    from PIL import Image, ImageDraw, ImageFont

    lines = [_line(random) for _ in range(6)]
    name = FONTS[int(random.integers(len(FONTS)))]
    paper, ink = _colours(random)
    font = ImageFont.truetype(str(files("matplotlib").joinpath(f"mpl-data/fonts/ttf/{name}.ttf")), size)
    margin, pitch = size, round(1.6 * size)
    width = _rounded(2 * margin + max(round(font.getlength(line)) for line in lines))
    height = _rounded(2 * margin + pitch * len(lines))
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    found = []
    for index, line in enumerate(lines):
        place = (margin, margin + index * pitch)
        draw.text(place, line, font=font, fill=ink)
        left, top, right, bottom = draw.textbbox(place, line, font=font)
        found.append(Found(text=line, box=(float(left), float(top), float(right), float(bottom))))
    return np.asarray(image), tuple(found)


def _line(random: np.random.Generator) -> str:
    """Two to three words and a thing with digits: where a wrong character matters most."""
    words = [str(random.choice(_WORDS)) for _ in range(int(random.integers(2, 4)))]
    amount = f"{int(random.integers(1, 9999))}.{int(random.integers(0, 100)):02d}"
    day = f"{int(random.integers(1, 29)):02d}.{int(random.integers(1, 13)):02d}.{int(random.integers(1990, 2030))}"
    digits = "".join(str(int(digit)) for digit in random.integers(0, 10, 8))
    words.insert(int(random.integers(1, len(words) + 1)), str(random.choice([amount, day, digits])))
    return " ".join([words[0].capitalize(), *words[1:]])


def _code_page(random: np.random.Generator, size: int) -> tuple[Pixels, tuple[Found, ...]]:
    """A QR code above a bar code (Code 128)."""
    digits = "".join(str(int(digit)) for digit in random.integers(0, 10, 12))
    contents = {"QRCode": f"https://example.org/{digits}", "Code128": "".join(reversed(digits))}
    paper, ink = _colours(random)
    codes = {text: _code(text, kind, size) for kind, text in contents.items()}
    gap = 8 * size
    width = _rounded(2 * gap + max(code.shape[1] for code in codes.values()))
    height = _rounded(gap * (len(codes) + 1) + sum(code.shape[0] for code in codes.values()))
    page = np.full((height, width, 3), paper, np.uint8)
    found, top = [], gap
    for text, code in codes.items():
        rows, columns = code.shape
        page[top : top + rows, gap : gap + columns][code] = ink
        box = (float(gap), float(top), float(gap + columns), float(top + rows))
        found.append(Found(text=text, box=box))
        top += rows + gap
    return page, tuple(found)


def _code(text: str, kind: str, size: int) -> Any:
    """(H, W) of bool, True is dark; a module is ``size`` pixels wide, a bar code 24 modules high."""
    try:
        import zxingcpp
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"codes are written by zxing-cpp: {install('zxingcpp')}", name="zxingcpp") from None
    code = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, kind))
    dark = np.asarray(zxingcpp.write_barcode_to_image(code, scale=1, add_quiet_zones=False)) < 128
    if kind == "Code128":
        dark = np.repeat(dark[:1], 24, axis=0)
    return dark.repeat(size, axis=0).repeat(size, axis=1)


def _colours(random: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Paper and ink, both a little tinted."""
    paper = 235 + random.integers(0, 20, 3)
    ink = 10 + random.integers(0, 50, 3)
    return (int(paper[0]), int(paper[1]), int(paper[2])), (int(ink[0]), int(ink[1]), int(ink[2]))


def _rounded(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE
