"""EXIF data and XMP packets of an image that was enlarged: changed where they speak of its size, and nowhere else.

EXIF is changed in place: nothing moves, so that a camera's own notes, which hold offsets, stay readable.
"""

import re
import struct

_ORIENTATION, _EXIF, _GPS = 0x0112, 0x8769, 0x8825
_SIZES = {0x0100: 0, 0x0101: 1, 0xA002: 0, 0xA003: 1}  # tag: width or height
_THUMBNAIL = (0x0201, 0x0202)
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced"
"""IPTC's term for an image that an algorithm enhanced: the value of ``Iptc4xmpExt:DigitalSourceType``."""
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
)
_SPOKEN = {"Orientation": None, "ImageWidth": 0, "ImageLength": 1, "PixelXDimension": 0, "PixelYDimension": 1}


def orientation(exif: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where none is given."""
    for tag, _, _, place, order, _ in _entries(exif):
        if tag == _ORIENTATION:
            value = struct.unpack_from(order + "H", exif, place)[0]
            return int(value) if 1 <= value <= 8 else 1
    return 1


def enlarged_exif(exif: bytes, width: int, height: int) -> bytes:
    """The same of an image that stands upright and has another size; without thumbnail, which showed the old one.

    Args:
        exif: A TIFF structure, without the words ``Exif``. One that is malformed comes back as far as it was read.
        width: Columns of the image.
        height: Its rows.
    """
    data, sizes = bytearray(exif), (width, height)
    for tag, kind, count, place, order, directory in _entries(exif):
        if tag == _ORIENTATION and directory == 0:
            struct.pack_into(order + "HHIHH", data, place - 8, tag, 3, 1, 1, 0)
        elif tag in _SIZES and kind in (3, 4) and count == 1 and directory != 1:
            struct.pack_into(order + "HHII", data, place - 8, tag, 4, 1, sizes[_SIZES[tag]])
    return bytes(_without_thumbnail(data))


def _without_thumbnail(data: bytearray) -> bytearray:
    """Empties the second directory and what it points to, and cuts it off where nothing comes after it."""
    order = _order(data)
    if order is None:
        return data
    try:
        (first,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, first)
        link = first + 2 + 12 * count
        (second,) = struct.unpack_from(order + "I", data, link)
        if not second:
            return data
        where = {tag: struct.unpack_from(order + "I", data, place)[0] for tag, place in _of(data, second, order)}
    except struct.error:
        return data
    struct.pack_into(order + "I", data, link, 0)
    start, length = (where.get(tag, 0) for tag in _THUMBNAIL)
    if start and 0 < length <= len(data) - start:
        data[start : start + length] = bytes(length)
        if start + length >= len(data) - 1:
            del data[start:]
    return data


def enlarged_xmp(xmp: bytes | None, width: int, height: int, note: str | None) -> bytes | None:
    """The same of an upright image of another size, with a note of what made it.

    Args:
        xmp: A packet in UTF-8; None for none. In another encoding, or without RDF, it comes back as it is.
        width: Columns of the image.
        height: Its rows.
        note: What made the image, as ``sr_lab 0.3 edge_x4``; None adds none.
    """
    if xmp is None and note is None:
        return None
    try:
        text = _PACKET if xmp is None else xmp.decode("utf-8")
    except UnicodeDecodeError:
        return xmp
    for name, axis in _SPOKEN.items():
        value = "1" if axis is None else str((width, height)[axis])
        text = re.sub(rf'((?:tiff|exif):{name}=)(["\'])\d*\2', rf"\g<1>\g<2>{value}\g<2>", text)
        text = re.sub(rf"(<(?:tiff|exif):{name}>)\d*(</)", rf"\g<1>{value}\g<2>", text)
    if note is not None and "</rdf:RDF>" in text:
        text = re.sub(r'<rdf:Description[^>]*srlab:RestoredBy="[^>]*/>\n', "", text)
        escaped = note.translate({ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"})
        said = (
            '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
            f'xmlns:srlab="urn:sr-lab:1" srlab:RestoredBy="{escaped}"'
            + ("" if "DigitalSourceType" in text else f' Iptc4xmpExt:DigitalSourceType="{SOURCE}"')
            + "/>\n"
        )
        before, after = text.rsplit("</rdf:RDF>", 1)
        text = f"{before}{said}</rdf:RDF>{after}"
    return text.encode("utf-8")


def _order(data: bytes | bytearray) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))


def _of(data: bytes | bytearray, offset: int, order: str) -> list[tuple[int, int]]:
    """Tags of a directory, and where the four bytes of their values lie."""
    (count,) = struct.unpack_from(order + "H", data, offset)
    starts = range(offset + 2, offset + 2 + 12 * count, 12)
    return [(struct.unpack_from(order + "H", data, start)[0], start + 8) for start in starts if start + 12 <= len(data)]


def _entries(data: bytes) -> list[tuple[int, int, int, int, str, int]]:
    """(tag, type, count, place of the value, byte order, directory) of the image, its EXIF and its GPS directory."""
    order, found = _order(data), list[tuple[int, int, int, int, str, int]]()
    if order is None:
        return found
    try:
        waiting = [(struct.unpack_from(order + "I", data, 4)[0], 0)]
        while waiting and len(found) < 4096:
            offset, directory = waiting.pop()
            for tag, place in _of(data, offset, order):
                kind, count = struct.unpack_from(order + "HI", data, place - 6)
                found.append((tag, kind, count, place, order, directory))
                if directory == 0 and tag in (_EXIF, _GPS):
                    waiting.append((struct.unpack_from(order + "I", data, place)[0], tag))
    except struct.error:
        pass
    return found


def moved_exif(exif: bytes, by: int) -> tuple[bytes, int, int | None]:
    """The directories of EXIF data for a TIFF file in which they begin at byte ``by``.

    Returns:
        The bytes, and where in the file the EXIF directory and, if there is one, the GPS directory begin; 0 where
        there is no EXIF directory.
    """
    data, pointers = bytearray(exif), dict[int, int]()
    for tag, kind, count, place, order, _ in _entries(exif):
        if tag in (_EXIF, _GPS, 0xA005) or _BYTES.get(kind, 1) * count > 4:
            (value,) = struct.unpack_from(order + "I", exif, place)
            struct.pack_into(order + "I", data, place, value + by)
            pointers[tag] = value + by
    return bytes(data), pointers.get(_EXIF, 0), pointers.get(_GPS)


def text_tags(exif: bytes) -> list[tuple[int, int, int]]:
    """(tag, start, length) of the texts in the image's own directory."""
    return [
        (tag, place if count <= 4 else struct.unpack_from(order + "I", exif, place)[0], count)
        for tag, kind, count, place, order, directory in _entries(exif)
        if kind == 2 and directory == 0
    ]
