"""The formats in which images are written, and what each of them can hold."""

from collections.abc import Mapping
from dataclasses import dataclass

from sr_lab.images.headers import ImageError
from sr_lab.images.metadata import Metadata


@dataclass(frozen=True)
class Form:
    """What an image needs of a format.

    Attributes:
        width: Columns.
        height: Rows.
        bands: Channels, without alpha.
        alpha: Whether there is transparency.
        bits: 8 or 16.
    """

    width: int
    height: int
    bands: int
    alpha: bool = False
    bits: int = 8


@dataclass(frozen=True)
class Format:
    """What a format can hold.

    Attributes:
        holds: Parts of the metadata, of ``metadata.NAMES``.
        alpha: Whether it knows transparency.
        bits: Most bits of a sample.
        any_bands: Whether it holds any number of bands, and not grey and RGB alone.
        longest: Most pixels of a side.
        rows: Whether it is written row by row, so that memory does not grow with the image.
        share: Bytes of the file for a byte of pixels, as photos have it: to foretell the room that is needed.
        package: What has to be installed for it; None for nothing.
        media: Its media type.
    """

    holds: frozenset[str]
    alpha: bool = True
    bits: int = 8
    any_bands: bool = False
    longest: int = 2**31 - 1
    rows: bool = False
    share: float = 0.6
    package: str | None = None
    media: str = "application/octet-stream"


FORMATS: Mapping[str, Format] = {
    "png": Format(
        frozenset({"icc", "exif", "xmp", "iptc", "resolution", "texts"}), bits=16, rows=True, media="image/png"
    ),
    "tif": Format(
        frozenset({"icc", "exif", "xmp", "iptc", "resolution", "geo"}),
        bits=16,
        any_bands=True,
        rows=True,
        share=0.7,
        media="image/tiff",
    ),
    "jpg": Format(
        frozenset({"icc", "exif", "xmp", "iptc", "resolution"}),
        alpha=False,
        longest=65535,
        rows=True,
        share=0.2,
        media="image/jpeg",
    ),
    "webp": Format(frozenset({"icc", "exif", "xmp"}), longest=16383, share=0.45, media="image/webp"),
    "avif": Format(frozenset({"icc", "exif", "xmp"}), longest=65535, share=0.1, media="image/avif"),
    "jxl": Format(frozenset({"exif", "xmp"}), bits=16, share=0.45, package="imagecodecs", media="image/jxl"),
    "bmp": Format(frozenset({"resolution"}), alpha=False, share=1.0, media="image/bmp"),
}
ALIASES = {"tiff": "tif", "jpeg": "jpg"}


def format_of(suffix: str) -> str:
    """The format that a file's suffix stands for: ``.JPEG`` is jpg.

    Raises:
        ImageError: If it is none that can be written.
    """
    name = suffix.removeprefix(".").lower()
    name = ALIASES.get(name, name)
    if name not in FORMATS:
        raise ImageError(f"'{suffix}' is no format that can be written; use one of {', '.join(FORMATS)}")
    return name


def cannot_hold(format: str, form: Form, formats: Mapping[str, Format] = FORMATS) -> str | None:
    """Why a format cannot hold an image, as words that follow its name, with what can; None where it can."""
    able = formats[format]
    others = ", ".join(
        name
        for name, other in formats.items()
        if form.bits <= other.bits
        and (other.alpha or not form.alpha)
        and (other.any_bands or form.bands in (1, 3))
        and max(form.width, form.height) <= other.longest
    )
    if form.bands not in (1, 3) and not able.any_bands:
        return f"cannot hold {form.bands} bands; {others} can"
    if form.bits > able.bits:
        return f"cannot hold {form.bits} bits; {others} can"
    if form.alpha and not able.alpha:
        return f"cannot hold transparency (alpha); {others} can, or give background=white to lay it on a colour"
    if max(form.width, form.height) > able.longest:
        return f"cannot hold {form.width}x{form.height} pixels, only {able.longest} a side; {others} can"
    return None


def lost(format: str, metadata: Metadata, *, bigtiff: bool = False) -> set[str]:
    """The parts of the metadata that a format cannot hold, of ``metadata.NAMES``."""
    beyond = metadata.kinds() - FORMATS[format].holds
    return beyond | ({"exif"} & metadata.kinds() if bigtiff else set())
