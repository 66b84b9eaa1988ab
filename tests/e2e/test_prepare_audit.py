"""``srlab prepare`` and ``srlab audit`` through the public command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
from skimage import data as samples

from sr_lab.cli import main

pytestmark = pytest.mark.e2e


class Done(NamedTuple):
    """What a call of the command line left."""

    returncode: int
    stdout: str
    stderr: str


Call = Callable[..., Done]


@pytest.fixture
def srlab(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Call:
    """The command line in the test's folder, in this process: what a child would import takes longer than the work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SR_LAB_CACHE", str(tmp_path / "cache"))

    def call(*arguments: str) -> Done:
        caplog.clear()
        code = main(list(arguments))
        said = capsys.readouterr()
        return Done(code, said.out, said.err + caplog.text)

    return call


def write(path: Path, image: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def test_photos_are_prepared_once_and_verified_afterwards(srlab: Call, tmp_path: Path) -> None:
    first = srlab("prepare")
    assert first.returncode == 0, first.stderr
    manifest = tmp_path / "data/prepared/photos.json"
    content, stamp = json.loads(manifest.read_text()), manifest.stat().st_mtime_ns
    assert sorted(path.name for path in (tmp_path / "data/photos/test").iterdir()) == [
        "chelsea.png",
        "china.jpg",
        "coffee.png",
    ]
    second = srlab("prepare")
    assert second.returncode == 0, second.stderr
    assert "verified, nothing to do" in second.stdout
    assert content["version"][:16] in second.stdout
    assert manifest.stat().st_mtime_ns == stamp
    with (tmp_path / "data/photos/train/flower.jpg").open("ab") as stream:
        stream.write(b"x")
    third = srlab("prepare")
    assert third.returncode == 1
    assert "flower.jpg is not the photo of the fixed manifest" in third.stderr


def test_a_folder_gets_a_manifest_and_changes_are_named(srlab: Call, tmp_path: Path) -> None:
    write(tmp_path / "a/cat.png", samples.chelsea())
    write(tmp_path / "a/cup.png", samples.coffee())
    write(tmp_path / "b/face.png", samples.astronaut())
    command = ["prepare", "data=folder", "data.train.roots=a", "data.val.roots=b", "decode=true"]
    first = srlab(*command)
    assert first.returncode == 0, first.stderr
    manifest = tmp_path / "data/prepared/folder.json"
    before = json.loads(manifest.read_text())
    assert [file["path"] for file in before["parts"]["train"]["files"]] == ["cat.png", "cup.png"]
    assert list((tmp_path / "cache").glob("*/high.bin"))
    write(tmp_path / "a/cup.png", samples.coffee()[:, ::-1])
    (tmp_path / "a/cat.png").rename(tmp_path / "a/kitten.png")
    changed = srlab(*command)
    assert changed.returncode == 1
    for line in ("cat.png is missing", "kitten.png is new", "cup.png has other content", "accept=true"):
        assert line in changed.stderr
    assert json.loads(manifest.read_text()) == before
    accepted = srlab(*command, "accept=true")
    assert accepted.returncode == 0
    assert json.loads(manifest.read_text())["version"] != before["version"]


def test_every_unreadable_file_is_named_at_once(srlab: Call, tmp_path: Path) -> None:
    write(tmp_path / "b/face.png", samples.astronaut())
    write(tmp_path / "a/cat.png", samples.chelsea())
    (tmp_path / "a/empty.png").write_bytes(b"")
    (tmp_path / "a/text.jpg").write_text("no image")
    result = srlab("prepare", "data=folder", "data.train.roots=a", "data.val.roots=b")
    assert result.returncode == 1
    assert "2 problems" in result.stderr
    assert "empty.png" in result.stderr
    assert "text.jpg" in result.stderr
    assert not (tmp_path / "data").exists()


def test_audit_finds_a_leak_and_its_list_leaves_it_out(srlab: Call, tmp_path: Path) -> None:
    write(tmp_path / "train/cat.png", samples.chelsea())
    write(tmp_path / "train/cup.png", samples.coffee())
    write(tmp_path / "more/face.png", samples.astronaut())
    write(tmp_path / "test/kitten.jpg", cv2.resize(samples.chelsea(), None, fx=0.5, fy=0.5))
    folders = ["audit", "train=[train,more]", "test=test"]
    found = srlab(*folders, "report=out/report.json", "exclude=out/exclude.json")
    assert found.returncode == 1, found.stderr
    assert "leak: train/cat.png shows the test image test/kitten.jpg" in found.stdout
    assert "data.train.exclude=out/exclude.json" in found.stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["clean"] is False
    assert [match["file"] for match in report["leaks"]] == ["train/cat.png"]
    roots = "data.train.roots=[train,more]"
    prepared = srlab("prepare", "data=folder", roots, "data.val.roots=test", "data.train.exclude=out/exclude.json")
    assert prepared.returncode == 0, prepared.stderr
    assert "left out" not in prepared.stderr
    manifest = json.loads((tmp_path / "data/prepared/folder.json").read_text())
    assert sorted(file["path"] for file in manifest["parts"]["train"]["files"]) == ["cup.png", "face.png"]
    (tmp_path / "train/cat.png").unlink()
    clean = srlab(*folders)
    assert (clean.returncode, clean.stdout) == (0, "clean: 2 training files and 1 test file\n")


def test_a_missing_folder_is_an_error_that_names_it(srlab: Call, tmp_path: Path) -> None:
    result = srlab("audit", "train=nowhere", "test=nowhere")
    assert result.returncode == 1
    assert "nowhere" in result.stderr
    assert result.stdout == ""


def test_the_field_s_training_set_through_its_configuration(
    srlab: Call, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SR_LAB_SHARED", str(shared))
    result = srlab("prepare", "data=t91_bsds400")
    assert result.returncode == 0, result.stderr
    assert "train: 489 files" in result.stdout
    assert "302003.jpg: shows the test image" in result.stderr
    assert "Set5/x2/HR/img_005.png" in result.stderr
