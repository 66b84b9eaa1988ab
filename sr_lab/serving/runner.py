"""Computes the tiles of the queue, in one thread for one accelerator, and puts each request's image together."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.base.threads import one_thread
from sr_lab.images import to_levels
from sr_lab.inference.tiles import TilePlan
from sr_lab.serving.admission import Admitted, Offer, Refused, admit
from sr_lab.serving.scheduler import Batch, Group, TileQueue, Work

log = logging.getLogger(__name__)
Pixels = npt.NDArray[Any]


class Engine(Protocol):
    """What computes windows of one shape."""

    @property
    def label(self) -> str:
        """Its name and version."""

    @property
    def scale(self) -> int:
        """Enlargement factor."""

    def compute(self, windows: Sequence[Pixels], *, alpha: bool = False) -> Tensor:
        """(h, w, C) each, to (B, C, h * scale, w * scale) in [0, 1]; with ``alpha`` the last is transparency."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A request that was computed.

    Attributes:
        image: (H * scale, W * scale, C), of the type of the low image.
        seconds: Computing time of its own tiles.
    """

    image: Pixels
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A batch that was computed.

    Attributes:
        engine: What computed it.
        requests: The request of each tile.
        rank: 0: somebody waited, 1: of jobs, 2: what nobody asked for.
        begin: When, on the runner's clock.
        seconds: How long it took.
    """

    engine: Engine
    requests: tuple[str, ...]
    rank: int
    begin: float
    seconds: float


OnTile = Callable[[tuple[slice, slice], Pixels], object]
"""Told where in the restored image a tile lies that is computed now, and that image."""


class ComputeError(RuntimeError):
    """The model failed on a tile of the request, alone and twice."""


@dataclass
class _Open:
    engine: Engine
    plan: TilePlan
    rank: int = 0
    low: Pixels | None = None
    image: Pixels | None = None
    alpha: bool = False
    on_tile: OnTile | None = None
    seconds: float = 0.0
    future: "Future[Restored]" = field(default_factory=Future)


class Runner:
    """One thread that computes batch after batch.

    Args:
        batch_size: Most tiles of a batch: 1 on a CPU, where more gain nothing and let others wait.
        quantum: Seconds that a request may spend before the next has its turn.
        headroom: Factor on every estimate.
        clock: Monotonic seconds.
        on_batch: Told each batch.
    """

    def __init__(
        self,
        *,
        batch_size: int = 1,
        quantum: float = 0.0,
        headroom: float = 1.25,
        clock: Callable[[], float] = time.monotonic,
        on_batch: Callable[[Computed], None] | None = None,
    ) -> None:
        self.queue = TileQueue(batch_size=batch_size, quantum=quantum)
        self.headroom, self.clock, self.on_batch = headroom, clock, on_batch
        self._open: dict[str, _Open] = {}
        self._groups: dict[Group, Engine] = {}
        self._pixel_costs: dict[str, float] = {}
        self._running: Batch | None = None
        self._ends = 0.0
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="tiles", daemon=True)

    def start(self) -> None:
        """Begins to compute."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it computes."""
        return self._thread.is_alive()

    def close(self, *, timeout: float | None = None) -> None:
        """Ends when what was accepted is computed."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def group(self, engine: Engine, plan: TilePlan, channels: int, dtype: str) -> Group:
        """What the tiles of a request have in common with those of others; its cost is guessed if it is new."""
        made = (engine.label, plan.shape, channels, dtype)
        with self._wake:
            if made not in self.queue.costs:
                pixels = plan.shape[0] * plan.shape[1]
                self.queue.costs[made] = self._pixel_costs.get(engine.label, 0.0) * pixels
        return made

    def know(self, engine: Engine, *, seconds_per_pixel: float) -> None:
        """Takes in what an engine was measured to cost, for shapes that have not been computed yet."""
        with self._wake:
            self._pixel_costs[engine.label] = seconds_per_pixel

    def seconds(self) -> float:
        """Of work that waits or is being computed."""
        with self._wake:
            return self.queue.backlog() + self._left()

    def offer(self, offers: Sequence[tuple[Offer, Engine, TilePlan]]) -> Admitted | Refused:
        """Decides on a request, and if it is taken keeps its place in the queue until its pixels come."""
        with self._wake:
            if self._closing:
                raise RuntimeError("the server is closing")
            told = admit(
                self.queue,
                [offer for offer, _, _ in offers],
                now=self.clock(),
                running=self._running,
                left=self._left(),
                headroom=self.headroom,
            )
            if isinstance(told, Admitted):
                engine, plan = next((engine, plan) for offer, engine, plan in offers if offer is told.offer)
                work = told.offer.work
                self.queue.add(work, held=True)
                self._open[work.id] = _Open(engine, plan, work.rank)
            return told

    def insert(self, work: Work, engine: Engine, plan: TilePlan) -> None:
        """Takes a request in without asking whether there is time for it."""
        with self._wake:
            self.queue.add(work, held=True)
            self._open[work.id] = _Open(engine, plan, work.rank)

    def submit(self, id: str, low: Pixels, *, alpha: bool = False, on_tile: OnTile | None = None) -> "Future[Restored]":
        """Gives the pixels of a request that was taken.

        Args:
            id: Of the request.
            low: (H, W, C), uint8 or uint16.
            alpha: Whether its last channel is transparency; the colours under it are those that ``bleed`` gave.
            on_tile: Told each tile as soon as it is computed, in the computing thread.
        """
        with self._wake:
            request = self._open[id]
            scale, (height, width, channels) = request.engine.scale, low.shape
            if (height, width) != (request.plan.height, request.plan.width):
                raise ValueError(f"the image has {low.shape[:2]} pixels, and its header said otherwise")
            request.low, request.alpha, request.on_tile = low, alpha, on_tile
            request.image = np.empty((height * scale, width * scale, channels), low.dtype)
            self.queue.release(id)
            self._wake.notify_all()
            return request.future

    def cancel(self, id: str) -> None:
        """Drops a request: none of its tiles is computed any more."""
        with self._wake:
            self.queue.cancel(id)
            request = self._open.pop(id, None)
            self._wake.notify_all()
        if request is not None:
            request.future.cancel()

    def _left(self) -> float:
        return max(0.0, self._ends - self.clock()) if self._running is not None else 0.0

    def _loop(self) -> None:
        while True:
            with self._wake:
                while (batch := self.queue.take()) is None:
                    if self._closing and not len(self.queue):
                        return
                    self._wake.wait(1.0)
                self._running = batch
                self._ends = self.clock() + len(batch.tiles) * self.queue.cost(batch.group)
                parts = [(id, number, self._open[id]) for id, number in batch.tiles]
            begin = self.clock()
            with one_thread() if getattr(parts[0][2].engine, "own_threads", False) else nullcontext():
                failed = self._compute(parts)
            spent = self.clock() - begin
            with self._wake:
                self._running = None
                if not failed:
                    self._learn(batch, spent)
                complete = [self._open.pop(id) for id in self.queue.done(batch) if id not in failed]
                broken = [self._open.pop(id, None) for id in failed]
                for id in failed:
                    self.queue.cancel(id)
            if self.on_batch is not None:
                try:
                    self.on_batch(
                        Computed(
                            engine=parts[0][2].engine, requests=tuple(id for id, _, _ in parts), rank=parts[0][2].rank,
                            begin=begin, seconds=spent,
                        )
                    )  # fmt: skip
                except Exception:
                    log.exception("a batch could not be counted")
            for request in complete:
                assert request.image is not None
                _settle(request.future, Restored(image=request.image, seconds=request.seconds))
            for lost, error in zip(broken, failed.values(), strict=True):
                if lost is not None:
                    _settle(lost.future, error)

    def _learn(self, batch: Batch, spent: float) -> None:
        """Measured costs follow slowly, so that one disturbed batch changes little."""
        each, before = spent / len(batch.tiles), self.queue.cost(batch.group)
        self.queue.costs[batch.group] = each if before == 0 else before + 0.2 * (min(each, 4 * before) - before)

    def _compute(self, parts: Sequence[tuple[str, int, _Open]]) -> dict[str, Exception]:
        """Computes a batch; if that fails each tile by itself. What fails then, by request."""
        try:
            self._restore(parts)
            return {}
        except Exception as error:
            log.warning(
                "a batch of %d tiles failed (%s: %s); each is tried alone", len(parts), type(error).__name__, error
            )
        failed: dict[str, Exception] = {}
        for part in parts:
            if part[0] in failed:
                continue
            try:
                self._restore([part])
            except Exception as error:
                log.exception("a tile of request %s failed", part[0])
                failed[part[0]] = ComputeError(f"{part[2].engine.label}: {type(error).__name__}: {error}")
        return failed

    def _restore(self, parts: Sequence[tuple[str, int, _Open]]) -> None:
        begin, windows = time.perf_counter(), []
        for _, number, request in parts:
            assert request.low is not None
            windows.append(request.plan.cut(request.low, request.plan.tiles[number]))
        engine = parts[0][2].engine
        pieces = engine.compute(windows, alpha=parts[0][2].alpha)
        if not bool(torch.isfinite(pieces.sum())):
            raise ValueError("the network's output is not finite")
        for (_, number, request), piece in zip(parts, pieces, strict=True):
            tile, scale = request.plan.tiles[number], engine.scale
            assert request.image is not None
            core = piece[(..., *request.plan.core(tile, scale))]
            place = request.plan.place(tile, scale)
            request.image[place] = to_levels(core[None], request.image.dtype)
            if request.on_tile is not None:
                request.on_tile(place, request.image)
            request.seconds += (time.perf_counter() - begin) / len(parts)


def _settle(future: "Future[Restored]", result: Restored | Exception) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
