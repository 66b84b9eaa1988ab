"""What files hold beside their pixels, told from their headers; the files are made by Pillow, tifffile and OpenCV."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from sr_lab.cli import main
from sr_lab.images import read_image, write_image
from sr_lab.images.extras import Extras, dropped_sentences, read_extras

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(*, gps=False):
    tags = Image.Exif()
    tags[0x010F] = "maker"
    if gps:
        tags.get_ifd(0x8825)[1] = "N"
    return tags


def pillow(mode="RGB", format="PNG", **options):
    stream = io.BytesIO()
    Image.new(mode, (8, 6)).save(stream, format, **options)
    return stream.getvalue()


def tiff(shape, dtype=np.uint8, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros(shape, dtype), metadata=None, **options)
    return stream.getvalue()


GEO = [(33550, "d", 3, (1.0, 1.0, 0.0), True), (33922, "d", 6, (0.0,) * 6, True)]
BMP_ALPHA = (
    b"BM" + struct.pack("<IHHI", 122 + 4, 0, 0, 122) + struct.pack("<IiiHHIIiiII", 108, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0)
    + struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52) + bytes(4)
)  # fmt: skip

CASES = {
    "plain PNG": (pillow(), set(), 8, 3),
    "grey PNG": (pillow("L"), set(), 8, 1),
    "deep PNG": (pillow("I;16"), set(), 16, 1),
    "PNG with alpha": (pillow("RGBA"), {"alpha"}, 8, 3),
    "grey PNG with alpha": (pillow("LA"), {"alpha"}, 8, 1),
    "PNG with a transparent colour": (pillow(transparency=(0, 0, 0)), {"alpha"}, 8, 3),
    "palette with transparency": (pillow("P", transparency=0), {"alpha"}, 8, 3),
    "PNG with all": (pillow(icc_profile=PROFILE, exif=exif(gps=True)), {"icc", "exif", "gps"}, 8, 3),
    "plain JPEG": (pillow(format="JPEG"), set(), 8, 3),
    "grey JPEG": (pillow("L", "JPEG"), set(), 8, 1),
    "JPEG with EXIF": (pillow(format="JPEG", exif=exif()), {"exif"}, 8, 3),
    "JPEG with all": (
        pillow(format="JPEG", icc_profile=PROFILE, exif=exif(gps=True)), {"icc", "exif", "gps"}, 8, 3
    ),
    "plain WebP": (pillow(format="WEBP"), set(), 8, 3),
    "lossless WebP": (pillow(format="WEBP", lossless=True), set(), 8, 3),
    "lossless WebP with all": (
        pillow("RGBA", "WEBP", lossless=True, icc_profile=PROFILE, exif=exif(gps=True).tobytes()),
        {"alpha", "icc", "exif", "gps"}, 8, 3,
    ),
    "plain BMP": (pillow(format="BMP"), set(), 8, 3),
    "BMP with alpha": (BMP_ALPHA, {"alpha"}, 8, 3),
    "plain TIFF": (tiff((6, 8, 3), photometric="rgb"), set(), 8, 3),
    "deep TIFF": (tiff((6, 8, 3), np.uint16, photometric="rgb", byteorder=">"), set(), 16, 3),
    "TIFF with alpha": (tiff((6, 8, 4), photometric="rgb", extrasamples=["unassalpha"]), {"alpha"}, 8, 3),
    "many bands": (
        tiff((6, 8, 5), np.uint16, photometric="minisblack", planarconfig="contig", bigtiff=True), set(), 16, 5
    ),
    "GeoTIFF": (tiff((6, 8), extratags=GEO, iccprofile=PROFILE), {"geotiff", "icc"}, 8, 1),
    "big GeoTIFF": (tiff((6, 8), extratags=GEO, bigtiff=True, byteorder=">"), {"geotiff"}, 8, 1),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_headers_tell_what_a_file_holds(case, tmp_path):
    data, kinds, bits, bands = CASES[case]
    found = read_extras(io.BytesIO(data))
    assert (found.kinds, found.bits) == (kinds, bits)
    assert found.bands == bands or "WebP" in case or "BMP" in case
    for end in range(0, len(data), 1 + len(data) // 60):
        assert read_extras(io.BytesIO(data[:end])).kinds <= kinds, "a torn file tells less"
    if case not in ("plain WebP", "BMP with alpha"):
        (tmp_path / "file").write_bytes(data)
        image = read_image(tmp_path / "file")
        assert (image.shape[2], image.dtype.itemsize * 8) == (bands, bits)


def test_a_sentence_tells_how_many_and_the_first():
    found = [("a.png", Extras()), ("b.png", Extras({"alpha"})), ("c.png", Extras({"alpha", "icc"}))]
    alpha, icc = dropped_sentences(found)
    assert alpha.startswith("2 of 3 images have transparency (alpha), which is dropped")
    assert alpha.endswith("the first is b.png")
    assert icc.endswith("the first is c.png")


@pytest.mark.parametrize("command", ["degrade", "replay"])
def test_what_is_dropped_is_said_once_a_run(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    for name, data in (("a.png", CASES["PNG with alpha"][0]), ("b.tif", CASES["GeoTIFF"][0])):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    words = {
        "degrade": ["degrade", "degradation=bicubic", "scale=2"],
        "replay": ["degrade", "replay=first/manifest.parquet"],
    }
    if command == "replay":
        assert main([*words["degrade"], "input=in", "output=first"]) == 0
        capsys.readouterr()
    assert main([*words[command], "input=in", "output=out"]) == 0
    said = capsys.readouterr().err
    assert [line[:9] for line in said.splitlines()] == ["caution: "] * 3
    assert "1 of 2 images has transparency" in said
    assert "1 of 2 images has GeoTIFF tags, which are dropped" in said
    write_image(tmp_path / "clean" / "a.png", np.zeros((8, 8, 3), np.uint8))
    if command != "replay":
        assert main([*words[command], "input=clean", "output=out2"]) == 0
        assert capsys.readouterr().err == ""
