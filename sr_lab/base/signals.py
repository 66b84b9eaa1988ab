"""SIGTERM and Ctrl-C as one exception, so that a command can save what it has, and the process ends with a true code.

    with handled():                       # the command line does this around every command
        try:
            work()
        except Stopped as stop:
            raise stop.saying("40 of 100 images are written", goes_on=True) from None

The first signal raises :class:`Stopped` in the main thread, at any line; within ``deferred()`` it is only remembered,
for work that has good moments to end (a training, after a step). A second signal ends the process at once. A process
that was forked off leaves Ctrl-C to its parent and dies of SIGTERM.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NAMES = {signal.SIGTERM: "stopped by SIGTERM", signal.SIGINT: "interrupted"}


class Stopped(BaseException):
    """The process was asked to end.

    No ``Exception``, as ``KeyboardInterrupt`` is none: nobody should take it for a failure of what was being done.

    Args:
        signum: The signal that asked.
        text: What was done so far, and what is kept of it; empty where nobody knows.
        goes_on: Whether the same command goes on from here.

    Attributes:
        signum: The signal.
        text: What was done so far.
        goes_on: Whether the same command goes on.
        exit_code: What the process ends with: 143 after SIGTERM, 130 after Ctrl-C.
    """

    def __init__(self, signum: int, text: str = "", *, goes_on: bool = False) -> None:
        self.signum, self.text, self.goes_on = signal.Signals(signum), text, goes_on
        self.exit_code = 128 + int(signum)
        said = _NAMES.get(self.signum, f"stopped by {self.signum.name}")
        super().__init__(f"{said}: {text}" if text else said)

    def saying(self, text: str, *, goes_on: bool = False) -> "Stopped":
        """The same, with what was done so far."""
        return Stopped(self.signum, text, goes_on=goes_on)


class Asked:
    """Whether a signal came while nobody wanted to be stopped.

    Attributes:
        signum: The signal; None as long as none came.
    """

    def __init__(self) -> None:
        self.signum: signal.Signals | None = None

    def raise_if_asked(self, text: str = "", *, goes_on: bool = False) -> None:
        """Ends the work here if a signal came.

        Raises:
            Stopped: With ``text``, see there.
        """
        if self.signum is not None:
            raise Stopped(self.signum, text, goes_on=goes_on)


class _Handler:
    """What the signals do in the process that made it."""

    def __init__(self) -> None:
        self.owner, self.waiting, self.seen = os.getpid(), list[Asked](), False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self.owner:
            if signum != signal.SIGINT:  # a terminal sends Ctrl-C to the parent too, which ends its children
                _die(signum)
            return
        if self.seen:
            _die(signum)
        self.seen = True
        if not self.waiting:
            raise Stopped(signum)
        for asked in self.waiting:
            asked.signum = signal.Signals(signum)


_active: _Handler | None = None


@contextmanager
def handled() -> Iterator[None]:
    """Within it SIGTERM and Ctrl-C raise :class:`Stopped`; what was there before is put back at the end.

    A signal that the process was told to ignore (``nohup``, a shell's background job) stays ignored. In another thread
    than the main one nothing is changed: Python gives signals to the main thread alone.
    """
    with _installed():
        yield


@contextmanager
def deferred() -> Iterator[Asked]:
    """Within it the first SIGTERM or Ctrl-C is remembered; ask what is yielded for it at every moment fit for an end.

    Raises:
        Stopped: At the end of the block, if a signal came and nobody asked.
    """
    asked = Asked()
    with _installed() as handler:
        handler.waiting.append(asked)
        try:
            yield asked
        finally:
            handler.waiting.remove(asked)
        asked.raise_if_asked()


@contextmanager
def saying(text: str, *, goes_on: bool = False) -> Iterator[None]:
    """A signal within it tells this of what was done so far, unless it tells something already.

    Raises:
        Stopped: With ``text``, see there.
    """
    try:
        yield
    except Stopped as stop:
        raise stop if stop.text else stop.saying(text, goes_on=goes_on) from None


@contextmanager
def _installed() -> Iterator[_Handler]:
    """The handler of this process; made and given the signals if there is none yet."""
    global _active
    if _active is not None and _active.owner == os.getpid():
        yield _active
        return
    if threading.current_thread() is not threading.main_thread():
        yield _Handler()
        return
    handler = _active = _Handler()
    before: dict[signal.Signals, Any] = {signum: signal.getsignal(signum) for signum in SIGNALS}
    mine = [signum for signum in SIGNALS if before[signum] is not signal.SIG_IGN]
    for signum in mine:
        signal.signal(signum, handler)
    try:
        yield handler
    finally:
        _active = None
        for signum in mine:
            signal.signal(signum, before[signum])


def take_back() -> None:
    """Gives the signals to this process's handler again, after a library took them for its own (Lightning does)."""
    if _active is None or threading.current_thread() is not threading.main_thread():
        return
    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _active)


def _die(signum: int) -> None:
    """Ends this process as if nobody had handled the signal."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
