"""Threads that sleep while they wait for each other, instead of spinning, where a process shares its cores."""

import os


def sleep_when_idle() -> bool:
    """Tells OpenMP, before it is loaded, that its threads sleep where they wait; for processes of our own.

    By default they spin for a while, which is faster where nothing else runs. In a server the threads that decode and
    encode, and other processes, get those cores instead: one tile of ``edge_x2`` by ncnn took 834 ms of CPU beside
    16 other processes on two cores, and 122 ms with sleeping threads.

    Returns:
        Whether it was told; not where the environment says ``OMP_WAIT_POLICY`` already.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return False
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return True
