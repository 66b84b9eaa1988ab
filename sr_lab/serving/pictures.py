"""Encoded images of requests and answers: what a header tells, decoding, and the format that the client accepts."""

import functools
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from sr_lab.images import codecs, read_image
from sr_lab.images.extras import read_extras
from sr_lab.images.files import decode_picture
from sr_lab.images.headers import ImageError, read_header

Pixels = npt.NDArray[Any]
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY = b"\x93NUMPY"


@dataclass(frozen=True)
class Facts:
    """What the header of an image tells, before any of it is decoded.

    Attributes:
        height: Rows of the image turned upright.
        width: Columns.
        channels: As they are decoded.
        deep: Whether it has 16 bits.
    """

    height: int
    width: int
    channels: int
    deep: bool

    @property
    def pixels(self) -> int:
        """Rows times columns."""
        return self.height * self.width


def facts_of(data: bytes) -> Facts:
    """Size, channels and depth of an encoded image.

    Raises:
        ImageError: If it is none that is known, or its header is damaged.
    """
    try:
        if data.startswith(_NPY):
            return _npy_facts(data)
        extras = read_extras(io.BytesIO(data))
        if data.startswith(_TIFF):
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                page = file.pages[0].aspage()
                height, width = int(page.imagelength), int(page.imagewidth)
                orientation = page.tags.valueof(274, default=1)
        else:
            header = read_header(data)
            if header is None:
                raise ImageError(f"is not a PNG, JPEG, WebP, TIFF, BMP or npy image (it starts with {data[:8]!r})")
            height, width, orientation = header.height, header.width, header.orientation
    except ImageError:
        raise
    except Exception as error:  # a damaged header is met in many ways
        raise ImageError(f"has a header that cannot be read ({type(error).__name__})") from error
    if height < 1 or width < 1:
        raise ImageError(f"says that it is {width}x{height} pixels large")
    if isinstance(orientation, int) and orientation >= 5:
        height, width = width, height
    return Facts(height, width, extras.bands, extras.bits > 8)


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    """Pixels (H, W, C) of an encoded image, uint8 or uint16, upright; as ``read_image`` reads them.

    Raises:
        ImageError: If it cannot be decoded.
    """
    if data.startswith(_NPY):
        return _read_npy(data)
    if not data.startswith(_TIFF):
        try:
            return decode_picture(data, max_pixels=max_pixels).colours
        except ImageError as error:
            raise ImageError(f"the image {error}") from None
    with tempfile.NamedTemporaryFile(prefix="srlab-") as file:
        file.write(data)
        file.flush()
        try:
            return read_image(Path(file.name), max_pixels=max_pixels)
        except ImageError as error:
            raise ImageError(str(error).replace(file.name, "the image")) from None


def _npy_facts(data: bytes) -> Facts:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(stream, max_header_size=1000)
    if len(shape) not in (2, 3) or dtype not in (np.uint8, np.uint16):
        raise ImageError(f"is an array of {shape} {dtype}: (H, W, C) or (H, W) of uint8 or uint16 is needed")
    wanted = int(np.prod(shape)) * dtype.itemsize
    if len(data) - stream.tell() < wanted:
        raise ImageError(f"is truncated: {len(data) - stream.tell()} of {wanted} bytes are there")
    return Facts(int(shape[0]), int(shape[1]), int(shape[2]) if len(shape) == 3 else 1, dtype == np.uint16)


def _read_npy(data: bytes) -> Pixels:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ImageError(f"the image is no npy file that can be read ({error})") from error
    return np.ascontiguousarray(array if array.ndim == 3 else array[:, :, None])


@dataclass(frozen=True)
class Format:
    """A format of answers.

    Attributes:
        media: Its media type.
        encode: Makes it of (H, W, C).
        deep: Whether it holds 16 bits.
        bands: Whether it holds other than 1 and 3 channels.
    """

    media: str
    encode: Callable[[Pixels], bytes]
    deep: bool = False
    bands: bool = False

    def holds(self, facts: Facts) -> bool:
        """Whether an image of this kind can be put in it without loss of depth or channels."""
        return (self.deep or not facts.deep) and (self.bands or facts.channels in (1, 3))


def _by_opencv(suffix: str, *options: int) -> Callable[[Pixels], bytes]:
    def encode(image: Pixels) -> bytes:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[2] == 3 else image
        done, data = cv2.imencode(suffix, pixels, list(options))
        if not done:
            raise ImageError(f"{image.shape[1]}x{image.shape[0]} pixels are more than {suffix[1:]} holds")
        return data.tobytes()

    return encode


def _avif(image: Pixels) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0]).save(stream, "AVIF", quality=90, speed=8)
    return stream.getvalue()


def _npy(image: Pixels) -> bytes:
    stream = io.BytesIO()
    np.save(stream, image)
    return stream.getvalue()


FORMATS = {
    "png": Format("image/png", functools.partial(codecs.encode, format="png"), deep=True),
    "jpeg": Format(
        "image/jpeg",
        _by_opencv(
            ".jpg",
            *(cv2.IMWRITE_JPEG_QUALITY, 95),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ),
    ),
    "webp": Format("image/webp", functools.partial(codecs.encode, format="webp")),
    "avif": Format("image/avif", _avif),
    "jxl": Format("image/jxl", functools.partial(codecs.encode, format="jxl"), deep=True),
    "npy": Format("application/x-npy", _npy, deep=True, bands=True),
}
"""By their names: png, webp, jxl and npy without loss, jpeg and avif with."""
_NAMES = {form.media: name for name, form in FORMATS.items()} | {"application/octet-stream": "npy", "image/jpg": "jpeg"}


def accepted(header: str) -> str | None:
    """The format that an ``Accept`` header asks for: the one of the highest weight; png where it takes anything.

    Returns:
        A name of ``FORMATS``, or None if there is none among them.

    Example:
        >>> accepted("image/webp;q=0.8, image/jxl"), accepted("*/*"), accepted("text/html")
        ('jxl', 'png', None)
    """
    wanted = []
    for order, part in enumerate(header.split(",")):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        name = "png" if media in ("*/*", "image/*", "") else _NAMES.get(media)
        if name is not None and 0 < weight <= 1:
            wanted.append((-weight, order, name))
    return min(wanted)[2] if wanted else None
