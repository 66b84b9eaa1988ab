"""``srlab burst``: folders of frames with masks of clouds, from files to files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.cli import main
from sr_lab.images import ImageError, read_image, write_image
from sr_lab.images.burst import Sampling
from sr_lab.images.revisits import find_scenes, read_revisits
from sr_lab.inference.burst import restore_burst
from sr_lab.networks.ecbsr import ECBSR

SIZE, SCALE = (192, 256), 4
LOW = (48, 64)


def ground() -> np.ndarray:
    """Hills and a lake with a hard shore, (192, 256, 3) in [0, 1]."""
    hills = np.random.default_rng(5).random((24, 32, 3), np.float32)
    hills = 0.2 + 0.5 * cv2.resize(hills, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    lake = (np.hypot(x - 140, y - 80) < 45)[..., None]
    return np.where(lake, np.float32([0.1, 0.2, 0.4]), hills).clip(0, 1).astype(np.float32)


def write_scene(folder: Path, *, cloud: int | None = None, count: int = 5, name: str = "visit") -> Path:
    """A scene of revisits; ``cloud`` lies somewhere over each frame, as its mask tells."""
    generator = np.random.default_rng(0)
    for number in range(count):
        shift = (0.0, 0.0) if number == 0 else tuple(generator.uniform(-1, 1, 2))
        view = Sampling.of(shift, SIZE, SCALE)
        low = np.stack([view.see(np.ascontiguousarray(ground()[..., channel])) for channel in range(3)], axis=2)
        low = np.round(255 * (low + 0.01 * generator.standard_normal(low.shape)).clip(0, 1)).astype(np.uint8)
        if cloud is not None:
            mask = np.full(low.shape[:2], 255, np.uint8)
            mask[2 + 6 * number : 14 + 6 * number, 4:24] = 0
            low[mask == 0] = cloud
            write_image(folder / "masks" / f"{name}{number}.png", mask)
        write_image(folder / f"{name}{number}.png", low)
    return folder


def decibels(file: Path) -> float:
    apart = (read_image(file) / 255 - ground())[8:-8, 8:-8]
    return float(-10 * np.log10(np.mean(apart**2)))


def test_a_cloud_under_its_mask_changes_no_bit_of_the_file(tmp_path, capsys):
    for cloud in (0, 255):
        write_scene(tmp_path / f"scenes{cloud}" / "field", cloud=cloud)
        code = main(["burst", f"input={tmp_path}/scenes{cloud}", f"output={tmp_path}/large{cloud}"])
        said = capsys.readouterr()
        assert (code, said.err) == (0, "")
        assert said.out.startswith(f"{tmp_path}/large{cloud}/field.png: 5 frames, noise of ")
    assert (tmp_path / "large0/field.png").read_bytes() == (tmp_path / "large255/field.png").read_bytes()
    clear = write_scene(tmp_path / "clear")
    assert main(["burst", f"input={clear}", f"output={tmp_path}/clear.png", "noise=2.55"]) == 0
    assert read_image(tmp_path / "clear.png").shape == (*SIZE, 3)
    assert decibels(tmp_path / "large0/field.png") > decibels(tmp_path / "clear.png") - 3


def test_a_cloud_without_a_mask_does_harm(tmp_path):
    write_scene(tmp_path / "masked", cloud=255)
    write_scene(tmp_path / "bare", cloud=255)
    for file in (tmp_path / "bare" / "masks").iterdir():
        write_image(file, np.full(LOW, 255, np.uint8))
    values = {}
    for name in ("masked", "bare"):
        code = main(["burst", f"input={tmp_path}/{name}", f"output={tmp_path}/{name}.png", "noise=2.55"])
        values[name] = decibels(tmp_path / f"{name}.png") if code == 0 else 0.0  # refused, or spoilt
    assert values["masked"] > values["bare"] + 3


def test_a_frame_that_is_all_cloud_is_left_out(tmp_path, capsys):
    scene = write_scene(tmp_path / "scene", cloud=128)
    write_image(scene / "visit9.png", np.full((*LOW, 3), 200, np.uint8))
    write_image(scene / "masks" / "visit9.png", np.zeros(LOW, np.uint8))
    assert main(["burst", f"input={scene}", f"output={tmp_path}/large.png", "noise=2.55"]) == 0
    assert "1 frame left out, mostly masked: visit9" in capsys.readouterr().err


def test_folders_of_scenes_are_told_from_a_scene(tmp_path):
    scene = write_scene(tmp_path / "scenes" / "a", cloud=0)
    write_scene(tmp_path / "scenes" / "b")
    assert find_scenes(tmp_path / "scenes") == [scene, tmp_path / "scenes" / "b"]
    assert find_scenes(scene) == [scene]
    found = read_revisits(scene)
    assert (found.name, list(found.names), found.bits) == ("a", [f"visit{number}" for number in range(5)], 8)
    assert [int((~mask).sum()) for mask in found.masks] == [12 * 20] * 5


def test_what_no_frame_sees_is_told(tmp_path, capsys):
    scene = write_scene(tmp_path / "scene")
    mask = np.full(LOW, 255, np.uint8)
    mask[20:26, 28:40] = 0
    for number in range(5):
        write_image(scene / "masks" / f"visit{number}.png", mask)
    assert main(["burst", f"input={scene}", f"output={tmp_path}/large.png"]) == 0
    assert "2.3% of the scene is seen by no frame and filled in smoothly" in capsys.readouterr().err


def test_a_scene_that_fails_is_named_and_the_others_are_written(tmp_path, capsys):
    write_scene(tmp_path / "scenes" / "good")
    bad = write_scene(tmp_path / "scenes" / "moved")
    torn = read_image(bad / "visit2.png").copy()
    torn[:, 32:] = np.roll(torn[:, 32:], 2, axis=0)
    write_image(bad / "visit2.png", torn)
    assert main(["burst", f"input={tmp_path}/scenes", f"output={tmp_path}/large"]) == 1
    said = capsys.readouterr()
    assert "srlab burst: moved: frame visit2: its halves are moved apart by" in said.err
    assert "1 scene failed; the others are written" in said.err
    assert [file.name for file in (tmp_path / "large").iterdir()] == ["good.png"]


BAD = {
    "a mask alone": (
        lambda s: write_image(s / "masks" / "other.png", np.zeros(LOW, np.uint8)),
        "no frame of that",
    ),
    "a mask of another size": (
        lambda s: write_image(s / "masks" / "visit1.png", np.zeros((48, 63), np.uint8)),
        "63x48 of 1 channel and 8 bits, and its frame is 64x48",
    ),
    "a frame of another size": (lambda s: write_image(s / "visit7.png", np.zeros((48, 63, 3), np.uint8)), "63x48 of 3"),
    "a frame of other bits": (lambda s: write_image(s / "visit7.png", np.zeros((*LOW, 3), np.uint16)), "16 bits"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_folder_that_is_no_scene_is_refused(kind, tmp_path):
    make, said = BAD[kind]
    scene = write_scene(tmp_path / "scene", count=2)
    make(scene)
    with pytest.raises(ImageError, match=said):
        read_revisits(scene)


def test_a_single_visit_and_16_bits(tmp_path, capsys):
    scene = tmp_path / "scene"
    write_image(scene / "one.tif", np.round(65535 * ground()[::4, ::4]).astype(np.uint16))
    assert main(["burst", f"input={scene}", f"output={tmp_path}/large.tif", "scale=2"]) == 0
    assert "one frame alone has no more detail" in capsys.readouterr().err
    assert (read_image(tmp_path / "large.tif").shape, read_image(tmp_path / "large.tif").dtype) == (
        (96, 128, 3),
        "uint16",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scale=1.5"], "a whole number, 2 or more"),
        (["noise=-1"], "0 or more"),
        (["refine=edge"], "refine=edge enlarges by 4: give a network of scale 1"),
        (["output=there.png"], "is there already"),
        (["output=large"], "as large.png"),
        (["input=nowhere"], "nowhere is not a folder"),
    ],
)
def test_wrong_words_are_refused(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_scene(Path("scene"), count=2)
    Path("there.png").write_bytes(b"mine")
    assert main(["burst", "input=scene", "output=large.png", *words])
    assert said in capsys.readouterr().err
    assert Path("there.png").read_bytes() == b"mine"


def test_a_network_of_scale_1_goes_over_the_solution(tmp_path):
    torch.manual_seed(0)
    network = ECBSR(scale=1, num_channels=1, num_blocks=1, num_features=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.upsampler[0].plain.bias.fill_(0.1)  # it adds a tenth to the luma
    node = {
        "_target_": "sr_lab.networks.ecbsr.ECBSR",
        "scale": 1,
        "num_channels": 1,
        "num_blocks": 1,
        "num_features": 4,
    }
    save_artefact(tmp_path / "lighter", network, config={"model": {"network": node}}, metadata={})
    scene = write_scene(tmp_path / "scene")
    for name, words in (("plain", []), ("refined", [f"refine={tmp_path}/lighter"])):
        assert main(["burst", f"input={scene}", f"output={tmp_path}/{name}.png", "noise=2.55", *words]) == 0
    plain, refined = (read_image(tmp_path / f"{name}.png").astype(int) for name in ("plain", "refined"))
    inside = (plain > 0) & (plain < 200)
    assert np.abs((refined - plain)[inside] - 0.1 * 255 * 255 / 219).max() <= 1


def test_frames_that_are_shifted_by_many_pixels_tell_where_they_overlap(tmp_path):
    """The second of two frames is the first one moved by 6 and 3 low pixels and a half: better than one alone."""
    hills = np.random.default_rng(5).random((60, 80), np.float32)
    wide = cv2.resize(hills, (320, 240), interpolation=cv2.INTER_CUBIC)
    wide[(np.add.outer(np.arange(240), np.arange(320)) // 20) % 2 == 0] *= 0.6
    highs = [wide[24 + y : 216 + y, 32 + x : 288 + x] for x, y in ((0, 0), (26, -14), (-6, 13))]
    lows = [Sampling.of((0.0, 0.0), SIZE, SCALE).see(np.ascontiguousarray(high))[..., None] for high in highs]
    single, several = (restore_burst(each, scale=SCALE, noise=0.002) for each in (lows[:1], lows))
    inner = (slice(64, 128), slice(64, 192), 0)
    errors = [float(((found.image - highs[0][..., None])[inner] ** 2).mean()) for found in (single, several)]
    assert errors[1] < 0.7 * errors[0]
    assert [round(4 * each) for each in several.shifts[1]] == [26, -14]
