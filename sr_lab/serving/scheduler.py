"""Which tiles are computed next, and when everything will be done: a queue without threads, clocks or images.

The unit of work is one tile; all tiles of a group (one model, one shape) cost the same and may share a batch. Requests
of a lower ``rank`` come first (0: somebody waits, 1: a job, 2: a shadow, on spare time). Within a rank the requests
take turns by deficit round-robin (Shreedhar and Varghese, 1996): in each round every request may spend ``quantum``
seconds, so that a picture of thousands of tiles cannot hold up a thumbnail; within a round the earliest deadline goes
first. What is not spent is lost with the round; what a batch took more is owed. Credit is counted in shares of a round
and not in seconds: costs are learnt while requests wait, and one that came with a whole share has it when they rise.
"""

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace

Group = Hashable
"""What tiles of one batch have in common: the model, the shape, the channels."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A request's tiles.

    Attributes:
        id: Of the request.
        group: What its tiles have in common with those of others.
        num_tiles: How many there are, at least 1.
        rank: 0 for a request that somebody waits for, 1 for a job, 2 for a shadow.
        deadline: When the last tile should be done, on the clock of the caller; infinity for whenever.
    """

    id: str
    group: Group
    num_tiles: int
    rank: int = 0
    deadline: float = math.inf

    def __post_init__(self) -> None:
        if self.num_tiles < 1:
            raise ValueError(f"num_tiles={self.num_tiles}: a request has at least one tile")


@dataclass(frozen=True)
class Batch:
    """Tiles that are computed together.

    Attributes:
        group: What they have in common.
        tiles: Request and number of each tile.
    """

    group: Group
    tiles: tuple[tuple[str, int], ...]


@dataclass
class _Entry:
    work: Work
    order: int
    credit: float = 1.0
    next: int = 0
    open: int = 0
    held: bool = False
    again: list[int] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """Its tiles that nobody has taken yet."""
        return self.work.num_tiles - self.next + len(self.again)


class TileQueue:
    """The tiles that wait, and those that are being computed.

    Args:
        batch_size: Most tiles of a batch.
        quantum: Seconds that a request may spend in a round; a tile that costs more is computed all the same.
    """

    def __init__(self, *, batch_size: int = 1, quantum: float = 0.0) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be at least 1")
        if quantum < 0:
            raise ValueError(f"quantum={quantum}: must be at least 0")
        self.batch_size, self.quantum = batch_size, quantum
        self.costs: dict[Group, float] = {}
        self._entries: dict[str, _Entry] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: object) -> bool:
        return id in self._entries

    def cost(self, group: Group) -> float:
        """Seconds of one tile of a group."""
        return self.costs.get(group, 0.0)

    def add(self, work: Work, *, held: bool = False) -> None:
        """Takes a request in; it has its share in the round that is under way.

        Args:
            work: The request.
            held: Whether it keeps its place, but none of its tiles is taken before ``release``: it is not decoded yet.

        Raises:
            ValueError: If there is one of that id.
        """
        if work.id in self._entries:
            raise ValueError(f"request {work.id} is in the queue already")
        self._entries[work.id] = _Entry(work, self._order, held=held)
        self._order += 1

    def release(self, id: str) -> None:
        """From now on the tiles of a request that was held may be taken."""
        if id in self._entries:
            self._entries[id].held = False

    def cancel(self, id: str) -> bool:
        """Takes a request out with its tiles; whether it was in. What is being computed of it is nobody's."""
        return self._entries.pop(id, None) is not None

    def take(self) -> Batch | None:
        """The next batch; None where no tile waits."""
        first = self._pick(self._entries.values())
        if first is None:
            return None
        group = first.work.group
        tiles = [self._draw(first)]
        while len(tiles) < self.batch_size:
            alike = [e for e in self._entries.values() if (e.work.group, e.work.rank) == (group, first.work.rank)]
            more = self._pick(alike, rounds=False)
            if more is None:
                break
            tiles.append(self._draw(more))
        return Batch(group, tuple(tiles))

    def done(self, batch: Batch) -> tuple[str, ...]:
        """Notes that a batch is computed; the requests that are complete by it, which leave the queue."""
        complete = []
        for id, _ in batch.tiles:
            entry = self._entries.get(id)
            if entry is None:
                continue
            entry.open -= 1
            if entry.open == 0 and entry.waiting == 0:
                complete.append(id)
                del self._entries[id]
        return tuple(complete)

    def give_back(self, batch: Batch) -> None:
        """Tiles that could not be computed wait again, before the others of their requests."""
        for id, number in batch.tiles:
            if (entry := self._entries.get(id)) is not None:
                entry.open -= 1
                entry.again.append(number)

    def backlog(self, *, rank: int | None = None) -> float:
        """Seconds of work that waits, of requests up to a rank; None: of all."""
        return sum(
            entry.waiting * self.cost(entry.work.group)
            for entry in self._entries.values()
            if rank is None or entry.work.rank <= rank
        )

    def finishes(self, new: Work | None = None, *, running: Batch | None = None, left: float = 0.0) -> dict[str, float]:
        """Seconds from now until each request is complete, with ``new`` among them, if no other comes.

        It is the queue itself that is run to its end, on a copy, so that it is exact where the costs are.

        Args:
            new: A request that is not in the queue yet.
            running: The batch that is being computed.
            left: Seconds until it is.
        """
        twin = self._twin()
        if new is not None:
            twin.add(new)
        now, ends = max(0.0, left), dict[str, float]()
        if running is not None:
            ends |= dict.fromkeys(twin.done(running), now)
        while (batch := twin.take()) is not None:
            now += len(batch.tiles) * self.cost(batch.group)
            ends |= dict.fromkeys(twin.done(batch), now)
        return ends

    def after(
        self, seconds: float, *, running: Batch | None = None, left: float = 0.0
    ) -> "tuple[TileQueue, Batch | None, float]":
        """The queue as it will be: what waits then, the batch that is being computed, and the seconds until it is."""
        twin, now, batch = self._twin(), max(0.0, left), running
        while now <= seconds:
            if batch is not None:
                twin.done(batch)
            batch = twin.take()
            if batch is None:
                return twin, None, 0.0
            now += len(batch.tiles) * self.cost(batch.group)
        return twin, batch, now - seconds

    @property
    def waiting(self) -> dict[str, tuple[Work, float]]:
        """Each request, with the seconds of its tiles that wait."""
        return {id: (entry.work, entry.waiting * self.cost(entry.work.group)) for id, entry in self._entries.items()}

    def _twin(self) -> "TileQueue":
        twin = TileQueue(batch_size=self.batch_size, quantum=self.quantum)
        twin.costs, twin._order = self.costs, self._order
        twin._entries = {id: replace(entry, again=list(entry.again), held=False) for id, entry in self._entries.items()}
        return twin

    def _pick(self, entries: Iterable[_Entry], *, rounds: bool = True) -> _Entry | None:
        """Whose turn it is. Without ``rounds`` also one that has spent its share, if nobody else could use the slot."""
        waiting = [entry for entry in entries if entry.waiting and not entry.held]
        if not waiting:
            return None
        rank = min(entry.work.rank for entry in waiting)
        waiting = [entry for entry in waiting if entry.work.rank == rank]
        ready = [entry for entry in waiting if entry.credit >= self._price(entry) - 1e-9]
        if not ready and rounds:
            self._new_rounds(rank)
            ready = [entry for entry in waiting if entry.credit >= self._price(entry) - 1e-9]
        return min(ready or waiting, key=_urgency)

    def _new_rounds(self, rank: int) -> None:
        """As many rounds as it takes until somebody of the rank can pay for a tile."""
        peers = [
            entry for entry in self._entries.values() if entry.waiting and not entry.held and entry.work.rank == rank
        ]
        needed = min(math.ceil(self._price(entry) - entry.credit - 1e-9) for entry in peers)
        for entry in peers:
            entry.credit = min(entry.credit + max(1, needed), 1.0)

    def _price(self, entry: _Entry) -> float:
        """Of a tile, in shares of a round."""
        cost = self.cost(entry.work.group)
        return cost / (max(self.quantum, cost) or 1.0)

    def _draw(self, entry: _Entry) -> tuple[str, int]:
        entry.credit -= self._price(entry)
        entry.open += 1
        if entry.again:
            return entry.work.id, entry.again.pop(0)
        entry.next += 1
        return entry.work.id, entry.next - 1


def _urgency(entry: _Entry) -> tuple[float, int]:
    return entry.work.deadline, entry.order
