"""Reading and writing: what other programs write is read as they mean it, and what is broken is refused by name."""

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps

from sr_lab.images import IMAGE_SUFFIXES, ImageError, list_images, read_image, write_image
from sr_lab.images.headers import jpegxl_size

LOSSLESS = [".png", ".tif", ".tiff", ".webp", ".bmp"]


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def smooth() -> np.ndarray:
    y, x = np.mgrid[:40, :60]
    return np.stack([x * 4, y * 6, (x + y) * 2], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_rgb_round_trip(tmp_path: Path, suffix: str) -> None:
    image = noise(13, 21, 3)
    write_image(tmp_path / f"a{suffix}", image)
    restored = read_image(tmp_path / f"a{suffix}")
    assert restored.flags.c_contiguous
    assert np.array_equal(restored, image)
    with Image.open(tmp_path / f"a{suffix}") as other:
        assert np.array_equal(np.array(other.convert("RGB")), image)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("shape", [(13, 21, 1), (13, 21)])
def test_grey_round_trip(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    image = noise(*shape)
    write_image(tmp_path / f"a{suffix}", image)
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), image.reshape(13, 21, 1))


def test_grey_webp_comes_back_as_rgb(tmp_path: Path) -> None:
    image = noise(13, 21, 1)
    write_image(tmp_path / "a.webp", image)
    assert np.array_equal(read_image(tmp_path / "a.webp"), image.repeat(3, axis=2))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_round_trip_is_close(tmp_path: Path, suffix: str, channels: int) -> None:
    image = smooth()[:, :, :channels]
    write_image(tmp_path / f"a{suffix}", image)
    restored = read_image(tmp_path / f"a{suffix}")
    assert restored.shape == image.shape
    assert np.abs(restored.astype(int) - image).max() <= 6


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_round_trip(tmp_path: Path, suffix: str, channels: int) -> None:
    image = noise(13, 21, channels, dtype=np.uint16)
    write_image(tmp_path / f"a{suffix}", image)
    restored = read_image(tmp_path / f"a{suffix}")
    assert restored.dtype == np.uint16
    assert np.array_equal(restored, image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(9, 7, 2), (9, 7, 4), (9, 4, 5), (3, 3, 13), (1, 1, 4), (64, 300, 8)])
def test_many_bands_round_trip(tmp_path: Path, shape: tuple[int, int, int], dtype: type) -> None:
    image = noise(*shape, dtype=dtype)
    write_image(tmp_path / "a.tif", image)
    restored = read_image(tmp_path / "a.tif")
    assert restored.dtype == dtype
    assert np.array_equal(restored, image)


def test_tensor_is_quantised(tmp_path: Path) -> None:
    image = torch.tensor([[-1.0, 0.25], [0.5, 2.0]]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    write_image(tmp_path / "a.png", image)
    assert read_image(tmp_path / "a.png")[:, :, 1].tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_modes(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(smooth())
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(noise(40, 60)))
    image = image.convert(mode)
    image.save(tmp_path / "a.png")
    expected = np.array(image.convert("RGB" if mode in ("P", "RGB") else "L"))
    if mode == "RGBA":
        expected = np.array(image)[:, :, :3]  # dropped, not blended
    assert np.array_equal(read_image(tmp_path / "a.png"), expected.reshape(40, 60, -1))


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(smooth()).quantize(16)
    expected = np.array(image.convert("RGB"))
    image.save(tmp_path / "a.png", transparency=3)
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)


def test_grey_png_with_a_transparent_level_stays_grey(tmp_path: Path) -> None:
    Image.fromarray(smooth()[:, :, 0]).save(tmp_path / "a.png", transparency=4)
    assert np.array_equal(read_image(tmp_path / "a.png"), smooth()[:, :, :1])


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_png_of_few_bits_covers_the_range(tmp_path: Path, bits: int) -> None:
    levels = np.arange(2**bits, dtype=np.uint8)
    row = np.packbits(np.unpackbits(levels[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", len(levels), 1, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" + row)),
    ]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in [*chunks, (b"IEND", b"")]:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    (tmp_path / "a.png").write_bytes(data)
    assert read_image(tmp_path / "a.png").ravel().tolist() == (levels * (255 // (2**bits - 1))).tolist()


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_alpha_is_dropped(tmp_path: Path, channels: int) -> None:
    image = noise(9, 7, 4, dtype=np.uint16)
    if channels == 2:  # grey with alpha, which OpenCV cannot write: colour type 4, filter 0
        rows = image[:, :, [0, 3]].astype(">u2").reshape(9, -1).view(np.uint8)
        body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
        data = b"\x89PNG\r\n\x1a\n"
        for kind, chunk in [(b"IHDR", struct.pack(">IIBBBBB", 7, 9, 16, 4, 0, 0, 0)), (b"IDAT", body), (b"IEND", b"")]:
            data += struct.pack(">I", len(chunk)) + kind + chunk + struct.pack(">I", zlib.crc32(kind + chunk))
        (tmp_path / "a.png").write_bytes(data)
        assert np.array_equal(read_image(tmp_path / "a.png"), image[:, :, :1])
    else:
        cv2.imwrite(str(tmp_path / "a.png"), image)
        assert np.array_equal(read_image(tmp_path / "a.png"), image[:, :, 2::-1])


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(smooth()).convert("CMYK")
    image.save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as other:
        expected = np.array(other.convert("RGB")).astype(int)
    assert np.abs(read_image(tmp_path / "a.jpg") - expected).max() <= 1


def test_webp_alpha_is_dropped(tmp_path: Path) -> None:
    image = Image.fromarray(smooth())
    image.putalpha(Image.fromarray(noise(40, 60)))
    image.save(tmp_path / "a.webp", lossless=True, exact=True)
    assert np.array_equal(read_image(tmp_path / "a.webp"), smooth())


@pytest.mark.parametrize("options", [{"quality": 80}, {"lossless": True}])
def test_webp_of_other_programs(tmp_path: Path, options: dict[str, object]) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.webp", **options)
    with Image.open(tmp_path / "a.webp") as other:
        assert np.array_equal(read_image(tmp_path / "a.webp"), np.array(other.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "a"
    options = {"exif": exif} if kind != "tiff" else {"tiffinfo": {274: orientation}}
    Image.fromarray(smooth()).save(path, kind, **({"lossless": True} if kind == "webp" else {}), **options)
    with Image.open(path) as other:
        expected = np.array(ImageOps.exif_transpose(other).convert("RGB"))
    assert expected.shape[:2] == ((60, 40) if orientation > 4 else (40, 60))
    assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_adobe_deflate", "tiff_lzw"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_tiff_of_other_programs(tmp_path: Path, mode: str, compression: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(noise(40, 60, dtype=np.uint16))
        expected = np.array(image)
    else:
        image = Image.fromarray(smooth()).convert(mode)
        expected = np.array(image.convert("RGB" if mode == "P" else "L" if mode == "1" else mode))
    image.save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(read_image(tmp_path / "a.tif"), expected.reshape(40, 60, -1))


def test_tiff_alpha_is_dropped_and_a_fourth_band_is_not(tmp_path: Path) -> None:
    image = noise(9, 7, 4, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "alpha.tif", image, photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(tmp_path / "infrared.tif", image, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(read_image(tmp_path / "alpha.tif"), image[:, :, :3])
    assert np.array_equal(read_image(tmp_path / "infrared.tif"), image)


def test_planar_white_is_zero_and_big_tiff(tmp_path: Path) -> None:
    bands = noise(5, 9, 7, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="separate", bigtiff=True)
    assert np.array_equal(read_image(tmp_path / "a.tif"), np.moveaxis(bands, 0, -1))
    tifffile.imwrite(tmp_path / "b.tif", bands[0], photometric="miniswhite", byteorder=">")
    assert np.array_equal(read_image(tmp_path / "b.tif")[:, :, 0], 65535 - bands[0])


def test_reduced_copies_in_a_tiff_are_passed_over(tmp_path: Path) -> None:
    image = noise(40, 60, 3)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(image, photometric="rgb")
        file.write(image[::2, ::2], photometric="rgb", subfiletype=1)
    assert np.array_equal(read_image(tmp_path / "a.tif"), image)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": np.zeros((4, 4), np.float32)}, "32-bit samples"),
        ({"data": np.zeros((4, 4), np.int16)}, "int16"),
        ({"data": np.zeros((3, 9, 9), np.uint8), "photometric": "minisblack"}, "3 pages"),
        ({"data": np.zeros((4, 4, 4), np.uint8), "photometric": "separated"}, "CMYK"),
        ({"data": np.zeros((4, 4, 3), np.uint8), "photometric": "cielab"}, "CIELAB"),
        ({"data": np.zeros((16, 32, 32), np.uint8), "volumetric": True, "tile": (16, 16, 16)}, "volume of 16"),
    ],
)
def test_tiff_that_is_no_8_or_16_bit_picture_is_refused(tmp_path: Path, options: dict, words: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", **options)
    with pytest.raises(ImageError, match=f"a.tif .*{words}"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "bmp"])
def test_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    data = encoded(Image.fromarray(noise(40, 60, 3)), kind)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"cut\.img .*(truncated|readable|damaged)"):
        read_image(path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "bmp"])
def test_no_prefix_of_a_file_escapes_as_another_error(tmp_path: Path, kind: str) -> None:
    data = encoded(Image.fromarray(noise(6, 5, 3)), kind)
    path = tmp_path / "cut.img"
    for length in range(len(data) - 2):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError, match=r"cut\.img"):
            read_image(path)


def test_thumbnail_in_the_header_does_not_hide_a_truncated_jpeg(tmp_path: Path) -> None:
    thumbnail = encoded(Image.fromarray(noise(8, 8, 3)), "jpeg")
    data = encoded(Image.fromarray(noise(40, 60, 3)), "jpeg")
    whole = data[:2] + b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    path = tmp_path / "a.jpg"
    path.write_bytes(whole)
    assert read_image(path).shape == (40, 60, 3)
    path.write_bytes(whole[:-200])
    with pytest.raises(ImageError, match="truncated"):
        read_image(path)


def test_damaged_png_is_refused(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.fromarray(noise(40, 60, 3)), "png"))
    data[len(data) // 2] ^= 0x55
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.png is damaged"):
        read_image(tmp_path / "a.png")


def test_empty_missing_folder_and_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is not a picture")
    (tmp_path / "folder.png").mkdir()
    for name, words in [("empty", "empty"), ("text", "not a PNG"), ("folder", "directory"), ("none", "No such file")]:
        with pytest.raises(ImageError, match=f"{name}.png .*{words}"):
            read_image(tmp_path / f"{name}.png")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "bmp"])
def test_too_many_pixels_are_refused(tmp_path: Path, kind: str) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a", kind)
    assert read_image(tmp_path / "a", max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(ImageError, match=r"60x40 pixels, more than max_pixels=2399"):
        read_image(tmp_path / "a", max_pixels=2399)


def test_the_remedy_for_too_many_pixels_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.png")
    monkeypatch.setenv("SRLAB_MAX_PIXELS", "2399")
    with pytest.raises(ImageError, match="SRLAB_MAX_PIXELS=2400 in the environment"):
        read_image(tmp_path / "a.png")
    monkeypatch.setenv("SRLAB_MAX_PIXELS", "2400")
    assert read_image(tmp_path / "a.png").shape == (40, 60, 3)


def test_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.new("1", (8, 8)), "png"))
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(ImageError, match="100000x100000"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "avif", "heic", "jxl"])
def test_no_format_is_decoded_before_its_size_was_looked_at(tmp_path, monkeypatch, suffix):
    file = tmp_path / f"a.{suffix}"
    if suffix == "heic":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(Image.fromarray(smooth())).save(file)
    else:
        if suffix == "jxl":
            pytest.importorskip("imagecodecs")
        write_image(file, smooth())
    assert read_image(file, max_pixels=2400).shape == (40, 60, 3)

    def decodes(*_: object, **__: object) -> None:
        raise AssertionError("was decoded")

    decoders = ["cv2.imdecode", "simplejpeg.decode_jpeg", "PIL.Image.Image.load", "tifffile.TiffPage.asarray",
                "imagecodecs.jpegxl_decode", "pillow_heif.HeifImage.load"]  # fmt: skip
    for name in decoders:
        with contextlib.suppress(ImportError, AttributeError):
            monkeypatch.setattr(name, decodes)
    with pytest.raises(ImageError, match="60x40 pixels, more than max_pixels=2399"):
        read_image(file, max_pixels=2399)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (16, 8), (60, 40), (256, 256), (300, 200), (5, 700), (1920, 1080)])
def test_the_size_of_a_jpeg_xl_is_read_without_a_decoder(size):
    imagecodecs = pytest.importorskip("imagecodecs")
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for container in (False, True):
        data = imagecodecs.jpegxl_encode(image, lossless=True, effort=1, usecontainer=container)
        assert jpegxl_size(data) == size


def test_a_jpeg_xl_that_says_it_is_huge_is_refused_by_its_header(tmp_path):
    bits = 0 | 3 << 1 | ((1 << 30) - 1) << 3 | 1 << 33  # not small, height of 30 bits, ratio 1:1
    (tmp_path / "bomb.jxl").write_bytes(b"\xff\x0a" + bits.to_bytes(12, "little"))
    with pytest.raises(ImageError, match="1073741824x1073741824 pixels, more than"):
        read_image(tmp_path / "bomb.jxl")
    for cut in (b"\xff\x0a", b"\xff\x0a\x07", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x01jxlc"):
        (tmp_path / "cut.jxl").write_bytes(cut)
        with pytest.raises(ImageError, match=r"cut\.jxl is truncated"):
            read_image(tmp_path / "cut.jxl")


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_animation_is_refused(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(noise(8, 8, 3)), Image.fromarray(smooth()[:8, :8])]
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="animation"):
        read_image(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("a.jpg", np.zeros((4, 4, 3), np.uint16), "16 bits; use .png or .tif"),
        ("a.png", np.zeros((4, 4, 5), np.uint8), "5 channels; use .tif"),
        ("a.png", np.zeros((4, 4, 3), np.float32), "float32"),
        ("a.png", np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        ("a.gif", np.zeros((4, 4, 3), np.uint8), "'.gif'"),
        ("a.webp", np.zeros((1, 20000, 3), np.uint8), "encoded"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str, image: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        write_image(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    write_image(path, noise(4, 4, 3))
    before = path.read_bytes()

    def fail(target: Path, *_: object, **__: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", fail)
    with pytest.raises(OSError, match="No space left"):
        write_image(path, noise(5, 5, 3))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="needs a umask")
def test_written_file_has_the_usual_permissions_and_missing_folders_are_made(tmp_path: Path) -> None:
    write_image(tmp_path / "x" / "y" / "a.png", noise(4, 4, 3))
    (tmp_path / "plain").touch()
    assert (tmp_path / "x" / "y" / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_images_are_listed_sorted_and_by_suffix(tmp_path: Path) -> None:
    for name in ["b.png", "sub/a.JPG", "a.tiff", "notes.txt", ".hidden.png", ".cache/c.png", "sub/deep/d.webp"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["a.tiff", "b.png", "sub/a.JPG", "sub/deep/d.webp"]
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"} <= IMAGE_SUFFIXES


def test_listing_a_missing_or_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="gone is not a folder"):
        list_images(tmp_path / "gone")
    with pytest.raises(ImageError, match="holds no image"):
        list_images(tmp_path)


def test_an_os2_bitmap_is_read_as_it_is(tmp_path: Path) -> None:
    image = smooth()
    rows = b"".join(row[:, ::-1].tobytes() for row in image[::-1])  # 60 * 3 bytes: no padding
    header = b"BM" + struct.pack("<IHHIIHHHH", 26 + len(rows), 0, 0, 26, 12, 60, 40, 1, 24)
    (tmp_path / "a.bmp").write_bytes(header + rows)
    assert np.array_equal(read_image(tmp_path / "a.bmp"), image)
    (tmp_path / "a.bmp").write_bytes((header + rows)[:-100])
    with pytest.raises(ImageError, match=r"a\.bmp is truncated"):
        read_image(tmp_path / "a.bmp")


def photo() -> Image.Image:
    x = noise(24, 36, 3).astype(np.float32)
    return Image.fromarray(cv2.resize(x, (360, 240), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 7}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_whose_end_was_put_on_is_damaged(tmp_path: Path, mode: str, options: dict[str, object]) -> None:
    whole = encoded(photo().convert(mode), "JPEG", **options)
    (tmp_path / "whole.jpg").write_bytes(whole)
    assert read_image(tmp_path / "whole.jpg").shape[:2] == (240, 360)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    with pytest.raises(ImageError, match=r"cut\.jpg is damaged"):
        read_image(tmp_path / "cut.jpg")
    middle = len(whole) // 2
    (tmp_path / "over.jpg").write_bytes(whole[:middle] + b"\xff" * 40 + whole[middle + 40 :])
    with pytest.raises(ImageError, match=r"over\.jpg is damaged"):
        read_image(tmp_path / "over.jpg")


def test_strict_decoding_gives_the_pixels_of_opencv(tmp_path: Path) -> None:
    for mode in ("RGB", "L"):
        data = encoded(photo().convert(mode), "JPEG", quality=90)
        (tmp_path / "a.jpg").write_bytes(data)
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        expected = expected[:, :, None] if mode == "L" else expected[:, :, ::-1]
        assert np.array_equal(read_image(tmp_path / "a.jpg"), expected)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_bytes_that_were_overwritten_are_found_as_far_as_the_format_can_tell(tmp_path: Path, kind: str) -> None:
    options = {"TIFF": {"compression": "tiff_adobe_deflate"}, "WEBP": {"quality": 90}}.get(kind, {})
    whole = encoded(photo(), kind, **options)
    middle = len(whole) // 2
    (tmp_path / "bad.img").write_bytes(whole[:middle] + bytes(40) + whole[middle + 40 :])
    with pytest.raises(ImageError, match=r"bad\.img is"):
        read_image(tmp_path / "bad.img")


def test_a_png_that_is_stored_uncompressed_is_checked_by_its_checksums(tmp_path: Path) -> None:
    whole = encoded(photo(), "PNG", compress_level=0)
    middle = len(whole) // 2
    (tmp_path / "bad.png").write_bytes(whole[:middle] + b"\x01" + whole[middle + 1 :])
    with pytest.raises(ImageError, match="checksum of its IDAT"):
        read_image(tmp_path / "bad.png")
