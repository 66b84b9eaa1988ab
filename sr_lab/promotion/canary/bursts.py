"""What is counted: not an image but a client's burst, because the images of one burst rise and fall together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Side = Literal["champion", "candidate"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One request that both models have answered, or tried to; no pixels.

    Attributes:
        number: Position in the stream, from 1.
        time: Seconds since the epoch, by the clock of the service.
        client: Pseudonym of the client: a keyed hash.
        stage: Stage of the rollout in which the request came.
        served: Whose image the client got.
        gains: What the candidate gained over the champion, by metric; positive is better. A metric that could not be
            measured is missing.
        picture: Name of the pictures that were kept of it; None without.
    """

    number: int
    time: float
    client: str
    stage: str
    served: Side
    gains: Mapping[str, float]
    picture: str | None = None


@dataclass(frozen=True, kw_only=True)
class Burst:
    """The pairs of one client without a long pause: one observation.

    Attributes:
        client: Pseudonym of the client.
        stage: Stage in which it began.
        num_pairs: Number of pairs that count.
        gains: Mean over them, by metric.
        last: Number of its last pair that counts.
    """

    client: str
    stage: str
    num_pairs: int
    gains: Mapping[str, float]
    last: int


@dataclass
class _Open:
    stage: str
    until: float
    num_pairs: int = 0
    last: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    told: bool = False


class Bursts:
    """Puts pairs together to bursts, in the order in which these end.

    A burst ends after a pause, or as soon as it has so many pairs that more would tell nothing new; what follows of it
    then does not count. Both depend on the past alone, so that the bets on the next burst stay fair. A clock that goes
    back is taken to stand still.

    Args:
        pause: Seconds without a request of the client after which its burst has ended.
        most_pairs: Pairs of a burst that count.
        most_bursts: Bursts of one client that count in a rollout, so that no client decides it alone.
    """

    def __init__(self, *, pause: float, most_pairs: int, most_bursts: int) -> None:
        self.pause, self.most_pairs, self.most_bursts = pause, most_pairs, most_bursts
        self.time = 0.0
        self.num_pairs = 0
        self._open: dict[str, _Open] = {}
        self._ended: dict[str, int] = {}

    def add(self, pair: Pair) -> Iterator[Burst]:
        """The bursts that have ended by the time of the pair, or with it."""
        yield from self.until(pair.time)
        self.num_pairs += 1
        burst = self._open.setdefault(pair.client, _Open(stage=pair.stage, until=0.0))
        burst.until = self.time + self.pause
        if burst.told or self._ended.get(pair.client, 0) >= self.most_bursts:
            return
        burst.num_pairs += 1
        burst.last = pair.number
        for key, gain in pair.gains.items():
            burst.sums[key] = burst.sums.get(key, 0.0) + gain
            burst.counts[key] = burst.counts.get(key, 0) + 1
        if burst.num_pairs >= self.most_pairs:
            burst.told = True
            yield self._told(pair.client, burst)

    def until(self, time: float) -> Iterator[Burst]:
        """The bursts that have ended by a time at which nothing else came."""
        self.time = max(self.time, time)
        over = sorted(
            (client for client, burst in self._open.items() if burst.until <= self.time),
            key=lambda client: (self._open[client].until, client),
        )
        for client in over:
            burst = self._open.pop(client)
            if burst.num_pairs and not burst.told:
                yield self._told(client, burst)

    def _told(self, client: str, burst: _Open) -> Burst:
        self._ended[client] = self._ended.get(client, 0) + 1
        means = {key: burst.sums[key] / burst.counts[key] for key in burst.sums}
        return Burst(client=client, stage=burst.stage, num_pairs=burst.num_pairs, gains=means, last=burst.last)
