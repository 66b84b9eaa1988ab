"""What the first bytes of PNG, JPEG, WebP, BMP and JPEG XL files say: size, orientation, grey with alpha, completeness.

Read without a decoder, so that a file can be refused before any of its pixels is unpacked, and a truncated file is
found even where the decoder would silently fill the rest with grey.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass


class ImageError(ValueError):
    """A file that cannot be read or written as an image; the message names the file and the remedy."""


@dataclass(frozen=True)
class Header:
    """Facts of an encoded image that the decoded array does not tell."""

    width: int
    height: int
    orientation: int = 1
    is_grey: bool = False


def read_header(data: bytes) -> Header | None:
    """Header of an encoded image, or None if it is of no known format.

    Raises:
        ImageError: if the data end before the image does; the message is to be completed with the file's name.
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith(b"BM"):
            return _bmp(data)
    except (struct.error, IndexError) as error:
        raise ImageError("is truncated: the data end within the header") from error
    return None


def jpegxl_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG XL image as it is stored, from its first bits (ISO/IEC 18181-1).

    Raises:
        ImageError: If there is no codestream, or it ends within its header; the words follow the file's name.

    Example:
        >>> jpegxl_size(bytes([0xFF, 0x0A, 0b01000011, 0b0]))
        (16, 16)
    """
    start = _codestream(data)
    if start[:2] != b"\xff\x0a" or len(start) < 4:
        raise ImageError("is truncated or damaged: no JPEG XL codestream begins in it")
    bits, at = int.from_bytes(start[2:16], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        if at > 8 * (len(start) - 2):
            raise ImageError("is truncated: the data end within the header")
        return bits >> (at - count) & ((1 << count) - 1)

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height, ratio = side(), take(3)
    if ratio == 0:
        return side(), height
    above, below = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * above // below, height


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box of a file that consists of such (JPEG XL's container), as far as it goes."""
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if length == 1:
            if start + 8 > len(data):
                return
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = position + length if length else len(data)
        if end <= position:
            return
        yield kind, data[start:end]
        position = end


def _codestream(data: bytes) -> bytes:
    """The first bytes of a JPEG XL image's codestream, bare or in a container; empty where there is none."""
    if data.startswith(b"\xff\x0a"):
        return data[:32]
    parts = b""
    for kind, content in boxes(data):
        if kind == b"jxlc":
            return content[:32]
        if kind == b"jxlp":  # a part, behind its number
            parts += content[4:36]
            if len(parts) >= 32:
                break
    return parts[:32]


def _png(data: bytes) -> Header:
    width, height, _, colour = struct.unpack_from(">IIBB", data, 16)
    orientation, position = 1, 8
    while True:
        if position + 12 > len(data):
            raise ImageError("is truncated: the data end before the IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        _check_crc(data, position, length, kind)
        if kind == b"IEND":
            return Header(width, height, orientation, is_grey=colour in (0, 4))
        if kind == b"eXIf":
            orientation = _orientation(data[position + 8 : position + 8 + length])
        if kind == b"acTL":
            raise ImageError("is an animation; extract the frame you need into its own file")
        position += 12 + length


def _check_crc(data: bytes, position: int, length: int, kind: bytes) -> None:
    """Of a PNG chunk that the pixels depend on: its name begins with a capital. The decoder checks the first, IHDR."""
    if not kind[:1].isupper() or kind == b"IHDR":
        return
    end = position + 8 + length
    if end + 4 > len(data):
        raise ImageError("is truncated: the data end within a chunk")
    if zlib.crc32(memoryview(data)[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
        raise ImageError(f"is damaged: the checksum of its {kind.decode('latin-1')} chunk is wrong; fetch it again")


def _jpeg(data: bytes) -> Header:
    orientation, position, size = 1, 2, (0, 0)
    while True:
        if data[position] != 0xFF:
            raise ImageError("is damaged: a JPEG marker is missing")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _orientation(data[position + 10 : position + 2 + length])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">HH", data, position + 5)
        position += 2 + length
    # Within the compressed data FF is always followed by 0 or a restart marker, so this can only be the end.
    if data.find(b"\xff\xd9", position) < 0:
        raise ImageError("is truncated: the data end before the JPEG end marker")
    return Header(width=size[1], height=size[0], orientation=orientation)


def _webp(data: bytes) -> Header:
    (total,) = struct.unpack_from("<I", data, 4)
    if total + 8 > len(data):
        raise ImageError(f"is truncated: {len(data)} of {total + 8} bytes are there")
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    flags = data[20]
    if flags & 2:
        raise ImageError("is an animation; extract the frame you need into its own file")
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    orientation, position = 1, 12
    while flags & 8 and position + 8 <= total + 8:
        chunk, length = struct.unpack_from("<4sI", data, position)
        if chunk == b"EXIF":
            orientation = _orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return Header(width, height, orientation)


def _bmp(data: bytes) -> Header:
    (total,) = struct.unpack_from("<I", data, 2)
    if total > len(data):
        raise ImageError(f"is truncated: {len(data)} of {total} bytes are there")
    start, size = struct.unpack_from("<II", data, 10)
    if size == 12:  # OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    needed = start + (width * bits + 31) // 32 * 4 * abs(height)
    if compression == 0 and needed > len(data):
        raise ImageError(f"is truncated: {len(data)} of {needed} bytes are there")
    return Header(width, abs(height))


def _orientation(exif: bytes) -> int:
    """EXIF tag 274 (1 to 8), or 1 where it is missing or malformed."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, offset)
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == 274:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
