"""What a person at a terminal is told while images are measured."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from sr_lab.base.signals import Stopped

Progress = Callable[[int, int], None]
"""Is told how many images are done, and of how many."""


@contextmanager
def interruptible(state: Path | None = None) -> Iterator[None]:
    """Says after a signal that nothing was written."""
    try:
        yield
    except Stopped as stop:
        kept = "nothing was written" if state is None else f"nothing was written, {state} is as it was"
        raise stop.saying(f"while the images were measured; {kept}") from None


@contextmanager
def told(name: str, progress: Progress | None) -> Iterator[Progress]:
    """``progress``, or a bar where the error stream is a terminal."""
    if progress is not None:
        yield progress
        return
    with tqdm(total=None, desc=name, unit="image", delay=1, leave=False, disable=not sys.stderr.isatty()) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell
