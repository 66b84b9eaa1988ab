"""Whether a request is taken: decided from its size, before anything of it is decoded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sr_lab.serving.scheduler import Batch, TileQueue, Work


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A way of answering a request.

    Attributes:
        tier: Its name: ``best`` or ``fast``.
        work: Its tiles.
        around: Seconds that it takes beside the tiles: decoding and encoding.
    """

    tier: str
    work: Work
    around: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A request that will be answered in time.

    Attributes:
        offer: The first of the offers that meets the deadline.
        seconds: Until it is answered, if no other request comes; at most.
    """

    offer: Offer
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A request that would be late, or would make others late.

    Attributes:
        seconds: Until it would have been answered.
        retry_after: Whole seconds after which the same request would be taken, if no other comes; None: never, as it
            takes longer than its deadline allows on an idle server too.
    """

    seconds: float
    retry_after: int | None


def admit(
    queue: TileQueue,
    offers: Sequence[Offer],
    *,
    now: float,
    running: Batch | None = None,
    left: float = 0.0,
    headroom: float = 1.0,
) -> Admitted | Refused:
    """The first offer that meets its deadline and makes no accepted request miss its own.

    Args:
        queue: What is accepted already.
        offers: Ways to answer, the preferred one first; at least one.
        now: On the clock of the deadlines.
        running: The batch that is being computed.
        left: Seconds until it is.
        headroom: Factor on every estimate, as measured costs vary.
    """
    soonest, seconds = math.inf, math.inf
    for offer in offers:
        fit = _Fit(queue, offer, now, running, left, headroom)
        if fit.lateness <= 0:
            return Admitted(offer=offer, seconds=fit.seconds)
        seconds = min(seconds, fit.seconds)
        if fit.alone * headroom <= offer.work.deadline - now:
            soonest = min(soonest, _wait(fit))
    return Refused(seconds=seconds, retry_after=int(soonest) if soonest < math.inf else None)


class _Fit:
    """How an offer fits in.

    Attributes:
        alone: Seconds that it takes on an idle server.
        seconds: Until it would be answered.
        lateness: Seconds that the worst of the requests would be late by it; not above 0 if none is.
    """

    def __init__(
        self, queue: TileQueue, offer: Offer, now: float, running: Batch | None, left: float, headroom: float
    ) -> None:
        self.queue, self.offer, self.now = queue, offer, now
        self.running, self.left, self.headroom = running, left, headroom
        own = offer.work.num_tiles * queue.cost(offer.work.group)
        self.alone = own + offer.around
        self.seconds = left + queue.backlog(rank=offer.work.rank) + self.alone
        peers = [pair for pair in queue.waiting.values() if pair[0].rank == offer.work.rank]
        self.lateness = self.seconds * headroom - (
            min([offer.work.deadline, *(work.deadline for work, _ in peers)]) - now
        )
        if self.lateness <= 0:
            return
        # Even in the order of the deadlines, which is the best order, somebody would be late.
        self.lateness = self._lateness_by_deadline(peers, own)
        if self.lateness <= 0:
            self._simulate()

    def _lateness_by_deadline(self, peers: list[tuple[Work, float]], own: float) -> float:
        new = self.offer.work
        spent = self.left + (self.queue.backlog(rank=new.rank - 1) if new.rank else 0.0)
        worst, before = -math.inf, True
        for work, seconds in sorted([*peers, (new, own)], key=lambda pair: pair[0].deadline):
            without = spent - (0.0 if before else own) + seconds
            spent += seconds
            before = before and work is not new
            around = self.offer.around if work is new else 0.0
            if work is new or without * self.headroom <= work.deadline - self.now:
                worst = max(worst, (spent + around) * self.headroom - (work.deadline - self.now))
        return worst

    def _simulate(self) -> None:
        new = self.offer.work
        found = self.queue.finishes(new, running=self.running, left=self.left)
        before = self.queue.finishes(running=self.running, left=self.left)
        self.seconds = found[new.id] = found[new.id] + self.offer.around
        allowed = {id: work.deadline - self.now for id, (work, _) in self.queue.waiting.items()}
        allowed[new.id] = new.deadline - self.now
        # One that is late anyway, as the costs were taken for lower, is no reason to refuse whoever comes.
        late = [
            end * self.headroom - allowed[id]
            for id, end in found.items()
            if id == new.id or before[id] * self.headroom <= allowed[id]
        ]
        self.lateness = max(late)


def _wait(fit: _Fit) -> float:
    """Whole seconds after which the same request would be taken; found by running the queue on."""
    all_done = max(1, math.ceil(fit.left + fit.queue.backlog()))
    wait = max(1, math.ceil(fit.lateness))
    while wait < all_done:
        later, running, left = fit.queue.after(wait, running=fit.running, left=fit.left)
        deadline = fit.offer.work.deadline + wait
        offer = replace(fit.offer, work=replace(fit.offer.work, deadline=deadline))
        if _Fit(later, offer, fit.now + wait, running, left, fit.headroom).lateness <= 0:
            return wait
        wait *= 2
    return min(wait, all_done)
