"""Encoded images of requests and answers: what a header tells, decoding, and the format that the client accepts."""

import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from sr_lab.base.extras import remedy
from sr_lab.images import codecs
from sr_lab.images.extras import read_extras
from sr_lab.images.files import Picture, decode_picture
from sr_lab.images.formats import ALIASES, FORMATS, Form, Format, cannot_hold
from sr_lab.images.headers import ImageError, read_header
from sr_lab.images.metadata import Metadata

Pixels = npt.NDArray[Any]
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY = b"\x93NUMPY"
ANSWERS: Mapping[str, Format] = {
    **FORMATS,
    "npy": Format(frozenset(), bits=16, any_bands=True, share=1.0, media="application/x-npy"),
}
"""The formats of ``srlab restore``, and NumPy's."""
_NAMES = {form.media: name for name, form in ANSWERS.items()} | {
    "application/octet-stream": "npy",
    "image/jpg": "jpg",
    "image/x-ms-bmp": "bmp",
}


@dataclass(frozen=True)
class Facts:
    """What the header of an image tells, before any of it is decoded.

    Attributes:
        height: Rows of the image turned upright.
        width: Columns.
        channels: As they are decoded, without transparency.
        deep: Whether it has 16 bits.
        alpha: Whether it has transparency.
    """

    height: int
    width: int
    channels: int
    deep: bool
    alpha: bool = False

    @property
    def pixels(self) -> int:
        """Rows times columns."""
        return self.height * self.width

    @property
    def num_bytes(self) -> int:
        """Of its pixels, decoded."""
        return self.pixels * (self.channels + self.alpha) * (2 if self.deep else 1)

    def form(self, scale: int) -> Form:
        """What the restored image needs of a format, its transparency aside: that may turn out to be opaque."""
        return Form(self.width * scale, self.height * scale, self.channels, False, 16 if self.deep else 8)


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
    return Facts(height, width, extras.bands, extras.bits > 8, "alpha" in extras.kinds)


def facts_of_picture(picture: Picture) -> Facts:
    """The same of a decoded image."""
    height, width, channels = picture.pixels.shape
    return Facts(height, width, channels - picture.alpha, picture.pixels.dtype == np.uint16, picture.alpha)


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """An encoded image, upright, as ``read_picture`` reads files.

    Raises:
        ImageError: If it cannot be decoded.
    """
    if data.startswith(_NPY):
        return Picture(_read_npy(data), False, Metadata())
    try:
        return decode_picture(data, max_pixels=max_pixels)
    except ImageError as error:
        raise ImageError(f"the image {error}") from None


def encode(image: Pixels, format: str, metadata: Metadata, *, alpha: bool, quality: int) -> bytes:
    """A restored image as the body of an answer: as ``srlab restore`` writes files, or npy.

    Raises:
        ImageError: If the format cannot hold it.
    """
    if format != "npy":
        return codecs.encode(image, format, metadata, alpha=alpha, quality=quality, alone=False)
    stream = io.BytesIO()
    np.save(stream, image)
    return stream.getvalue()


def refusal(format: str, form: Form) -> str:
    """Why an answer cannot be of a format, as a sentence; empty where it can."""
    package = ANSWERS[format].package
    if package is not None and importlib.util.find_spec(package) is None:
        return f"{format} cannot be written by this server: {remedy(package)}"
    why = cannot_hold(format, form, ANSWERS)
    return "" if why is None else f"{format} {why}"


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


def format_named(name: str) -> str:
    """The format of ``ANSWERS`` by a name that an earlier release may have written down: jpeg is jpg.

    >>> format_named("jpeg"), format_named("npy")
    ('jpg', 'npy')
    """
    return ALIASES.get(name, name)


def accepted(header: str) -> str | None:
    """The format that an ``Accept`` header asks for: the one of the highest weight; png where it takes anything.

    Returns:
        A name of ``ANSWERS``, or None if there is none among them.

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
