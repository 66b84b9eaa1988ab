"""What a video is restored by, and what comes of it; nothing heavy is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sr_lab.base.words import counted
from sr_lab.inference.video import is_video

if TYPE_CHECKING:
    from sr_lab.inference.video.live.counters import Counts

__all__ = ["LiveSettings", "RestoredLive", "RestoredVideo", "VideoSettings", "is_video"]

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
        needed_bytes: Of a dry run: about how much room it takes; otherwise 0.
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

    @property
    def text(self) -> str:
        """What was written, or would be."""
        size = f"{self.size[0]}x{self.size[1]}"
        if self.needed_bytes or self.free_bytes:  # of a dry run
            frames = f"about {counted(self.num_frames, 'frame')}" if self.num_frames else "an unknown number of frames"
            needed = f"about {self.needed_bytes / 1e9:.2f} GB are needed for {self.output}"
            return f"{frames} of {size}: {needed}, {self.free_bytes / 1e9:.1f} GB are free; nothing was written"
        reused = f", {self.reused} of them equal to the one before" if self.reused else ""
        there = ", is there" if self.was_there else ""
        return f"{counted(self.num_frames, 'frame')} of {size}{reused}: {self.output}{there}"


@dataclass(frozen=True)
class LiveSettings:
    """When live frames are late, and how much is waited for.

    Attributes:
        latency: Seconds that a frame may take from packet in to packet out, before it is enlarged classically.
        patience: Seconds without a late frame after which a larger model is tried again.
        queue: Frames that may wait for a model.
        stall: Seconds without data after which the source counts as broken off.
        reconnect: Seconds for which an address that broke off is tried again.
        format: FFmpeg's name of the container that is written; None for what the output's name tells.
        metrics: Where the counters are told: a file, or HOST:PORT; None for nowhere.
    """

    latency: float = 0.25
    patience: float = 10.0
    queue: int = 25
    stall: float = 10.0
    reconnect: float = 10.0
    format: str | None = None
    metrics: str | None = None

    def __post_init__(self) -> None:
        """Refuses what nothing could come of."""
        for name in ("latency", "patience", "queue", "stall"):
            if getattr(self, name) <= 0:
                raise ValueError(f"streaming.{name}={getattr(self, name)}: give a number above 0")


@dataclass(frozen=True)
class RestoredLive:
    """What became of a live stream.

    Attributes:
        output: Where it went.
        size: Width and height; 0 where it ended before its first picture.
        counts: What became of the frames.
        latencies: Seconds from packet in to packet out, by quantile, of the last minutes.
        cautions: A sentence for each thing that the output has in another way than the input, or not.
        problems: Why it is not all that it could be; empty where the source ended by itself and all was written.
    """

    output: str
    size: tuple[int, int]
    counts: "Counts"
    latencies: Mapping[float, float]
    cautions: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The counts and latencies in a sentence."""
        counts = self.counts
        kinds = ", ".join(f"{getattr(counts, name)} {name}" for name in ("late", "degraded", "dropped"))
        said = f"{counted(counts.frames_in, 'frame')} in, {counts.frames_out} out ({kinds})"
        if counts.frames_out:
            taken = ", ".join(f"p{share * 100:.0f} {value * 1000:.0f}" for share, value in self.latencies.items())
            said += f"; {taken} ms from packet in to packet out"
        return said
