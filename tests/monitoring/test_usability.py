"""Images that cannot be used are an alarm of their own: dead cameras, empty files, frozen pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_lab.cli import main
from sr_lab.monitoring import Profile, write_profile
from sr_lab.monitoring.usability import is_blank

SPOILED = {
    "black": "of one value",
    "noisy black": "of one value",
    "white": "of one value",
    "empty": "unreadable",
    "text": "unreadable",
    "tiny": "too small",
    "repeated": "repeated",
}


def spoil(kind: str, file: Path, source: Path) -> None:
    random = np.random.default_rng(len(file.name))
    if kind == "empty":
        file.touch()
    elif kind == "text":
        file.write_bytes(b"<html>502 Bad Gateway</html>")
    elif kind == "repeated":
        shutil.copy(source, file)
    elif kind == "tiny":
        Image.new("RGB", (8, 8)).save(file, "PNG")
    else:
        level, noise = {"black": (0, 0), "noisy black": (6, 2), "white": (255, 0)}[kind]
        pixels = level + noise * random.standard_normal((64, 64, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "PNG")


@pytest.fixture(scope="module")
def folder_of(make_folder, tmp_path_factory):
    good = sorted(make_folder(60, 90).iterdir())

    def make(num_good: int, spoiled: dict[str, int]) -> Path:
        folder = tmp_path_factory.mktemp("incoming")
        for file in good[:num_good]:
            shutil.copy(file, folder)
        for kind, number in spoiled.items():
            for index in range(number):
                spoil(kind, folder / f"{kind} {index}.png", good[0])
        return folder

    return make


@pytest.fixture
def look(reference: Profile, tmp_path: Path):
    path = tmp_path / "reference.parquet"
    write_profile(reference, path)

    def run(current: Path, **settings: object) -> tuple[int, dict]:
        given = {"reference": path, "current": current, "report": tmp_path / "out", "scale": 2, "alpha": 0.001}
        given |= {"num_permutations": 2000, "num_pictures": 2, **settings}
        code = main(["drift", *(f"{key}={value}" for key, value in given.items())])
        return code, json.loads((tmp_path / "out" / "drift.json").read_text())

    return run


@pytest.mark.parametrize("kind", SPOILED)
def test_each_kind_raises_the_alarm_by_itself_and_is_named(folder_of, look, tmp_path, kind, capsys):
    code, found = look(folder_of(22, {kind: 8}))
    assert (code, found["drift"], found["reasons"][0]) == (10, True, "unusable")
    counts = {name: len(names) for name, names in found["unusable"]["unusable"].items()}
    assert counts | {"repeated": len(found["unusable"]["repeated"])} == {
        "repeated": 0,
        SPOILED[kind]: 8,
    }
    page = (tmp_path / "out" / "drift.html").read_text()
    assert "8 of 30 images (27%) cannot be used or repeat another, more than 10% may" in page
    assert f"8 {SPOILED[kind]}" in capsys.readouterr().out
    assert not (tmp_path / "out" / "preset.yaml").exists() or "drift" in found["reasons"]


def test_a_few_are_said_and_are_no_alarm_and_the_share_can_be_set(folder_of, look, capsys):
    folder = folder_of(28, {"black": 1, "text": 1})
    code, found = look(folder)
    assert (code, found["reasons"], found["unusable"]["alarm"]) == (0, [], False)
    assert "2 of 30 images (7%) cannot be used or repeat another, up to 10% may" in capsys.readouterr().out
    assert look(folder, max_unusable=0.05)[0] == 10
    assert look(folder_of(24, {"black": 6}), max_unusable=0.5)[0] == 0


@pytest.mark.parametrize("mode", ["", "state", "stream"])
def test_nothing_but_unusable_files_is_an_alarm_in_every_mode(folder_of, look, tmp_path, mode):
    folder = folder_of(0, {"black": 15, "empty": 10})
    settings = {mode: tmp_path / f"kept.{mode}"} if mode else {}
    code, found = look(folder, **({"num_permutations": 99999} if mode == "state" else {}), **settings)
    assert (code, found["reasons"], found["p_value"] in (None, 1.0)) == (10, ["unusable"], True)
    assert found["energy"] is None
    assert not (tmp_path / "out" / "current.parquet").exists()
    if mode:
        again = look(folder, **({"num_permutations": 99999} if mode == "state" else {}), **settings)
        assert again[0] == 10


def test_an_alarm_of_unusable_images_in_a_stream_ends_with_them(folder_of, look, tmp_path):
    stream, folder = tmp_path / "stream.parquet", tmp_path / "incoming"
    shutil.copytree(folder_of(0, {"black": 20}), folder)
    assert look(folder, stream=stream)[1]["new"] is True
    code, found = look(folder, stream=stream)
    assert (code, found["new"]) == (10, False)
    for file in folder_of(25, {}).iterdir():
        shutil.copy(file, folder)
    assert look(folder, stream=stream)[0] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_unusable": 2}, "max_unusable=2: must lie between 0 and 1"),
        ({"state": "FOLDER"}, "is a folder: give the file"),
        ({"report": "FILE"}, "is a file: give a folder"),
        ({"state": "FILE/state.json", "num_permutations": 99999}, "cannot be locked"),
    ],
)
def test_what_cannot_be_written_shows_before_the_measuring(folder_of, reference, tmp_path, capsys, settings, message):
    write_profile(reference, tmp_path / "r.parquet")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    places = {"FOLDER": "folder", "FILE": "file"}
    given = {"reference": tmp_path / "r.parquet", "current": folder_of(20, {}), "report": tmp_path / "out", **settings}
    for key, value in given.items():
        for word, name in places.items():
            if str(value).startswith(word):
                given[key] = str(value).replace(word, str(tmp_path / name))
    assert main(["drift", *(f"{key}={value}" for key, value in given.items())]) == 1
    assert message in capsys.readouterr().err


def test_blank_is_what_shows_nothing():
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 40, 64)[None, :, None] * np.ones((64, 64, 3))
    assert is_blank(np.full((64, 64, 3), 7.0))
    assert is_blank(10 + 3 * random.standard_normal((64, 64, 3)))
    assert not is_blank(ramp)
    assert not is_blank(np.zeros((4, 4, 3)))
