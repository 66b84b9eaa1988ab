"""Python programs as processes of their own that begin as forks of one that has imported what they import.

A child that trains imports torch, Lightning and MLflow for seconds before its first line. ``Popen`` here starts the
same program by a fork of a server that has done so once: a process of its own in everything that a signal, a kill or an
exit code can show. Processes that a forked one starts are forked as well.

What differs: the command line that the system shows is the server's, and the parent is it, too; ``os.getppid`` tells
the process that asked. A ``preexec_fn`` is not called, but taken for ``sr_lab.sweeps.share.dies_with_parent``: the
server kills what it has forked when the process that asked is gone. Tests of how a program is started, and of what dies
with it, use ``Started``.
"""

import atexit
import contextlib
import gc
import importlib
import inspect
import multiprocessing.popen_fork
import multiprocessing.util
import os
import pickle
import random
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

PRELOADED = (
    "numpy", "torch", "cv2", "pytorch_lightning", "optuna", "alembic.command", "sqlalchemy.dialects.sqlite",
    "mlflow.pytorch", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store",
    "sr_lab.cli", "sr_lab.commands.train", "sr_lab.commands.promote", "sr_lab.commands.watch",
    "sr_lab.sweeps.worker", "sr_lab.tracking.shipping", "sr_lab.training.regression",
)  # fmt: skip
"""What the server imports before its first fork."""

Started = subprocess.Popen
"""What ``Popen`` is without forks: for tests of how a program is started, or dies with its parent."""
_HEAD, _STATUS = struct.Struct("!Q"), struct.Struct("!q")
_spawn = multiprocessing.util.spawnv_passfds
_poll = multiprocessing.popen_fork.Popen.poll
_spawns: "dict[int, Popen]" = {}
_server: "subprocess.Popen[bytes] | None" = None
_ENVIRONMENT = dict(os.environ)  # before any test has changed it

FOLDER = "SRLAB_TEST_FORKS"
"""Environment variable: where the socket of this test run's server lies, PATH:PID of the process that it ends with."""


def _possible() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


POSSIBLE = _possible()
"""Whether the system can: Linux, unless a container forbids it. Elsewhere every program is started as ever."""


def prepare() -> None:
    """Names the place for this process, and those that it starts; the server is started by the first request."""
    os.environ[FOLDER] = f"{tempfile.mkdtemp(prefix='forks')}:{os.getpid()}"


def clear() -> None:
    """Removes what ``prepare`` has made."""
    shutil.rmtree(_place()[0], ignore_errors=True)


def _place() -> tuple[Path, int]:
    folder, _, owner = os.environ[FOLDER].rpartition(":")
    return Path(folder), int(owner)


def _address() -> str:
    """Of the server's socket, which answers."""
    global _server  # as long as this process lives
    (folder, owner), here = _place(), str(Path(__file__).parent)
    address, log = folder / "socket", folder / "log"
    with FileLock(folder / "lock"):
        if not address.exists():
            code = f"import sys; sys.path.insert(0, {here!r}); import forking; forking.serve()"
            with log.open("wb") as stream:
                _server = Started(
                    [sys.executable, "-c", code, str(address), str(owner)], stdin=subprocess.DEVNULL, cwd=folder,
                    stdout=subprocess.PIPE, stderr=stream, env={**_ENVIRONMENT, FOLDER: os.environ[FOLDER]},
                )  # fmt: skip
            assert _server.stdout is not None
            assert _server.stdout.read(1) == b"1", log.read_text()
            _server.stdout.close()
    return str(address)


class Popen(Started):  # type: ignore[misc, valid-type]
    """``subprocess.Popen`` whose Python programs are forks of the server; every other program is started as ever."""

    _asked: socket.socket | None = None

    def _execute_child(self, *given: Any) -> None:
        real = super()._execute_child
        names = inspect.signature(real).bind(*given).arguments
        program = _program(names["args"])
        if program is None or names["shell"] or names["executable"]:
            return real(*given)
        if not names["start_new_session"] and os.getsid(0) != os.getsid(_place()[1]):
            return real(*given)  # it has to die with a session that the server is not in
        pairs = ((names["p2cread"], 0), (names["c2pwrite"], 1), (names["errwrite"], 2))
        files = [(end, number) for end, number in pairs if end != -1]
        # without a redirection a stream is this process's own
        files += [(number, number) for _, number in pairs if number not in {taken for _, taken in files}]
        files += [(number, number) for number in names["pass_fds"]]
        request = {
            "program": program, "env": dict(os.environ if names["env"] is None else names["env"]),
            "cwd": os.fspath(names["cwd"] or Path.cwd()), "session": names["start_new_session"],
            "group": os.getpgrp(), "tied": names["preexec_fn"] is not None,
            "numbers": [number for _, number in files], "parent": os.getpid(),
        }  # fmt: skip
        text = pickle.dumps(request)
        asked = socket.socket(socket.AF_UNIX)
        asked.connect(_address())
        socket.send_fds(asked, [_HEAD.pack(len(text))], [end for end, _ in files])
        asked.sendall(text)
        (self.pid,) = _STATUS.unpack(_exactly(asked, _STATUS.size))
        self._asked = asked
        self._child_created = True
        self._close_pipe_fds(*(names[n] for n in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")))
        return None

    def _internal_poll(self, *given: Any, **more: Any) -> int | None:
        if self._asked is None:
            return super()._internal_poll(*given, **more)
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid == self.pid and self.returncode is None:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if self._asked is None:
            return super()._try_wait(flags)
        if self._asked.fileno() == -1:  # nobody waited, and the garbage collector has closed it
            return self.pid, 0
        if flags & os.WNOHANG and not select.select([self._asked], [], [], 0)[0]:
            return 0, 0
        (status,) = _STATUS.unpack(_exactly(self._asked, _STATUS.size))
        self._asked.close()
        return self.pid, status


def install(patch: Callable[[object, str, Any], None] = setattr) -> None:
    """Python programs of this process are forked from now on, ``multiprocessing``'s spawned ones among them."""
    patch(subprocess, "Popen", Popen)
    patch(multiprocessing.util, "spawnv_passfds", _spawned)
    patch(multiprocessing.popen_fork.Popen, "poll", _polled)


def _spawned(path: bytes, args: Sequence[str | bytes], passfds: Sequence[int]) -> int:
    words = list(map(os.fsdecode, args))
    if words[-1] != "--multiprocessing-fork":  # its own helpers
        return _spawn(path, args, passfds)
    process = Popen([os.fsdecode(path), *words[words.index("-c") :]], pass_fds=passfds)
    _spawns[process.pid] = process
    return process.pid


def _polled(self: Any, flag: int = os.WNOHANG) -> int | None:
    """``multiprocessing``'s own question whether a process has ended, asked of the server where it has forked it."""
    process = _spawns.get(self.pid)
    if process is None or self.returncode is not None:
        return _poll(self, flag)
    self.returncode = process.poll() if flag else process.wait()
    if self.returncode is not None:
        _spawns.pop(self.pid, None)  # another process gets the number one day
    return self.returncode


def _program(args: object) -> list[str] | None:
    """The words behind the interpreter, of a program that can be forked."""
    if not POSSIBLE:
        return None
    if isinstance(args, str | bytes) or not isinstance(args, Sequence) or len(args) < 2:
        return None
    first, *words = (os.fspath(word) for word in args)
    if first != sys.executable or not (words[0] in ("-m", "-c") or words[0].endswith(".py")):
        return None
    return words


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError("the server of forks is gone")
        data += part
    return data


def serve() -> None:
    """Forks until the test run is over; the program's words are the address and the process to end with."""
    address, owner = Path(sys.argv[1]), os.pidfd_open(int(sys.argv[2]))
    sys.path.remove(str(Path(__file__).parent))
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen(64)
    wake, ring = socket.socketpair()
    for end in (wake, ring):
        end.setblocking(False)
    signal.set_wakeup_fd(ring.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.write(1, b"1")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    waiting: dict[int, socket.socket] = {}
    tied: dict[socket.socket, int] = {}
    while True:
        ready, _, _ = select.select([owner, listener, wake, *tied], [], [])
        for asked in tied.keys() & ready:  # who asked for it is gone
            os.kill(tied.pop(asked), signal.SIGKILL)
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                wake.recv(4096)
            for asked in _reaped(waiting):
                tied.pop(asked, None)
        if listener in ready:
            asked, _ = listener.accept()
            with contextlib.suppress(EOFError, OSError):
                head, files, _, _ = socket.recv_fds(asked, _HEAD.size, 64)
                request = pickle.loads(_exactly(asked, _HEAD.unpack(head)[0]))
                pid = os.fork()
                if pid == 0:
                    for each in (listener, wake, ring, asked, *waiting.values()):
                        each.close()
                    os.close(owner)
                    _child(request, files)
                for number in files:
                    os.close(number)
                waiting[pid] = asked
                if request["tied"]:
                    tied[asked] = pid
                asked.sendall(_STATUS.pack(pid))
        if owner in ready:
            shutil.rmtree(address.parent, ignore_errors=True)
            os._exit(0)


def _reaped(waiting: dict[int, socket.socket]) -> Iterator[socket.socket]:
    """Tells who asked for a process how it has ended."""
    while waiting:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with waiting.pop(pid) as asked, contextlib.suppress(OSError):
            asked.sendall(_STATUS.pack(status))
        yield asked


def _child(request: Mapping[str, Any], files: list[int]) -> None:
    """Becomes the program, and ends with its exit code."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["session"]:
        os.setsid()
    else:
        os.setpgid(0, request["group"])
    free = max([*request["numbers"], *files]) + 1
    moved = []
    for offset, number in enumerate(files):  # out of the way of the numbers that are wanted
        moved.append(os.dup2(number, free + offset))
        os.close(number)
    for number, wanted in zip(moved, request["numbers"], strict=True):
        os.dup2(number, wanted)
        os.close(number)
    os.chdir(request["cwd"])
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    forks = os.environ[FOLDER]
    os.environ.clear()
    os.environ.update(request["env"] | {FOLDER: forks})
    sys.path.remove("")  # of the server's own start
    added = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in before]
    sys.path[:0] = added
    random.seed()
    _read_environment()
    parent, real = request["parent"], os.getppid()
    born = _born(parent)
    os.getppid = lambda: parent if born is not None and _born(parent) == born else real
    install()
    os._exit(_ended(request["program"]))


def _read_environment() -> None:
    """Sets what libraries take from the environment while they are imported."""
    import torch
    from lightning_fabric.utilities import rank_zero

    rank_zero.rank_zero_only.rank = rank_zero._get_rank() or 0
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1)


def _born(pid: int) -> str | None:
    """When a process that lives began; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _ended(program: list[str]) -> int:
    """Runs a program as the interpreter does, to the end of its threads; returns its exit code."""
    code = 0
    try:
        kind, *words = program
        if kind == "-m":
            sys.argv, sys.path[:0] = ["-m", *words[1:]], [str(Path.cwd())]
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            sys.argv, sys.path[:0] = ["-c", *words[1:]], [""]
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(words[0], sys.modules["__main__"].__dict__)
        else:
            sys.argv, sys.path[:0] = list(program), [str(Path(kind).resolve().parent)]
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
        code = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code & 0xFF
