"""What the service does with one image, whatever protocol brought it: admit, decode, restore, check, encode."""

import asyncio
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from sr_lab.base.words import counted
from sr_lab.images.alpha import bleed
from sr_lab.images.files import Picture
from sr_lab.images.headers import ImageError
from sr_lab.inference.prepared import note_of, prepared, restored_form
from sr_lab.serving.asking import Answer, Ask
from sr_lab.serving.choice import ModelChoice
from sr_lab.serving.computing import Computing, Memory, Place
from sr_lab.serving.cost import Costs
from sr_lab.serving.guard import Guard, GuardedImages
from sr_lab.serving.hooks import Choice, Inputs, Traffic
from sr_lab.serving.keys import Keys
from sr_lab.serving.limits import Limits
from sr_lab.serving.measures import USES, Measures, size_class
from sr_lab.serving.models import Served
from sr_lab.serving.pictures import ANSWERS, Facts, decode, encode, facts_of, facts_of_picture, refusal
from sr_lab.serving.problems import Problem
from sr_lab.serving.recording import record_of
from sr_lab.serving.records import Records
from sr_lab.serving.routes import Route
from sr_lab.serving.runner import Computed, ComputeError, OnTile, Restored, Runner
from sr_lab.serving.shadows import Shadows
from sr_lab.serving.shelf import Shelf
from sr_lab.serving.tracing import Traces

Tiers = list[tuple[str, Served]]


class Service:
    """Restores images for whoever asks.

    Args:
        shelf: The models.
        runner: What computes.
        limits: What a request may cost.
        fast: Name of the model of the tier ``fast``; None: there is no such tier.
        guard: What compares each image with its input; None: nobody does.
        conservative: Name of the model whose image replaces one that the guard refuses.
        route: What chooses the model where the request names none.
        traffic: What decides between champion and candidate; of the first model.
        inputs: Is told of each image that comes in; None: nobody is.
        keys: What the callers may ask for; None: anything.
        costs: What counts prices, and refuses when the day's budget is spent; None: nothing does.
        traces: What is told the spans of each request; None: nobody.
        records: What keeps records of requests; None: nothing does.
        codecs: Threads that decode and encode.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        shelf: Shelf,
        runner: Runner,
        limits: Limits | None = None,
        fast: str | None = None,
        guard: Guard | None = None,
        conservative: str | None = None,
        route: Route | None = None,
        traffic: Traffic | None = None,
        inputs: Inputs | None = None,
        keys: Keys | None = None,
        costs: Costs | None = None,
        traces: Traces | None = None,
        records: Records | None = None,
        codecs: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name in (fast, conservative):
            if name is not None and name not in shelf.names:
                raise ValueError(f"there is no model {name}: one of {', '.join(shelf.names)}")
        self.shelf, self.runner, self.limits, self.fast = shelf, runner, limits or Limits(), fast
        self.guard, self.keys, self.clock, self.inputs = guard, keys, clock, inputs
        self.costs, self.traces, self.records = costs, traces or Traces(), records
        self.main = shelf.names[0]
        self.measures = Measures(queue_seconds=runner.seconds)
        self.memory = Memory(self.limits.memory_bytes)
        if costs is not None:
            self.measures.registry.register(costs)
        if records is not None:
            self.measures.registry.register(records)
        self.measures.memory_limit.set(self.limits.memory_bytes)
        self.models = ModelChoice(shelf, fast=fast, route=route)
        self.computing = Computing(runner, self.limits, self.measures)
        self.shadows = Shadows(shelf, traffic, self.computing)
        self.guarded = GuardedImages(
            guard, conservative, models=self.models, computing=self.computing, in_thread=self._in_codec
        )
        self._codecs = ThreadPoolExecutor(codecs, thread_name_prefix="codec")
        runner.on_batch = self._counted
        self._served: dict[str, str] = {}
        shelf.changed = self._changed

    def warm(self, model: Served) -> None:
        """Computes a tile, so that the first request does not wait for it and its cost is known.

        Raises:
            ValueError: If the guard allows no model of its kind.
        """
        if self.guard is not None and not self.guard.generative and model.generative:
            raise ValueError(f"{model.label} draws its images, and the guard allows no generative model")
        side = 64 if model.generative else model.tile
        self.runner.know(model, seconds_per_pixel=model.measure() / side**2)

    def close(self) -> None:
        """Ends when what was accepted is done."""
        self.runner.close(timeout=self.limits.longest_deadline)
        self._codecs.shutdown(wait=False, cancel_futures=True)
        self.shadows.close()
        if self.inputs is not None:
            self.inputs.close()
        if self.costs is not None:
            self.costs.write()
        if self.records is not None:
            self.records.close()
        self.traces.close()

    async def restore(self, ask: Ask, data: bytes, *, on_tile: OnTile | None = None) -> Answer:
        """The restored image.

        Args:
            ask: What is asked for.
            data: The image's file.
            on_tile: Told each tile as soon as it is computed, in the computing thread; not where a guard has to look
                at the whole image first.

        Raises:
            Problem: If it is refused.
        """
        if self.inputs is not None:
            self.inputs.offer(ask.id, data)
        with self.traces.request(ask.id, ask.parent):
            return await self._restore(ask, data, on_tile)

    async def _restore(self, ask: Ask, data: bytes, on_tile: OnTile | None) -> Answer:
        facts = self._facts(data, self.limits.pixels if ask.rank == 0 else self.limits.job_pixels)

        async def decoded() -> Picture:
            picture: Picture = await self._timed(ask, "decode", self._in_codec(self._decode, data))
            return picture

        models, low = await self.models(ask, facts, self.computing.deadline(ask), decoded)
        scale = models[0][1].scale
        if why := refusal(ask.format, facts.form(scale)):
            raise Problem(406, why, kind="format")
        self._require_budget()
        if self.keys is not None:
            self.keys.spend(ask.caller, facts.pixels * scale**2 / 1e6)
        with self._memory(len(data) + facts.num_bytes * (1 + scale**2)):
            choice, other = self.shadows.choose(ask, models)
            if other is not None and choice.answers == "candidate":
                models = [(models[0][0], other), *models[1:]]
            place = self.computing.admit(ask, facts, models)
            part = None if other is None or place.tier != models[0][0] else choice
            try:
                low = await self._prepared(ask, low, data, facts, place)
                return await self._answered(ask, data, low, place, part, None if self.guard else on_tile)
            finally:
                self.computing.leave(place)

    def _facts(self, data: bytes, most: int) -> Facts:
        try:
            facts = facts_of(data)
        except ImageError as error:
            raise Problem(415, f"the image {error}", kind="image") from None
        if facts.pixels > most:
            raise Problem(
                413, f"the image has {facts.width}x{facts.height} pixels, more than {most}; cut it, or send a job",
                kind="pixels",
            )  # fmt: skip
        return facts

    def _require_budget(self) -> None:
        if self.costs is None:
            return
        try:
            self.costs.require()
        except Problem:
            self.measures.shed.labels("budget").inc()
            raise

    @contextmanager
    def _memory(self, count: int) -> Iterator[None]:
        try:
            with self.memory.keep(count):
                self.measures.memory.set(self.memory.held)
                yield
        except Problem as problem:
            if problem.kind == "memory":
                self.measures.shed.labels("memory").inc()
            raise

    async def _prepared(self, ask: Ask, low: Picture | None, data: bytes, facts: Facts, place: Place) -> Picture:
        """The decoded image as the answer's format can hold the restored one, as ``srlab restore`` does it."""
        model = place.model
        if low is None:
            low = await self._timed(ask, "decode", self._in_codec(lambda: self._ready(ask, self._decode(data), model)))
        else:
            low = await self._in_codec(self._ready, ask, low, model)
        found = facts_of_picture(low)
        if found != facts:
            if not model.takes(found.channels):
                raise Problem(
                    422, f"{counted(found.channels, 'channel')} cannot be restored by {model.label}", kind="bands"
                )
            self.computing.take_again(ask, found, place)
        return low

    def _ready(self, ask: Ask, low: Picture, model: Served) -> Picture:
        size = (low.pixels.shape[0] * model.scale, low.pixels.shape[1] * model.scale)
        form = restored_form(low, size, ask.format, background=ask.background, formats=ANSWERS)
        if why := refusal(ask.format, form):
            raise Problem(406, why, kind="format")
        ready = prepared(
            low, form, ask.format, background=ask.background, strip=ask.strip,
            note=note_of(model.source or model.label, model.restorer.metadata), formats=ANSWERS,
        )  # fmt: skip
        if ready.alpha:
            bleed(ready.pixels)
        return ready

    async def _answered(
        self, ask: Ask, sent: bytes, low: Picture, place: Place, choice: Choice | None, on_tile: OnTile | None
    ) -> Answer:
        model, ready = place.model, self.clock()
        try:
            restored = await self._timed(ask, "tiles", self.computing.restore(place, low, on_tile=on_tile))
        except ComputeError as error:
            if choice is None or choice.answers != "candidate":
                raise Problem(500, f"{model.label} failed on this image", kind="compute") from error
            model, restored = await self.shadows.instead(ask, low, choice)
            choice = None
        computed = self.clock()
        look = self._timed(ask, "check", self.guarded.look(ask, low, model, restored))
        if self.guard is None:  # nothing can be replaced: both at once, first what needs no Python
            data, looked = await asyncio.gather(self._encode(ask, low, restored), look)
        else:
            looked = await look
            data = await self._encode(ask, low, looked.restored)
        height, width = looked.restored.image.shape[:2]
        end = self.clock()
        self.computing.took(place, end - place.since - (computed - ready))
        seconds = end - ask.begin
        self._count(ask, looked.model, seconds, height * width)
        if choice is not None:
            self.shadows.follow(ask, low, restored, model, choice)
        if self.records is not None and ask.rank < 2:
            make = functools.partial(record_of, ask, sent, low.pixels, looked.model, data, place.tier, looked.replaced)
            self.records.take(make, ask.id, low.pixels)
        return Answer(
            data=data, format=ask.format, model=looked.model, tier=place.tier, seconds=seconds,
            computed=looked.restored.seconds, check=looked.check, replaced=looked.replaced, pixels=height * width,
        )  # fmt: skip

    def _decode(self, data: bytes) -> Picture:
        try:
            return decode(data, max_pixels=max(self.limits.pixels, self.limits.job_pixels))
        except ImageError as error:
            raise Problem(415, str(error), kind="image") from None
        except MemoryError:
            raise Problem(413, "the image is too large to be decoded", kind="pixels") from None

    async def _encode(self, ask: Ask, low: Picture, restored: Restored) -> bytes:
        call = functools.partial(
            encode, restored.image, ask.format, low.metadata, alpha=low.alpha, quality=ask.quality
        )  # fmt: skip
        data: bytes = await self._timed(ask, "encode", self._in_codec(call))
        return data

    async def _in_codec(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._codecs, function, *arguments)

    async def _timed(self, ask: Ask, stage: str, work: Any) -> Any:
        begin = self.clock()
        with self.traces.stage(stage, ask.id):
            result = await work
        self.measures.stage.labels(stage).observe(self.clock() - begin)
        return result

    def _count(self, ask: Ask, model: Served, seconds: float, pixels: int) -> None:
        if ask.rank == 0:  # nobody waits for others
            found = self.traces.exemplar(ask.id)
            self.measures.seconds.labels(size_class(pixels / 1e6)).observe(seconds, found)
            self.measures.pixel_seconds.observe(seconds / (pixels / 1e6), found)
        if ask.rank < 2:  # what no client asked for is no answer
            self.measures.pixels.labels(model.name, model.version).inc(pixels)
            self.measures.images.labels(model.name, model.version).inc()
        if seconds > self.computing.deadline(ask):
            self.measures.late.inc()

    def _counted(self, batch: Computed) -> None:
        self.traces.batch(batch)
        name, _, version = batch.engine.label.rpartition("/")
        tiles = len(batch.requests)
        self.measures.tiles.labels(name, version).inc(tiles)
        self.measures.tile_seconds.labels(name, version).inc(batch.seconds)
        self.measures.work.labels(USES[batch.rank]).inc(batch.seconds)
        if self.costs is not None:
            self.costs.add(batch.rank, batch.seconds)
        self.measures.batches.inc()
        self.measures.slots.inc(self.runner.queue.batch_size)

    def _changed(self) -> None:
        """Counts changes of what answers; the first version of each model is none."""
        for state in self.shelf.states:
            if state.current is None:
                continue
            if self._served.setdefault(state.name, state.current.version) != state.current.version:
                self.measures.swaps.inc()
                self._served[state.name] = state.current.version

    def told(self) -> Mapping[str, Any]:
        """What ``/v1/models`` says."""
        models = []
        for state in self.shelf.states:
            entry: dict[str, Any] = {"name": state.name, "loaded": state.current is not None, "failure": state.failure}
            if state.current is not None:
                entry |= state.current.told()
            entry["tier"] = "fast" if state.name == self.fast else "best"
            entry["default"] = state.name == self.main
            for role in ("former", "candidate"):
                other = getattr(state, role)
                entry[role] = None if other is None else other.version
            models.append(entry)
        return {"models": models, "registry_up": self.shelf.registry_up}
