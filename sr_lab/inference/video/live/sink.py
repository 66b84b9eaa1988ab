"""The output of live video: a thread that encodes without delay and writes each packet at once."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sr_lab.base.compute import num_cores
from sr_lab.inference.video.encoding import THREADS, EncoderSettings, add_video_stream, encoded
from sr_lab.inference.video.library import CONTAINERS, VideoError, load_av, reason
from sr_lab.inference.video.live.counters import Counters

CLOCK = Fraction(1, 90_000)
"""Seconds of a tick of what is written."""
_FORMATS = {"": "mpegts", "tcp": "mpegts", "udp": "mpegts", "srt": "mpegts", "rtmp": "flv", "rtsp": "rtsp",
            "rtp": "rtp_mpegts", "unix": "mpegts", "http": "mpegts"}  # fmt: skip
_FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"
_GLOBAL_HEADER = 1 << 22
_QUEUED = 8
_WHOLE_SECONDS = 2
"""Seconds from one picture that stands for itself to the next, so that viewers can join."""


@dataclass(frozen=True)
class _Picture:
    frame: Any
    arrived: float


@dataclass(frozen=True)
class _Sound:
    packet: Any
    stream: int
    shift: Fraction


def format_of(output: str) -> str:
    """FFmpeg's name of the container that an output gets.

    Raises:
        VideoError: If neither its protocol nor its suffix tells one.

    Example:
        >>> format_of("tcp://127.0.0.1:9000"), format_of("-"), format_of("large.mkv")
        ('mpegts', 'mpegts', 'matroska')
    """
    scheme = output.partition("://")[0].lower() if "://" in output else ""
    suffix = Path(output.partition("?")[0]).suffix[1:].lower()
    known = CONTAINERS | {"ts": "mpegts", "m2ts": "mpegts", "flv": "flv", "m3u8": "hls"}
    if scheme in _FORMATS and (scheme or output == "-"):
        return _FORMATS[scheme]
    if suffix in known:
        return known[suffix]
    if not scheme and (not suffix or Path(output).is_fifo()):
        return "mpegts"
    raise VideoError(f"output={output}: its name does not tell a container: give streaming.format=mpegts, or another")


class Sink:
    """Encodes and writes in a thread of its own.

    Args:
        output: A file, a named pipe, ``-`` for standard output, or an address that FFmpeg writes to.
        format: FFmpeg's name of the container.
        encoder: How pictures are encoded; its clock is ``CLOCK``.
        sounds: Streams of the source whose packets are written as they are.
        counters: What is counted.
    """

    def __init__(
        self, output: str, *, format: str, encoder: EncoderSettings, sounds: Sequence[Any], counters: Counters
    ) -> None:
        self.output, self.format, self.encoder, self.counters = output, format, encoder, counters
        self._sounds = sounds
        self._queue: queue.Queue[_Picture | _Sound | None] = queue.Queue(_QUEUED)
        self._arrived = dict[int, float]()
        self._last = -1
        self._failed: BaseException | None = None
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="srlab-live-sink", daemon=True)

    def start(self, stopped: Callable[[], bool]) -> None:
        """Opens the output, and waits until it is, or ``stopped`` says no.

        Raises:
            VideoError: If it cannot be opened.
        """
        self._thread.start()
        while not self._opened.wait(0.1) and self._thread.is_alive() and not stopped():
            pass
        self.raise_error()

    def picture(self, frame: Any, time: Fraction, arrived: float, stopped: Callable[[], bool]) -> bool:
        """Gives a picture to be written; whether there was room before ``stopped`` said no.

        Raises:
            VideoError: If writing failed.
        """
        self._last = max(self._last + 1, round(time / CLOCK))
        frame.pts, frame.time_base = self._last, CLOCK
        return self._offer(_Picture(frame, arrived), stopped)

    def sound(self, packet: Any, stream: int, shift: Fraction, stopped: Callable[[], bool]) -> None:
        """Gives a packet of sound to be written as it is, ``shift`` seconds later."""
        if self._opened.is_set() and self._failed is None and stream < len(self._sounds):
            self._offer(_Sound(packet, stream, shift), lambda: stopped() or self._failed is not None)

    def finish(self, stopped: Callable[[], bool]) -> bool:
        """Writes what is left; whether all was written before ``stopped`` said no.

        Raises:
            VideoError: If writing failed.
        """
        if self._offer(None, stopped):
            while self._thread.is_alive() and not stopped():
                self._thread.join(0.05)
        self.raise_error()
        return not self._thread.is_alive()

    def raise_error(self) -> None:
        """Raises what ended the thread.

        Raises:
            VideoError: See there.
        """
        if isinstance(self._failed, VideoError):
            raise self._failed
        if self._failed is not None:
            raise VideoError(
                f"output={self.output}: writing failed ({reason(self._failed)})" + self._hint()
            ) from self._failed

    def _hint(self) -> str:
        return ": nobody reads it any more" if isinstance(self._failed, BrokenPipeError | ConnectionError) else ""

    def _offer(self, item: _Picture | _Sound | None, stopped: Callable[[], bool]) -> bool:
        while not stopped():
            if threading.current_thread() is not self._thread and self._failed is not None:
                if isinstance(item, _Sound):
                    return False
                self.raise_error()
            try:
                self._queue.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:
            self._failed = error

    def _write(self) -> None:
        av = load_av()
        options = {"flush_packets": "1", "max_interleave_delta": "200000"}
        if self.format in ("mp4", "mov"):
            options["movflags"] = _FRAGMENTS
        name = "pipe:1" if self.output == "-" else self.output
        unopened = f"output={self.output} cannot be opened for writing"
        try:
            container = av.open(name, "w", format=self.format, options=options)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{unopened} ({reason(error)})") from error
        try:
            video = self._add_video(container)
            sounds = [self._add_sound(container, each) for each in self._sounds]
            try:
                container.start_encoding()
            except OSError as error:
                raise VideoError(f"{unopened} ({reason(error)})") from error
            except (av.error.FFmpegError, ValueError) as error:
                raise VideoError(
                    f"output={self.output}: {self.format} cannot hold this ({reason(error)}): give another "
                    "streaming.format, or video.drop=true to leave the sound out"
                ) from error
            self._opened.set()
            while (item := self._queue.get()) is not None:
                if isinstance(item, _Sound):
                    self._mux_sound(container, item, sounds[item.stream])
                else:
                    assert item.frame.pts is not None
                    self._arrived[item.frame.pts] = item.arrived
                    self._mux(container, encoded(video, item.frame))
            self._mux(container, encoded(video, None))
        finally:
            container.close()

    def _add_video(self, container: Any) -> Any:
        stream = add_video_stream(container, self.encoder)
        context = stream.codec_context
        context.thread_count = min(THREADS, num_cores())
        if self.format not in ("matroska", "webm", "mp4", "mov", "flv", "hls", "rtsp"):
            context.flags &= ~_GLOBAL_HEADER  # viewers join in the middle
        frames = max(1, round(_WHOLE_SECONDS * self.encoder.rate))
        context.options = {**context.options, "tune": "zerolatency", "g": str(frames), "bf": "0"}
        return stream

    def _add_sound(self, container: Any, given: Any) -> Any:
        try:
            return container.add_stream_from_template(given)
        except (load_av().error.FFmpegError, ValueError, RuntimeError) as error:
            raise VideoError(
                f"output={self.output}: {self.format} cannot hold {given.codec_context.name} sound: give another "
                "streaming.format, or video.drop=true to leave it out"
            ) from error

    def _mux(self, container: Any, packets: Sequence[Any]) -> None:
        for packet in packets:
            arrived = self._arrived.pop(packet.pts, None)
            container.mux(packet)
            self.counters.out(time.monotonic() - arrived if arrived is not None else 0.0)

    def _mux_sound(self, container: Any, item: _Sound, stream: Any) -> None:
        packet, base = item.packet, Fraction(item.packet.time_base)
        ticks = round(item.shift / base)
        packet.dts += ticks
        packet.pts = packet.dts if packet.pts is None else packet.pts + ticks
        if packet.dts >= 0:
            packet.stream = stream
            container.mux(packet)
