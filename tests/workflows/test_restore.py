"""What users of upscalers suffer from: each complaint of ``docs/restore.md`` is a test here, of the same name."""

import io
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms
from torch import Tensor

from sr_lab.cli import main
from sr_lab.images import read_image, resize_bicubic, rows, to_levels, to_tensor, write_image
from sr_lab.images.files import read_picture
from sr_lab.images.rows import resampled_rows
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.inference.stream import restored_bands, target_of
from sr_lab.inference.tiles import TilePlan

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gradient(height: int = 12, width: int = 20) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 10, y * 15, 200 - x * 3], axis=-1).astype(np.uint8)


def camera_exif(turned: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", turned
    exif.get_ifd(0x8769)[0xA002] = 20
    exif.get_ifd(0x8825)[1] = "N"
    return exif


@pytest.fixture
def restore(tmp_path, monkeypatch, capsys):
    """Restores below a folder of its own, bicubically by 2 where nothing else is said: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(input: str = "in", output: str = "out", *words: str) -> tuple[int, str, str]:
        usual = ["restorer=bicubic"] + ["scale=2"] * (not any("=" in word and word[:5] in SIZED for word in words))
        code = main(["restore", f"input={input}", f"output={output}", *usual, *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


SIZED = ("scale", "width", "heigh")


def save(image: Image.Image | np.ndarray, name: str, **options: object) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(name, **options)


def test_transparency_is_kept_and_no_dark_edge_appears(restore):
    logo = np.zeros((24, 24, 4), np.uint8)
    logo[6:18, 6:18] = (250, 200, 40, 255)  # black lies under what is transparent
    save(logo, "in/logo.png")
    assert restore()[0] == 0
    image = np.asarray(Image.open("out/logo.png"))
    assert image.shape == (48, 48, 4)
    seen = image[image[..., 3] > 0]
    assert np.abs(seen[:, :3].astype(int) - (250, 200, 40)).max() <= 1
    assert image[24, 24, 3] == 255
    assert image[0, 0, 3] == 0


def test_a_palette_with_a_transparent_colour_and_grey_with_alpha(restore):
    palette = Image.fromarray(gradient()).quantize(8)
    palette.info["transparency"] = 0
    save(palette, "in/palette.png", transparency=0)
    save(Image.merge("LA", (Image.new("L", (8, 8), 90), Image.new("L", (8, 8), 128))), "in/grey.png")
    assert restore()[0] == 0
    assert Image.open("out/palette.png").mode == "RGBA"
    grey = Image.open("out/grey.png")
    assert grey.mode == "LA"
    assert np.asarray(grey)[4, 4].tolist() == [90, 128], "constant alpha stays what it is"


def test_alpha_is_never_lost_unsaid(restore):
    save(np.dstack([gradient(), np.full((12, 20), 128, np.uint8)]), "in/half.png")
    save(np.dstack([gradient(), np.full((12, 20), 255, np.uint8)]), "in/opaque.png")
    code, _, said = restore("in", "jpg", "format=jpg")
    assert code == 1
    assert "half.png: jpg cannot hold transparency (alpha); png, tif, webp, avif, jxl can" in said
    assert Path("jpg/opaque.jpg").exists(), "nothing is lost of an image that is opaque"
    code, _, said = restore("in/half.png", "half.jpg", "background=white")
    assert code == 0
    assert "laid on the background" in said
    assert read_image("half.jpg")[0, 0].tolist() == pytest.approx([128, 128, 228], abs=8)


@pytest.mark.parametrize("format", ["png", "tif", "jpg", "webp", "avif"])
def test_profile_exif_and_xmp_are_kept_and_the_picture_stands_upright(restore, format):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
    save(gradient(), "in/photo.jpg", exif=camera_exif(6), icc_profile=ICC, dpi=(300, 300), xmp=xmp, quality=95)
    assert restore("in", "out", f"format={format}") == (0, "1 image: out\n", "")
    with Image.open(f"out/photo.{format}") as image:
        image.load()
        assert image.size == (24, 40), "turned once"
        assert image.info["icc_profile"] == ICC
        exif = image.getexif()
        assert (exif[0x010F], exif.get(0x0112, 1)) == ("maker", 1)
        assert exif.get_ifd(0x8769)[0xA002] == 24
        assert exif.get_ifd(0x8825)[1] == "N"
        if format in ("png", "tif", "jpg"):
            assert image.info["dpi"][0] == pytest.approx(300, rel=1e-3)
    found = read_picture(f"out/photo.{format}")
    assert b"RestoredBy" in found.metadata.xmp or b"rdf:RDF" in found.metadata.xmp
    assert restore("in", "bare", f"format={format}", "strip=true")[0] == 0
    assert read_picture(f"bare/photo.{format}").metadata.kinds() <= {"icc", "exif" if format == "avif" else "icc"}


def test_what_a_format_cannot_hold_is_said(restore):
    save(gradient(), "in/photo.jpg", exif=camera_exif(), icc_profile=ICC)
    code, _, said = restore("in", "out", "format=bmp")
    assert code == 0
    assert "1 of 1 image has EXIF data, which bmp cannot hold (png, tif, jpg, webp, avif, jxl can)" in said
    assert "8-bit colours are converted to sRGB" in said


def test_a_profile_is_converted_only_where_it_cannot_be_kept(restore):
    other = ICC.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")  # its red is our green
    save(gradient(), "in/photo.png", icc_profile=other)
    assert restore("in", "kept")[0] == 0
    assert restore("in", "changed", "format=bmp")[0] == 0
    kept, changed = read_image("kept/photo.png"), read_image("changed/photo.bmp")
    enlarged = to_levels(resize_bicubic(to_tensor(gradient()), scale=2.0), np.uint8)
    assert np.abs(kept.astype(int) - enlarged).max() <= 1  # halves of a level are rounded either way
    assert np.abs(kept.astype(int) - changed).max() > 8


def test_geotiff_stays_where_it_is_on_the_map(restore):
    tags = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 500.0, 800.0, 0.0), True)]
    tags += [(34735, "H", 4, (1, 1, 0, 0), True)]
    Path("in").mkdir()
    tifffile.imwrite("in/map.tif", gradient().astype(np.uint16), photometric="rgb", extratags=tags, metadata=None)
    assert restore("in", "out", "format=tif") == (0, "1 image: out\n", "")
    with tifffile.TiffFile("out/map.tif") as file:
        page = file.pages[0]
        assert page.dtype == np.uint16
        assert page.tags[33550].value[:2] == (5.0, 5.0)
        assert page.tags[33922].value[3:5] == (500.0, 800.0)
    assert "GeoTIFF tags, which png cannot hold (tif can)" in restore("in", "png")[2]


@pytest.mark.parametrize("kind", ["deep grey", "deep", "grey", "palette", "two colours"])
def test_depth_and_channels_are_kept(restore, kind):
    Path("in").mkdir()
    deep = gradient().astype(np.uint16) * 257
    images = {"deep": deep, "deep grey": deep[:, :, :1], "grey": gradient()[:, :, :1]}
    if kind in images:
        write_image("in/a.png", images[kind])
    else:
        save(Image.fromarray(gradient()).quantize(4) if kind == "palette" else Image.new("1", (8, 8), 1), "in/a.png")
    before = read_image("in/a.png")
    assert restore()[0] == 0
    after = read_image("out/a.png")
    assert (after.shape[2], after.dtype) == (before.shape[2], before.dtype)


def test_folders_keep_their_tree_and_junk_is_named(restore, caplog):
    save(gradient(), "in/a.png")
    save(gradient(), "in/below/b.bmp")
    Path("in/Thumbs.db").write_bytes(b"junk")
    assert restore()[0] == 0
    assert {str(path) for path in Path("out").rglob("*.png")} == {"out/a.png", "out/below/b.png"}
    assert "Thumbs.db" in caplog.text


def test_a_pattern_of_files(restore):
    for name in ("in/a.png", "in/below/b.jpg", "in/below/c.png"):
        save(gradient(), name)
    assert restore("in/**/*.png")[0] == 0
    assert {str(path) for path in Path("out").rglob("*.png")} == {"out/a.png", "out/below/c.png"}
    assert "no image" in restore("in/*.gif")[2]
    assert "is one file" in restore("in/*.png", "one.png")[2]
    assert "which is an input" in restore("in/*.png", "in")[2]


def test_two_images_of_one_name_become_two(restore):
    save(gradient(), "in/photo.png")
    save(255 - gradient(), "in/photo.bmp")
    code, _, said = restore()
    assert code == 0
    assert "photo.bmp becomes photo_bmp.png" in said
    assert {path.name for path in Path("out").glob("*.png")} == {"photo_bmp.png", "photo_png.png"}
    assert not np.array_equal(read_image("out/photo_bmp.png"), read_image("out/photo_png.png"))


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["scale=2.7"], (33, 54)),
        (["width=50"], (30, 50)),
        (["height=30", "width=31"], (30, 31)),
        (["scale=0.5"], (6, 10)),
    ],
)
def test_any_size_is_reached_exactly(restore, words, size):
    save(gradient(), "in/a.png")
    assert restore("in", "out", *words)[0] == 0
    low = to_tensor(gradient())
    scale = float(words[0][6:]) if words[0].startswith("scale") else None
    expected = resize_bicubic(low, scale=scale) if scale else resize_bicubic(low, size=size)
    found = read_image("out/a.png")
    assert found.shape[:2] == size
    assert np.abs(found.astype(int) - to_levels(expected, np.uint8)).max() <= 1
    assert "give a scale or a size" in restore("in", "more", "scale=2", "width=9")[2]


def test_a_dry_run_tells_sizes_and_room_and_writes_nothing(restore):
    save(gradient(), "in/a.jpg", exif=camera_exif(6))
    code, told, _ = restore("in", "out", "dry_run=true")
    assert code == 0
    assert "a.jpg: 12x20 -> 24x40" in told
    assert "1 image, 0 of them there" in told
    assert not Path("out").exists()
    assert restore()[0] == 0
    assert "a.jpg: 12x20 -> 24x40, is there" in restore("in", "out", "dry_run=true")[1]


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(restore, monkeypatch):
    save(gradient(), "in/a.png")
    monkeypatch.setattr("sr_lab.workflows.restore.shutil.disk_usage", lambda _: type("Room", (), {"free": 10}))
    code, _, said = restore()
    assert code == 1
    assert "the disk has 0.0 MB left" in said
    assert not Path("out").exists()
    code, _, said = restore("in", "out", "check_disk=false")
    assert "No space left" in said or "no space left" in said


@contextmanager
def no_file_above(count: int) -> Iterator[None]:
    """The system refuses to write a file beyond so many bytes, in its middle, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def left_over(folder: Path) -> list[str]:
    """Files beside restored images and records."""
    return [file.name for file in folder.rglob("*") if file.is_file() and file.suffix != ".json"]


@pytest.mark.parametrize("format", ["png", "tif", "jpg", "webp", "avif", "bmp"])
def test_a_write_that_fails_in_the_middle_leaves_no_half_file_and_what_was_done(restore, format):
    noise = np.random.default_rng(0).integers(0, 256, (200, 220, 3), np.uint8)
    save(gradient(), "in/a.png")
    save(noise, "in/b.png")
    save(gradient(), "in/c.png")
    with no_file_above(30_000):
        code, _, said = restore("in", "out", f"format={format}")
    assert code == 1
    assert "out/b." + format in said
    assert "File too large" in said
    assert "1 of 3 images failed; the others are written" in said
    assert sorted(left_over(Path("out"))) == [f"a.{format}", f"c.{format}"]
    assert restore("in", "out", f"format={format}")[0] == 0, "the same command goes on"
    assert read_image(f"out/b.{format}").shape == (400, 440, 3)


def test_a_disk_that_fills_in_the_middle(tmp_path):
    inside = 'mount -t tmpfs -o size=200k tmpfs disk && exec "$@"'
    alone = ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", inside, "sh"]
    (tmp_path / "disk").mkdir()
    if (
        shutil.which("unshare") is None
        or subprocess.run([*alone, "true"], cwd=tmp_path, capture_output=True).returncode
    ):
        pytest.skip("needs a disk of its own: unshare and mount are not allowed here")
    save(gradient(), str(tmp_path / "in/a.png"))
    save(np.random.default_rng(0).integers(0, 256, (200, 220, 3), np.uint8), str(tmp_path / "in/b.png"))
    words = ["input=in", "output=disk/out", "restorer=bicubic", "scale=2", "check_disk=false"]
    script = (
        "import sys, pathlib; from sr_lab.cli import main; code = main(['restore', *sys.argv[1:]]); "
        "print(sorted(f.name for f in pathlib.Path('disk').rglob('*') if f.is_file() and f.suffix != '.json')); "
        "sys.exit(code)"
    )
    done = subprocess.run([*alone, sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "disk/out/b.png" in done.stderr
    assert "no space left" in done.stderr.lower()
    assert "1 of 2 images failed; the others are written" in done.stderr
    assert done.stdout.splitlines()[-1] == "['a.png']", "no half file"


def test_a_file_of_another_size_than_was_asked_for_is_no_success(restore, monkeypatch):
    save(gradient(), "in/a.png")

    def short(*arguments, **settings):
        yield from (band[:, :-1] for band in restored_bands(*arguments, **settings))

    monkeypatch.setattr("sr_lab.inference.batch.restored_bands", short)
    code, _, said = restore()
    assert code == 1
    assert "a.png" in said
    assert not Path("out/a.png").exists()


def test_the_bar_counts_megapixels(restore, monkeypatch):
    totals: list[tuple[float, str]] = []

    class Bar:
        def __init__(self, *, total: float, unit: str, **_: object) -> None:
            totals.append((total, unit))

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, count: float) -> None:
            totals.append((count, "done"))

    monkeypatch.setattr("sr_lab.base.compute.tqdm", Bar)
    save(gradient(200, 300), "in/a.png")
    save(gradient(100, 300), "in/b.png")
    assert restore()[0] == 0
    assert totals == [(0.1, "MP"), (0.06, "done"), (0.03, "done")]


class Greedy(BicubicRestorer):
    """Has no memory for tiles of more than 40 pixels, of which it makes its images, as a network does."""

    anywhere = False

    def __init__(self) -> None:
        super().__init__(scale=2)
        self.sides: list[int] = []

    def piece(self, low: Tensor) -> Tensor:
        self.sides.append(max(low.shape[-2:]))
        if self.sides[-1] > 40:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return super().__call__(low)

    def plan(self, height: int, width: int, *, tile: int | None = None, fixed: bool = False) -> TilePlan:
        return super().plan(height, width, tile=tile or 128, fixed=fixed)


def test_short_memory_halves_the_tiles_and_goes_on(caplog):
    image = np.random.default_rng(0).integers(0, 256, (150, 90, 3)).astype(np.uint8)
    restorer, target = Greedy(), target_of(150, 90, scale=2)
    bands = list(restored_bands(image, restorer, alpha=False, target=target))
    assert {max(band.shape[:1]) for band in bands} < set(range(81))
    whole = to_levels(resize_bicubic(to_tensor(image), scale=2.0), np.uint8)
    assert np.abs(np.concatenate(bands).astype(int) - whole).max() <= 1
    assert "memory was short for tiles of 128 pixels: going on with 64" in caplog.text
    assert restorer.sides[0] > 40 >= restorer.sides[-1]


@pytest.mark.parametrize("size", [(31, 45), (200, 61), (17, 9), (64, 64)])
def test_rows_are_resampled_as_the_whole_is(size):
    image = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    factors = (size[0] / 64, size[1] / 48)
    bands = [image[..., :1, :], image[..., 1:40, :], image[..., 40:, :]]
    made = torch.cat(list(resampled_rows(bands, before=(64, 48), size=size, factors=factors)), dim=-2)
    torch.testing.assert_close(made, resize_bicubic(image, size=size), atol=2e-6, rtol=0)


def test_bands_of_a_hundredfold_enlargement_stay_small(monkeypatch):
    monkeypatch.setattr(rows, "_BAND_VALUES", 3 * 480 * 7)
    image = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    bands = [image[..., :40, :], image[..., 40:, :]]
    made = list(resampled_rows(bands, before=(64, 48), size=(6400, 480), factors=(100.0, 10.0)))
    assert max(band.shape[-2] for band in made) == 7
    torch.testing.assert_close(torch.cat(made, dim=-2), resize_bicubic(image, size=(6400, 480)), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scale=inf"], "scale=inf must be a positive number"),
        (["quality=101", "format=jpg"], "quality=101: must lie in 1..100"),
        (["quality=0", "format=jpg"], "quality=0: must lie in 1..100"),
        (["quality=50"], "quality=50 is of jpg and avif, and png is without loss: leave it out"),
        (["engine=ncnn"], "engine=ncnn: bicubic is no network, leave it out"),
        (["input_noise=5"], "are of consistent images: give consistency=exact, too"),
        (["degradation=bd"], "are of consistent images: give consistency=exact, too"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(restore, words, message):
    save(gradient(), "in/a.png")
    code, _, told = restore("in", "out", *words)
    assert code == 1
    assert message in told
    assert not Path("out").exists()


def test_formats_of_phones_and_of_the_web_are_read_and_written(restore):
    save(gradient(), "in/a.avif", quality=95)
    heif = pytest.importorskip("pillow_heif")
    pytest.importorskip("imagecodecs")
    heif.from_pillow(Image.fromarray(gradient().repeat(4, 0).repeat(4, 1))).save("in/b.heic", quality=90)
    assert restore("in", "out", "format=jxl")[0] == 0
    assert restore("out", "again", "format=avif")[0] == 0
    assert read_image("again/a.avif").shape == (48, 80, 3)
    assert read_image("again/b.avif").shape == (192, 320, 3)


def test_a_read_only_place_is_named(restore, monkeypatch):
    save(gradient(), "in/a.png")
    Path("out").write_bytes(b"a file")
    code, _, said = restore("in", "out/below")
    assert code == 1
    assert "out" in said
    assert "Traceback" not in said


MEASURE = """
import resource, sys
from sr_lab.cli import main
import torch, cv2
import sr_lab.workflows.restore, sr_lab.inference.stream
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = main(["restore", "input=in.png", "output=out." + sys.argv[1], "restorer=bicubic", "scale=4"])
print(code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_the_image(tmp_path):
    """4 million pixels become 64 million, 192 MB: the process grows by less than half of that."""
    low = np.zeros((2000, 2000, 3), np.uint8)
    low[::7, ::5] = 200
    write_image(tmp_path / "in.png", low)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "jpg"], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=True
    )
    code, grown = done.stdout.split()[-2:]
    assert code == "0"
    assert float(grown) < 96
    with Image.open(io.BytesIO((tmp_path / "out.jpg").read_bytes())) as image:
        assert image.size == (8000, 8000)


def test_every_complaint_of_the_page_has_its_test():
    root = Path(__file__).parents[2]
    lines = (root / "docs/restore.md").read_text(encoding="utf-8").split("## What others suffer from")[1].splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("|---")) + 1 :]
    rows = [line for line in table[: table.index("")] if line.startswith("|")]
    assert len(rows) >= 18
    for row in rows:
        place, tests = Path(__file__), []
        for word in re.findall("`([^`]+)`", row.split("|")[4]):
            place = root / word if word.startswith("tests/") else place
            tests += [word] * word.startswith("test_")
            if word.startswith("test_"):
                assert f"def {word}(" in place.read_text(encoding="utf-8"), row
        assert tests, row
