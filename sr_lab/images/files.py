"""Image files: read, write."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from sr_lab.base.files import replacing
from sr_lab.images.codecs import encode
from sr_lab.images.folders import IMAGE_SUFFIXES
from sr_lab.images.foreign import is_foreign, read_foreign
from sr_lab.images.headers import Header, ImageError, read_header
from sr_lab.images.jpeg import decode_jpeg
from sr_lab.images.metadata import Metadata, read_metadata
from sr_lab.images.tiff import check_size, read_tiff, write_tiff

if TYPE_CHECKING:
    from torch import Tensor

_CORE_HEADER = (12).to_bytes(4, "little")
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_ROWS = 256
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OPTIONS = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100: lossless
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    ".bmp": [],
}
_NEW = (".avif", ".jxl")


@dataclass(frozen=True)
class Picture:
    """An image as its file has it.

    Attributes:
        pixels: (H, W, C), uint8 or uint16, upright; with ``alpha`` the last channel is transparency, and the colours
            are not multiplied by it.
        alpha: Whether there is transparency.
        metadata: What the file holds beside the pixels, as it was stored: its orientation and sizes are those of the
            file.
    """

    pixels: npt.NDArray[Any]
    alpha: bool
    metadata: Metadata

    @property
    def colours(self) -> npt.NDArray[Any]:
        """The pixels without transparency."""
        return np.ascontiguousarray(self.pixels[:, :, :-1] if self.alpha else self.pixels)


def read_image(path: Path | str, *, max_pixels: int | None = None) -> npt.NDArray[Any]:
    """Decode an image file, whatever its suffix, and turn it upright by its EXIF orientation.

    PNG, JPEG, WebP, TIFF, BMP and AVIF; HEIC and JPEG XL where their packages are installed.

    Alpha is dropped, not blended: the colours under transparent pixels come out as they are stored. Palettes are
    expanded, 1-bit images become 0 and 255, CMYK JPEG becomes RGB. Colour profiles are ignored. A TIFF file may have
    any number of bands.

    Args:
        path: the file.
        max_pixels: A larger image is refused from its header, before it is decoded; None takes the environment's
            ``SRLAB_MAX_PIXELS``, or 2**28.

    Returns:
        (H, W, C), uint8 or uint16; C is 1 for grey, 3 for RGB, more for the bands of a TIFF file.

    Raises:
        ImageError: if the file is missing, empty, truncated, damaged, too large, or not an image.
    """
    return read_picture(path, max_pixels=max_pixels).colours


def read_picture(path: Path | str, *, max_pixels: int | None = None) -> Picture:
    """As ``read_image``, with transparency and what the file holds beside its pixels."""
    path = Path(path)
    max_pixels = _most_pixels() if max_pixels is None else max_pixels
    try:
        with path.open("rb") as file:
            start = file.read(16)
            is_tiff = start.startswith(_TIFF_SIGNATURES)
            data = start if is_tiff else start + file.read()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    if not data:
        raise ImageError(f"{path} is empty (0 bytes); fetch it again or remove it")
    try:
        if not is_tiff:
            return decode_picture(data, max_pixels=max_pixels)
        return _picture(*read_tiff(path, max_pixels=max_pixels))
    except ImageError as error:
        raise ImageError(f"{path} {error}") from error


def decode_picture(data: bytes, *, max_pixels: int) -> Picture:
    """As ``read_picture``, of the bytes of a file.

    Raises:
        ImageError: With the words that follow the image's name.
    """
    if is_foreign(data):
        return _picture(*read_foreign(data, max_pixels=max_pixels))
    if data.startswith(_TIFF_SIGNATURES):
        return _picture(*read_tiff(data, max_pixels=max_pixels))
    return _picture(*_decode(data, max_pixels), read_metadata(data))


def _picture(image: npt.NDArray[Any], orientation: int, alpha: bool, metadata: Metadata) -> Picture:
    return Picture(np.ascontiguousarray(_upright(image, orientation)), alpha, metadata)


def write_image(path: Path | str, image: "npt.NDArray[Any] | Tensor") -> None:
    """Write an image in the format of the suffix; the file appears whole or not at all, and so do missing folders.

    PNG, WebP, TIFF and BMP are written without loss, JPEG with quality 95 and full colour resolution. uint16 needs PNG
    or TIFF, and any other number of channels than 1 and 3 needs TIFF. WebP knows no grey: it is read back as RGB.

    Args:
        path: the file; an existing one is replaced.
        image: (H, W, C) or (H, W) array, uint8 or uint16; or a tensor as :func:`sr_lab.images.to_array` takes it.

    Raises:
        ImageError: if the format cannot hold the image.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    array = np.asarray(image) if isinstance(image, np.ndarray) else _array(image)
    if array.ndim == 2:
        array = array[:, :, None]
    suffix = {".jpeg": ".jpg", ".tiff": ".tif"}.get(path.suffix.lower(), path.suffix.lower())
    if suffix != ".tif" and suffix not in _OPTIONS and suffix not in _NEW:
        known = ", ".join(sorted(IMAGE_SUFFIXES - {".heic", ".heif"}))
        raise ImageError(f"{path}: cannot write '{path.suffix}' files; use one of {known}")
    if array.ndim != 3 or 0 in array.shape or array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{path}: needs an (H, W, C) array of uint8 or uint16, got {array.shape} {array.dtype}")
    if array.dtype == np.uint16 and suffix not in (".png", ".tif", ".jxl"):
        raise ImageError(f"{path}: '{path.suffix}' cannot hold 16 bits; use .png or .tif")
    if array.shape[2] not in (1, 3) and suffix != ".tif":
        raise ImageError(f"{path}: '{path.suffix}' cannot hold {array.shape[2]} channels; use .tif")
    with replacing(path, durable=False) as partial:
        if suffix in _NEW:
            try:
                partial.write_bytes(encode(array, suffix[1:]))
            except ImageError as error:
                raise ImageError(f"{path}: {error}") from error
        elif suffix == ".tif":
            write_tiff(partial, array)
        else:
            partial.write_bytes(_encode(path, array, suffix))


def _array(image: Any) -> npt.NDArray[Any]:
    """The array of a tensor, or of what numpy takes for one."""
    from torch import Tensor

    from sr_lab.images.colour import to_array

    return to_array(image) if isinstance(image, Tensor) else np.asarray(image)


def _most_pixels() -> int:
    given = os.environ.get("SRLAB_MAX_PIXELS", "")
    if given and not given.isdecimal():
        raise ValueError(f"SRLAB_MAX_PIXELS={given}: a whole number of pixels")
    return int(given) if given else 2**28


def _decode(data: bytes, max_pixels: int) -> tuple[npt.NDArray[Any], int, bool]:
    """Pixels (H, W, C) of an encoded image other than TIFF, its orientation, and whether the last channel is alpha."""
    header = read_header(data)
    if header is None:
        kinds = "PNG, JPEG, WebP, TIFF, BMP, AVIF, HEIC or JPEG XL"
        raise ImageError(f"is not a {kinds} image (it starts with {data[:8]!r}); convert it")
    check_size(header.width, header.height, max_pixels)
    if data.startswith(_JPEG_SIGNATURE) and (pixels := decode_jpeg(data)) is not None:
        _check_shape(pixels, header)
        return pixels, header.orientation, False
    if data.startswith(b"BM") and data[14:18] == _CORE_HEADER:
        return _decode_os2(data), header.orientation, False
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"cannot be decoded ({error.err}); convert or fetch it again") from error
    if image is None:
        raise ImageError("is damaged: its pixels cannot be decoded; fetch it again or remove it")
    _check_shape(image, header)
    if image.ndim == 2:
        return image[:, :, None], header.orientation, False
    alpha = image.shape[2] == 4
    if alpha and data.startswith(b"BM") and not image[:, :, 3].any():
        image, alpha = image[:, :, :3], False  # a fourth byte that nobody set
    if header.is_grey:
        return image[:, :, [0, 3] if alpha else [0]], header.orientation, alpha
    for row in range(0, len(image), _ROWS):  # in place: a large image does not fit twice
        part = image[row : row + _ROWS]
        part[:, :, :3] = part[:, :, 2::-1].copy()
    return image, header.orientation, alpha


def _decode_os2(data: bytes) -> npt.NDArray[Any]:
    """A BMP file with the short header of OS/2, which OpenCV takes for a grey image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            grey = image.mode in ("1", "L")
            array = np.asarray(image.convert("L" if grey else "RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"is damaged ({error}); fetch it again or remove it") from error
    return array[:, :, None] if grey else array


def _check_shape(image: npt.NDArray[Any], header: Header) -> None:
    if image.shape[:2] != (header.height, header.width):
        raise ImageError(f"is damaged: {image.shape[:2]} pixels decoded, its header says {header.height, header.width}")


def _encode(path: Path, image: npt.NDArray[Any], suffix: str) -> bytes:
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[2] == 3 else image
    try:
        done, data = cv2.imencode(suffix, pixels, _OPTIONS[suffix])
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be encoded ({error.err})") from error
    if not done:
        raise ImageError(
            f"{path}: cannot be encoded; {image.shape[1]}x{image.shape[0]} may be too large for '{suffix}'"
        )
    return data.tobytes()


def _upright(image: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo the EXIF orientation: 5 to 8 are transposed, and the lower two bits say which edges come first."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image
