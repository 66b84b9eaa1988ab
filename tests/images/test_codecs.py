"""Every format's encoder: what is written is read again, by rows as at once, with what lies beside the pixels."""

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from sr_lab.images import ImageError
from sr_lab.images.codecs import encode, form_of, write_rows
from sr_lab.images.exif import orientation
from sr_lab.images.files import read_picture
from sr_lab.images.formats import FORMATS, cannot_hold, format_of
from sr_lab.images.metadata import Metadata

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description tiff:Orientation="6" exif:PixelXDimension="53"/></rdf:RDF></x:xmpmeta>'
)


def camera_exif() -> bytes:
    """As a camera writes it: turned, with a size, a time, a place and a thumbnail."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0x9003] = 53, "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes().removeprefix(b"Exif\0\0")


ALL = Metadata(
    icc=ICC, exif=camera_exif(), xmp=XMP, iptc=b"\x1c\x02\x05\0\3abc", resolution=(300.0, 300.0),
    texts=((b"tEXt", b"parameters\0seed 7"),),
    geo=((33550, 12, 3, (10.0, 10.0, 0.0)), (33922, 12, 6, (1.0, 2.0) + (0.0,) * 4)),
)  # fmt: skip


WRITTEN = ALL.enlarged(size=(53, 37), before=(53, 37))


def picture(channels: int, dtype: type = np.uint8) -> np.ndarray:
    y, x = np.mgrid[:37, :53]
    factor = 1 if dtype == np.uint8 else 257
    return np.stack([(2 * x + y * (c + 1)) % 200 for c in range(channels)], axis=-1).astype(dtype) * factor


@pytest.mark.parametrize(("channels", "alpha"), [(1, False), (3, False), (2, True), (4, True), (5, False)])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_encoded_is_read_again_by_rows_as_at_once(tmp_path, format, channels, alpha):
    if format == "jxl":
        pytest.importorskip("imagecodecs")
    for dtype in (np.uint8, np.uint16):
        image, file = picture(channels, dtype), tmp_path / f"a.{format}"
        if cannot_hold(format, form_of(image, alpha=alpha)):
            with pytest.raises(ImageError, match=f"^{format} cannot hold"):
                encode(image, format, alpha=alpha)
            continue
        write_rows(file, [image[:7], image[7:8], image[8:]], format, form_of(image, alpha=alpha), WRITTEN)
        found = read_picture(file)
        assert (found.alpha, found.pixels.dtype) == (alpha, dtype)
        lossy, wide = format in ("jpg", "avif"), format in ("webp", "avif") and channels < 3
        expected = image[:, :, [0, 0, 0, 1] if alpha else [0, 0, 0]] if wide else image
        if lossy and not wide:
            assert np.abs(found.pixels.astype(int) - expected).mean() < 3
        elif not lossy:
            assert np.array_equal(found.pixels, expected)
        assert found.metadata.kinds() >= WRITTEN.kinds() & FORMATS[format].holds
        for name in WRITTEN.kinds() & FORMATS[format].holds - {"exif", "geo", "resolution", "iptc"}:
            assert getattr(found.metadata, name) == getattr(WRITTEN, name), name
        if "exif" in FORMATS[format].holds:
            assert b"2020:01:01" in found.metadata.exif
        if found.metadata.resolution:
            assert found.metadata.resolution == pytest.approx((300, 300), rel=1e-3)
        at_once = encode(image, format, WRITTEN, alpha=alpha)
        file.write_bytes(at_once)
        assert np.array_equal(read_picture(file).pixels, found.pixels)


@pytest.mark.parametrize("format", ["png", "tif", "jpg", "webp", "avif"])
def test_other_programs_read_what_lies_beside_the_pixels(format):
    with Image.open(io.BytesIO(encode(picture(3), format, WRITTEN))) as image:
        image.load()
        assert image.info["icc_profile"] == ICC
        exif = image.getexif()
        assert exif[0x010F] == "maker"
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        assert exif.get_ifd(0x8825)[1] == "N"
        if format != "avif":
            assert np.asarray(image).shape == (37, 53, 3)


def test_sizes_orientation_and_place_follow_the_pixels():
    after = ALL.enlarged(size=(106, 74), before=(53, 37), note='sr_lab "1.0" <m>')
    assert orientation(ALL.exif) == 6
    assert orientation(after.exif) == 1
    assert len(after.exif) == len(ALL.exif), "nothing moves"
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + after.exif)
    assert exif.get_ifd(0x8769)[0xA002] == 106
    assert b'tiff:Orientation="1"' in after.xmp
    assert b'exif:PixelXDimension="106"' in after.xmp
    assert b'RestoredBy="sr_lab &quot;1.0&quot; &lt;m&gt;' in after.xmp
    assert b"algorithmicallyEnhanced" in after.xmp
    again = after.enlarged(size=(106, 74), before=(106, 74), note="two")
    assert again.xmp.count(b"RestoredBy") == 1
    scale, tie = (tag[3] for tag in after.geo)
    assert scale[:2] == (5.0, 5.0)
    assert tie[:2] == (2.0, 4.0)
    assert Metadata().enlarged(size=(2, 2), before=(1, 1)).kinds() == set()
    assert Metadata().enlarged(size=(2, 2), before=(1, 1), note="n").kinds() == {"xmp"}


def test_a_thumbnail_goes_and_broken_exif_stays():
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "JPEG")
    small = stream.getvalue()
    head = b"II*\0\x08\0\0\0" + b"\1\0" + b"\x12\1\3\0\1\0\0\0\6\0\0\0" + b"\x1a\0\0\0"
    first = b"\2\0" + b"\1\2\4\0\1\0\0\0" + (56).to_bytes(4, "little") + b"\2\2\4\0\1\0\0\0"
    exif = head + first + len(small).to_bytes(4, "little") + bytes(4) + small
    after = Metadata(exif=exif).enlarged(size=(16, 16), before=(8, 8)).exif
    assert small not in after
    assert len(after) == 56
    assert orientation(after) == 1
    for end in range(0, len(exif), 5):
        Metadata(exif=exif[:end]).enlarged(size=(16, 16), before=(8, 8))
    assert Metadata(xmp="<x/>".encode("utf-16")).enlarged(size=(1, 1), before=(1, 1), note="n").xmp.startswith(b"\xff")


def test_png_without_the_fast_packages_has_the_same_pixels(monkeypatch, tmp_path):
    for name in ("fpng", "isal", "isal.isal_zlib"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "a.png").write_bytes(encode(picture(3), "png", WRITTEN))
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, picture(3))


def test_a_large_png_is_not_written_by_what_lets_no_other_thread_run(monkeypatch, tmp_path):
    fpng, calls = pytest.importorskip("fpng"), []
    monkeypatch.setattr(fpng, "from_ndarray", lambda image, real=fpng.from_ndarray: (calls.append(1), real(image))[1])
    image = picture(3)
    for greedy, alone, by_fpng in ((image.shape[0] * image.shape[1], False, 1), (8, False, 0), (8, True, 1)):
        monkeypatch.setattr("sr_lab.images.png.GREEDY", greedy)
        calls.clear()
        (tmp_path / "a.png").write_bytes(encode(image, "png", WRITTEN, alone=alone))
        assert len(calls) == by_fpng
        assert np.array_equal(read_picture(tmp_path / "a.png").pixels, image)


def test_alpha_that_was_multiplied_in_is_divided_out(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    image = np.full((4, 4, 4), 100, np.uint8)
    image[..., 3] = 128
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["assocalpha"], metadata=None)
    found = read_picture(tmp_path / "a.tif")
    assert found.pixels[0, 0].tolist() == [199, 199, 199, 128]


def test_heic_is_read_and_not_written(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    image = picture(3).repeat(2, 0).repeat(2, 1)
    heif.from_pillow(Image.fromarray(image)).save(tmp_path / "a.heic", quality=95, exif=b"Exif\0\0" + camera_exif())
    found = read_picture(tmp_path / "a.heic")
    assert found.pixels.shape in (image.shape, (image.shape[1], image.shape[0], 3))
    assert b"maker" in found.metadata.exif
    with pytest.raises(ImageError, match=r"'\.heic' is no format that can be written"):
        format_of(".heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="cannot be read: pillow_heif is not installed: pip install"):
        read_picture(tmp_path / "a.heic")
