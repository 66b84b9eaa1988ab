"""The allocator keeps its pages: glibc gives large buffers back to the kernel at every free and faults them in again.

In large convolutions more than half of the time went into such faults. Nothing but time changes: results are equal to
the last bit, and the peak is what it was, because freed pages are used again; they are kept until the process ends.
"""

import contextlib
import ctypes
import os
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_LARGEST = 2**31 - 1


def keep_pages() -> bool:
    """Tells glibc to serve large buffers from its heap and to keep what is freed; for processes of our own.

    A process that was told otherwise by ``MALLOC_...`` or ``GLIBC_TUNABLES`` in its environment is left alone, as is
    one without glibc. A library must not do this to its caller: the command line does.

    Returns:
        Whether the allocator was told.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _LARGEST), (_M_TOP_PAD, 256 * 2**20))
    told = [mallopt(parameter, value) for parameter, value in settings]
    return all(told)


_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def whole_memory() -> int:
    """Bytes that this process may have at most: what the machine has, or its control group where that is less."""
    import psutil

    found = int(psutil.virtual_memory().total)
    for limit, _ in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such group, or the word max
            found = min(found, int(Path(limit).read_text()))
    return found


def free_memory() -> int:
    """Bytes that this process may still take: what the machine has left, or its control group where that is less."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used in _LIMITS:
        try:
            most, now = (int(Path(file).read_text()) for file in (limit, used))
        except (OSError, ValueError):  # no such group, or the word max
            continue
        free = min(free, max(0, most - now))
    return free
