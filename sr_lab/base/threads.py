"""Threads that sleep while they wait for each other, instead of spinning, where a process shares its cores."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def sleep_when_idle() -> bool:
    """Tells OpenMP that its threads sleep where they wait, and OpenBLAS to have none; before they are loaded.

    By default they spin for a while, which is faster where nothing else runs. In a server the threads that decode and
    encode, and other processes, get those cores instead: one tile of ``edge_x2`` by ncnn took 834 ms of CPU beside
    16 other processes on two cores, and 122 ms with sleeping threads. OpenBLAS' threads cannot be told to sleep: one
    product of small matrices in NumPy made the next tile take 85 ms instead of 45. For processes of our own.

    Returns:
        Whether OpenMP was told; not where the environment says ``OMP_WAIT_POLICY`` already.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "OMP_WAIT_POLICY" in os.environ:
        return False
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return True


_before: int | None = None


def whole_threads() -> int:
    """The threads that PyTorch computes with, or did before ``one_thread``."""
    import torch

    return _before or torch.get_num_threads()


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes with one thread in here, for small operations beside an engine that has threads of its own.

    Those of OpenMP would have to be woken for each of them while the engine's still spin on their core. Not for several
    threads at once.
    """
    global _before
    import torch

    _before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(_before)
        _before = None
