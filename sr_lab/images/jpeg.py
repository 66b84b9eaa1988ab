"""JPEG data, decoded strictly: what libjpeg only warns of (a gap filled with grey, a broken code) is damage here."""

from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from sr_lab.images.headers import ImageError

_HARMLESS = ("Invalid SOS parameters", "Unknown Adobe color transform", "unknown JFIF revision")


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
