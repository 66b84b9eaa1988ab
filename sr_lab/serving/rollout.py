"""The service's half of a rollout: which model a client gets, which requests both answer, and what a pair shows.

    rollouts = Rollouts(store, lambda: current(uri, "photos"), keep_pictures=20)
    route = rollouts.route(client="key or address", request=request_id, spare=queue.idle)
    ...                                           # route.version answers the client; route.other, if any, afterwards
    rollouts.observe(route, low=low, champion=Answer(image=image, seconds=0.2), candidate=Answer())  # it failed

The service's watcher calls ``refresh`` as often as it looks at the registry. Nothing here ever fails a request: a pair
that cannot be measured or written is counted and logged, and where the registry does not answer, the last plan stays.
"""

import hashlib
import hmac
import logging
import threading
import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sr_lab.base.files import write_bytes
from sr_lab.monitoring.proxies import SIDE, badness, proxy_gains
from sr_lab.tracking.registry.rollouts import Rollout
from sr_lab.workflows.pairs import PairStore

__all__ = ["SIZES", "Answer", "Rollouts", "Route"]

_log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Side = Literal["champion", "candidate"]

SIZES = {"small": 0.1, "medium": 1.0, "large": float("inf")}
"""Classes of megapixels of the input, by which times are compared, each up to its bound."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one model made of a request.

    Attributes:
        image: (H, W, C) of uint8 or uint16; None where it failed.
        seconds: Time that it took, of computing alone; None where it was not measured alike for both.
    """

    image: Pixels | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """Who answers a request.

    Attributes:
        rollout: The rollout under which it was routed; None without one, then the champion answers.
        serve: Whose image the client gets.
        version: Its version; None without a rollout.
        other: Version that answers too, after the client was served and on spare time; None for none.
        client: Pseudonym of the client.
        request: The request.
    """

    rollout: Rollout | None
    serve: Side
    version: int | None
    other: int | None
    client: str
    request: str

    @property
    def fallback(self) -> int | None:
        """Version that answers the client where the candidate fails: the champion of before; None if that failed."""
        return self.rollout.base if self.rollout is not None and self.serve == "candidate" else None


class Rollouts:
    """Routes requests and writes down pairs, of one registered model. Safe to be called by several threads.

    Args:
        store: Where pairs go.
        plan: Reads the latest rollout from the registry; see ``tracking.registry.rollouts.current``.
        keep_pictures: Number of the worst pairs of which small pictures are kept beside the pairs; 0 keeps none.
        time: The clock.
    """

    def __init__(
        self,
        store: PairStore,
        plan: Callable[[], Rollout | None],
        *,
        keep_pictures: int = 0,
        time: Callable[[], float] = clock.time,
    ) -> None:
        self._store, self._plan, self._time = store, plan, time
        self._keep_pictures = keep_pictures
        self._kept: list[tuple[float, str]] = []
        self._lock = threading.Lock()
        self.rollout: Rollout | None = None
        self.num_failures = 0

    def refresh(self) -> Rollout | None:
        """Takes over the latest plan; the old one stays where the registry does not answer."""
        try:
            found = self._plan()
        except Exception as error:
            _log.warning("the registry does not tell the rollout, the last one stays: %s", error)
            return self.rollout
        with self._lock:
            if self.rollout is None or found is None or self.rollout.id != found.id:
                self._kept.clear()
            self.rollout = None if found is None or found.over else found
        return self.rollout

    def route(self, *, client: str, request: str, spare: bool = True) -> Route:
        """Who answers a request.

        A client stays on its side for a whole rollout, and comes to the candidate's by a larger share only. Which
        requests both answer is drawn from the request's name, never from the image or an answer.

        Args:
            client: What the client is known by; only a keyed hash of it is written down.
            request: Names the request.
            spare: Whether there is time for a second answer.
        """
        rollout = self.rollout
        if rollout is None:
            return Route(rollout=None, serve="champion", version=None, other=None, client="", request=request)
        pseudonym = hmac.new(rollout.id.encode(), client.encode(), hashlib.sha256).hexdigest()
        serve: Side = "candidate" if _part(pseudonym) < rollout.share else "champion"
        version, other = (rollout.base, rollout.candidate)
        if serve == "candidate":
            version, other = other, version
        drawn = _part(hashlib.sha256(f"{rollout.id}:{request}".encode()).hexdigest()) < rollout.sample
        return Route(
            rollout=rollout, serve=serve, version=version, other=other if spare and drawn else None,
            client=pseudonym[:16], request=request,
        )  # fmt: skip

    def observe(
        self, route: Route, *, low: Pixels, champion: Answer | None, candidate: Answer | None
    ) -> dict[str, float]:
        """Writes down what a request shows, after it was answered.

        Call it for each request that both answered or tried to, and for each that the candidate answered alone (with
        ``champion=None``): so its successes count as its failures do. Others show nothing.

        Args:
            route: Of the request.
            low: (h, w, C), the input.
            champion: The answer of the version that was champion before; None where it was not asked.
            candidate: The answer of the candidate; None where it was not asked.

        Returns:
            The gains; empty where nothing was written.
        """
        if route.rollout is None or candidate is None:
            return {}
        try:
            gains = _gains(low, champion, candidate, place=_part(hashlib.sha256(route.request.encode()).hexdigest()))
            picture = self._picture(route, gains, low, champion, candidate)
            self._store.append(
                route.rollout.id, time=self._time(), client=route.client, stage=route.rollout.stage, served=route.serve,
                gains=gains, picture=picture,
            )  # fmt: skip
        except Exception:
            self.num_failures += 1
            _log.exception("a pair was not written down (%d so far)", self.num_failures)
            return {}
        return gains

    def _picture(
        self, route: Route, gains: dict[str, float], low: Pixels, champion: Answer | None, candidate: Answer
    ) -> str | None:
        """Keeps small pictures of the pair if it is among the worst, and forgets those of a better one."""
        if not self._keep_pictures or champion is None or champion.image is None or candidate.image is None:
            return None
        assert route.rollout is not None
        bad = badness(gains, route.rollout.margins)
        with self._lock:
            full = len(self._kept) >= self._keep_pictures
            if bad <= 0 or (full and bad <= self._kept[0][0]):
                return None
            name = hashlib.sha256(f"{route.rollout.id}:{route.request}".encode()).hexdigest()[:20]
            self._kept = sorted([*self._kept, (bad, name)])
            dropped = self._kept.pop(0)[1] if full else None
        place = _part(hashlib.sha256(route.request.encode()).hexdigest())
        for kind, image, scale in _squares(low, champion.image, candidate.image, place=place):
            write_bytes(self._store.pictures / f"{name}-{kind}.png", _png(image, scale))
        if dropped is not None:
            for kind in ("low", "champion", "candidate"):
                (self._store.pictures / f"{dropped}-{kind}.png").unlink(missing_ok=True)
        return name


def _gains(low: Pixels, champion: Answer | None, candidate: Answer, *, place: float) -> dict[str, float]:
    failed = [answer is not None and answer.image is None for answer in (champion, candidate)]
    gains = {"errors": float(failed[0]) - float(failed[1])}
    if champion is None or champion.image is None or candidate.image is None:
        return gains
    if champion.image.shape != candidate.image.shape or champion.image.dtype != candidate.image.dtype:
        return {"errors": -1.0}
    gains |= proxy_gains(low, champion.image, candidate.image, place=place)
    if champion.seconds and candidate.seconds:
        megapixels = low.shape[0] * low.shape[1] / 1e6
        size = next(name for name, most in SIZES.items() if megapixels < most)
        gains[f"latency_{size}"] = float(np.log(champion.seconds / candidate.seconds))
    return gains


def _squares(low: Pixels, champion: Pixels, candidate: Pixels, *, place: float) -> list[tuple[str, Pixels, int]]:
    """The squares that were compared, and how often the input's pixels are repeated to be as large."""
    scale = champion.shape[0] // low.shape[0]
    top, left = (int(place * max(0, length - SIDE)) for length in low.shape[:2])
    inner = [
        image[top * by : (top + SIDE) * by, left * by : (left + SIDE) * by]
        for image, by in ((low, 1), (champion, scale), (candidate, scale))
    ]
    return list(zip(("low", "champion", "candidate"), inner, (scale, 1, 1), strict=True))


def _png(image: Pixels, repeat: int) -> bytes:
    import cv2

    levels = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    large = levels.repeat(repeat, axis=0).repeat(repeat, axis=1)
    done, content = cv2.imencode(".png", np.ascontiguousarray(large[..., ::-1] if large.shape[-1] == 3 else large))
    assert done
    return bytes(content)


def _part(digest: str) -> float:
    """A number in [0, 1) from a hash."""
    return int(digest[:13], 16) / 16**13
