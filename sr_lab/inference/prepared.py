"""A low image made ready for the format of the restored one: what that needs, and what will lie beside its pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base.version import __version__
from sr_lab.images.alpha import lay_on
from sr_lab.images.files import Picture
from sr_lab.images.formats import FORMATS, Form, Format
from sr_lab.images.metadata import Metadata
from sr_lab.images.profile import to_srgb

Colour = tuple[int, int, int]
COLOURS: Mapping[str, Colour] = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128)}
"""Colours that transparent images can be laid on, by their names."""


def restored_form(
    picture: Picture,
    size: tuple[int, int],
    format: str,
    *,
    background: Colour | None = None,
    formats: Mapping[str, Format] = FORMATS,
) -> Form:
    """What the restored image needs of its format.

    Args:
        picture: The low image.
        size: Height and width of the restored one.
        format: Its format. Transparency is not needed of one that knows none, where every pixel is opaque or a
            background is given.
        background: Red, green and blue, 0 to 255, under transparent pixels.
        formats: What the formats can hold, by their names.
    """
    bands = picture.pixels.shape[2] - picture.alpha
    alpha = picture.alpha
    if alpha and not formats[format].alpha and (background is not None or _opaque(picture)):
        alpha = False
    return Form(size[1], size[0], bands, alpha, 8 * picture.pixels.dtype.itemsize)


def prepared(
    picture: Picture,
    form: Form,
    format: str,
    *,
    background: Colour | None = None,
    strip: bool = False,
    note: str | None = None,
    formats: Mapping[str, Format] = FORMATS,
) -> Picture:
    """The low image as the format can hold the restored one, with that one's metadata.

    Args:
        picture: The low image; its pixels may be changed in place.
        form: What ``restored_form`` says.
        format: Of the restored image. Where it holds no colour profile, 8-bit colours are converted to sRGB.
        background: See ``restored_form``; None is white.
        strip: Whether all that lies beside the pixels is left out, but for the colour profile.
        note: What makes the image, for its XMP packet; None says nothing.
        formats: See ``restored_form``.
    """
    pixels, alpha, metadata = picture.pixels, picture.alpha, picture.metadata
    if alpha and not form.alpha:
        pixels, alpha = lay_on(pixels, background or COLOURS["white"]), False
    if metadata.icc is not None and "icc" not in formats[format].holds:
        to_srgb(pixels, metadata.icc, alpha=alpha)
    if strip:
        return Picture(pixels, alpha, Metadata(icc=metadata.icc))
    before = (pixels.shape[1], pixels.shape[0])
    kept = metadata.enlarged(size=(form.width, form.height), before=before, note=note)
    return Picture(pixels, alpha, kept)


def note_of(name: str, metadata: Mapping[str, Any] | None) -> str:
    """What makes an image, as its XMP packet tells it: this package, the restorer's name and its weights.

    Args:
        name: Of the restorer; of a path the last part.
        metadata: What is known of its training; None for bicubic.

    Example:
        >>> note_of("runs/a/best", {"sha256": {"weights.safetensors": "0123456789abcdef"}}).partition(", ")[2]
        'best, weights 0123456789ab'
    """
    weights = str((metadata or {}).get("sha256", {}).get("weights.safetensors", ""))[:12]
    short = name if "://" in name else Path(name).name
    return f"sr_lab {__version__}, {short}" + (f", weights {weights}" if weights else "")


def _opaque(picture: Picture) -> bool:
    return bool((picture.pixels[:, :, -1] == np.iinfo(picture.pixels.dtype).max).all())
