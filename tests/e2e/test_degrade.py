"""``srlab degrade`` through ``sr_lab.cli.main``."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage import data as samples

from sr_lab.cli import main
from sr_lab.config.compose import build, compose
from sr_lab.degradations.base import params_from_records
from sr_lab.degradations.trace import trace

pytestmark = pytest.mark.e2e


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An RGB, a grey and a 16-bit photo whose sides are no multiples of 4."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    cat = samples.chelsea()[:66, 100:171]
    Image.fromarray(cat).save(folder / "cat.png")
    Image.fromarray(samples.camera()[:50, :47]).save(folder / "sub" / "man.png")
    cv2.imwrite(str(folder / "wide.png"), cat[:, :, ::-1].astype(np.uint16) * 257 + 3)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}


def degrade(*arguments: object) -> int:
    return main(["degrade", *map(str, arguments)])


def test_replay_gives_the_same_bytes_and_the_manifest_holds_every_parameter(photos: Path, tmp_path: Path) -> None:
    first, second, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    assert degrade(f"input={photos}", f"output={first}", "degradation=realesrgan_sharp", "seed=7") == 0
    assert degrade(f"replay={first / 'manifest.parquet'}", f"input={photos}", f"output={second}") == 0
    assert files(first) == files(second)
    assert degrade(f"input={photos}", f"output={other}", "degradation=realesrgan_sharp", "seed=8") == 0
    lows = [name for name in files(first) if name.startswith("LR")]
    assert lows == ["LR/cat.png", "LR/sub/man.png", "LR/wide.png"]
    assert all(files(first)[name] != files(other)[name] for name in lows)

    table = pd.read_parquet(first / "manifest.parquet")
    assert list(table["name"]) == ["cat.png", "sub/man.png", "wide.png"]
    assert list(table[["seed", "epoch", "index"]].itertuples(index=False, name=None)) == [(7, 0, k) for k in range(3)]
    assert table["sha256"][0] == hashlib.sha256((photos / "cat.png").read_bytes()).hexdigest()
    assert table["low_sha256"][0] == hashlib.sha256((first / "LR/cat.png").read_bytes()).hexdigest()
    degradation = build(compose("degrade", ["output=x", "degradation=realesrgan_sharp"]).degradation)
    drawn = degradation.draw_keyed([(7, 0, 1)])
    again = params_from_records([json.loads(table["params"][1])])
    assert drawn.keys() == again.keys()
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    assert json.loads(table["settings"][0]) == json.loads(json.dumps(degradation.settings()))


def test_depth_channels_and_crop_are_kept(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert degrade(f"input={photos}", f"output={output}", "degradation=bicubic") == 0
    assert not (output / "HR").exists()
    shapes = {
        name: (image.shape, image.dtype)
        for name in ("cat.png", "sub/man.png", "wide.png")
        if (image := cv2.imread(str(output / "LR" / name), cv2.IMREAD_UNCHANGED)) is not None
    }
    assert shapes == {
        "cat.png": ((16, 17, 3), np.uint8),
        "sub/man.png": ((12, 11), np.uint8),
        "wide.png": ((16, 17, 3), np.uint16),
    }
    wide = cv2.imread(str(output / "LR/wide.png"), cv2.IMREAD_UNCHANGED)
    narrow = cv2.imread(str(output / "LR/cat.png"), cv2.IMREAD_UNCHANGED)
    assert np.abs(wide / 257 - narrow).mean() < 0.5  # MATLAB rounds 8 bits between its passes
    assert len(np.unique(wide % 257)) > 10


def test_a_finished_output_is_looked_at_and_never_replaced(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = (f"input={photos}", f"output={output}", "degradation=dn", "scale=2")
    assert degrade(*arguments) == 0
    before = files(output)
    assert degrade(*arguments) == 0
    assert degrade(*arguments, "seed=1") == 1
    assert f"{output} holds images of another seed: give another output" in capsys.readouterr().err
    assert degrade(*arguments, "degradation.ops.noise.sigma=[3,4]") == 1
    assert "images of another degradation" in capsys.readouterr().err
    assert files(output) == before
    (output / "LR" / "cat.png").write_bytes(b"")
    (output / "LR" / "wide.png").unlink()
    assert degrade(*arguments) == 1
    told = capsys.readouterr().err
    assert "LR/cat.png is missing or has changed" in told
    assert "LR/wide.png is missing or has changed" in told
    Image.fromarray(samples.camera()[1:51, :47]).save(photos / "sub" / "man.png")
    assert degrade(*arguments) == 1
    assert "sub/man.png has changed since LR/sub/man.png was made of it" in capsys.readouterr().err
    (photos / "cat.png").rename(photos / "dog.png")
    assert degrade(*arguments) == 1
    assert "images of another input" in capsys.readouterr().err


def test_an_image_that_fails_is_named_and_the_others_stay(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert degrade(f"input={photos}", f"output={output}", "degradation=bicubic", "scale=60") == 1
    told = capsys.readouterr().err
    assert "sub/man.png: scale=60 must be in" in told
    assert "1 of 3 images failed" in told
    assert sorted(name for name in files(output) if name.startswith("LR")) == ["LR/cat.png", "LR/wide.png"]
    assert not (output / "manifest.parquet").exists()


def test_a_killed_call_goes_on_and_gives_the_files_of_one_that_was_not(photos: Path, tmp_path: Path) -> None:
    Image.fromarray(samples.chelsea()[:64, :64]).save(photos / "hold.png")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    arguments = (f"input={photos}", "degradation=realesrgan_sharp", "scale=4", "seed=3")
    # Reading one image waits for ever: the kill hits whatever the machine's speed.
    code = (
        "import sys, time, sr_lab.data.degraded as module\n"
        "read = module.read_image\n"
        "module.read_image = lambda file: time.sleep(3600) if file.name == 'hold.png' else read(file)\n"
        "from sr_lab.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, "degrade", *arguments, f"output={killed}"])
    while process.poll() is None and not (killed / ".rows" / "00000000.json").exists():
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert sorted(files(killed / "LR")) == ["cat.png"]
    first = (killed / "LR" / "cat.png").stat().st_mtime_ns
    assert degrade(*arguments, f"output={killed}") == 0
    assert (killed / "LR" / "cat.png").stat().st_mtime_ns == first, "what was made is not made again"
    assert degrade(*arguments, f"output={whole}") == 0
    assert files(killed) == files(whole)


def test_a_changed_original_is_named_and_nothing_is_written(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    assert degrade(f"input={photos}", f"output={first}", "degradation=dn", "scale=4") == 0
    arguments = (f"replay={first / 'manifest.parquet'}", f"input={photos}", f"output={second}")
    Image.fromarray(samples.camera()[1:51, :47]).save(photos / "sub" / "man.png")
    assert degrade(*arguments) == 1
    assert f"{photos / 'sub' / 'man.png'} is not the file" in capsys.readouterr().err
    (photos / "sub" / "man.png").unlink()
    assert degrade(*arguments) == 1
    assert f"{photos / 'sub' / 'man.png'} is missing" in capsys.readouterr().err
    assert not second.exists()


def test_a_transform_of_kornia_replays_from_its_manifest(photos: Path, tmp_path: Path) -> None:
    node = "{_target_: sr_lab.degradations.kornia.Kornia, transform: kornia.augmentation.RandomGaussianNoise}"
    first, second = tmp_path / "a", tmp_path / "b"
    assert degrade(f"input={photos}", f"output={first}", "degradation=dn", f"+degradation.ops.grain={node}") == 0
    assert "kornia" in json.loads(pd.read_parquet(first / "manifest.parquet")["versions"][0])
    assert degrade(f"replay={first / 'manifest.parquet'}", f"input={photos}", f"output={second}") == 0
    assert files(first) == files(second)


def tampered(manifest: Path, **columns: Any) -> Path:
    table = pd.read_parquet(manifest)
    for name, value in columns.items():
        table[name] = value
    path = manifest.with_name("tampered.parquet")
    table.to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"config": json.dumps({"_target_": "os.system", "command": "true"})}, "only degradations of"),
        ({"config": json.dumps({"_target_": "sr_lab.degradations.base.json.loads", "s": "1"})}, "sr_lab.degrad"),
        ({"config": json.dumps({"_target_": "sr_lab.degradations.base.record", "params": {}})}, "only degradations of"),
        (
            {"config": json.dumps({"_target_": "sr_lab.degradations.resize.Bicubic", "scale": "${oc.env:HOME}"})},
            "interpolation",
        ),
        (
            {
                "config": json.dumps(
                    {"_target_": "sr_lab.degradations.albumentation.Albumentation", "transform": "subprocess.Popen"}
                )
            },
            "only transforms of albumentations",
        ),
        (
            {"config": json.dumps({"_target_": "sr_lab.degradations.kornia.Kornia", "transform": "subprocess.Popen"})},
            "only transforms of albumentations and kornia",
        ),
        ({"settings": json.dumps({"class": "other"})}, "other settings"),
        ({"name": "../cat.png"}, "leads out of the folder"),
    ],
)
def test_a_manifest_from_elsewhere_runs_no_code(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, str], message: str
) -> None:
    output = tmp_path / "a"
    assert degrade(f"input={photos}", f"output={output}", "degradation=bicubic") == 0
    manifest = tampered(output / "manifest.parquet", **columns)
    assert degrade(f"replay={manifest}", f"input={photos}", f"output={tmp_path / 'b'}") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_bytes_that_differ_from_the_manifest_are_reported(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a"
    assert degrade(f"input={photos}", f"output={output}", "degradation=bicubic") == 0
    manifest = tampered(output / "manifest.parquet", low_sha256="0" * 64)
    assert degrade(f"replay={manifest}", f"input={photos}", f"output={tmp_path / 'b'}") == 1
    assert "3 files differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give input=DIR, replay=MANIFEST"),
        (["input=a", "preview=b"], "input= and preview= are given"),
        (["preview=b", "estimate=a"], "preview= and estimate= are given"),
        (["replay=m"], "replay= needs input=DIR"),
        (["replay=m", "input=a", "degradation=dn"], "the manifest holds the degradation"),
        (["replay=none.parquet", "input=a"], "none.parquet does not exist"),
        (["input=PHOTOS"], "give degradation=NAME, one of"),
        (["input=PHOTOS", "degradation=identity"], "give scale=1"),
        (["input=missing", "degradation=bicubic"], "missing is not a folder"),
        (["preview=none.png", "degradation=bicubic"], "none.png cannot be read"),
    ],
)
def test_errors_name_field_and_remedy(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    output = tmp_path / "out"
    assert degrade(*(text.replace("PHOTOS", str(photos)) for text in arguments), f"output={output}") == 1
    assert message in capsys.readouterr().err
    assert [name for name in files(tmp_path) if name.startswith("out")] == []


def test_a_number_that_is_none_is_a_wrong_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert degrade("estimate=a", "num_images=all", f"output={tmp_path / 'out'}") == 2
    assert "num_images=all: give a number" in capsys.readouterr().err


def test_foreign_files_in_the_output_and_a_nested_output_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    (output / "HR").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(output / "HR/mine.png")
    before = files(output)
    assert degrade(f"input={photos}", f"output={output}", "degradation=bicubic") == 1
    assert "mine.png is there already" in capsys.readouterr().err
    assert files(output) == before
    assert degrade(f"input={photos}", f"output={photos / 'low'}", "degradation=bicubic") == 1
    assert "lies in input" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["realesrgan_sharp", "bsrgan", "document", "severity", "bicubic"])
def test_the_last_step_of_a_trace_is_the_low_image(name: str) -> None:
    degradation = build(compose("degrade", ["output=x", f"degradation={name}"]).degradation)
    high = torch.from_numpy(samples.chelsea()[:64, 100:164].copy()).permute(2, 0, 1)[None] / 255
    for index in range(3):
        params = degradation.draw_keyed([(5, 0, index)])
        assert torch.equal(trace(degradation, high, params)[-1].image, degradation.apply(high, params))


def test_preview_shows_steps_draws_and_severities(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ("degradation=realesrgan", "num_draws=3", "num_ladder=2", "side=64")
    assert degrade(f"preview={photos / 'cat.png'}", f"output={output}", *arguments) == 0
    page = (output / "preview.html").read_text()
    assert sorted(files(output)) == ["preview.html", "preview.png"]
    for text in ("Degradation realesrgan<", "Operation by operation", "3 draws", "Severity: weak", "Severity: severe"):
        assert text in page
    assert "first.jpeg.quality" in page
    assert "http" not in page.replace("http-equiv", "")
    with Image.open(output / "preview.png") as sheet:
        assert sheet.width > 1200
        assert sheet.height > 5 * 256


def test_estimate_writes_a_preset_that_can_be_built(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    folder, output = tmp_path / "low", tmp_path / "out"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for index, photo in enumerate((samples.chelsea(), samples.coffee(), samples.astronaut())):
        noisy = np.clip(photo[:192, :192] + noise.normal(0, 12, (192, 192, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{index}.png")
    assert degrade(f"estimate={folder}", f"output={output}", "scale=2") == 0
    assert sorted(files(output)) == ["fit.json", "fit.png", "preset.yaml"]
    assert build(OmegaConf.load(output / "preset.yaml")).scale == 2
    fitted = json.loads((output / "fit.json").read_text())
    assert fitted["noise"]["median"] == pytest.approx(12, rel=0.25)


def test_the_frames_of_a_folder_are_a_clip_with_one_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cat = samples.chelsea()[:64, 100:172]
    for clip in ("one", "two"):
        (tmp_path / "clips" / clip).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(cat).save(tmp_path / "clips" / clip / f"{number}.png")
    first, second = tmp_path / "a", tmp_path / "b"
    assert degrade(f"input={tmp_path / 'clips'}", f"output={first}", "degradation=dn", "scale=3", "clips=true") == 0
    table = pd.read_parquet(first / "manifest.parquet")
    assert list(table["index"]) == [0, 0, 0, 1, 1, 1]
    assert table["params"].nunique() == 2
    assert table["low_sha256"].nunique() == 6, "each frame has noise of its own"
    assert degrade(f"replay={first / 'manifest.parquet'}", f"input={tmp_path / 'clips'}", f"output={second}") == 0
    assert files(first) == files(second)

    Image.fromarray(cat[:60]).save(tmp_path / "clips" / "two" / "9.png")
    assert (
        degrade(f"input={tmp_path / 'clips'}", f"output={tmp_path / 'c'}", "degradation=dn", "scale=3", "clips=true")
        == 1
    )
    assert "two/9.png 72x60 uint8; give each clip a folder of its own" in capsys.readouterr().err
