"""Video files as a source: their frames, decoded once, are kept as images that everything else here can read."""

import re
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from sr_lab.base.files import replacing_folder, sha256
from sr_lab.data.sources import Channels, FolderSource, Item
from sr_lab.images import write_image
from sr_lab.images.clips import Clip, find_clips


class VideoSource(FolderSource):
    """The frames of video files (PyAV), for ``clips: FrameClips``: a file is a clip.

    A file is decoded when its frames are first asked for, into ``frames/NAME-DIGEST/000000.png``, whole or not at all;
    the digest is that of its bytes and of ``most``. They may be deleted at any time.

    Args:
        videos: Folder of video files, searched recursively, or several.
        frames: Folder in which the frames are kept.
        most: Most frames of each file, from its beginning; None for all.
        channels: See ``Source``.

    Raises:
        ValueError: If ``most`` is below 1.
    """

    def __init__(
        self,
        *,
        videos: str | Path | Sequence[str | Path],
        frames: str | Path,
        most: int | None = None,
        channels: Channels = "keep",
    ) -> None:
        if most is not None and most < 1:
            raise ValueError(f"most={most}: must be at least 1 frame, or null for all")
        self.videos = [Path(folder) for folder in ([videos] if isinstance(videos, str | Path) else videos)]
        self.frames, self.most = Path(frames).expanduser(), most
        super().__init__(roots=[self.frames], channels=channels)

    @property
    def roots(self) -> list[Path]:
        """The folders of frames, one a file; they are decoded if they are not there.

        Raises:
            ImageError: If there is no video file, or one cannot be decoded.
        """
        self._roots = [
            self._decoded(name, clip)
            for folder in self.videos
            for name, clip in find_clips(folder).items()
            if clip.video
        ]
        return self._roots

    def list_items(self) -> list[Item]:
        """The frames of every file, by the names of their folders."""
        if not self.roots:
            raise ValueError(f"no video file in {', '.join(map(str, self.videos))}: give data.videos")
        return super().list_items()

    def fetch(self) -> None:
        """Decodes what is not decoded."""
        _ = self.roots

    def _decoded(self, name: str, clip: Clip) -> Path:
        digest = sha256(clip.files[0])[:12] + ("" if self.most is None else f"-{self.most}")
        folder = self.frames / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}-{digest}"
        self.frames.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                with replacing_folder(folder) as temporary:
                    for number, frame in enumerate(clip.frames()):
                        if number == self.most:
                            break
                        write_image(temporary / f"{number:06d}.png", frame)
        return folder
