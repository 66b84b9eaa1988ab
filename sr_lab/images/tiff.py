"""TIFF files: any number of bands, 8 and 16 bit."""

import io
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from sr_lab.base.words import counted
from sr_lab.images.exif import moved_exif, text_tags
from sr_lab.images.formats import Form
from sr_lab.images.headers import ImageError
from sr_lab.images.jpeg import decode_jpeg, regroup
from sr_lab.images.metadata import Metadata, Tag
from sr_lab.images.png import deflated

if TYPE_CHECKING:
    import tifffile  # its import takes a tenth of a second, and few images are TIFF

_ALPHA = (1, 2)
_ASSOCIATED = 1
_EXIF_IFD, _GPS_IFD = 34665, 34853
_GEO = {33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113}
_DESCRIBING = {270, 271, 272, 305, 306, 315, 33432, _EXIF_IFD, _GPS_IFD}
"""Tags of a TIFF file that say what EXIF does: description, camera, software, time, artist, rights."""
_STRIP = 1 << 18
_MINISWHITE, _PALETTE = 0, 3
_OTHER_COLOURS = {
    5: "CMYK", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "raw (colour filter array)", 32844: "LogL",
    32845: "LogLuv", 34892: "linear raw",
}  # fmt: skip
"""Photometric interpretations whose samples are no grey, RGB or bands."""
_CV2 = (1, 2, 3, 6)  # grey, RGB, palette, YCbCr
_PLANAR = 2
_JPEG = 7
_REDUCED_OR_MASK = 1 | 4


def read_tiff(source: Path | bytes, *, max_pixels: int) -> tuple[npt.NDArray[Any], int, bool, Metadata]:
    """The only full-size page of a TIFF file, or of its bytes.

    Returns:
        Pixels (H, W, C), uint8 or uint16; the orientation (1 to 8); whether the last channel is alpha, by which the
        colours are not multiplied (where they were, they are divided by it); and what is stored beside the pixels.

    Raises:
        ImageError: with the words that follow the file's name.
    """
    import tifffile

    try:
        with tifffile.TiffFile(source if isinstance(source, Path) else io.BytesIO(source)) as file:
            pages = [page.aspage() for page in file.pages]
            pages = [page for page in pages if not page.subfiletype & _REDUCED_OR_MASK] or pages[:1]
            if not pages:
                raise ImageError("is truncated: no page is where its header says; fetch it again")
            if len(pages) > 1:
                raise ImageError(
                    f"has {counted(len(pages), 'page')}; store each as its own file, or as the bands of one page"
                )
            page = pages[0]
            check_size(page.imagewidth, page.imagelength, max_pixels)
            _check_page(page, page.parent.filehandle.size)
            if page.compression == _JPEG:
                _check_jpeg_parts(page)
            orientation = page.tags.valueof(274, default=1)
            image, alpha = _decode(page, source, orientation)
            metadata = _metadata(page)
    except ImageError:
        raise
    except Exception as error:  # a decoder meets damage in many ways
        raise ImageError(f"is not a readable TIFF file ({error}); convert or fetch it again") from error
    return image, orientation if orientation in range(1, 9) else 1, alpha, metadata


def write_tiff(path: Path, image: npt.NDArray[Any]) -> None:
    """Write (H, W, C) uint8 or uint16 as one page, compressed without loss; three bands are taken for RGB."""
    import tifffile

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


def _check_page(page: "tifffile.TiffPage", num_bytes: int) -> None:
    if page.imagedepth != 1:
        raise ImageError(f"holds a volume of {page.imagedepth} slices; store each as its own file")
    if (colours := _OTHER_COLOURS.get(int(page.photometric))) is not None:
        raise ImageError(f"is a {colours} TIFF; convert it to RGB")
    if page.bitspersample not in (1, 8, 16) or page.sampleformat not in (1, None):
        raise ImageError(
            f"has {page.bitspersample}-bit samples of type {page.dtype}; convert it to 8- or 16-bit unsigned integers"
        )
    if any(start + count > num_bytes for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)):
        raise ImageError("is truncated: parts of the pixels lie beyond the end of the file")


def _check_jpeg_parts(page: "tifffile.TiffPage") -> None:
    """Every strip or tile is JPEG data, whose common tables stand apart."""
    tables = page.jpegtables[:-2] if page.jpegtables else None  # without the end marker
    for start, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if count:
            page.parent.filehandle.seek(start)
            part = page.parent.filehandle.read(count)
            decode_jpeg(part if tables is None else tables + part[2:])


def _decode(page: "tifffile.TiffPage", source: Path | bytes, orientation: int) -> tuple[npt.NDArray[Any], bool]:
    image: npt.NDArray[Any] | None
    try:
        image = page.asarray()
    except (KeyError, ValueError) as error:
        if "imagecodecs" not in str(error):
            raise
        plain = page.samplesperpixel in (1, 3) and page.photometric in _CV2 and orientation == 1
        data = source if isinstance(source, bytes) else source.read_bytes()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if plain else None
        if image is None:
            raise ImageError(f"has the compression {page.compression}, which needs: pip install imagecodecs") from error
        image = image[:, :, None] if image.ndim == 2 else image[:, :, ::-1]
        return np.asarray(image), False
    if page.bitspersample == 1:
        image = image.astype(np.uint8) * 255
    if page.photometric == _PALETTE:
        colours = np.asarray(page.colormap)
        colours = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
        return np.moveaxis(colours[:, image], 0, -1), False
    if page.photometric == _MINISWHITE:
        image = np.iinfo(image.dtype).max - image
    if image.ndim == 2:
        return image[:, :, None], False
    if page.planarconfig == _PLANAR:
        image = np.moveaxis(image, 0, -1)
    extra = list(page.extrasamples)
    alphas = [image.shape[2] - len(extra) + place for place, kind in enumerate(extra) if kind in _ALPHA]
    if not alphas:
        return image, False
    others = [channel for channel in range(image.shape[2]) if channel not in alphas]
    if extra[alphas[0] - image.shape[2]] == _ASSOCIATED:
        image = _unmultiplied(image, alphas[0], others)
    return (image if [*others, alphas[0]] == list(range(image.shape[2])) else image[:, :, [*others, alphas[0]]]), True


def _unmultiplied(image: npt.NDArray[Any], alpha: int, others: list[int]) -> npt.NDArray[Any]:
    """Colours that were multiplied by alpha, divided by it, row by row."""
    image, top = image.copy(), float(np.iinfo(image.dtype).max)
    for row in image:
        share = np.maximum(row[:, alpha, None], 1).astype(np.float32)
        row[:, others] = np.minimum(np.rint(row[:, others] * (top / share)), top).astype(image.dtype)
    return image


def _metadata(page: "tifffile.TiffPage") -> Metadata:
    """What a page holds beside its pixels, but for its description of itself."""
    tags = page.tags
    found: dict[str, Any] = {
        name: _bytes(tags.valueof(tag)) for name, tag in (("icc", 34675), ("xmp", 700), ("iptc", 33723))
    }
    resolution = None
    if (unit := tags.valueof(296, default=2)) in (2, 3) and 282 in tags and 283 in tags:
        across, down = (
            (value[0] / value[1] if value[1] else 0.0) * (1.0 if unit == 2 else 2.54)
            for value in (tags.valueof(282), tags.valueof(283))
        )
        resolution = (across, down) if across > 1 and down > 1 else None
    geo = tuple((tag.code, int(tag.dtype), tag.count, tag.value) for tag in tags if tag.code in _GEO)
    return Metadata(**found, resolution=resolution, geo=geo, exif=_exif(page))


def _bytes(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value or None
    return np.asarray(value).tobytes() or None


def _exif(page: "tifffile.TiffPage") -> bytes | None:
    """EXIF data of what describes the picture: camera, time, artist, and the EXIF and GPS directories."""
    if page.parent.is_bigtiff or not any(tag.code in _DESCRIBING for tag in page.tags):
        return None
    handle = page.parent.filehandle
    handle.seek(0)
    exif = Image.Exif()
    try:
        exif.load_from_fp(handle)
        directories = {tag: exif.get_ifd(tag) for tag in (_EXIF_IFD, _GPS_IFD)}
        for tag in list(exif):
            if tag not in _DESCRIBING:
                del exif[tag]
        for tag, directory in directories.items():
            if not directory:
                exif.pop(tag, None)
        data = exif.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # a directory may be broken in many ways; the pixels are not
        return None
    return data if len(exif) else None


def write_tiff_rows(stream: BinaryIO, bands: Iterable[npt.NDArray[Any]], form: Form, metadata: Metadata) -> None:
    """Writes one page strip by strip, compressed without loss; three bands are taken for RGB.

    Args:
        stream: The file, to be read as well, empty.
        bands: Arrays (rows, width, channels) of uint8 or uint16, alpha last.
        form: What they make together.
        metadata: What is stored beside the pixels; EXIF not in a file of more than 4 GiB.
    """
    import tifffile

    channels = form.bands + form.alpha
    dtype = np.dtype(np.uint8 if form.bits == 8 else np.uint16)
    line = form.width * channels * dtype.itemsize
    rows = max(1, min(form.height, _STRIP // line))
    big = form.height * line > 2**32 - 2**25
    order = ">" if metadata.exif is not None and metadata.exif.startswith(b"MM") else "<"
    tags = [*metadata.geo]
    tags += [(code, 7, len(value), value) for code, value in ((700, metadata.xmp), (33723, metadata.iptc)) if value]
    exif = None if big else metadata.exif
    if exif is not None:
        tags += _described(exif)
    colour = 3 if form.bands == 3 else 1
    extra = ["unspecified"] * (form.bands - colour) + ["unassalpha"] * form.alpha
    shape = (form.height, form.width, channels) if channels > 1 else (form.height, form.width)
    tifffile.imwrite(
        stream,
        (_strip(part, order) for part in regroup(bands, rows)),
        shape=shape,
        dtype=dtype,
        byteorder=order,
        bigtiff=big,
        rowsperstrip=rows,
        photometric="rgb" if form.bands == 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=extra or None,
        compression="zlib",
        predictor=2,
        resolution=metadata.resolution,
        resolutionunit=None if metadata.resolution is None else 2,
        iccprofile=metadata.icc,
        extratags=[(*tag, True) for tag in tags],
        software=False,
        metadata=None,
    )
    if exif is not None:
        _append_exif(stream, exif, order)


def _strip(part: npt.NDArray[Any], order: str) -> bytes:
    """Rows as a strip: each sample less that of the pixel before it, deflated."""
    difference = part.astype(part.dtype.newbyteorder(">" if order == ">" else "<"))
    difference[:, 1:] -= part[:, :-1]
    return deflated(difference.tobytes())


def _described(exif: bytes) -> list[Tag]:
    """The tags of a picture's own directory that are text, and places for its EXIF and GPS directories.

    These wait under the next numbers, as tifffile writes none of their own.
    """
    texts: list[Tag] = [
        (tag, 2, count, exif[start : start + count].rstrip(b"\0"))
        for tag, start, count in text_tags(exif)
        if tag in _DESCRIBING
    ]
    _, directory, gps = moved_exif(exif, 0)
    places: list[Tag] = [(_EXIF_IFD + 1, 4, 1, 0)] * bool(directory) + [(_GPS_IFD + 1, 4, 1, 0)] * bool(gps)
    return [*texts, *places]


def _append_exif(stream: BinaryIO, exif: bytes, order: str) -> None:
    """Puts the directories behind the pixels, and their places into the tags that wait for them."""
    end = stream.seek(0, 2)
    start = end + end % 2
    data, directory, gps = moved_exif(exif, start)
    if not directory and not gps:
        return
    stream.write(bytes(start - end) + data)
    stream.seek(4)
    (first,) = struct.unpack(order + "I", stream.read(4))
    stream.seek(first)
    (count,) = struct.unpack(order + "H", stream.read(2))
    table = stream.read(12 * count)
    for place in range(0, 12 * count, 12):
        (tag,) = struct.unpack_from(order + "H", table, place)
        if (value := {_EXIF_IFD + 1: directory, _GPS_IFD + 1: gps}.get(tag)) is not None:
            stream.seek(first + 2 + place)
            stream.write(struct.pack(order + "HHII", tag - 1, 4, 1, value))
