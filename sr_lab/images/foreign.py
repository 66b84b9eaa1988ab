"""AVIF, HEIC and JPEG XL: formats whose decoders come with packages, and turn the image themselves where they can."""

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from sr_lab.base.extras import remedy
from sr_lab.base.words import counted
from sr_lab.images.exif import orientation
from sr_lab.images.headers import ImageError, boxes, jpegxl_size
from sr_lab.images.metadata import Metadata
from sr_lab.images.tiff import check_size

_JXL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_AVIF, _HEIC = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
Decoded = tuple[npt.NDArray[Any], int, bool, Metadata]


def is_foreign(data: bytes) -> bool:
    """Whether it is an image of one of these formats, by its first bytes."""
    return data.startswith(_JXL) or (data[4:8] == b"ftyp" and data[8:12] in _AVIF | _HEIC)


def read_foreign(data: bytes, *, max_pixels: int) -> Decoded:
    """Pixels (H, W, C), the orientation that is left to apply, whether the last channel is alpha, and the metadata.

    Raises:
        ImageError: With the words that follow the file's name.
    """
    try:
        if data.startswith(_JXL):
            return _jxl(data, max_pixels)
        brands = {data[8:12], *(data[start : start + 4] for start in range(16, min(len(data), 64), 4))}
        return _pillow(data, max_pixels) if brands & _AVIF else _heic(data, max_pixels)
    except ImageError:
        raise
    except ImportError as error:
        raise ImageError(f"cannot be read: {remedy(error.name or '') or error}") from error
    except Exception as error:  # a decoder meets damage in many ways
        told = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else error
        raise ImageError(f"is damaged or of a rare kind ({told}); convert or fetch it again") from error


def _pillow(data: bytes, max_pixels: int) -> Decoded:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is asked next
        with Image.open(io.BytesIO(data)) as image:
            check_size(image.size[0], image.size[1], max_pixels)
            metadata = Metadata(
                icc=image.info.get("icc_profile"), exif=_bare(image.info.get("exif")), xmp=image.info.get("xmp")
            )
            turn = 1 if metadata.exif is None else orientation(metadata.exif)
            mode = image.mode if image.mode in ("L", "LA", "RGB", "RGBA") else "RGB"
            pixels = np.array(image if mode == image.mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None], turn, mode.endswith("A"), metadata


def _heic(data: bytes, max_pixels: int) -> Decoded:
    import pillow_heif

    image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    check_size(image.size[0], image.size[1], max_pixels)
    pixels = np.array(image)
    metadata = Metadata(
        icc=image.info.get("icc_profile"), exif=_bare(image.info.get("exif")), xmp=image.info.get("xmp") or None
    )
    alpha = image.mode.split(";")[0] in ("RGBA", "RGBa", "LA")
    return pixels if pixels.ndim == 3 else pixels[:, :, None], 1, alpha, metadata  # libheif turns the image


def _jxl(data: bytes, max_pixels: int) -> Decoded:
    import imagecodecs

    check_size(*jpegxl_size(data), max_pixels)
    pixels = np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.shape[2] > 4:
        raise ImageError(
            f"has samples of type {pixels.dtype} in {counted(pixels.shape[2], 'band')}; convert it to 8 or 16 bits"
        )
    found = dict(boxes(data)) if data.startswith(_JXL[1]) else {}
    exif = found.get(b"Exif", b"")[4:] or None
    return pixels, 1, pixels.shape[2] in (2, 4), Metadata(exif=exif, xmp=found.get(b"xml "), icc=_jxl_profile(data))


def _jxl_profile(data: bytes) -> bytes | None:
    """The colour profile, by the package that tells it; None where that is not installed."""
    try:
        from pillow_jxl import Decoder
    except ImportError:
        return None
    profile: bytes | None = Decoder(num_threads=0)(data)[3]
    return profile or None


def _bare(exif: bytes | None) -> bytes | None:
    return exif.removeprefix(b"Exif\0\0") or None if exif else None
