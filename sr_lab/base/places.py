"""Where a user's own files are."""

import os
from pathlib import Path

VARIABLE = "SRLAB_CACHE"


def user_cache() -> Path:
    """The folder of what can be made again: ``SRLAB_CACHE``, or ``sr_lab`` in the user's cache folder."""
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sr_lab"
