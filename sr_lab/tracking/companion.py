"""What runs beside a tracked run: the process that ships its record, and a thread that watches over both."""

import contextlib
import os
import subprocess
import sys
import threading
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
    """

    def __init__(self, directory: Path, *, drain_seconds: float) -> None:
        self._directory = directory
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
        arguments = [str(self._directory), str(os.getpid()), str(self._drain_seconds)]
        with contextlib.suppress(OSError), (self._directory / "shipping.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sr_lab.tracking.shipping", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )

    def finish(self) -> None:
        """Let it send what is left, within the time that it has for that."""
        self.ensure_alive()
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(b"end\n")
            process.stdin.close()
        try:
            process.wait(timeout=self._drain_seconds)
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
