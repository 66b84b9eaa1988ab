"""Standard streams whose reader may go away, as ``srlab train ... | head`` has one."""

import os
import sys
from typing import Any, TextIO


def outlive_readers() -> None:
    """Has this process go on, and say the rest to nobody, where what reads its standard output or error has ended."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is not None:
            setattr(sys, name, Outliving(stream))


class Outliving:
    """A text stream that writes into nothing once its reader has ended, instead of raising ``BrokenPipeError``.

    Everything but ``write`` and ``flush`` is the stream's own.

    Args:
        stream: The stream, with a file descriptor.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or drops the text; gives its length."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        """Writes what is buffered, or drops it."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._silence()

    def _silence(self) -> None:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())
        os.close(nothing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
