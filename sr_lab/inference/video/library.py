"""Which files are video, PyAV imported when it is needed, and errors that name a video."""

from sr_lab.base.errors import SRLabError
from sr_lab.images.clips import CONTAINERS, VIDEO_SUFFIXES, is_video, load_av

__all__ = ["CONTAINERS", "VIDEO_SUFFIXES", "VideoError", "is_video", "load_av", "reason"]


class VideoError(SRLabError, ValueError):
    """A video that cannot be read, held or written; it names the file, and what to do."""


def reason(error: BaseException) -> str:
    """What FFmpeg said, without number and place."""
    return str(getattr(error, "strerror", None) or error).split("; last error log")[0]
