"""PNG files row by row, with what they hold beside their pixels.

Of one filter (each row less the one above it, as fpng takes) and one deflate stream: by ISA-L where ``isal`` is
installed, else by zlib at its fastest. A whole image of 8 bits and 3 or 4 channels is written by ``fpng`` where that is
installed: ``benchmarks/codecs.py`` compares them.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sr_lab.images.formats import Form
from sr_lab.images.metadata import IPTC_KEYWORD, XMP_KEYWORD, Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {(1, False): 0, (3, False): 2, (1, True): 4, (3, True): 6}
_UP = 2
_BLOCK = 1 << 20
_BAND = 256
GREEDY = 1 << 21
"""Pixels of a PNG that takes about 10 ms."""


def png_rows(bands: Iterable[npt.NDArray[Any]], form: Form, metadata: Metadata) -> Iterator[bytes]:
    """The bytes of a PNG file, as soon as the rows are there.

    Args:
        bands: Arrays (rows, width, channels) of uint8 or uint16, alpha last, from the top to the bottom.
        form: What they make together.
        metadata: What is written before them.
    """
    header = struct.pack(">IIBBBBB", form.width, form.height, form.bits, _COLOURS[form.bands, form.alpha], 0, 0, 0)
    yield SIGNATURE + _chunk(b"IHDR", header) + metadata_chunks(metadata)
    deflate, row = _deflater(), np.zeros((form.bands + form.alpha) * form.width * form.bits // 8, np.uint8)
    waiting = bytearray()
    for band in bands:
        stored = band.astype(">u2") if form.bits == 16 else band
        lines = np.ascontiguousarray(stored).view(np.uint8).reshape(len(band), -1)
        filtered = np.empty((len(lines), 1 + lines.shape[1]), np.uint8)
        filtered[:, 0] = _UP
        np.subtract(lines[:1], row, out=filtered[:1, 1:])
        np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
        row = lines[-1].copy()
        waiting += deflate.compress(filtered.reshape(-1).data)
        if len(waiting) >= _BLOCK:
            yield _chunk(b"IDAT", bytes(waiting))
            waiting.clear()
    waiting += deflate.flush()
    yield _chunk(b"IDAT", bytes(waiting)) + _chunk(b"IEND", b"")


def encode_png(image: npt.NDArray[Any], form: Form, metadata: Metadata, *, alone: bool = True) -> bytes:
    """A whole image, by fpng where it is installed and takes it.

    Args:
        image: (H, W, C).
        form: What it is.
        metadata: What is written before its pixels.
        alone: Whether no other thread waits: fpng lets none run until it is done, .8 s for 36 megapixels. Else it gets
            images of at most ``GREEDY`` pixels.
    """
    if form.bits == 8 and form.bands == 3 and (alone or form.width * form.height <= GREEDY):
        try:
            import fpng
        except ImportError:
            pass
        else:
            data = fpng.from_ndarray(np.ascontiguousarray(image))
            start = len(SIGNATURE) + 25  # behind IHDR
            return b"".join((data[:start], metadata_chunks(metadata), data[start:]))
    return b"".join(png_rows((image[row : row + _BAND] for row in range(0, len(image), _BAND)), form, metadata))


def metadata_chunks(metadata: Metadata) -> bytes:
    """Chunks that stand between header and pixels."""
    parts = []
    if metadata.icc is not None:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.resolution is not None:
        across, down = (round(value / 0.0254) for value in metadata.resolution)
        parts.append(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if metadata.exif is not None:
        parts.append(_chunk(b"eXIf", metadata.exif))
    if metadata.xmp is not None:
        parts.append(_chunk(b"iTXt", XMP_KEYWORD + bytes(5) + metadata.xmp))
    if metadata.iptc is not None:
        text = f"\niptc\n{len(metadata.iptc):8d}\n{metadata.iptc.hex()}\n".encode("ascii")
        parts.append(_chunk(b"zTXt", IPTC_KEYWORD + b"\0\0" + zlib.compress(text)))
    return b"".join([*parts, *(_chunk(kind, content) for kind, content in metadata.texts)])


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def deflated(data: bytes) -> bytes:
    """Bytes as a zlib stream, by the fastest deflate that is installed."""
    deflate = _deflater()
    return bytes(deflate.compress(data) + deflate.flush())


def _deflater() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compressobj(1, strategy=zlib.Z_RLE)
    return isal_zlib.compressobj(isal_zlib.ISAL_BEST_SPEED + 1)
