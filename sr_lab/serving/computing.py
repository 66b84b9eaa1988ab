"""A request's way to the tiles: admitted before it is decoded, computed, or computed once more beside the queue."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sr_lab.images.files import Picture
from sr_lab.inference.tiles import TilePlan
from sr_lab.serving.admission import Admitted, Offer
from sr_lab.serving.asking import Ask
from sr_lab.serving.limits import Limits
from sr_lab.serving.measures import Measures
from sr_lab.serving.models import Served
from sr_lab.serving.pictures import Facts, facts_of_picture
from sr_lab.serving.problems import Problem
from sr_lab.serving.runner import OnTile, Restored, Runner
from sr_lab.serving.scheduler import Group, Work

FIXED_SECONDS, CODEC_SECONDS = 2e-3, 2e-8
"""Of a request beside its tiles, and of decoding and encoding a pixel, about: what was measured corrects it."""


class Memory:
    """Bytes of bodies and images that are held at once.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held, self._lock = most, 0, threading.Lock()

    @contextmanager
    def keep(self, count: int) -> Iterator[None]:
        """Holds so many bytes.

        Raises:
            Problem: If there is no room, and others hold some.
        """
        with self._lock:
            if self.held + count > self.most and self.held:
                raise Problem(
                    429, "the server holds as many images as its memory allows", kind="memory",
                    headers={"Retry-After": "2"},
                )  # fmt: skip
            self.held += count
        try:
            yield
        finally:
            with self._lock:
                self.held -= count


@dataclass(frozen=True)
class Place:
    """A request's place in the queue.

    Attributes:
        id: Of its work.
        tier: ``best`` or ``fast``.
        model: What will restore it.
        around: Seconds that it was thought to take beside its tiles, before what was measured corrects it.
        since: When it was taken, on the runner's clock.
    """

    id: str
    tier: str
    model: Served
    around: float
    since: float


class Computing:
    """Requests in front of the runner.

    Args:
        runner: What computes.
        limits: What a request may cost.
        measures: What is counted.
    """

    def __init__(self, runner: Runner, limits: Limits, measures: Measures) -> None:
        self.runner, self.limits, self.measures = runner, limits, measures
        self._factor = 1.0

    def deadline(self, ask: Ask) -> float:
        """Seconds in which a request is to be answered."""
        if ask.rank:
            return float("inf")
        return min(ask.deadline or self.limits.deadline, self.limits.longest_deadline)

    def admit(self, ask: Ask, facts: Facts, models: list[tuple[str, Served]]) -> Place:
        """Takes a place for the first of the tiers that meets the deadline, before anything is decoded.

        Raises:
            Problem: If none does; with 429 and the seconds after which one would, or with 422 where none ever does.
        """
        deadline, offers = self.deadline(ask), []
        for tier, model in models:
            plan = model.plan(facts.height, facts.width)
            group = self._group(model, plan, facts)
            work = Work(id=ask.id, group=group, num_tiles=len(plan.tiles), rank=ask.rank, deadline=ask.begin + deadline)
            around = _around(facts, model)
            offers.append((Offer(tier=tier, work=work, around=around * self._factor), model, plan))
        try:
            told = self.runner.offer(offers)
        except RuntimeError as error:
            raise Problem(503, str(error), kind="closing", headers={"Retry-After": "5"}) from None
        if isinstance(told, Admitted):
            model = next(model for tier, model in models if tier == told.offer.tier)
            return Place(told.offer.work.id, told.offer.tier, model, _around(facts, model), self.runner.clock())
        self.measures.shed.labels("time").inc()
        if told.retry_after is None:
            raise Problem(
                422, f"this image takes longer than the deadline of {deadline:g} s on an idle server: give a longer "
                f"one (at most {self.limits.longest_deadline:g} s), or a job (POST /v1/jobs)", kind="deadline",
            )  # fmt: skip
        raise Problem(
            429, f"it would be answered in {told.seconds:.1f} s, and is wanted in {deadline:g}: come again in "
            f"{told.retry_after} s", kind="busy", headers={"Retry-After": str(told.retry_after)},
            seconds=round(told.seconds, 3),
        )  # fmt: skip

    def took(self, place: Place, seconds: float) -> None:
        """Learns from what a request took beside its tiles: on a busy machine, or of files that are hard to decode."""
        self._factor += 0.1 * (min(max(seconds / place.around, 0.25), 4 * self._factor) - self._factor)

    def take_again(self, ask: Ask, facts: Facts, place: Place) -> None:
        """Few headers tell less than the truth: what was accepted keeps its place as what it is."""
        self.runner.cancel(place.id)
        self._insert(place.id, facts, place.model, ask.rank, ask.begin + self.deadline(ask))

    async def restore(self, place: Place, low: Picture, *, on_tile: OnTile | None = None) -> Restored:
        """The image of a request that has a place.

        Raises:
            ComputeError: If the model fails on it.
        """
        return await asyncio.wrap_future(self.runner.submit(place.id, low.pixels, alpha=low.alpha, on_tile=on_tile))

    async def again(self, ask: Ask, low: Picture, model: Served, id: str, *, rank: int | None = None) -> Restored:
        """The image by a further model, without asking whether there is time."""
        self._insert(id, facts_of_picture(low), model, ask.rank if rank is None else rank, float("inf"))
        try:
            return await asyncio.wrap_future(self.runner.submit(id, low.pixels, alpha=low.alpha))
        finally:
            self.runner.cancel(id)

    def leave(self, place: Place) -> None:
        """Drops what is not computed yet."""
        self.runner.cancel(place.id)

    def _insert(self, id: str, facts: Facts, model: Served, rank: int, deadline: float) -> None:
        plan = model.plan(facts.height, facts.width)
        group = self._group(model, plan, facts)
        work = Work(id=id, group=group, num_tiles=len(plan.tiles), rank=rank, deadline=deadline)
        self.runner.insert(work, model, plan)

    def _group(self, model: Served, plan: TilePlan, facts: Facts) -> Group:
        kind = (
            ("uint16" if facts.deep else "uint8")
            + (" alpha" if facts.alpha else "")
            + (" exact" if model.exact else "")
        )
        return self.runner.group(model, plan, facts.channels, kind)


def _around(facts: Facts, model: Served) -> float:
    """Seconds that a request takes beside its tiles, about."""
    return FIXED_SECONDS + facts.pixels * (1 + model.scale**2) * CODEC_SECONDS
