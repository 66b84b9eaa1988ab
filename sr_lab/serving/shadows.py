"""The candidate beside the champion: who answers, who restores the image too, and the pair of what both made.

A failure in here is nobody's: the champion answers, and the log says why.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sr_lab.images.files import Picture
from sr_lab.serving.asking import Ask
from sr_lab.serving.computing import Computing
from sr_lab.serving.hooks import Choice, Pair, Traffic
from sr_lab.serving.models import Pixels, Served
from sr_lab.serving.runner import Restored
from sr_lab.serving.shelf import Shelf

log = logging.getLogger(__name__)
MOST = 4
"""Shadows at a time: a pair that is not taken costs nobody anything."""


class Shadows:
    """Follows a rollout for the first model of a shelf.

    Args:
        shelf: The models, and the candidate.
        traffic: What decides, and is shown the pairs; None: there is no rollout.
        computing: What restores the other one's image.
    """

    def __init__(self, shelf: Shelf, traffic: Traffic | None, computing: Computing) -> None:
        self.shelf, self.traffic, self.computing = shelf, traffic, computing
        self.main = shelf.names[0]
        self._tasks: set[asyncio.Task[None]] = set()
        self._pairs = ThreadPoolExecutor(1, thread_name_prefix="pairs")
        if traffic is not None:
            shelf.candidates = lambda: {self.main: traffic.candidate}

    def close(self) -> None:
        """Ends without waiting for pairs."""
        self._pairs.shutdown(wait=False, cancel_futures=True)

    def choose(self, ask: Ask, models: list[tuple[str, Served]]) -> tuple[Choice, Served | None]:
        """Champion or candidate, and the candidate; None where it has no part in this request."""
        candidate = self.shelf.candidate(self.main)
        if self.traffic is None or candidate is None or ask.rank or ask.consistency or models[0][1].name != self.main:
            return Choice(), None
        if models[0][0] != "best" or candidate.scale != models[0][1].scale:
            return Choice(), None
        try:
            return self.traffic.choose(ask.id, ask.client), candidate
        except Exception:
            log.exception("the router failed: the champion answers")
            return Choice(), None

    async def instead(self, ask: Ask, low: Picture, choice: Choice) -> tuple[Served, Restored]:
        """The champion's image, where the candidate failed; which the pair says."""
        model = self.shelf.get(self.main)
        restored = await self.computing.again(ask, low, model, f"{ask.id}.champion")
        self._show(ask, low, choice, None, restored, scale=model.scale)
        return model, restored

    def follow(self, ask: Ask, low: Picture, restored: Restored, model: Served, choice: Choice) -> None:
        """What comes of an answer: the other one's image, when nobody waits, and the pair; or the answer alone."""
        if not choice.shadow:
            if choice.answers == "candidate":
                self._show(ask, low, choice, restored, None, scale=model.scale, both=False)
            return
        champion, candidate = self.shelf.get(self.main), self.shelf.candidate(self.main)
        other = champion if choice.answers == "candidate" else candidate
        busy = len(self._tasks) >= MOST or self.computing.runner.seconds() > 1.0
        if other is None or other is model or busy:
            return

        async def work() -> None:
            try:
                second = await self.computing.again(ask, low, other, f"{ask.id}.shadow", rank=2)
            except Exception:
                log.warning("the shadow of request %s failed", ask.id)
                second = None
            self._show(ask, low, choice, restored, second, scale=model.scale)

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _show(
        self,
        ask: Ask,
        low: Picture,
        choice: Choice,
        first: Restored | None,
        second: Restored | None,
        *,
        scale: int,
        both: bool = True,
    ) -> None:
        """Has the traffic take in a pair, in a thread of its own."""
        traffic = self.traffic
        assert traffic is not None
        champion, candidate = (first, second) if choice.answers == "champion" else (second, first)
        pair = Pair(
            request_id=ask.id, key=ask.client, low=low.colours, scale=scale, answered=choice.answers,
            token=choice.token, both=both,
            champion=None if champion is None else colours(champion.image, low),
            candidate=None if candidate is None else colours(candidate.image, low),
            seconds=(champion.seconds if champion else 0.0, candidate.seconds if candidate else 0.0),
        )  # fmt: skip

        def observe() -> None:
            try:
                traffic.observe(pair)
            except Exception:
                log.exception("a pair was not taken in")

        self._pairs.submit(observe)


def colours(image: Pixels, low: Picture) -> Pixels:
    """A restored image without its transparency."""
    return np.ascontiguousarray(image[:, :, :-1]) if low.alpha else image
