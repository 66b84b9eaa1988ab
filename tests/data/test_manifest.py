import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sr_lab.base.files import sha256, write_json
from sr_lab.data import manifest as module
from sr_lab.data.manifest import Entry, FileIndex, Manifest, scan
from sr_lab.images import write_image


def entry(path: str, content: str = "a", size: int = 3) -> Entry:
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Entry(path=path, size=size, sha256=digest, width=4, height=5, channels=3, bits=8)


def manifest(root: Path) -> Manifest:
    files = [(file.relative_to(root).as_posix(), file) for file in root.rglob("*.png")]
    return Manifest(tuple(found for found in scan(files)[0] if found))


def test_the_digest_is_that_of_path_size_and_hash_and_of_nothing_else() -> None:
    one, two = entry("b.png"), entry("a.png", "x")
    digest = Manifest((one, two)).digest
    text = "".join(f"{e.path}\0{e.size}\0{e.sha256}\n" for e in (two, one))
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert Manifest((two, one)).digest == digest
    for other in (entry("c.png"), entry("b.png", "y"), entry("b.png", size=4)):
        assert Manifest((other, two)).digest != digest


def test_facts_of_real_files_and_independence_of_the_place(folder: Callable[..., Path], tmp_path: Path) -> None:
    root = folder("photos", 3, height=20, width=30)
    before = manifest(root)
    file = root / "00.png"
    facts = next(found for found in before.entries if found.path == "00.png")
    assert (facts.size, facts.sha256) == (file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
    assert (facts.width, facts.height, facts.channels, facts.bits) == (30, 20, 3, 8)
    shutil.copytree(root, tmp_path / "elsewhere" / "x")
    assert manifest(tmp_path / "elsewhere" / "x").digest == before.digest


def test_16_bit_and_grey(folder: Callable[..., Path]) -> None:
    root = folder("scans", 1, channels=1, dtype=np.uint16)
    (facts,) = manifest(root).entries
    assert (facts.channels, facts.bits) == (1, 16)


def test_round_trip_and_edits_are_found(tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    write_json(file, Manifest((entry("a.png"), entry("b.png"))).to_dict())
    data = json.loads(file.read_text())
    assert Manifest.from_dict(data).entries == (entry("a.png"), entry("b.png"))
    data["files"][0]["size"] += 1
    with pytest.raises(ValueError, match="the digest does not fit"):
        Manifest.from_dict(data)
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.from_dict({"files": [{"path": "a"}]})


def test_changes_name_each_file() -> None:
    old = Manifest((entry("gone.png"), entry("same.png"), entry("other.png", "x")))
    new = Manifest((entry("same.png"), entry("other.png", "y"), entry("more.png")))
    gone, more, other = old.changes(new)
    assert (gone, more) == ("gone.png is missing", "more.png is new")
    assert other.startswith("other.png has other content")


def test_scan_collects_every_broken_file(folder: Callable[..., Path]) -> None:
    root = folder("photos", 4)
    (root / "01.png").write_bytes((root / "01.png").read_bytes()[:200])
    (root / "02.png").write_bytes(b"")
    files = [(file.name, file) for file in sorted(root.iterdir())]
    entries, messages = scan(files)
    assert [found is None for found in entries] == [False, True, True, False]
    assert len(messages) == 2
    assert "01.png" in messages[0]
    assert "02.png" in messages[1]


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(
    folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder("photos", 2)
    files = [(file.name, file) for file in sorted(root.iterdir())]
    monkeypatch.setattr(module, "RACY_SECONDS", -1.0)
    first, _ = scan(files, index=FileIndex(tmp_path / "index.json"))
    reads: list[Path] = []
    real = module.read_image
    monkeypatch.setattr(module, "read_image", lambda path: (reads.append(path), real(path))[1])
    assert scan(files, index=FileIndex(tmp_path / "index.json"))[0] == first
    assert reads == []
    files[0][1].write_bytes(files[1][1].read_bytes())
    again, _ = scan(files, index=FileIndex(tmp_path / "index.json"))
    assert reads == [files[0][1]]
    assert again[0] is not None
    assert again[1] is not None
    assert again[0].sha256 == again[1].sha256


def test_a_file_of_the_same_size_and_time_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RACY_SECONDS", -1.0)
    for name, level in (("a.bmp", 10), ("b.bmp", 200)):
        write_image(tmp_path / name, np.full((8, 8, 3), level, np.uint8))
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    index = FileIndex()
    before = index.entry(tmp_path / "a.bmp", name="a")
    shutil.copy2(tmp_path / "b.bmp", tmp_path / "a.bmp")  # as cp -p
    after = index.entry(tmp_path / "a.bmp", name="a")
    assert (before.size, after.sha256) == (after.size, sha256(tmp_path / "b.bmp"))
    assert index.digest(tmp_path / "a.bmp") == after.sha256 != before.sha256


def test_a_fresh_file_is_not_trusted_by_its_time_stamp(folder: Callable[..., Path], tmp_path: Path) -> None:
    file = folder("photos", 1) / "00.png"
    index = FileIndex(tmp_path / "index.json")
    before, stat = index.entry(file, name="a"), file.stat()
    content = bytearray(file.read_bytes())
    content += b"\0"
    file.write_bytes(bytes(content[:-1]))
    assert index.entry(file, name="a") == before
    index.save()
    assert not (tmp_path / "index.json").exists()
    assert stat.st_size == file.stat().st_size


def test_a_damaged_index_is_ignored(folder: Callable[..., Path], tmp_path: Path) -> None:
    file = folder("photos", 1) / "00.png"
    (tmp_path / "index.json").write_text('{"half": ')
    assert FileIndex(tmp_path / "index.json").entry(file, name="a").channels == 3


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "m.json"
    write_json(file, {"old": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_json(file, {"new": 1})
    assert json.loads(file.read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
