"""Clips as frames, one after the other: folders of images, and video files (PyAV)."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from sr_lab.base.extras import install
from sr_lab.images.files import read_image
from sr_lab.images.folders import tell_unread, walk_images
from sr_lab.images.headers import ImageError

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


@dataclass(frozen=True)
class Timing:
    """How many frames a clip has, and when they are shown.

    Attributes:
        count: Number of frames.
        rate: Frames a second; None where nobody knows, or where it varies.
        varies: Whether the file tells a rate that varies.
    """

    count: int
    rate: Fraction | None = None
    varies: bool = False


@dataclass(frozen=True)
class Clip:
    """A folder of frames, or a video file.

    Attributes:
        name: Its path below the folder that it was found in, without a suffix.
        files: The frames in the order of their names; of a video file the file alone.
    """

    name: str
    files: tuple[Path, ...]

    @property
    def video(self) -> bool:
        """Whether it is a video file."""
        return len(self.files) == 1 and is_video(self.files[0])

    def frames(self) -> Iterator[Any]:
        """The frames, (H, W, C) of uint8 or, from 16-bit images, uint16.

        Raises:
            ImageError: If a frame cannot be read, or a video has more than 8 bits a sample.
        """
        if not self.video:
            for file in self.files:
                yield read_image(file)
            return
        with _opened(self.files[0]) as container:
            stream = container.streams.video[0]
            try:
                for picture in container.decode(stream):
                    if any(part.bits > 8 for part in picture.format.components):
                        raise ImageError(
                            f"{self.files[0]} has more than 8 bits a sample, which would be lost: give its frames as "
                            "16-bit images"
                        )
                    yield picture.to_ndarray(format="gray" if picture.format.name.startswith("gray") else "rgb24")
            except load_av().error.FFmpegError as error:
                raise ImageError(f"{self.files[0]}: a frame does not decode ({error.strerror})") from error

    @property
    def timing(self) -> Timing:
        """Number and rate of the frames; of a video file its packets are counted.

        Raises:
            ImageError: If the file cannot be read.
        """
        return _timing(self.files[0]) if self.video else Timing(len(self.files))


def find_clips(folder: Path) -> dict[str, Clip]:
    """The clips below a folder, by name: every video file, and every folder that holds images itself.

    Args:
        folder: Where to look; if it holds images itself, it is a clip, too, of its own name.

    Raises:
        ImageError: If there is none, or two have one name.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from sr_lab.images import write_image
        >>> root = Path(tempfile.mkdtemp())
        >>> for number in range(2):
        ...     write_image(root / "walk" / f"{number}.png", np.zeros((8, 8, 3), np.uint8))
        >>> [(name, clip.timing.count) for name, clip in find_clips(root).items()]
        [('walk', 2)]
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder")
    found: dict[str, Clip] = {}

    def add(clip: Clip) -> None:
        if clip.name in found:
            raise ImageError(f"{found[clip.name].files[0]} and {clip.files[0]} are clips of one name: rename one")
        found[clip.name] = clip

    images, others = walk_images(folder)
    videos = [folder / name for name in others if is_video(name)]
    tell_unread(str(folder), [name for name in others if not is_video(name)])
    if not images and not videos:
        raise ImageError(f"{folder} holds no clip: a folder of images for each, or video files")
    for file in videos:
        add(Clip(file.relative_to(folder).with_suffix("").as_posix(), (file,)))
    frames: dict[Path, list[Path]] = {}
    for file in images:
        frames.setdefault(file.parent, []).append(file)
    for parent, files in frames.items():
        name = folder.resolve().name if parent == folder else parent.relative_to(folder).as_posix()
        add(Clip(name, tuple(sorted(files))))
    return dict(sorted(found.items()))


def _opened(file: Path) -> Any:
    av = load_av()
    try:
        container = av.open(str(file))
    except (av.error.FFmpegError, OSError) as error:
        raise ImageError(f"{file} is no video that can be read ({getattr(error, 'strerror', error)})") from error
    if not container.streams.video:
        container.close()
        raise ImageError(f"{file} has no picture")
    return container


@cache
def _timing(file: Path) -> Timing:
    with _opened(file) as container:
        stream = container.streams.video[0]
        try:
            times = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
        except load_av().error.FFmpegError as error:
            raise ImageError(f"{file} does not read to its end ({error.strerror})") from error
        rate, base = stream.average_rate, stream.time_base
    if any(time is None for time in times) or len(times) < 3:
        return Timing(len(times), None if rate is None else Fraction(rate))
    times.sort()
    steps = [after - before for before, after in pairwise(times)]
    tick = max(1, round(Fraction(1, 1000) / base))  # Matroska's clock counts milliseconds
    if max(steps) - min(steps) > max(1, tick):
        return Timing(len(times), None, varies=True)
    return Timing(len(times), Fraction(rate) if rate else Fraction(len(steps)) / ((times[-1] - times[0]) * base))
