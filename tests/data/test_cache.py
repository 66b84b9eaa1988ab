import functools
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sr_lab.data.cache import DecodedCache, check, open_or_build
from sr_lab.data.sources import FolderSource
from sr_lab.images import write_image

SHAPES = [(3, 8, 6), (3, 5, 7), (1, 4, 4)]


def high(index: int, dtype: Any = np.uint8) -> np.ndarray:
    values = np.random.default_rng(index).integers(0, np.iinfo(dtype).max, SHAPES[index % 3])
    return values.astype(dtype)


def load(index: int) -> tuple[np.ndarray, np.ndarray | None]:
    image = high(index)
    return image, image[:, ::2, ::2]


def build(root: Path, count: int = 6, key: str = "key", load: Any = load, dtype: Any = np.uint8) -> DecodedCache:
    names = [f"{number}.png" for number in range(count)]
    return open_or_build(root, key, names=names, dtype=np.dtype(dtype), load=load)


def refuse(index: int) -> tuple[np.ndarray, np.ndarray | None]:
    raise AssertionError("decoded again")


def test_holds_what_was_loaded_and_decodes_only_once(tmp_path: Path) -> None:
    build(tmp_path)
    cache = build(tmp_path, load=refuse)
    assert len(cache) == 6
    assert cache.names[2] == "2.png"
    for index in range(6):
        assert np.array_equal(cache.image(index), high(index))
        assert np.array_equal(cache.image(index, "low"), high(index)[:, ::2, ::2])
        assert cache.shape(index, "low") == cache.image(index, "low").shape
    with pytest.raises(ValueError, match="read-only"):
        cache.image(0)[0, 0, 0] = 1


def test_16_bit_without_low(tmp_path: Path) -> None:
    cache = build(tmp_path, dtype=np.uint16, load=lambda index: (high(index, np.uint16), None))
    assert not cache.has_low
    assert all(np.array_equal(cache.image(index), high(index, np.uint16)) for index in range(6))


def test_travels_to_other_processes_without_its_pixels(tmp_path: Path) -> None:
    cache = build(tmp_path)
    cache.image(0)
    packed = pickle.dumps(cache)
    assert len(packed) < 2000
    assert np.array_equal(pickle.loads(packed).image(4), high(4))


def flip_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


DAMAGE = {
    "torn high": lambda folder: os.truncate(folder / "high.bin", 100),
    "longer low": lambda folder: (folder / "low.bin").open("ab").write(b"x"),
    "flipped bit in high": lambda folder: flip_byte(folder / "high.bin"),
    "flipped bit in low": lambda folder: flip_byte(folder / "low.bin"),
    "missing low": lambda folder: (folder / "low.bin").unlink(),
    "missing meta": lambda folder: (folder / "meta.json").unlink(),
    "torn meta": lambda folder: os.truncate(folder / "meta.json", 200),
    "edited meta": lambda folder: (folder / "meta.json").write_text(
        (folder / "meta.json").read_text().replace("[0, 3, 8, 6]", "[0, 3, 6, 8]")
    ),
    "of another format": lambda folder: (folder / "meta.json").write_text('{"body": "{}", "sha256": ""}'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_the_cache_built_anew(tmp_path: Path, damage: str) -> None:
    build(tmp_path)
    before = (tmp_path / "key" / "meta.json").read_bytes() if damage == "edited meta" else b""
    DAMAGE[damage](tmp_path / "key")
    assert (tmp_path / "key" / "meta.json").exists() == (damage != "missing meta")
    assert before != b"" or damage != "edited meta"
    assert not check(tmp_path / "key")
    cache = build(tmp_path)
    assert check(tmp_path / "key")
    assert np.array_equal(cache.image(0), high(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock"]


def test_a_touched_but_equal_file_is_kept(tmp_path: Path) -> None:
    build(tmp_path)
    os.utime(tmp_path / "key" / "high.bin")
    build(tmp_path, load=refuse)


def texture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 72, 3)).astype(np.uint8)


def put_with_its_time(image: np.ndarray, file: Path) -> None:
    """Replaces a file as ``cp -p`` of another one that has its size and its time."""
    before = file.stat()
    other = file.parent.parent / "other.bmp"
    write_image(other, image)
    assert other.stat().st_size == before.st_size
    shutil.copy(other, file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def test_a_file_replaced_by_one_of_its_size_and_time_is_seen(module: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "bmp" / "a.bmp"
    write_image(file, texture(1))
    os.utime(file, (1_000_000_000, 1_000_000_000))
    make = functools.partial(module, train=FolderSource(roots=file.parent))

    def pixels(data: Any) -> np.ndarray:
        data.setup()
        return data.parts["train"].open(tmp_path / "cache").image(0).transpose(1, 2, 0)

    first = make()
    assert np.array_equal(pixels(first), texture(1))
    put_with_its_time(texture(2), file)
    second = make()
    assert np.array_equal(pixels(second), texture(2))
    assert second.data_version != first.data_version
    put_with_its_time(texture(3), file)
    third = make()
    assert third.data_version not in (first.data_version, second.data_version)
    put_with_its_time(texture(4), file)
    with pytest.raises(ValueError, match=r"a\.bmp has changed since it was hashed"):
        third.setup()


def test_a_failing_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(index: int) -> tuple[np.ndarray, np.ndarray | None]:
        if index == 4:
            raise OSError(28, "No space left on device")
        return load(index)

    with pytest.raises(OSError, match="No space"):
        build(tmp_path, load=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def count_and_load(index: int, counter: Any) -> tuple[np.ndarray, np.ndarray | None]:
    with counter.get_lock():
        counter.value += 1
    time.sleep(0.02)
    return load(index)


def build_in_process(root: Path, counter: Any, results: Any) -> None:
    cache = build(root, load=lambda index: count_and_load(index, counter))
    results.put(all(np.array_equal(cache.image(index), high(index)) for index in range(6)))


def test_processes_that_build_at_once_decode_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    counter, results = context.Value("i", 0), context.Queue()
    workers = [context.Process(target=build_in_process, args=(tmp_path, counter, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert all(results.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join(timeout=300)
    assert counter.value == 6


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from sr_lab.data.cache import open_or_build
def load(index):
    if index == 40:
        print("half", flush=True)
        time.sleep(60)
    return np.full((3, 300, 300), index, np.uint8), None
open_or_build(Path(sys.argv[1]), "key", names=list(map(str, range(80))), dtype=np.dtype(np.uint8), load=load)
"""


def test_a_build_killed_in_the_middle_is_never_taken_for_whole(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        time.sleep(0.3)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert list(tmp_path.glob(".key.*.part")), "the child was killed before or after the build, not in it"
    assert not (tmp_path / "key").exists()
    cache = build(tmp_path)
    assert np.array_equal(cache.image(5), high(5))
    assert not list(tmp_path.glob(".*.part"))


def test_opening_what_is_not_whole_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a whole cache"):
        DecodedCache(tmp_path)
