"""What runs beside a tracked run: the process that ships its record, and a thread that watches over both."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

WATCH_SECONDS = 10.0
MOST_STARTS = 4


class ShippingProcess:
    """The process that sends a spool while its run is alive. It is started again, a few times, should it die.

    It has its own session, so that Ctrl-C in the terminal reaches the training only, and ends by itself when the
    process that started it is gone.

    Args:
        directory: the spool's folder.
        drain_seconds: how long it goes on after the end of the run.
        tracker: to which tracker it sends; None is MLflow.
    """

    def __init__(self, directory: Path, *, drain_seconds: float, tracker: str | None = None) -> None:
        self._directory, self._tracker = directory, tracker
        self._drain_seconds = drain_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def ensure_alive(self) -> None:
        """Start it if it does not run; without effect after too many deaths: ``srlab sync`` will do its work."""
        if (self._process is not None and self._process.poll() is None) or self._starts >= MOST_STARTS:
            return
        self._starts += 1
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        own = [] if self._tracker is None else [self._tracker]
        arguments = [str(self._directory), str(os.getpid()), str(self._drain_seconds), *own]
        log_name = ".".join(["shipping", *own, "log"])
        with contextlib.suppress(OSError), (self._directory / log_name).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sr_lab.tracking.shipping", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )

    def end(self) -> None:
        """Tell it that the run is over: it sends what is left, within the time that it has for that."""
        self.ensure_alive()
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"end\n")
            self._process.stdin.close()

    def wait(self, deadline: float) -> None:
        """Wait until it has ended, at most until this value of ``time.monotonic()``."""
        process = self._process
        if process is None:
            return
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Watch:
    """Calls functions every few seconds in a thread, the first time at once; a full disk does not end it.

    Args:
        first: called once, at the start.
        tick: called every ``seconds``.
        seconds: the interval.
    """

    def __init__(self, *, first: Callable[[], None], tick: Callable[[], None], seconds: float) -> None:
        self._first, self._tick, self._seconds = first, tick, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the call that it is in."""
        self._stop.set()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            self._first()
        while not self._stop.wait(self._seconds):
            with contextlib.suppress(OSError):
                self._tick()
