"""JPEG data, decoded strictly: what libjpeg only warns of (a gap filled with grey, a broken code) is damage here.

And encoded row by row, with what a file holds beside its pixels.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from sr_lab.images.headers import ImageError
from sr_lab.images.metadata import ICC_MARK, IPTC_MARK, XMP_MARK, Metadata

_HARMLESS = ("Invalid SOS parameters", "Unknown Adobe color transform", "unknown JFIF revision")
_ICC_PIECE = 65519


def decode_jpeg(data: bytes) -> npt.NDArray[Any] | None:
    """Pixels (H, W, 1) or (H, W, 3), uint8, as libjpeg-turbo decodes them; None for CMYK, which is only checked.

    Raises:
        ImageError: With the words that follow the file's name, if the data are truncated or damaged.
    """
    try:
        kind = simplejpeg.decode_jpeg_header(data)[2]
    except ValueError as error:
        raise ImageError(f"is damaged or of a rare kind of JPEG ({error}); fetch it again or convert it") from error
    colours = {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(kind, "RGB")
    try:
        image = simplejpeg.decode_jpeg(data, colours)
    except ValueError as error:
        if not any(text in str(error) for text in _HARMLESS):
            raise ImageError(f"is damaged ({error}); fetch it again or remove it") from error
        image = simplejpeg.decode_jpeg(data, colours, strict=False)
    return None if colours == "CMYK" else np.asarray(image)


def jpeg_rows(
    bands: Iterable[npt.NDArray[Any]], *, width: int, height: int, segments: bytes = b"", quality: int = 95
) -> Iterator[bytes]:
    """The bytes of a JPEG file of full colour resolution, as soon as the rows are there.

    Each part of some rows is encoded alone, with the tables that libjpeg always takes, and becomes one restart
    interval: memory does not grow with the image, and how the bands lie changes no byte.

    Args:
        bands: Arrays (rows, width, 1 or 3) of uint8, from the top to the bottom.
        width: Columns of the image, at most 65535.
        height: Its rows, at most 65535.
        segments: Application segments, written before all others.
        quality: 1 to 100.
    """
    units = -(-width // 8)  # blocks of 8x8 pixels in a row of them
    rows = 8 * max(1, min(32, 65535 // units))
    for number, part in enumerate(regroup(bands, rows)):
        pixels = np.ascontiguousarray(part)
        colours = "GRAY" if part.shape[2] == 1 else "RGB"
        data = simplejpeg.encode_jpeg(pixels, quality, colours, "Gray" if colours == "GRAY" else "444")
        scan = _scan(data)
        if number == 0:
            head = bytearray(data[2 : scan[0]])
            (start,) = struct.unpack_from(">H", head, 2)  # JFIF's own segment makes room for those that are given
            if head[:2] == b"\xff\xe0":
                del head[: start + 2]
            frame = head.index(b"\xff\xc0")
            struct.pack_into(">H", head, frame + 5, height)
            interval = struct.pack(">HHH", 0xFFDD, 4, units * rows // 8)
            yield b"\xff\xd8" + segments + bytes(head) + interval + data[scan[0] : scan[1]]
        else:
            yield bytes((0xFF, 0xD0 + (number - 1) % 8))
        yield data[scan[1] : -2]
    yield b"\xff\xd9"


def _scan(data: bytes) -> tuple[int, int]:
    """Where the header of the scan begins, and where its data do."""
    position = 2
    while data[position + 1] != 0xDA:
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position, position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")


def jpeg_segments(metadata: Metadata) -> bytes:
    """Application segments of a JPEG file: JFIF with the resolution, EXIF, XMP, ICC, IPTC.

    Raises:
        ImageError: If EXIF or XMP are larger than the 64 KiB of a segment.
    """
    across, down = metadata.resolution or (0, 0)
    sized = metadata.resolution is not None
    density = [min(65535, max(1, round(value))) if sized else 1 for value in (across, down)]
    parts = [(0xE0, b"JFIF\0\1\1" + struct.pack(">BHHBB", int(sized), *density, 0, 0))]
    if metadata.exif is not None:
        parts.append((0xE1, b"Exif\0\0" + metadata.exif))
    if metadata.xmp is not None:
        parts.append((0xE1, XMP_MARK + metadata.xmp))
    if metadata.icc is not None:
        pieces = [metadata.icc[start : start + _ICC_PIECE] for start in range(0, len(metadata.icc), _ICC_PIECE)]
        marks = (ICC_MARK + bytes((number, len(pieces))) for number in range(1, len(pieces) + 1))
        parts += [(0xE2, mark + piece) for mark, piece in zip(marks, pieces, strict=True)]
    if metadata.iptc is not None:
        content = struct.pack(">4sHHI", b"8BIM", 0x0404, 0, len(metadata.iptc)) + metadata.iptc
        parts.append((0xED, IPTC_MARK + content + bytes(len(metadata.iptc) % 2)))
    for _, content in parts:
        if len(content) > 65533:
            raise ImageError(
                f"has {len(content)} bytes of metadata in one piece, and a JPEG file holds 65533; give strip=true or "
                "another format"
            )
    return b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in parts)


def regroup(bands: Iterable[npt.NDArray[Any]], rows: int) -> Iterator[npt.NDArray[Any]]:
    """The same rows in arrays of ``rows`` rows, the last one of what is left."""
    waiting: list[npt.NDArray[Any]] = []
    count = 0
    for band in bands:
        while count + len(band) >= rows:
            part, band = band[: rows - count], band[rows - count :]
            yield np.concatenate([*waiting, part]) if waiting else part
            waiting, count = [], 0
        if len(band):
            waiting.append(band)
            count += len(band)
    if waiting:
        yield np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
