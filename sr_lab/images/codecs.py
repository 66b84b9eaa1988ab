"""Encoding: one function for every format, and one that writes rows as they come; decoders are in ``files``.

Which encoder writes a format was chosen by measurement: ``benchmarks/codecs.py``.
"""

import io
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from sr_lab.base.extras import remedy
from sr_lab.images.formats import FORMATS, Form, cannot_hold
from sr_lab.images.headers import ImageError
from sr_lab.images.jpeg import jpeg_rows, jpeg_segments
from sr_lab.images.metadata import Metadata
from sr_lab.images.png import encode_png, png_rows
from sr_lab.images.tiff import write_tiff_rows


def encode(
    image: npt.NDArray[Any],
    format: str,
    metadata: Metadata | None = None,
    *,
    alpha: bool = False,
    quality: int = 95,
    alone: bool = True,
) -> bytes:
    r"""An image in a format of ``FORMATS``: png, tif, webp and jxl without loss, jpg and avif with.

    Args:
        image: (H, W, C), uint8 or uint16.
        format: png, tif, jpg, webp, avif, jxl or bmp.
        metadata: What is stored beside the pixels, as far as the format holds it.
        alpha: Whether the last channel is transparency.
        quality: Of a lossy format, 1 to 100.
        alone: Whether no other thread waits; see ``png.encode_png``.

    Raises:
        ImageError: If the format cannot hold the image, or needs a package that is not installed; the words follow the
            image's name.

    Example:
        >>> encode(np.zeros((4, 6, 3), np.uint8), "png")[:4]
        b'\x89PNG'
    """
    form = form_of(image, alpha=alpha)
    if format == "png":
        check(format, form)
        return encode_png(image, form, metadata or Metadata(), alone=alone)
    stream = io.BytesIO()
    _write(stream, [image], format, form, metadata or Metadata(), quality)
    return stream.getvalue()


def write_rows(
    path: Path,
    bands: Iterable[npt.NDArray[Any]],
    format: str,
    form: Form,
    metadata: Metadata | None = None,
    *,
    quality: int = 95,
) -> None:
    """Writes an image whose rows come one band after the other; see ``encode``.

    Of png, tif and jpg no more than a band is held; the other encoders take the whole image at once.

    Args:
        path: The file.
        bands: Arrays (rows, width, channels), from the top to the bottom.
        format: See ``encode``.
        form: What they make together.
        metadata: See ``encode``.
        quality: See ``encode``.
    """
    with path.open("w+b") as stream:
        _write(stream, bands, format, form, metadata or Metadata(), quality)


def form_of(image: npt.NDArray[Any], *, alpha: bool = False) -> Form:
    """What an array (H, W, C) needs of a format."""
    height, width, channels = image.shape
    return Form(width, height, channels - alpha, alpha, 8 * image.dtype.itemsize)


def check(format: str, form: Form) -> None:
    """Refuses what a format cannot hold.

    Raises:
        ImageError: With the words that follow the image's name.
    """
    if (why := cannot_hold(format, form)) is not None:
        raise ImageError(f"{format} {why}")


def _write(
    stream: Any, bands: Iterable[npt.NDArray[Any]], format: str, form: Form, metadata: Metadata, quality: int
) -> None:
    check(format, form)
    kept = metadata.without(metadata.kinds() - FORMATS[format].holds)
    if format == "tif":
        write_tiff_rows(stream, bands, form, kept)
        return
    for part in _parts(bands, format, form, kept, quality):
        stream.write(part)


def _parts(
    bands: Iterable[npt.NDArray[Any]], format: str, form: Form, metadata: Metadata, quality: int
) -> Iterator[bytes]:
    if format == "png":
        return png_rows(bands, form, metadata)
    if format == "jpg":
        segments = jpeg_segments(metadata)
        return jpeg_rows(bands, width=form.width, height=form.height, segments=segments, quality=quality)
    whole = np.concatenate(parts) if len(parts := list(bands)) > 1 else parts[0]
    if format == "jxl":
        return iter([_jxl(whole, metadata)])
    if format == "bmp":
        return iter([_bmp(whole, metadata)])
    return iter([_pillow(whole, form, format, metadata, quality)])


def _pillow(image: npt.NDArray[Any], form: Form, format: str, metadata: Metadata, quality: int) -> bytes:
    """WebP without loss, and AVIF of full colour resolution."""
    if form.bands == 1 and form.alpha:
        image = image[:, :, [0, 0, 0, 1]]
    elif form.bands == 1 and format == "webp":
        image = image.repeat(3, axis=2)
    lossless = {"lossless": True, "quality": 40, "method": 1, "exact": True}
    options = lossless if format == "webp" else {"quality": quality, "subsampling": "4:4:4", "speed": 8}
    exif = {} if metadata.exif is None else {"exif": metadata.exif}
    xmp = {} if metadata.xmp is None else {"xmp": metadata.xmp}
    icc = {} if metadata.icc is None else {"icc_profile": metadata.icc}
    stream = io.BytesIO()
    try:
        pixels = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image))
        pixels.save(stream, format.upper(), **options, **exif, **xmp, **icc)
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(f"cannot be encoded as {format} ({error})") from error
    return stream.getvalue()


def _bmp(image: npt.NDArray[Any], metadata: Metadata) -> bytes:
    pixels = image[:, :, ::-1] if image.shape[2] == 3 else image
    done, data = cv2.imencode(".bmp", np.ascontiguousarray(pixels))
    if not done:
        raise ImageError(f"cannot be encoded as bmp: {image.shape[1]}x{image.shape[0]} may be too large")
    encoded = bytearray(data.tobytes())
    if metadata.resolution is not None:
        struct.pack_into("<ii", encoded, 38, *(round(value / 0.0254) for value in metadata.resolution))
    return bytes(encoded)


def _jxl(image: npt.NDArray[Any], metadata: Metadata) -> bytes:
    """JPEG XL without loss, in a container where there is something beside the pixels."""
    try:
        import imagecodecs
    except ImportError as error:
        raise ImageError(f"as jxl: {remedy('imagecodecs')}") from error
    pixels = image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image)
    boxes = b"".join(
        struct.pack(">I4s", len(content) + 8, kind) + content
        for kind, content in (
            (b"Exif", None if metadata.exif is None else bytes(4) + metadata.exif),
            (b"xml ", metadata.xmp),
        )
        if content is not None
    )
    data = bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, effort=1, usecontainer=bool(boxes), numthreads=1))
    if not boxes:
        return data
    place = 0
    while data[place + 4 : place + 8] in (b"JXL ", b"ftyp", b"jxll"):
        place += int.from_bytes(data[place : place + 4], "big")
    return data[:place] + boxes + data[place:]
