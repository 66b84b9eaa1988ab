import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from sr_lab.tracking.spool import Identity, Spool, State, find_spools

IDENTITY = Identity(uid="u", uri="sqlite:////x.db", experiment="e", name="n", time=1)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "tracking")
    spool.create(IDENTITY)
    return spool


def _metric(step: int) -> dict[str, object]:
    return {"kind": "metrics", "time": step, "step": step, "values": {"a": 0.5}}


def test_events_come_back_in_order_and_in_batches(spool: Spool) -> None:
    spool.open_for_writing()
    for step in range(100):
        spool.append(_metric(step))
    offset, steps, batches = 0, [], 0
    while batch := spool.read(offset, max_bytes=1000):
        batches += 1
        steps += [event["step"] for _, event in batch]
        offset = batch[-1][0]
    assert steps == list(range(100))
    assert batches > 3
    assert offset == spool.events_path.stat().st_size


def test_half_a_line_is_not_read_and_is_removed_when_writing_goes_on(spool: Spool) -> None:
    spool.open_for_writing()
    spool.append(_metric(1))
    spool.close()
    with spool.events_path.open("ab") as stream:
        stream.write(b'{"kind":"metr')
    assert len(spool.read(0)) == 1
    spool.open_for_writing()
    spool.append(_metric(2))
    assert [event["step"] for _, event in spool.read(0)] == [1, 2]


def test_a_damaged_line_does_not_hide_the_others(spool: Spool) -> None:
    spool.events_path.write_bytes(
        json.dumps(_metric(1)).encode() + b"\n\x00\xff garbage\n" + json.dumps(_metric(2)).encode() + b"\n"
    )
    assert [event["kind"] for _, event in spool.read(0)] == ["metrics", "damaged", "metrics"]


def test_a_full_disk_is_an_error_that_names_the_file(spool: Spool) -> None:
    spool.events_path.symlink_to("/dev/full")
    spool.open_for_writing()
    with pytest.raises(OSError, match=r"No space left.*events\.jsonl"):
        spool.append(_metric(1))


def test_an_artefact_that_does_not_fit_leaves_nothing_behind(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left.*files"):
        spool.keep_bytes(b"x")
    assert list((spool.directory / "files").iterdir()) == []


def test_acknowledged_state_survives(spool: Spool) -> None:
    assert spool.state == State()
    spool.acknowledge(State(offset=7, run_id="r", experiment_id="1", rejected=2, error="e"))
    assert Spool(spool.directory).state == State(offset=7, run_id="r", experiment_id="1", rejected=2, error="e")
    assert not list(spool.directory.glob(".*"))


def test_only_the_owner_reads_the_uri_which_may_hold_a_password(spool: Spool) -> None:
    assert (spool.directory / "spool.json").stat().st_mode & 0o077 == 0


def _write_for_ever(directory: Path, ready: object) -> None:
    spool = Spool(directory)
    spool.writer_lock.acquire()
    spool.open_for_writing()
    step = 0
    while True:
        spool.append(_metric(step))
        step += 1
        if step == 100:
            ready.set()  # type: ignore[attr-defined]


def test_what_was_appended_survives_kill_9_and_the_lock_is_free_again(spool: Spool) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_write_for_ever, args=(spool.directory, ready))
    process.start()
    assert ready.wait(60)
    time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    spool.writer_lock.acquire(timeout=5)
    spool.open_for_writing()
    steps, offset = [], 0
    while batch := spool.read(offset):
        steps += [event["step"] for _, event in batch]
        offset = batch[-1][0]
    assert len(steps) >= 100
    assert steps == list(range(len(steps)))


def test_spools_are_found_below_a_folder(spool: Spool, tmp_path: Path) -> None:
    assert [found.directory for found in find_spools(tmp_path)] == [spool.directory]
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        find_spools(tmp_path / "nowhere")
