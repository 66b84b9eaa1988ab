"""Video files: read frame by frame, restored, written in segments, joined with what was not touched, and verified."""

from sr_lab.inference.video.library import VIDEO_SUFFIXES, VideoError, is_video

__all__ = ["VIDEO_SUFFIXES", "VideoError", "is_video"]
