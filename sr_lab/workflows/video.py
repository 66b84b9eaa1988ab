"""What a video is restored by, and what comes of it; nothing heavy is imported."""

from dataclasses import dataclass
from typing import Literal

from sr_lab.inference.video import is_video

__all__ = ["RestoredVideo", "VideoSettings", "is_video"]

Codec = Literal["h264", "h265", "av1", "vp9", "ffv1", "prores"]


@dataclass(frozen=True)
class VideoSettings:
    """How a video is written.

    Attributes:
        codec: ``h264``, ``h265``, ``av1``, ``vp9``, ``ffv1`` or ``prores``; None for the usual one of the container.
        crf: Quality of the codec, lower is better; None for nearly transparent.
        preset: Of the encoder; None for its middle one.
        segment: Frames of a segment: as many are lost, at most, when the process is killed.
        smoothing: Whether detail is smoothed over time; see ``DetailSmoother``.
        deinterlace: Whether interlaced pictures are made whole ones.
        drop: Whether tracks that the container cannot hold are left out; otherwise they refuse.
    """

    codec: Codec | None = None
    crf: int | None = None
    preset: str | None = None
    segment: int = 120
    smoothing: bool = False
    deinterlace: bool = False
    drop: bool = False


@dataclass(frozen=True)
class RestoredVideo:
    """What was written, or would be.

    Attributes:
        output: The file.
        size: Width and height.
        num_frames: Frames; of a dry run, as the header tells.
        reused: Frames that equalled their predecessor, and were not restored again.
        cuts: Numbers of frames at which scenes begin; only smoothing looks for them.
        cautions: A sentence for each thing that the output has in another way than the input, or not.
        problems: A sentence for each thing that the input lacks, or the output has lost; empty if all is well.
        was_there: Whether nothing had to be done.
        needed_bytes: About how much room it takes.
        free_bytes: How much there is.
        told: What was measured for this restoration, in a sentence: the engine that was chosen; empty otherwise.
    """

    output: str
    size: tuple[int, int]
    num_frames: int
    reused: int = 0
    cuts: tuple[int, ...] = ()
    cautions: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    was_there: bool = False
    needed_bytes: int = 0
    free_bytes: int = 0
    told: str = ""
