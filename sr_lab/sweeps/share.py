"""What a worker and its trials get of a machine; no heavy import, as launchers do batch work too."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a worker's trials may use of its machine.

    Attributes:
        threads: of each trial; None leaves the environment as it is.
        gpu: the only one that a trial sees; None leaves the environment as it is.
    """

    threads: int | None = None
    gpu: str | None = None

    def environment(self) -> dict[str, str]:
        """The variables of a trial's process."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        threads = {} if self.threads is None else dict.fromkeys(names, str(self.threads))
        return {**os.environ, **threads, **({} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu})}


def dies_with_parent() -> Callable[[], None] | None:
    """What a child process does first so that a kill of its parent ends it too; None where the system cannot."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, signal.SIGKILL)
