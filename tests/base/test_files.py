import errno
import json
import os
import stat
from pathlib import Path

import pytest
import torch

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.base import files
from sr_lab.base.files import claim, read_json, replacing, replacing_folder, settle, sha256, write_json, write_text
from sr_lab.networks.srcnn import SRCNN

FULL = Path("/dev/full")


@pytest.fixture(params=["exchanged", "moved"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the system's exchange of names, and on a disk that has none."""
    if request.param == "moved":
        monkeypatch.setattr(files, "_swap", lambda first, second: False)
    return str(request.param)


def folder(path: Path, **texts: str) -> Path:
    with replacing_folder(path) as new:
        for name, text in texts.items():
            (new / name).write_text(text)
    return path


def content(path: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir()}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, system: str) -> None:
    target = tmp_path / "deep" / "best"
    assert content(folder(target, a="1", b="1")) == {"a": "1", "b": "1"}
    assert content(folder(target, a="2")) == {"a": "2"}
    assert [file.name for file in target.parent.iterdir()] == ["best"]


def test_an_error_leaves_the_old_folder(tmp_path: Path, system: str) -> None:
    folder(tmp_path / "best", a="1")

    def fails() -> None:
        with replacing_folder(tmp_path / "best") as new:
            (new / "a").write_text("2")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        fails()
    assert content(tmp_path / "best") == {"a": "1"}
    assert [file.name for file in tmp_path.iterdir()] == ["best"]


def test_there_is_always_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands at the name is looked at before and after every system call that changes names."""
    target = folder(tmp_path / "best", a="1")
    seen = []
    for name in ("rename", "replace"):
        real = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda *a, real=real: (seen.append(target.exists()), real(*a))[1])
    if not files._swap(folder(tmp_path / "x"), folder(tmp_path / "y")):
        pytest.skip("this disk cannot exchange names")
    folder(target, a="2")
    assert all(seen)
    assert content(target) == {"a": "2"}


def test_a_writer_killed_between_two_names_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder(tmp_path / "best", a="1")
    target.rename(tmp_path / ".best.retired")  # as where a disk that cannot exchange names lost its power
    assert content(settle(target)) == {"a": "1"}
    target.rename(tmp_path / ".best.retired")
    assert content(folder(target, a="2")) == {"a": "2"}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = folder(tmp_path / "disk" / "best", a="1")
    (tmp_path / "best").symlink_to(real)
    folder(tmp_path / "best", a="2")
    assert (tmp_path / "best").is_symlink()
    assert content(real) == {"a": "2"}
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_text(tmp_path / "link.txt", "text")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "text"


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "best").write_text("mine")
    with pytest.raises(NotADirectoryError, match="best"):
        folder(tmp_path / "best", a="1")
    assert (tmp_path / "best").read_text() == "mine"


def test_names_as_long_as_a_disk_takes(tmp_path: Path) -> None:
    write_text(tmp_path / ("é" * 125 + ".json"), "text")
    folder(tmp_path / ("n" * 255), a="1")


def test_errors_name_the_target(tmp_path: Path) -> None:
    """A full disk names the file, and no error the temporary one."""
    if not FULL.exists():
        pytest.skip("no /dev/full here")

    def write_file() -> None:
        with replacing(tmp_path / "table.csv") as file:
            file.symlink_to(FULL)
            file.write_text("text")

    def write_folder(name: str) -> None:
        with replacing_folder(tmp_path / "best") as new, files.naming(tmp_path / "best" / name):
            (new / "a").symlink_to(FULL)
            (new / name).write_text("text")

    def forbidden() -> None:
        with replacing(tmp_path / "table.csv") as file:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(file))

    with pytest.raises(OSError, match=r"No space left on device: '.*/table\.csv'"):
        write_file()
    with pytest.raises(OSError, match=r"No space left on device: '.*/best/a'"):
        write_folder("a")
    with pytest.raises(FileNotFoundError, match=r"directory: '[^']*/best/sub/a'"):
        write_folder("sub/a")
    with pytest.raises(PermissionError) as caught:
        forbidden()
    assert caught.value.filename == str(tmp_path / "table.csv")
    assert not list(tmp_path.iterdir())


def test_rights_are_those_of_the_users_other_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        best = save_artefact(tmp_path / "best", SRCNN(scale=2), config={"model": {"network": {}}}, metadata={})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in best.iterdir()} == {0o640}


def test_an_artefact_that_was_moved_aside_is_found(tmp_path: Path) -> None:
    node = {"_target_": "sr_lab.networks.srcnn.SRCNN", "scale": 2}
    network = SRCNN(scale=2)
    best = save_artefact(tmp_path / "best", network, config={"model": {"network": node}}, metadata={})
    best.rename(tmp_path / ".best.retired")
    again = load_artefact(best).network
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_json_and_hash(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"ü": 1})
    assert read_json(file) == {"ü": 1}
    assert sha256(file) == __import__("hashlib").sha256(file.read_bytes()).hexdigest()
    file.write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is not JSON"):
        read_json(file)


def test_a_place_is_claimed_once(tmp_path: Path) -> None:
    record = tmp_path / "recipe.json"
    recipe = {"scale": 2, "sizes": (1, 2), "name": "x"}
    for _ in range(2):
        claim(record, recipe, where="runs/x", remedy="Give another name=")
    assert json.loads(record.read_text()) == {"scale": 2, "sizes": [1, 2], "name": "x"}
    with pytest.raises(
        ValueError, match=r"^runs/x was begun with other settings: scale was 2, is 4; name was x, is y\. Give"
    ):
        claim(record, recipe | {"scale": 4, "name": "y"}, where="runs/x", remedy="Give another name=")
    claim({"scale": 2}, recipe, where="runs/x", remedy="")  # settings that came later do not count
    with pytest.raises(ValueError, match="gone was 1, is None"):
        claim({"gone": 1}, recipe, where="runs/x", remedy="")
    record.write_text("[]")
    with pytest.raises(ValueError, match="does not say what it was begun with"):
        claim(record, recipe, where="runs/x", remedy="")


def test_a_device_or_a_pipe_is_never_replaced(tmp_path):
    place = tmp_path / "pipe"
    os.mkfifo(place)
    with pytest.raises(OSError, match="is a device or a pipe and no file") as caught, replacing(place):
        pass
    assert caught.value.filename == str(place)
    assert place.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]
