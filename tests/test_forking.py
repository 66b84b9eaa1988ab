"""A forked program is a process as any other one is: its exit code, signals, streams, surroundings and children."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import forking
import pytest

pytestmark = pytest.mark.skipif(not forking.POSSIBLE, reason="this system has no pidfd_open")


def started(code: str, *words: str, **more) -> forking.Popen:
    line = [sys.executable, "-c", code, *words]
    return forking.Popen(line, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


@pytest.mark.parametrize(
    ("code", "expected", "said"),
    [("import sys; sys.exit(3)", 3, ""), ("raise ValueError('no')", 1, "ValueError: no"), ("", 0, ""),
     ("import sys; sys.exit('bad')", 1, "bad"), ("import os; os.kill(os.getpid(), 9)", -9, ""),
     ("import atexit, sys; atexit.register(print, 'late', file=sys.stderr)", 0, "late")],
)  # fmt: skip
def test_it_ends_as_the_interpreter_does(code, expected, said):
    process = started(code)
    assert said in process.communicate(timeout=120)[1]
    assert process.returncode == expected


def test_it_has_its_words_input_folder_environment_and_parent(tmp_path):
    code = "import os, sys; print(sys.argv[1:], sys.stdin.read(), os.getcwd(), os.environ['ONE'], os.getppid())"
    process = started(code, "a", "b c", stdin=subprocess.PIPE, cwd=tmp_path, env={**os.environ, "ONE": "1"})
    told = process.communicate("in", timeout=120)[0]
    assert told == f"['a', 'b c'] in {tmp_path} 1 {os.getpid()}\n"
    assert "ONE" not in os.environ


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signals_reach_it(number):
    process = started("import time; print('there', flush=True); time.sleep(300)")
    assert process.stdout.readline() == "there\n"
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    process.send_signal(number)
    assert process.wait(120) == -number


NESTED = """
import subprocess, sys, time
more = {"preexec_fn": lambda: None, "start_new_session": True} if sys.argv[1] == "tied" else {}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], **more)
print(type(child).__module__, child.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("tied", [True, False])
def test_what_it_starts_is_forked_too_and_dies_with_it_where_it_asked_for_that(tied):
    process = started(NESTED, "tied" if tied else "")
    module, pid = process.stdout.readline().split()
    assert module == "forking"
    process.kill()
    process.wait(120)
    deadline = time.monotonic() + 120
    while tied and Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert tied or Path(f"/proc/{pid}").exists()
    if not tied:
        os.kill(int(pid), signal.SIGKILL)


def has_torch(_: int) -> tuple[bool, int]:
    return "torch" in sys.modules, os.getppid()


def test_spawned_processes_are_forks_that_have_their_imports(forked):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert set(pool.map(has_torch, range(4))) == {(True, os.getpid())}
    process = get_context("spawn").Process(target=sys.exit, args=(7,))
    process.start()
    process.join(120)
    assert process.exitcode == 7


def test_other_programs_and_flags_are_started_as_ever():
    for line in (["true"], [sys.executable, "-S", "-c", ""]):
        with forking.Popen(line) as process:
            assert process._asked is None
