"""Enlarging video as it comes in: from a file, a pipe or an address to another, in time rather than late."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from sr_lab.base.signals import Asked, deferred
from sr_lab.base.words import counted
from sr_lab.inference.batch import Wanted
from sr_lab.inference.clips import CausalRestorer, FramesRestorer
from sr_lab.inference.stream import Restorer, target_of
from sr_lab.inference.video import VideoError
from sr_lab.inference.video.encoding import CODECS, EncoderSettings
from sr_lab.inference.video.facts import VideoFacts
from sr_lab.inference.video.library import load_av
from sr_lab.inference.video.live.counters import Counters, telling
from sr_lab.inference.video.live.decisions import Level, Rules, expected, is_late, next_level
from sr_lab.inference.video.live.enlarging import LiveEnlarger
from sr_lab.inference.video.live.sink import CLOCK, Sink, format_of
from sr_lab.inference.video.live.source import LiveFrame, Opened, Source
from sr_lab.inference.video.plan import colours_of
from sr_lab.workflows.video import LiveSettings, RestoredLive, VideoSettings

_PRESET, _CRF = "veryfast", 20
_DRAIN_SECONDS = 10.0
_GRACE = 1.0
"""Seconds for which a source that was asked to end may still give frames."""


def restore_live(
    *,
    input: str,
    output: str,
    load: Sequence[Callable[[str], Restorer]],
    device: Callable[[], str],
    wanted: Wanted | None = None,
    settings: VideoSettings | None = None,
    live: LiveSettings | None = None,
) -> RestoredLive:
    """Enlarges a stream frame by frame until it ends, breaks off, or the process is asked to end.

    Each frame is enlarged classically first, which takes a few milliseconds; a model restores it where that leaves it
    in time. Where too many frames would be late, the next smaller model takes over, and the larger one is tried again
    later. Packets of sound are passed on as they are.

    Args:
        input: A file, a named pipe, ``-`` for standard input, or an address.
        output: A file that is not there yet, a named pipe, ``-`` for standard output, or an address.
        load: Loads the models, the first one first, each next one smaller.
        device: Tells where to compute.
        wanted: Size of the enlarged picture; None for the first model's own scale.
        settings: Codec, crf, preset, drop; the others are of files.
        live: When frames are late, and how much is waited for.

    Raises:
        VideoError: If the source is no video that is handled, or the output cannot be written any more.
        ValueError: If the settings mean nothing here.
        Stopped: After SIGTERM or Ctrl-C, when what had come in is written.
    """
    settings, live = settings or VideoSettings(), live or LiveSettings()
    rules = Rules(latency=live.latency, patience=live.patience)
    _check(input, output, settings)
    format = live.format or format_of(output)
    chosen = device()
    models = [each(chosen) for each in load]
    for each in models:
        if isinstance(each, FramesRestorer) and not isinstance(each, CausalRestorer):
            raise ValueError(
                "live=true knows no later frames: give a causal network for clips, or a restorer of images"
            )
    counters = Counters()
    with deferred() as asked, telling(counters, live.metrics):
        sinks = list[Sink]()

        def sound(packet: Any, stream: int, shift: Fraction) -> None:
            if sinks:
                sinks[0].sound(packet, stream, shift, lambda: asked.signum is not None)

        source = Source(
            input, counters=counters, queue=live.queue, stall=live.stall, reconnect=live.reconnect,
            sound=None if settings.drop else sound,
        )  # fmt: skip
        source.start()
        try:
            opened = _first(source, asked)
            cautions = list[str]()
            size, lost = (0, 0), False
            if opened is not None:
                run = _Run(opened, models, wanted, settings, chosen, counters, rules, cautions)
                sink = Sink(
                    output, format=format, encoder=run.encoder, counters=counters,
                    sounds=() if settings.drop else opened.sounds,
                )  # fmt: skip
                sink.start(lambda: asked.signum is not None)
                sinks.append(sink)
                run.warm_up()
                size = (run.encoder.width, run.encoder.height)
                lost = not _work(source, sink, run, asked)
        finally:
            source.close()
        if asked.signum is None:
            source.raise_error()
        counts = counters.counts
        if counts.resized:
            cautions.append(f"{counted(counts.resized, 'frame')} of another size had to be fitted into the first one's")
        result = RestoredLive(
            output, size, counts, counters.quantiles(), tuple(cautions), _problems(source, counts, lost)
        )
        asked.raise_if_asked(result.told)
    return result


def _check(input: str, output: str, settings: VideoSettings) -> None:
    for name in ("smoothing", "deinterlace"):
        if getattr(settings, name):
            raise ValueError(f"{name}=true is for files, and live=true is given: leave one out")
    if settings.codec not in (None, "h264", "h265"):
        raise ValueError(f"video.codec={settings.codec}: live=true writes h264 or h265, which encode without delay")
    there = "://" not in output and output != "-" and Path(output).is_file()
    if there:
        raise ValueError(f"output={output} is there already: give another output, or remove it")
    if input == output != "-":
        raise ValueError(f"output={output} is the input: give another output")


def _first(source: Source, asked: Asked) -> Opened | None:
    """What the source is; None where the process was asked to end before."""
    while source.opened is None and source.alive:
        if asked.signum is not None:
            source.stop()
            return None
        time.sleep(0.005)
    if asked.signum is None:
        source.raise_error()
    return source.opened


def _work(source: Source, sink: Sink, run: "_Run", asked: Asked) -> bool:
    """Enlarges frame after frame until there are no more; whether all of them were written."""
    source.go()
    ends: float | None = None

    def too_long() -> bool:
        return asked.signum is not None and ends is not None and time.monotonic() > ends

    while not source.frames.over:
        if asked.signum is not None and ends is None:
            source.stop()
            ends = time.monotonic() + _DRAIN_SECONDS
        frame = source.frames.get(0.1)
        if frame is None:
            sink.raise_error()
            if ends is not None and time.monotonic() > ends - _DRAIN_SECONDS + _GRACE:
                break  # the source hangs in a read that nothing ends
            continue
        if not sink.picture(run.enlarge(frame), frame.time, frame.arrived, too_long):
            return False
    drained = time.monotonic() + _DRAIN_SECONDS
    return sink.finish(lambda: asked.signum is not None and time.monotonic() > drained)


class _Run:
    """What is done to one frame after the other."""

    def __init__(
        self,
        opened: Opened,
        models: Sequence[Restorer],
        wanted: Wanted | None,
        settings: VideoSettings,
        device: str,
        counters: Counters,
        rules: Rules,
        cautions: list[str],
    ) -> None:
        facts = opened.facts
        wanted = wanted or Wanted(scale=models[0].scale)
        target = target_of(facts.height, facts.width, scale=wanted.scale, size=(wanted.height, wanted.width))
        self.facts, self.counters, self.rules = facts, counters, rules
        self.enlarger = LiveEnlarger(models, facts=facts, target=target, device=device)
        self.encoder = _encoder(facts, target[0], settings, cautions)
        self.costs: list[float | None] = [None] * len(self.enlarger.models)
        self.level = Level.first(time.monotonic(), rules)

    def warm_up(self) -> None:
        """Lets each model see a picture of the size that comes, before time counts."""
        frame = load_av().VideoFrame(self.facts.width, self.facts.height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for index in range(len(self.costs)):
            for _ in range(2):  # the first call compiles
                began = time.monotonic()
                self.enlarger.by_model(index, frame, self.enlarger.classical(frame))
            self.costs[index] = time.monotonic() - began
        self.enlarger.begin()
        self.level = Level.first(time.monotonic(), self.rules)

    def enlarge(self, frame: LiveFrame) -> Any:
        """The picture to write, by the model in force where that leaves it in time."""
        counters, enlarger = self.counters, self.enlarger
        if (frame.picture.width, frame.picture.height) != (self.facts.width, self.facts.height):
            counters.add(resized=1)
        picture = enlarger.usual(frame.picture)
        made = enlarger.classical(picture)
        index, lowest, now = self.level.index, len(self.costs), time.monotonic()
        cost = self.costs[index] if index < lowest else 0.0
        late = is_late(now - frame.arrived, cost or 0.0, self.rules)
        if index < lowest and not late:
            made = enlarger.by_model(index, picture, made)
            self.costs[index] = expected(cost, time.monotonic() - now)
        if lowest:
            counters.add(late=int(late and index < lowest), degraded=int(index == lowest or (index > 0 and not late)))
            self.level = next_level(self.level, late=late, now=now, lowest=lowest, rules=self.rules)
        counters.level = self.level.index
        colours = self.encoder.colours
        made.colorspace, made.color_range = colours.matrix, colours.range
        made.color_primaries, made.color_trc = colours.primaries, colours.curve
        made.pict_type = 0
        return made


def _encoder(facts: VideoFacts, size: tuple[int, int], settings: VideoSettings, cautions: list[str]) -> EncoderSettings:
    if facts.hdr:
        raise VideoError(
            f"the source has high dynamic range ({facts.hdr}), for which no restorer here was trained or measured: "
            "convert it to SDR first"
        )
    if facts.pix_fmt not in ("yuv420p", "yuvj420p"):
        cautions.append(f"{facts.pix_fmt} becomes yuv420p, of 8 bits, as live=true writes it")
    if facts.layout.full and facts.layout.kind == "yuv":
        cautions.append("full range becomes limited range, as live=true writes it")
    if facts.matrix is not None:
        cautions.append("players turn the source; the output tells them nothing of that")
    left = [each.title for each in facts.tracks if each.kind != "audio"]
    if left:
        cautions.append(f"{', '.join(left)}: left out, as live=true keeps picture and sound")
    if settings.drop and any(each.kind == "audio" for each in facts.tracks):
        cautions.append("the sound is left out (video.drop=true)")
    colours = colours_of(facts, size, cautions)
    height, width = (side + side % 2 for side in size)
    if (height, width) != size:
        raise VideoError(
            f"the enlarged picture would be {size[1]}x{size[0]}, and 4:2:0 holds no odd sides: give width={width} "
            f"height={height}"
        )
    codec = settings.codec or "h264"
    return EncoderSettings(
        codec=codec,
        width=width,
        height=height,
        pix_fmt="yuv420p",
        time_base=CLOCK,
        rate=facts.rate or Fraction(25),
        aspect=facts.aspect,
        colours=dataclasses.replace(colours, range=1),
        crf=_CRF if settings.crf is None else settings.crf,
        preset=settings.preset or (_PRESET if CODECS[codec].preset else None),
    )


def _problems(source: Source, counts: Any, lost: bool) -> tuple[str, ...]:
    """What was not as it should be, in sentences; a frame that was late or degraded is none."""
    said = list[str]()
    if source.broke:
        said.append(f"input={source.name} broke off: {source.broke}; what had come in is written")
    if lost:
        missing = counts.frames_in - counts.dropped - counts.frames_out
        said.append(f"{counted(missing, 'frame')} could not be written within {_DRAIN_SECONDS:g} s")
    return tuple(said)
