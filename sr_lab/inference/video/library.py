"""PyAV, imported when it is needed, and which files it is for."""

import importlib
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from sr_lab.base.errors import SRLabError
from sr_lab.base.extras import install

CONTAINERS = {"mkv": "matroska", "mp4": "mp4", "m4v": "mp4", "mov": "mov", "webm": "webm"}
"""Containers that are written, by their suffix, as FFmpeg calls them."""
VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *CONTAINERS,
        *("3gp", "asf", "avi", "flv", "h264", "h265", "hevc", "ivf", "m2ts", "m2v", "mpeg", "mpg", "mts", "mxf", "nut"),
        *("ogv", "rm", "ts", "vob", "wmv", "y4m"),
    )
)
"""Suffixes of files that are taken for video."""


class VideoError(SRLabError, ValueError):
    """A video that cannot be read, held or written; it names the file, and what to do."""


def is_video(name: object) -> bool:
    """Whether a name ends as a video file does.

    Example:
        >>> is_video("holiday/CLIP.MP4"), is_video("photo.png")
        (True, False)
    """
    return not str(name).endswith("/") and PurePosixPath(str(name)).suffix.lower() in VIDEO_SUFFIXES


@cache
def load_av() -> Any:
    """PyAV, silent.

    Raises:
        ValueError: If it is not installed, or too old to keep what lies beside the pictures.
    """
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        raise ValueError(f"video files need PyAV: {install('av')}") from error
    if int(av.__version__.split(".")[0]) < 18:
        raise ValueError(f"PyAV {av.__version__} loses rotation, chapters and attachments: {install('av')}")
    av.logging.set_level(av.logging.PANIC)
    return av


def reason(error: BaseException) -> str:
    """What FFmpeg said, without number and place."""
    return str(getattr(error, "strerror", None) or error).split("; last error log")[0]
