"""What an image file holds beside its pixels, read to be written again: profile, EXIF, XMP, IPTC, resolution, texts."""

import contextlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sr_lab.images.exif import enlarged_exif, enlarged_xmp

NAMES = {
    "icc": "the colour profile (ICC)",
    "exif": "the EXIF data",
    "xmp": "the XMP packet",
    "iptc": "the IPTC data",
    "resolution": "the resolution tag",
    "texts": "the text chunks",
    "geo": "the GeoTIFF tags",
}
"""How each part of the metadata is called."""

Tag = tuple[int, int, int, Any]
"""A TIFF tag as tifffile writes it: number, type, count, value."""


@dataclass(frozen=True)
class Metadata:
    """What a file holds beside its pixels; None or empty for what it has not.

    Attributes:
        icc: ICC profile.
        exif: EXIF data: a TIFF structure, without the words ``Exif``.
        xmp: XMP packet.
        iptc: IPTC-IIM records.
        resolution: Pixels an inch, across and down.
        texts: PNG's text chunks but for XMP: their kind and content.
        geo: TIFF tags that tell the place on the map.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] | None = None
    texts: tuple[tuple[bytes, bytes], ...] = ()
    geo: tuple[Tag, ...] = ()

    def kinds(self) -> set[str]:
        """Names of the parts that are there, of ``NAMES``."""
        return {name for name in NAMES if getattr(self, name)}

    def without(self, kinds: set[str]) -> "Metadata":
        """The rest."""
        empty: dict[str, Any] = {name: () if name in ("texts", "geo") else None for name in kinds}
        return replace(self, **empty)

    def enlarged(self, *, size: tuple[int, int], before: tuple[int, int], note: str | None = None) -> "Metadata":
        """The same of the upright image at another size: sizes and geotransform follow, the thumbnail goes.

        Args:
            size: Width and height.
            before: Width and height that it had, upright.
            note: What made it, for XMP; None says nothing.
        """
        factors = (size[0] / before[0], size[1] / before[1])
        return replace(
            self,
            exif=None if self.exif is None else enlarged_exif(self.exif, *size),
            xmp=enlarged_xmp(self.xmp, *size, note),
            geo=tuple(_enlarged_tag(tag, factors) for tag in self.geo),
        )


def _enlarged_tag(tag: Tag, factors: tuple[float, float]) -> Tag:
    """A GeoTIFF tag of the enlarged image: pixels are smaller, tie points lie at other pixels, corners stay."""
    number, kind, count, value = tag
    across, down = factors
    if number == 33550:  # ModelPixelScale: x, y, z
        return number, kind, count, (value[0] / across, value[1] / down, *value[2:])
    if number == 33922:  # ModelTiepoint: (column, row, level, x, y, z) each
        flat = list(value)
        for start in range(0, len(flat), 6):
            flat[start], flat[start + 1] = flat[start] * across, flat[start + 1] * down
        return number, kind, count, tuple(flat)
    if number == 34264:  # ModelTransformation: 4x4, row by row
        flat = list(value)
        for row in range(0, 12, 4):
            flat[row], flat[row + 1] = flat[row] / across, flat[row + 1] / down
        return number, kind, count, tuple(flat)
    return tag


def read_metadata(data: bytes) -> Metadata:
    """The metadata of an encoded PNG, JPEG, WebP or BMP image; of another format none.

    What is malformed is left out: the pixels are what an image is read for.
    """
    with contextlib.suppress(struct.error, IndexError, ValueError, zlib.error):
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            chunks = dict(webp_chunks(data))
            return Metadata(icc=chunks.get(b"ICCP"), exif=_bare(chunks.get(b"EXIF")), xmp=chunks.get(b"XMP "))
        if data.startswith(b"BM"):
            across, down = struct.unpack_from("<ii", data, 38)
            return Metadata(resolution=(across * 0.0254, down * 0.0254) if across > 0 and down > 0 else None)
    return Metadata()


def _bare(exif: bytes | None) -> bytes | None:
    return None if exif is None else exif.removeprefix(b"Exif\0\0")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the chunks of a PNG file, but for its pixels."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind != b"IDAT":
            yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


XMP_KEYWORD, IPTC_KEYWORD = b"XML:com.adobe.xmp", b"Raw profile type iptc"
"""PNG has no chunk for IPTC; this is where ImageMagick puts it and ExifTool looks for it."""


def _png(data: bytes) -> Metadata:
    found, texts = Metadata(), list[tuple[bytes, bytes]]()
    for kind, content in png_chunks(data):
        if kind == b"iCCP":
            found = replace(found, icc=zlib.decompress(content[content.index(b"\0") + 2 :]))
        elif kind == b"eXIf":
            found = replace(found, exif=_bare(content))
        elif kind == b"pHYs" and content[8] == 1:
            across, down = struct.unpack_from(">II", content)
            found = replace(found, resolution=(across * 0.0254, down * 0.0254))
        elif kind == b"iTXt" and content.startswith(XMP_KEYWORD + b"\0"):
            compressed, rest = content[len(XMP_KEYWORD) + 1], content[len(XMP_KEYWORD) + 3 :].split(b"\0", 2)[2]
            found = replace(found, xmp=zlib.decompress(rest) if compressed else rest)
        elif kind == b"zTXt" and content.startswith(IPTC_KEYWORD + b"\0"):
            digits = zlib.decompress(content[len(IPTC_KEYWORD) + 2 :]).split(None, 2)[2]
            found = replace(found, iptc=_iptc(raw := bytes.fromhex(digits.decode("ascii"))) or raw)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            texts.append((kind, content))
    return replace(found, texts=tuple(texts))


XMP_MARK, ICC_MARK, IPTC_MARK = b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0"


def _jpeg(data: bytes) -> Metadata:
    found, profile, position = Metadata(), dict[int, bytes](), 2
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in (0xDA, 0xD9):
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        content = data[position + 4 : position + 2 + length]
        position += 2 + length
        if marker == 0xE0 and content.startswith(b"JFIF\0"):
            unit, across, down = struct.unpack_from(">BHH", content, 7)
            if unit in (1, 2) and across and down:
                factor = 1.0 if unit == 1 else 2.54
                found = replace(found, resolution=(across * factor, down * factor))
        elif marker == 0xE1 and content.startswith(b"Exif\0\0"):
            found = replace(found, exif=content[6:])
        elif marker == 0xE1 and content.startswith(XMP_MARK):
            found = replace(found, xmp=content[len(XMP_MARK) :])
        elif marker == 0xE2 and content.startswith(ICC_MARK):
            profile[content[12]] = content[14:]
        elif marker == 0xED and content.startswith(IPTC_MARK):
            found = replace(found, iptc=_iptc(content[len(IPTC_MARK) :]))
    icc = b"".join(profile[number] for number in sorted(profile))
    return replace(found, icc=icc or None)


def _iptc(resources: bytes) -> bytes | None:
    """The IPTC records among Photoshop's image resources."""
    position = 0
    while resources[position : position + 4] == b"8BIM":
        kind, name = struct.unpack_from(">HB", resources, position + 4)
        start = position + 6 + (name + 2) // 2 * 2
        (length,) = struct.unpack_from(">I", resources, start)
        if kind == 0x0404:
            return resources[start + 4 : start + 4 + length]
        position = start + 4 + length + length % 2
    return None


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the chunks of a WebP file."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
