"""Restoring and degrading folders and stores: resumable, each image written once, on a local Ray too."""

import functools
import json
import os
import shutil
import signal
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
import torch

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.base.compute import on_ray
from sr_lab.cli import main
from sr_lab.images import read_image, write_image
from sr_lab.networks.srcnn import SRCNN


@pytest.fixture(scope="module")
def low(tmp_path_factory) -> Path:
    """Grey, RGB, 16 bit, many bands, a folder below."""
    folder = tmp_path_factory.mktemp("low")
    generator = np.random.default_rng(0)
    for name, channels, top, kind in (
        ("rgb.png", 3, 256, np.uint8),
        ("grey.jpg", 1, 256, np.uint8),
        ("deep.png", 3, 65536, np.uint16),
        ("below/also.webp", 3, 256, np.uint8),
    ):
        write_image(folder / name, generator.integers(0, top, (24, 20, channels)).astype(kind))
    return folder


@pytest.fixture(scope="module")
def artefact(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = SRCNN(scale=2, num_channels=3)
    node = {"_target_": "sr_lab.networks.srcnn.SRCNN", "scale": 2, "num_channels": 3}
    return save_artefact(
        tmp_path_factory.mktemp("artefact") / "best", network, config={"model": {"network": node}}, metadata={}
    )


def stamps(folder: Path) -> dict[str, int]:
    files = [path for path in sorted(folder.rglob("*.*")) if path.is_file() and ".restored" not in path.parts]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def test_every_image_is_restored_once_as_deep_as_it_was(low, artefact, tmp_path, capsys):
    words = ["restore", f"input={low}", f"output={tmp_path / 'out'}", f"restorer={artefact}", "tile=16", "overlap=4"]
    assert main(words) == 0
    assert "4 images" in capsys.readouterr().out
    for name, dtype in (("rgb", np.uint8), ("grey", np.uint8), ("deep", np.uint16), ("below/also", np.uint8)):
        image = read_image(tmp_path / "out" / f"{name}.png")
        assert (image.shape[:2], image.dtype) == ((48, 40), dtype)
    before = stamps(tmp_path / "out")
    (tmp_path / "out" / "grey.png").unlink()
    assert main(words) == 0
    after = stamps(tmp_path / "out")
    assert [name for name in before if after[name] != before[name]] == ["grey.png"]
    write_image(tmp_path / "mine" / "rgb.png", read_image(low / "rgb.png"))
    assert main([*words, f"output={tmp_path / 'mine'}"]) == 1
    assert "rgb.png is there already and not of srlab restore" in capsys.readouterr().err
    assert main([*words, "overlap=2"]) == 1
    assert "overlap was 4, is 2" in capsys.readouterr().err


def test_an_input_that_changed_is_restored_again_and_what_cannot_be_written_is_not_begun(low, tmp_path, capsys):
    given = tmp_path / "given"
    for name, source in (("a.png", "rgb.png"), ("b.png", "rgb.png")):
        given.mkdir(exist_ok=True)
        shutil.copy2(low / source, given / name)
    words = ["restore", f"input={given}", f"output={tmp_path / 'out'}", "restorer=bicubic", "scale=2"]
    assert main(words) == 0
    before = stamps(tmp_path / "out")
    write_image(given / "a.png", read_image(low / "rgb.png")[::-1])
    assert main(words) == 0
    after = stamps(tmp_path / "out")
    assert [name for name in ("a.png", "b.png") if after[name] != before[name]] == ["a.png"]
    assert main(["restore", f"input={low}", f"output={tmp_path / 'jpg'}", *words[3:], "format=jpg"]) == 1
    assert (
        "deep.png: jpg cannot hold 16 bits; give format=png or tif (1 of 4 images has 16 bits)"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "jpg").exists()


def test_an_image_that_fails_is_named_and_the_others_are_done(low, tmp_path, capsys):
    bad = tmp_path / "bad"
    shutil.copytree(low, bad)
    (bad / "broken.png").write_bytes(b"no image")
    words = ["restore", f"input={bad}", f"output={tmp_path / 'out'}", "restorer=bicubic"]
    assert main(words) == 1
    assert "give scale=" in capsys.readouterr().err
    assert main([*words, "scale=3"]) == 1
    said = capsys.readouterr().err
    assert "broken.png" in said
    assert "1 of 5 images failed" in said
    assert read_image(tmp_path / "out" / "rgb.png").shape == (72, 60, 3)


@pytest.mark.parametrize("output", ["given", "given/", "given/in", "./given/in", "file://{}/given", "link/in"])
def test_images_are_not_written_among_those_that_are_read(low, tmp_path, monkeypatch, capsys, output):
    shutil.copytree(low, tmp_path / "given")
    (tmp_path / "link").symlink_to("given")
    monkeypatch.chdir(tmp_path)
    assert main(["restore", "input=given", f"output={output.format(tmp_path)}", "restorer=bicubic", "scale=2"]) == 1
    assert "lies in input=given" in capsys.readouterr().err
    assert stamps(tmp_path / "given").keys() == stamps(low).keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["restorer=bicubic", "scale=0"], "scale=0 must be a positive number"),
        (["restorer=bicubic", "scale=abc"], "scale=abc: give a number"),
        (["restorer={}", "tile=16", "overlap=32"], "overlap=32 must be at least 0 and below half of tile=16"),
    ],
)
def test_a_wrong_setting_is_refused_before_the_output_is_taken(low, artefact, tmp_path, capsys, words, message):
    given = [word.format(artefact) for word in words]
    assert main(["restore", f"input={low}", f"output={tmp_path / 'out'}", *given]) == (
        2 if "give a number" in message else 1
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_object_store_is_read_and_written(low, tmp_path, capsys):
    memory = fsspec.filesystem("memory")
    for file in low.rglob("*.*"):
        memory.pipe_file(f"/given/{file.relative_to(low).as_posix()}", file.read_bytes())
    assert main(["restore", "input=memory://given", "output=memory://made", "restorer=bicubic", "scale=2"]) == 0
    assert main(["restore", f"input={low}", f"output={tmp_path / 'made'}", "restorer=bicubic", "scale=2"]) == 0
    for file in (tmp_path / "made").rglob("*.png"):
        assert memory.cat_file(f"/made/{file.relative_to(tmp_path / 'made').as_posix()}") == file.read_bytes()
    words = ["degrade", "input=memory://given", "output=memory://low", "degradation=blind_gaussian", "scale=2"]
    assert main(words) == 0
    assert main(["degrade", f"input={low}", f"output={tmp_path / 'low'}", *words[3:]]) == 0
    for file in (tmp_path / "low" / "LR").rglob("*.png"):
        assert memory.cat_file(f"/low/{file.relative_to(tmp_path / 'low').as_posix()}") == file.read_bytes()
    with memory.open("/low/manifest.parquet") as stream:
        ours, theirs = pd.read_parquet(stream), pd.read_parquet(tmp_path / "low" / "manifest.parquet")
    pd.testing.assert_frame_equal(ours, theirs)
    assert not memory.exists("/low/.rows")
    assert main(words) == 0
    assert main([*words, "seed=5"]) == 1
    assert "memory://low holds images of another seed" in capsys.readouterr().err
    again = ["degrade", f"replay={tmp_path / 'low' / 'manifest.parquet'}", "input=memory://given"]
    assert main([*again, "output=memory://again"]) == 0
    assert memory.cat_file("/again/manifest.parquet") == memory.cat_file("/low/manifest.parquet")
    memory.pipe_file("/given/notes/late.png", next(low.rglob("*.png")).read_bytes())
    assert main([*words[:1], "input=memory://given/notes", "output=memory://given/notes/low", *words[3:]]) == 1
    assert "lies in input" in capsys.readouterr().err


@pytest.fixture(scope="module")
def ray():
    """Its workers are not nice, so that they get their share where other tests run beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        module = pytest.importorskip("ray")
        yield module
        module.shutdown()


def test_what_a_killed_worker_had_begun_is_done_again_and_the_rest_once(ray, tmp_path):
    class DyingOnce:
        """Writes each name's file, and kills its process once, before the third; local, so that Ray sends its code."""

        def __init__(self, folder) -> None:
            self.folder = folder

        def __call__(self, name) -> None:
            if (self.folder / name).exists():
                return
            mark = self.folder / "killed"
            if name == "c" and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with (self.folder / "log").open("a") as log:
                log.write(f"{name}\n")
            (self.folder / name).touch()
            if name == "e":
                raise ValueError("cannot")

    make = functools.partial(DyingOnce, tmp_path)
    found = dict(on_ray(list("abcdef"), make, address=None, num_workers=1, cores=1, gpus=0))
    assert found == {**dict.fromkeys("abcdf", ""), "e": "cannot"}
    assert (tmp_path / "killed").exists()
    assert sorted((tmp_path / "log").read_text().split()) == list("abcdef"), "each was written once"


def test_ray_makes_the_files_that_are_made_here(ray, low, tmp_path):
    rest = ["restorer=bicubic", "scale=2"]
    spread = ["launcher=ray", "launcher.num_workers=1"]
    assert main(["restore", f"input=file://{low}", f"output={tmp_path / 'ray'}", *rest, *spread]) == 0
    assert main(["restore", f"input={low}", f"output={tmp_path / 'here'}", *rest]) == 0
    degraded = [f"input={low}", "degradation=blind_gaussian", "scale=2"]
    assert main(["degrade", *degraded, f"output={tmp_path / 'ray_low'}", *spread]) == 0
    assert main(["degrade", *degraded, f"output={tmp_path / 'here_low'}"]) == 0
    for here, there in (("here", "ray"), ("here_low", "ray_low")):
        files = sorted(p.relative_to(tmp_path / here) for p in (tmp_path / here).rglob("*.png"))
        assert len(files) >= 4
        for file in files:
            one, other = (read_image(tmp_path / part / file) for part in (here, there))
            assert one.dtype == other.dtype
            # Another number of threads may round the last of 16 bits the other way.
            assert np.abs(one.astype(int) - other).max() <= (1 if one.dtype == np.uint16 else 0), file
    assert json.loads((tmp_path / "ray" / "restore.json").read_text())["restorer"] == "bicubic"


def test_one_file_is_restored_into_a_file_or_a_folder(low, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy2(low / "rgb.png", "rgb.png")
    rest = ["restorer=bicubic", "scale=2"]

    def restore(output, *more):
        code = main(["restore", "input=rgb.png", f"output={output}", *rest, *more])
        return code, capsys.readouterr().err

    assert restore("one.JPEG") == (0, "")
    assert Path("one.JPEG").read_bytes().startswith(b"\xff\xd8")
    before = Path("one.JPEG").stat().st_mtime_ns
    assert restore("one.JPEG")[0] == 0
    assert Path("one.JPEG").stat().st_mtime_ns == before
    assert "scale was 2, is 3" in restore("one.JPEG", "scale=3")[1]
    assert restore("two.webp", "scale=3", "format=webp")[0] == 0, "another file beside it, made otherwise"
    assert restore("below/it")[0] == 0
    assert read_image("below/it/rgb.png").shape == (48, 40, 3)
    assert restore(f"file://{tmp_path}/there.tif")[0] == 0
    write_image("rgb.png", read_image("rgb.png")[::-1])
    assert restore("one.JPEG")[0] == 0
    assert Path("one.JPEG").stat().st_mtime_ns != before
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/single/in.png", (low / "rgb.png").read_bytes())
    assert main(["restore", "input=memory://single/in.png", "output=memory://single/out.png", *rest]) == 0
    assert memory.exists("/single/out.png")


@pytest.mark.parametrize(
    ("input", "output", "more", "message"),
    [
        ("rgb.png", "rgb.png", [], "which is the input"),
        ("rgb.png", "./link.png", [], "which is the input"),
        ("rgb.png", ".", [], "which is the input"),
        ("rgb.png", "deep.png", [], "is there already and not of srlab restore"),
        ("rgb.png", "out.jpg", ["format=png"], "format=png is not the format of output=out.jpg"),
        ("rgb.png", "out.gif", [], ".gif is no format that can be written"),
        ("deep.png", "out.jpg", [], "deep.png: jpg cannot hold 16 bits; give an output that ends in .png or .tif"),
        ("nothing.png", "out.png", [], "input=nothing.png: no such file or folder"),
        (".", "rgb.png", [], "output=rgb.png is one file, and input=. is a folder: give a folder"),
        (".", "new.png", [], "output=new.png is one file, and input=. is a folder: give a folder"),
        ("*.png", "new.png", [], "output=new.png is one file, and input=*.png names 3 images: give a folder"),
        (".", "new.mkv", [], "output=new.mkv is a video, and input=. is a folder: make a video of the frames first"),
        ("rgb.png", "out.png", ["launcher.num_workers=2"], "launcher.num_workers: launcher=local does batch work in"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_written(
    low, tmp_path, monkeypatch, capsys, input, output, more, message
):
    shutil.copytree(low, tmp_path / "in")
    (tmp_path / "in" / "link.png").symlink_to("rgb.png")
    monkeypatch.chdir(tmp_path / "in")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(["restore", f"input={input}", f"output={output}", "restorer=bicubic", "scale=2", *more]) == 1
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
