"""What live video decides, as functions of numbers: is a frame late, which model is next, which time is written."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction


@dataclass(frozen=True)
class Rules:
    """When frames are late, and when another model takes over.

    Attributes:
        latency: Seconds that a frame may take from packet in to packet out.
        window: Seconds over which the share of late frames is averaged; no model is left before this time.
        most_late: Share of late frames above which the next smaller model takes over, in (0, 1).
        patience: Seconds without a late frame after which the next larger model is tried again; doubled each time the
            larger one had to be left before it had worked as long.
        longest: Seconds that ``patience`` may grow to.
    """

    latency: float = 0.25
    window: float = 2.0
    most_late: float = 0.1
    patience: float = 10.0
    longest: float = 300.0

    def __post_init__(self) -> None:
        """Refuses what could not decide anything."""
        for name in ("latency", "window", "patience"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}: give seconds above 0")
        if not 0 < self.most_late < 1:
            raise ValueError(f"most_late={self.most_late}: give a share between 0 and 1")


def is_late(age: float, cost: float, rules: Rules) -> bool:
    """Whether a frame would come out too late if a model restored it.

    Args:
        age: Seconds since its packet came in.
        cost: Seconds that the model is expected to take, and all that follows it.
        rules: See there.

    Example:
        >>> is_late(0.1, 0.05, Rules(latency=0.25)), is_late(0.21, 0.05, Rules(latency=0.25))
        (False, True)
    """
    return age + cost > rules.latency


def expected(cost: float | None, measured: float, share: float = 0.2) -> float:
    """What a model is expected to take, after it took ``measured`` seconds: an average that forgets.

    Args:
        cost: What was expected before; None at the first.
        measured: Seconds.
        share: Weight of what was measured.
    """
    return measured if cost is None else cost + share * (measured - cost)


@dataclass(frozen=True)
class Level:
    """Which model is in force, and what led to it.

    Attributes:
        index: 0 is the first model; each next one is smaller, the last is none: the classical enlargement alone.
        share: Share of late frames, averaged over ``Rules.window``.
        seen: When the last frame was decided on, in seconds of any clock.
        since: When this level began.
        late: When a frame was late last.
        patience: Seconds without a late frame after which a larger model is tried.
    """

    index: int
    share: float
    seen: float
    since: float
    late: float
    patience: float

    @classmethod
    def first(cls, now: float, rules: Rules) -> "Level":
        """The largest model, at the beginning."""
        return cls(index=0, share=0.0, seen=now, since=now, late=now, patience=rules.patience)


def next_level(level: Level, *, late: bool, now: float, lowest: int, rules: Rules) -> Level:
    """The level after a frame: down where too many are late, up after long enough without any.

    Two things keep it from swinging: a level is left downwards only after ``rules.window``, and where the larger model
    fails soon after it was taken, the next try waits twice as long.

    Args:
        level: Before the frame.
        late: Whether the frame was.
        now: Seconds of the same clock.
        lowest: The largest index: how many models there are.
        rules: See there.
    """
    share = level.share + (late - level.share) * min(1.0, max(0.0, now - level.seen) / rules.window)
    level = replace(level, share=share, seen=now, late=now if late else level.late)
    if share > rules.most_late and level.index < lowest and now - level.since >= rules.window:
        failed = level.patience if now - level.since < level.patience else rules.patience / 2
        patience = min(2 * failed, rules.longest)
        return replace(level, index=level.index + 1, share=0.0, since=now, late=now, patience=patience)
    if level.index > 0 and now - max(level.since, level.late) >= level.patience:
        return replace(level, index=level.index - 1, share=0.0, since=now)
    return level


@dataclass(frozen=True)
class _Era:
    """A stretch in which the source's clock ran on: its beginning there, and what is added to it."""

    begins: Fraction
    offset: Fraction


class Timeline:
    """The times that are written: those of the source, which begin anew and never go back or leap.

    Where a stream's clock goes back, stands still or leaps by more than ``leap`` seconds, its time goes on from the
    last one; the other streams follow by the same shift when they get there, so that sound and picture stay together.

    Args:
        leap: Seconds.
        begins: The first time that is written: sound may begin a little before the picture.

    Attributes:
        jumps: How often the source's clock jumped.
        last: The latest time that was given, in seconds.

    Example:
        >>> line = Timeline()
        >>> [str(line.at(0, Fraction(second), Fraction(1))) for second in (100, 101, 7, 8, 9)]
        ['0', '1', '2', '3', '4']
    """

    def __init__(self, leap: float = 5.0, begins: Fraction = Fraction(0)) -> None:
        self.leap, self.begins, self.jumps = Fraction(leap), begins, 0
        self._eras = list[_Era]()
        self._streams = dict[int, tuple[int, Fraction]]()
        self.last = begins

    def at(self, stream: int, time: Fraction, step: Fraction, *, elapsed: Fraction | float = 0) -> Fraction:
        """The time to write.

        Args:
            stream: The number of the stream that it is of.
            time: Decoding time in seconds of the source.
            step: Seconds from one packet to the next, where nothing is known.
            elapsed: Seconds that have passed here since the packet before: as much is left out at a jump.
        """
        self.begin(time)
        newest = len(self._eras) - 1
        era, last = self._streams.get(stream, (newest, None))
        jumped = abs(time - self._eras[era].begins) > self.leap if last is None else not 0 < time - last <= self.leap
        if jumped:
            if era < newest and abs(time - self._eras[newest].begins) <= self.leap:
                era = newest
            else:
                begins = self.last + max(step, Fraction(elapsed).limit_denominator(90_000))
                self._eras.append(_Era(time, begins - time))
                self.jumps, era = self.jumps + 1, newest + 1
        self._streams[stream] = (era, time)
        written = time + self._eras[era].offset
        self.last = max(self.last, written)
        return written

    def begin(self, time: Fraction) -> None:
        """Takes a time of the source for the first one, if none was given yet."""
        if not self._eras:
            self._eras.append(_Era(time, self.begins - time))

    def next_of(self, stream: int, step: Fraction) -> Fraction:
        """The source's time of a packet that tells none: a step behind the last one of its stream."""
        return self._streams[stream][1] + step if stream in self._streams else Fraction(0)

    def shift(self, stream: int) -> Fraction:
        """What is added to the source's times of this stream, in force for the packet that was asked for last."""
        return self._eras[self._streams[stream][0] if stream in self._streams else -1].offset
