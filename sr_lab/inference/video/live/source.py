"""The source of live video: a thread that reads, keeps pace, decodes, and goes on where a source broke off."""

import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sr_lab.inference.video.facts import VideoFacts, facts_of, main_stream
from sr_lab.inference.video.library import VideoError, load_av, reason
from sr_lab.inference.video.live.counters import Counters
from sr_lab.inference.video.live.decisions import Timeline

CANNOT_WAIT = ("udp", "rtp", "srt")
"""Protocols whose sender goes on while nobody reads."""
_FIRST = 250
"""Packets among which the first picture has to be."""
_POLL = 0.1
_BEGINS = Fraction(1, 10)
"""Seconds at which what is written begins: sound may begin a little before the picture."""


@dataclass(frozen=True)
class LiveFrame:
    """A decoded picture on its way.

    Attributes:
        picture: PyAV's frame.
        time: When it is shown, in seconds of what is written.
        arrived: When its packet came in, in seconds of ``time.monotonic``.
    """

    picture: Any
    time: Fraction
    arrived: float


class FrameQueue:
    """A queue of bounded length between the source and the models.

    Args:
        length: The most frames that wait.
        counters: Where its length and its losses are counted.
    """

    def __init__(self, length: int, counters: Counters) -> None:
        self.length, self.counters, self.ended = length, counters, False
        self._frames: deque[LiveFrame] = deque()
        self._changed = threading.Condition()

    def put(self, frame: LiveFrame, *, wait: bool, stopped: Callable[[], bool]) -> None:
        """Adds a frame; where the queue is full, waits for room, or drops the oldest."""
        with self._changed:
            while wait and len(self._frames) >= self.length and not stopped():
                self._changed.wait(_POLL)
            while len(self._frames) >= self.length and not wait:
                self._frames.popleft()
                self.counters.add(dropped=1)
            self._frames.append(frame)
            self.counters.queued = len(self._frames)
            self._changed.notify_all()

    def get(self, timeout: float) -> LiveFrame | None:
        """The oldest frame; None where none came in time, or none comes any more."""
        with self._changed:
            if not self._frames and not self.ended:
                self._changed.wait(timeout)
            frame = self._frames.popleft() if self._frames else None
            self.counters.queued = len(self._frames)
            self._changed.notify_all()
            return frame

    def end(self) -> None:
        """Says that no frame comes any more."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether nothing waits, and nothing comes any more."""
        with self._changed:
            return self.ended and not self._frames


@dataclass(frozen=True)
class Opened:
    """A source at its first picture.

    Attributes:
        facts: What it is.
        sounds: PyAV's streams of sound.
    """

    facts: VideoFacts
    sounds: tuple[Any, ...]


class Source:
    """Reads a file, a pipe or an address in a thread of its own.

    A file or a pipe is read at the pace of its own clock; an address sends at its own pace. Frames wait in ``frames``;
    where that is full, the reading waits too, but for a sender that does not wait: then the oldest frame is dropped.

    Args:
        name: A file, a named pipe, ``-`` for standard input, or an address that FFmpeg reads (tcp, udp, rtmp, srt ...).
        counters: What is counted.
        queue: Frames that may wait.
        stall: Seconds without data after which the source counts as broken off.
        reconnect: Seconds for which an address that broke off is tried again.
        sound: Takes a packet of sound, the number of its stream among ``Opened.sounds``, and the seconds to add.

    Attributes:
        frames: The pictures.
        opened: What it is; None until the first picture.
        broke: Why it ended before its end; empty otherwise.
    """

    def __init__(
        self,
        name: str,
        *,
        counters: Counters,
        queue: int,
        stall: float,
        reconnect: float,
        sound: Callable[[Any, int, Fraction], None] | None = None,
    ) -> None:
        self.name, self.counters, self.stall, self.reconnect, self.sound = name, counters, stall, reconnect, sound
        scheme = name.partition("://")[0].lower() if "://" in name else ""
        self.address, self.waits, self.paced = bool(scheme), scheme not in CANNOT_WAIT, not scheme
        self.frames = FrameQueue(queue, counters)
        self.opened: Opened | None = None
        self.broke = ""
        self._error: BaseException | None = None
        self._timeline = Timeline(begins=_BEGINS)
        self._go, self._stop = threading.Event(), threading.Event()
        self._anchor: tuple[float, Fraction] | None = None
        self._read = self._last = time.monotonic()
        self._step = Fraction(1, 25)
        self._thread = threading.Thread(target=self._run, name="srlab-live-source", daemon=True)

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def go(self) -> None:
        """Lets it read on behind its first picture; its pace counts from here."""
        self._go.set()

    def stop(self) -> None:
        """Asks it to end; what was read already is still decoded."""
        self._stop.set()
        self._go.set()

    def close(self) -> None:
        """Ends it, and waits a moment for its thread, which may hang in a read that nothing ends."""
        self.stop()
        self._thread.join(1.0)

    def raise_error(self) -> None:
        """Raises what ended it, if that was an error that is not the source's breaking off."""
        if self._error is not None:
            raise self._error

    @property
    def alive(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                self.broke = ""
                before = self._read
                try:
                    self._read_through()
                except _Broken as broken:
                    self.broke = str(broken)
                if not self.broke or self._stop.is_set() or not self._may_try_again(since=max(before, self._read)):
                    return
                self.counters.add(reconnects=1)
        except BaseException as error:
            self._error = error
        finally:
            self.frames.end()

    def _may_try_again(self, *, since: float) -> bool:
        if not self.address or self.opened is None or time.monotonic() - since > self.stall + self.reconnect:
            return False
        return not self._stop.wait(min(0.5, self.reconnect))

    def _read_through(self) -> None:
        av = load_av()
        errors = (av.error.FFmpegError, OSError, ValueError, RuntimeError)
        try:
            container = self._open()
        except errors as error:
            if self.opened is None:
                raise VideoError(f"input={self.name} cannot be opened as a video ({reason(error)})") from error
            raise _Broken(f"it cannot be opened again ({reason(error)})") from error
        try:
            stream = main_stream(self.name, container)
            stream.thread_type = "SLICE"  # threads of whole frames would hold frames back
            stream.codec_context.flags |= av.codec.context.Flags.copy_opaque
            rate = stream.average_rate or stream.guessed_rate
            self._step = 1 / Fraction(rate) if rate and 0 < rate <= 1000 else Fraction(1, 25)
            sounds = tuple(container.streams.audio)
            number = {each.index: at for at, each in enumerate(sounds)}
            early = list[tuple[Any, int, Fraction]]()  # sound before the first picture
            for count, packet in enumerate(self._packets(container, [stream, *sounds], errors)):
                if packet.stream.index == stream.index:
                    self._decode(container, stream, packet, sounds)
                elif self.sound is not None and packet.dts is not None:
                    at = packet.stream.index
                    self._time(at, packet)
                    early.append((packet, number[at], self._timeline.shift(at)))
                if self.opened is not None and self.sound is not None:
                    for each in early:
                        self.sound(*each)
                    early.clear()
                if count > _FIRST and self.opened is None:
                    raise VideoError(f"input={self.name}: none of its first {_FIRST} packets gives a picture")
        except _Broken:
            self._decode(container, stream, None, sounds)
            raise
        finally:
            if not self._stop.is_set():
                container.close()
        if self.opened is None and not self._stop.is_set():
            raise VideoError(f"input={self.name} ended before its first picture")

    def _open(self) -> Any:
        av = load_av()
        options = {"analyzeduration": "1000000"}
        if self.address:
            return av.open(self.name, options=options, timeout=(max(self.stall, 1.0), self.stall))
        if self.name == "-":
            return av.open(_Pipe(0, self.stall, self._stop), options=options)
        file = Path(self.name)
        if not file.exists():
            raise VideoError(f"input={self.name}: no such file or pipe")
        if stat.S_ISFIFO(file.stat().st_mode):
            return av.open(_Pipe(os.open(file, os.O_RDONLY), self.stall, self._stop), options=options)
        return av.open(str(file), metadata_errors="replace")

    def _packets(self, container: Any, streams: list[Any], errors: tuple[type[Exception], ...]) -> Iterator[Any]:
        packets = container.demux(streams)
        while not self._stop.is_set():
            try:
                packet = next(packets)
            except StopIteration:
                return
            except errors as error:
                silent = time.monotonic() - self._last >= self.stall * 0.9
                raise _Broken(f"nothing came for {self.stall:g} s" if silent else reason(error)) from error
            self._last = time.monotonic()
            yield packet

    def _decode(self, container: Any, stream: Any, packet: Any, sounds: tuple[Any, ...]) -> None:
        """Puts the pictures of a packet into the queue, or those that the decoder still holds."""
        if packet is not None and packet.size:
            arrived, written = self._time(stream.index, packet)
            packet.opaque = (arrived, self._timeline.shift(stream.index), written)
        try:
            pictures = stream.codec_context.decode(None) if packet is None else packet.decode()
        except load_av().error.FFmpegError:
            self.counters.add(undecodable=1)
            return
        for picture in pictures:
            if picture.interlaced_frame:
                raise VideoError(
                    f"input={self.name}: pictures are interlaced, which live=true does not take: deinterlace them "
                    "before (FFmpeg's bwdif)"
                )
            arrived, shift, written = picture.opaque or (time.monotonic(), Fraction(0), self._timeline.last)
            at = written if picture.pts is None else picture.pts * Fraction(picture.time_base) + shift
            self.counters.add(frames_in=1)
            self._read = time.monotonic()
            if self.opened is None:
                self.opened = Opened(facts_of(Path(self.name), container, stream, [picture]), sounds)
                self._go.wait()
                self._anchor = (time.monotonic(), written)
                arrived = time.monotonic()
            self.frames.put(LiveFrame(picture, at, arrived), wait=self.waits, stopped=self._stop.is_set)

    def _time(self, stream: int, packet: Any) -> tuple[float, Fraction]:
        """When a packet came in, kept to its pace, and its time in what is written."""
        line = self._timeline
        base = Fraction(packet.time_base)
        if packet.dts is None and packet.pts is not None:  # Matroska tells no decoding time of its first packets
            line.begin(packet.pts * base)
            return time.monotonic(), packet.pts * base + line.shift(stream)
        moment = line.next_of(stream, self._step) if packet.dts is None else packet.dts * base
        elapsed = 0.0 if self.paced else time.monotonic() - self._read
        before = line.jumps
        step = (packet.duration or 0) * base or self._step
        written = line.at(stream, moment, step, elapsed=elapsed)
        self.counters.add(clock_jumps=line.jumps - before)
        if self.paced and self._anchor is not None:
            due = self._anchor[0] + float(written - self._anchor[1])
            self._stop.wait(max(0.0, due - time.monotonic()))
        return time.monotonic(), written


class _Broken(Exception):
    """The source broke off."""


class _Pipe:
    """A pipe as PyAV reads it, which ends when asked to and does not wait for ever.

    Args:
        descriptor: Of the pipe.
        stall: Seconds without data after which reading fails.
        stop: Ends it.
    """

    def __init__(self, descriptor: int, stall: float, stop: threading.Event) -> None:
        self.descriptor, self.stall, self.stop, self.begun = descriptor, stall, stop, False

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes; none at the end."""
        since = time.monotonic()
        while not self.stop.is_set():
            if select.select([self.descriptor], [], [], _POLL)[0]:
                self.begun = True
                return os.read(self.descriptor, count)
            if self.begun and time.monotonic() - since > self.stall:
                raise TimeoutError(f"nothing came for {self.stall:g} s")
        return b""
