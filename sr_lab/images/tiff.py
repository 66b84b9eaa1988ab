"""TIFF files: any number of bands, 8 and 16 bit."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from sr_lab.images.headers import ImageError
from sr_lab.images.jpeg import decode_jpeg

_ALPHA = (1, 2)
_MINISWHITE, _PALETTE, _SEPARATED = 0, 3, 5
_CV2 = (1, 2, 3, 6)  # grey, RGB, palette, YCbCr
_PLANAR = 2
_JPEG = 7
_REDUCED_OR_MASK = 1 | 4


def read_tiff(path: Path, *, max_pixels: int) -> tuple[npt.NDArray[Any], int]:
    """Pixels (H, W, C), uint8 or uint16, and the orientation (1 to 8) of the only full-size page of a TIFF file.

    Raises:
        ImageError: with the words that follow the file's name.
    """
    try:
        with tifffile.TiffFile(path) as file:
            pages = [page.aspage() for page in file.pages]
            pages = [page for page in pages if not page.subfiletype & _REDUCED_OR_MASK] or pages[:1]
            if not pages:
                raise ImageError("is truncated: no page is where its header says; fetch it again")
            if len(pages) > 1:
                raise ImageError(f"has {len(pages)} pages; store each as its own file, or as the bands of one page")
            page = pages[0]
            check_size(page.imagewidth, page.imagelength, max_pixels)
            _check_page(page, path.stat().st_size)
            if page.compression == _JPEG:
                _check_jpeg_parts(page)
            orientation = page.tags.valueof(274, default=1)
            image = _decode(page, path, orientation)
    except ImageError:
        raise
    except Exception as error:  # a decoder meets damage in many ways
        raise ImageError(f"is not a readable TIFF file ({error}); convert or fetch it again") from error
    return image, orientation if orientation in range(1, 9) else 1


def write_tiff(path: Path, image: npt.NDArray[Any]) -> None:
    """Write (H, W, C) uint8 or uint16 as one page, compressed without loss; three bands are taken for RGB."""
    bands = image.shape[2]
    extra = {3: (), 1: ()}.get(bands, ("unspecified",) * (bands - 1))
    tifffile.imwrite(
        path,
        image if bands > 1 else image[:, :, 0],
        photometric="rgb" if bands == 3 else "minisblack",
        planarconfig="contig" if bands > 1 else None,
        extrasamples=extra or None,
        compression="zlib",
        metadata=None,
    )


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image without pixels or with too many, from its header alone."""
    if width < 1 or height < 1:
        raise ImageError(f"says that it is {width}x{height} pixels large; it is damaged, fetch it again")
    if width * height > max_pixels:
        raise ImageError(
            f"has {width}x{height} pixels, more than max_pixels={max_pixels}; cut it into parts, or allow more: "
            f"SRLAB_MAX_PIXELS={width * height} in the environment"
        )


def _check_page(page: tifffile.TiffPage, num_bytes: int) -> None:
    if page.imagedepth != 1:
        raise ImageError(f"holds a volume of {page.imagedepth} slices; store each as its own file")
    if page.photometric == _SEPARATED:
        raise ImageError("is a CMYK TIFF; convert it to RGB")
    if page.bitspersample not in (1, 8, 16) or page.sampleformat not in (1, None):
        raise ImageError(
            f"has {page.bitspersample}-bit samples of type {page.dtype}; convert it to 8- or 16-bit unsigned integers"
        )
    if any(start + count > num_bytes for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)):
        raise ImageError("is truncated: parts of the pixels lie beyond the end of the file")


def _check_jpeg_parts(page: tifffile.TiffPage) -> None:
    """Every strip or tile is JPEG data, whose common tables stand apart."""
    tables = page.jpegtables[:-2] if page.jpegtables else None  # without the end marker
    for start, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if count:
            page.parent.filehandle.seek(start)
            part = page.parent.filehandle.read(count)
            decode_jpeg(part if tables is None else tables + part[2:])


def _decode(page: tifffile.TiffPage, path: Path, orientation: int) -> npt.NDArray[Any]:
    image: npt.NDArray[Any] | None
    try:
        image = page.asarray()
    except (KeyError, ValueError) as error:
        if "imagecodecs" not in str(error):
            raise
        plain = page.samplesperpixel in (1, 3) and page.photometric in _CV2 and orientation == 1
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if plain else None
        if image is None:
            raise ImageError(f"has the compression {page.compression}, which needs: pip install imagecodecs") from error
        image = image[:, :, None] if image.ndim == 2 else image[:, :, ::-1]
        return np.asarray(image)
    if page.bitspersample == 1:
        image = image.astype(np.uint8) * 255
    if page.photometric == _PALETTE:
        colours = np.asarray(page.colormap)
        colours = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
        return np.moveaxis(colours[:, image], 0, -1)
    if page.photometric == _MINISWHITE:
        image = np.iinfo(image.dtype).max - image
    if image.ndim == 2:
        return image[:, :, None]
    if page.planarconfig == _PLANAR:
        image = np.moveaxis(image, 0, -1)
    num_alphas = sum(kind in _ALPHA for kind in page.extrasamples)
    return image[:, :, : image.shape[2] - num_alphas]
