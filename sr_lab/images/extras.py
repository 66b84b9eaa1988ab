"""What an image file holds beside the pixels that we read, from its headers: alpha, profile, EXIF, place, depth.

Nothing is decoded. A file of another format, or one that ends too early, simply tells less: reading it will say so.
"""

import contextlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from sr_lab.base.words import counted
from sr_lab.images.metadata import IPTC_KEYWORD, IPTC_MARK, XMP_KEYWORD, XMP_MARK

DROPPED = {
    "alpha": "transparency (alpha), which is dropped: the colours under it are taken as they are stored",
    "icc": "a colour profile (ICC), which is dropped: the values are taken for sRGB",
    "exif": "EXIF data, which are dropped: only the orientation is applied",
    "gps": "a GPS position, which is dropped",
    "xmp": "an XMP packet, which is dropped",
    "iptc": "IPTC data, which are dropped",
    "texts": "text chunks, which are dropped",
    "geotiff": "GeoTIFF tags, which are dropped: the output has no place on the map",
}
"""What is not carried over where pixels alone are read, by its kind."""

_EXIF_IFD, _GPS_IFD, _ICC, _XMP, _IPTC, _ORIENTATION = 34665, 34853, 34675, 700, 33723, 274
_WIDTH, _HEIGHT = 256, 257
_GEOTIFF = {33550, 33922, 34264, 34735, 34736, 34737}
_BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA_SAMPLES, _PALETTE = 258, 262, 277, 338, 3
_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8}
_VALUES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


@dataclass
class Extras:
    """What the headers of a file tell.

    Attributes:
        kinds: What it holds that is dropped, of ``DROPPED``.
        bits: Bits of a sample: 8 or 16.
        bands: How many bands are read from it, without alpha; palettes and colours count as 3.
        width: Columns of the upright image; 0 where the headers read so far do not tell.
        height: Its rows.
    """

    kinds: set[str] = field(default_factory=set)
    bits: int = 8
    bands: int = 3
    width: int = 0
    height: int = 0
    turned: bool = field(default=False, repr=False, compare=False)


def read_extras(stream: BinaryIO) -> Extras:
    """What the headers of an encoded image tell, as far as ``stream`` goes."""
    found = Extras()
    with contextlib.suppress(struct.error, OverflowError, ValueError):
        start = stream.read(16)
        if start.startswith(b"\x89PNG\r\n\x1a\n"):
            _png(stream, found)
        elif start.startswith(b"\xff\xd8\xff"):
            _jpeg(stream, found)
        elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
            _webp(stream, found)
        elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            _tiff(stream, 0, found)
        elif start.startswith(b"BM"):
            _bmp(stream, found)
    if found.turned:
        found.width, found.height = found.height, found.width
    return found


def dropped_sentences(found: Iterable[tuple[str, Extras]], dropped: Mapping[str, str] = DROPPED) -> tuple[str, ...]:
    """One sentence for each kind of thing that is dropped: how many images have it, and which is the first.

    Args:
        found: The names of images, and what ``read_extras`` found.
        dropped: What is not carried over, by its kind, as words that follow "have".

    >>> dropped_sentences([("a.png", Extras()), ("b.jpg", Extras({"gps"}))])
    ('1 of 2 images has a GPS position, which is dropped; the first is b.jpg',)
    """
    listed = list(found)
    having = {kind: [name for name, extras in listed if kind in extras.kinds] for kind in dropped}
    return tuple(
        f"{counted(len(names), 'image', 'has/have', of=len(listed))} {dropped[kind]}; the first is {names[0]}"
        for kind, names in having.items()
        if names
    )


def _png(stream: BinaryIO, found: Extras) -> None:
    stream.seek(8)
    while True:
        length, kind = struct.unpack(">I4s", stream.read(8))
        after = stream.tell() + length + 4
        if kind == b"IHDR":
            found.width, found.height, found.bits, colour = struct.unpack(">IIBB", stream.read(10))
            found.bands = 1 if colour in (0, 4) else 3
            found.bits = max(8, found.bits)
            found.kinds |= {"alpha"} if colour in (4, 6) else set()
        elif kind == b"tRNS":
            found.kinds.add("alpha")
        elif kind == b"iCCP":
            found.kinds.add("icc")
        elif kind == b"eXIf":
            _exif(stream, found)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = stream.read(min(length, 32)).split(b"\0")[0]
            found.kinds.add({XMP_KEYWORD: "xmp", IPTC_KEYWORD: "iptc"}.get(keyword, "texts"))
        elif kind == b"IEND":
            return
        stream.seek(after)


def _jpeg(stream: BinaryIO, found: Extras) -> None:
    stream.seek(2)
    while True:
        (mark, marker) = struct.unpack("BB", stream.read(2))
        while marker == 0xFF:  # fill bytes
            (marker,) = struct.unpack("B", stream.read(1))
        if mark != 0xFF or marker in (0xDA, 0xD9):
            return
        (length,) = struct.unpack(">H", stream.read(2))
        after = stream.tell() + length - 2
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            found.height, found.width, bands = struct.unpack(">HHB", stream.read(6)[1:])
            found.bands = 1 if bands == 1 else 3
        elif marker == 0xE1 and length > 8:
            if (start := stream.read(6)) == b"Exif\0\0":
                _exif(stream, found)
            elif start == XMP_MARK[:6]:
                found.kinds.add("xmp")
        elif marker == 0xED and stream.read(len(IPTC_MARK)) == IPTC_MARK:
            found.kinds.add("iptc")
        elif marker == 0xE2 and stream.read(12) == b"ICC_PROFILE\0":
            found.kinds.add("icc")
        stream.seek(after)


def _webp(stream: BinaryIO, found: Extras) -> None:
    stream.seek(12)
    while True:
        kind, length = struct.unpack("<4sI", stream.read(8))
        after = stream.tell() + length + length % 2
        if kind == b"VP8X":
            content = stream.read(10)
            named = ((0x20, "icc"), (0x10, "alpha"), (0x08, "exif"), (0x04, "xmp"))
            found.kinds |= {name for bit, name in named if content[0] & bit}
            found.width, found.height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (4, 7))
        elif kind == b"VP8 " and not found.width:
            found.width, found.height = (side & 0x3FFF for side in struct.unpack("<HH", stream.read(10)[6:]))
        elif kind == b"VP8L":
            (bits,) = struct.unpack("<I", stream.read(5)[1:])
            found.kinds |= {"alpha"} if bits >> 28 & 1 else set()
            found.width, found.height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"EXIF":
            start = stream.tell()
            stream.seek(start + 6 if stream.read(6) == b"Exif\0\0" else start)
            _exif(stream, found)
        stream.seek(after)


def _bmp(stream: BinaryIO, found: Extras) -> None:
    stream.seek(14)
    header = stream.read(124)
    (size,) = struct.unpack_from("<I", header)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", header, 4)
    found.width, found.height = width, abs(height)
    if size >= 56 and struct.unpack_from("<H", header, 14)[0] == 32 and any(header[52:56]):
        found.kinds.add("alpha")
    if size >= 124 and header[56:60] in (b"KNIL", b"LINK", b"DEBM", b"MBED"):
        found.kinds.add("icc")


def _exif(stream: BinaryIO, found: Extras) -> None:
    """EXIF data, a TIFF file of its own from here on."""
    found.kinds.add("exif")
    for tag, values in _entries(stream, stream.tell()):
        found.kinds |= {"gps"} if tag == _GPS_IFD else set()
        found.turned |= tag == _ORIENTATION and values[:1] in ((5,), (6,), (7,), (8,))


def _tiff(stream: BinaryIO, base: int, found: Extras) -> None:
    tags = dict(_entries(stream, base))
    extra = tags.get(_EXTRA_SAMPLES, ())
    found.kinds |= {
        name
        for name, there in (
            ("alpha", any(kind in (1, 2) for kind in extra)),
            ("icc", _ICC in tags),
            ("xmp", _XMP in tags),
            ("iptc", _IPTC in tags),
            ("exif", _EXIF_IFD in tags),
            ("gps", _GPS_IFD in tags),
            ("geotiff", bool(_GEOTIFF & tags.keys())),
        )
        if there
    }
    found.width, found.height = (tags.get(tag, (0,))[0] for tag in (_WIDTH, _HEIGHT))
    found.turned = tags.get(_ORIENTATION, (1,))[0] in (5, 6, 7, 8)
    palette = tags.get(_PHOTOMETRIC, ())[:1] == (_PALETTE,)
    found.bits = 8 if palette else max((8, *tags.get(_BITS, ())))
    found.bands = 3 if palette else (tags.get(_SAMPLES, ()) or (1,))[0] - sum(kind in (1, 2) for kind in extra)


def _entries(stream: BinaryIO, base: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Tags of the first directory of a TIFF file, with their values where these are whole numbers, and not many."""
    stream.seek(base)
    start = stream.read(8)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None:
        return
    big = start[2:4] in (b"+\0", b"\0+")
    number, word, length, inline = ("Q", "Q", 20, 8) if big else ("H", "I", 12, 4)
    (offset,) = struct.unpack(order + "Q", stream.read(8)) if big else struct.unpack(order + "I", start[4:])
    stream.seek(base + offset)
    (count,) = struct.unpack(order + number, stream.read(struct.calcsize(number)))
    table = stream.read(length * min(count, 4096))
    for place in range(0, len(table) - length + 1, length):
        tag, kind, many = struct.unpack_from(f"{order}HH{word}", table, place)
        values: tuple[int, ...] = ()
        if kind in _SIZES and many <= 64:
            content = table[place + length - inline : place + length]
            if _SIZES[kind] * many > inline:
                stream.seek(base + struct.unpack(order + word, content)[0])
                content = stream.read(_SIZES[kind] * many)
            values = struct.unpack_from(f"{order}{many}{_VALUES[kind]}", content)
        yield tag, values
