"""What the service does with one image, whatever protocol brought it: admit, decode, restore, check, encode."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sr_lab.images.headers import ImageError
from sr_lab.serving.admission import Admitted, Offer
from sr_lab.serving.consistency import Check, check
from sr_lab.serving.guard import Guard
from sr_lab.serving.hooks import Choice, Pair, Traffic
from sr_lab.serving.keys import ANYBODY, Caller, Keys
from sr_lab.serving.limits import Limits
from sr_lab.serving.measures import Measures, size_class
from sr_lab.serving.models import Pixels, Served
from sr_lab.serving.pictures import FORMATS, Facts, decode, facts_of
from sr_lab.serving.problems import Problem
from sr_lab.serving.routes import Asked, Route
from sr_lab.serving.runner import ComputeError, Restored, Runner
from sr_lab.serving.scheduler import Work
from sr_lab.serving.shelf import Shelf

log = logging.getLogger(__name__)
TIERS = ("auto", "best", "fast")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a client asks for.

    Attributes:
        id: Of the request.
        caller: Who asks.
        client: What the client is known by to a rollout: the name of its key, or its address.
        model: A name of the shelf; None: as the route says.
        tier: ``best``: the model; ``fast``: the fast one; ``auto``: the best that meets the deadline.
        scale: Enlargement factor that is wanted; None: the model's.
        deadline: Seconds in which the answer is wanted; None: as the limits say.
        form: Name of the answer's format.
        rank: 0 where somebody waits, 1 for a job.
        begin: When the request began, on the service's clock.
    """

    id: str
    caller: Caller = ANYBODY
    client: str = "-"
    model: str | None = None
    tier: str = "auto"
    scale: int | None = None
    deadline: float | None = None
    form: str = "png"
    rank: int = 0
    begin: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A restored image.

    Attributes:
        data: Encoded.
        form: Name of its format.
        model: What restored it.
        tier: ``best`` or ``fast``.
        seconds: From the first byte to the answer.
        computed: Computing time of its tiles.
        check: The image beside its input.
        replaced: Why the guard replaced the image by the conservative one's; empty if it did not.
        pixels: Restored pixels.
    """

    data: bytes
    form: str
    model: Served
    tier: str
    seconds: float
    computed: float
    check: Check
    replaced: str
    pixels: int

    @property
    def headers(self) -> dict[str, str]:
        """What is told beside the image."""
        told = {
            "X-Model": self.model.name,
            "X-Model-Version": self.model.version,
            "X-Tier": self.tier,
            "X-Seconds": f"{self.seconds:.4f}",
            "X-Compute-Seconds": f"{self.computed:.4f}",
            "X-LR-Consistency": f"{self.check.decibels:.2f} dB",
        }
        if self.replaced:
            told["X-Guard"] = f"replaced; {self.replaced}"
        if self.model.warning:
            told["X-Warning"] = self.model.warning
        return told


@dataclass
class _Memory:
    most: int
    held: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def keep(self, count: int) -> Iterator[None]:
        """Holds so many bytes, or refuses."""
        with self.lock:
            if self.held + count > self.most and self.held:
                raise Problem(
                    429, "the server holds as many images as its memory allows", kind="memory",
                    headers={"Retry-After": "2"},
                )  # fmt: skip
            self.held += count
        try:
            yield
        finally:
            with self.lock:
                self.held -= count


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
        keys: What the callers may ask for; None: anything.
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
        keys: Keys | None = None,
        codecs: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shelf, self.runner, self.limits, self.fast = shelf, runner, limits or Limits(), fast
        self.guard, self.conservative, self.route, self.traffic = guard, conservative, route, traffic
        self.keys = keys
        self.clock = clock
        self.main = shelf.names[0]
        self.measures = Measures(queue_seconds=runner.seconds)
        self.memory = _Memory(self.limits.memory_bytes)
        self._codecs = ThreadPoolExecutor(codecs, thread_name_prefix="codec")
        self._pairs = ThreadPoolExecutor(1, thread_name_prefix="pairs")
        self._shadows: set[asyncio.Task[None]] = set()
        self._codec_cost = 2e-8
        runner.on_batch = self._counted
        for name in (fast, conservative):
            if name is not None and name not in shelf.names:
                raise ValueError(f"there is no model {name}: one of {', '.join(shelf.names)}")
        if traffic is not None:
            shelf.candidates = lambda: {self.main: traffic.candidate}

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
        self._pairs.shutdown(wait=False, cancel_futures=True)

    async def restore(self, ask: Ask, data: bytes) -> Answer:
        """The restored image.

        Raises:
            Problem: If it is refused.
        """
        facts = self._facts(data, self.limits.pixels if ask.rank == 0 else self.limits.job_pixels)
        if ask.tier not in TIERS:
            raise Problem(400, f"tier={ask.tier}: one of {', '.join(TIERS)}", kind="tier")
        if not FORMATS[ask.form].holds(facts):
            what = "16 bits" if facts.deep else f"{facts.channels} channels"
            raise Problem(406, f"{FORMATS[ask.form].media} cannot hold {what}; accept image/png or npy", kind="format")
        models, low = await self._models(ask, facts, data)
        scale = models[0][1].scale
        if self.keys is not None:
            self.keys.spend(ask.caller, facts.pixels * scale**2 / 1e6)
        held = len(data) + facts.pixels * facts.channels * (2 if facts.deep else 1) * (1 + scale**2)
        with self._memory(held):
            return await self._restore(ask, data, low, facts, models)

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

    async def _models(self, ask: Ask, facts: Facts, data: bytes) -> tuple[list[tuple[str, Served]], Pixels | None]:
        """Tiers with their models, the preferred one first; and the image, where the route has looked at it."""
        name, low = ask.model, None
        if name is None and self.route is not None:
            asked = Asked(facts=facts, plan=ask.caller.plan, deadline=self._deadline(ask), scale=ask.scale)
            if self.route.needs_pixels:
                low = await self._timed("decode", self._in_codec(self._decode, data))
                asked = replace(asked, low=low)
            name = self.route.choose(asked)
        if name is None and ask.scale is not None:
            name = await asyncio.to_thread(self._of_scale, ask.scale)
        name = name or self.main
        if name not in self.shelf.names:
            raise Problem(404, f"there is no model {name}: one of {', '.join(self.shelf.names)}", kind="model")
        best = await asyncio.to_thread(self._get, name)
        if ask.scale not in (None, best.scale):
            raise Problem(
                422, f"the model {name} enlarges by {best.scale}, and scale={ask.scale} is asked for", kind="scale"
            )
        tiers = [("best", best)]
        if self.fast is not None and ask.model in (None, self.main):
            fast = await asyncio.to_thread(self._get, self.fast)
            if fast.scale == best.scale:
                tiers.append(("fast", fast))
        if ask.tier == "fast" and len(tiers) == 1:
            raise Problem(422, f"there is no fast model for {name}: tier=best or auto", kind="tier")
        chosen = [pair for pair in tiers if ask.tier in ("auto", pair[0])]
        chosen = [pair for pair in chosen if pair[1].takes(facts.channels)]
        if not chosen:
            raise Problem(
                422, f"{best.label} restores {best.num_channels} channels, the image has {facts.channels}", kind="bands"
            )
        return chosen, low

    def _of_scale(self, scale: int) -> str | None:
        """The first model that enlarges so; a lazy one is loaded to be asked."""
        return next((each for each in self.shelf.names if self._get(each).scale == scale), None)

    def _get(self, name: str) -> Served:
        try:
            return self.shelf.get(name)
        except KeyError:
            raise Problem(404, f"there is no model {name}", kind="model") from None
        except Exception as error:
            log.exception("%s cannot be loaded", name)
            raise Problem(503, f"the model {name} cannot be loaded", kind="model") from error

    def _deadline(self, ask: Ask) -> float:
        if ask.rank:
            return float("inf")
        return min(ask.deadline or self.limits.deadline, self.limits.longest_deadline)

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

    async def _restore(
        self, ask: Ask, data: bytes, low: Pixels | None, facts: Facts, models: list[tuple[str, Served]]
    ) -> Answer:
        choice, other = self._choice(ask, models)
        if other is not None and choice.answers == "candidate":
            models = [(models[0][0], other), *models[1:]]
        deadline = self._deadline(ask)
        admitted = self._admit(ask, facts, models, deadline)
        tier, model = next(pair for pair in models if pair[0] == admitted.offer.tier)
        if admitted.offer.tier != models[0][0]:
            other = None
        work = admitted.offer.work
        try:
            if low is None:
                low = await self._timed("decode", self._in_codec(self._decode, data))
            if (low.shape[2], low.dtype == np.uint16) != (facts.channels, facts.deep):
                # Few headers tell less than the truth: the place in the queue is taken again by what it is.
                self.runner.cancel(work.id)
                facts = Facts(low.shape[0], low.shape[1], low.shape[2], low.dtype == np.uint16)
                if not model.takes(facts.channels) or not FORMATS[ask.form].holds(facts):
                    raise Problem(422, f"{facts.channels} channels cannot be restored or answered so", kind="bands")
                admitted = self._admit(ask, facts, [(tier, model)], deadline)
                work = admitted.offer.work
            try:
                restored = await self._timed("tiles", asyncio.wrap_future(self.runner.submit(work.id, low)))
            except ComputeError as error:
                if other is None or choice.answers != "candidate":
                    raise Problem(500, f"{model.label} failed on this image", kind="compute") from error
                model = self.shelf.get(self.main)
                restored = await self._again(ask, low, model, f"{work.id}.champion")
                self._pair(ask, low, None, choice, second=restored, scale=model.scale)
                other = None
        finally:
            self.runner.cancel(work.id)
        found = await self._timed("check", self._in_codec(check, low, restored.image))
        replaced = ""
        if self.guard is not None:
            model, restored, found, replaced = await self._guarded(ask, low, model, restored, found)
        image = restored.image
        data = await self._timed("encode", self._in_codec(FORMATS[ask.form].encode, image))
        seconds, pixels = self.clock() - ask.begin, image.shape[0] * image.shape[1]
        self._count(model, seconds, pixels, late=seconds > deadline)
        if other is not None and choice.shadow:
            self._shadow(ask, low, restored, model, choice)
        elif other is not None and choice.answers == "candidate":
            self._pair(ask, low, restored, choice, scale=model.scale, both=False)
        return Answer(
            data=data, form=ask.form, model=model, tier=tier, seconds=seconds, computed=restored.seconds, check=found,
            replaced=replaced, pixels=pixels,
        )  # fmt: skip

    def _admit(self, ask: Ask, facts: Facts, models: list[tuple[str, Served]], deadline: float) -> Admitted:
        end = ask.begin + deadline
        offers = []
        for tier, model in models:
            plan = model.plan(facts.height, facts.width)
            group = self.runner.group(model, plan, facts.channels, "uint16" if facts.deep else "uint8")
            work = Work(id=ask.id, group=group, num_tiles=len(plan.tiles), rank=ask.rank, deadline=end)
            around = facts.pixels * (1 + model.scale**2) * self._codec_cost
            offers.append((Offer(tier=tier, work=work, around=around), model, plan))
        try:
            told = self.runner.offer(offers)
        except RuntimeError as error:
            raise Problem(503, str(error), kind="closing", headers={"Retry-After": "5"}) from None
        if isinstance(told, Admitted):
            return told
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

    def _decode(self, data: bytes) -> Pixels:
        try:
            return decode(data, max_pixels=max(self.limits.pixels, self.limits.job_pixels))
        except ImageError as error:
            raise Problem(415, str(error), kind="image") from None
        except MemoryError:
            raise Problem(413, "the image is too large to be decoded", kind="pixels") from None

    async def _guarded(
        self, ask: Ask, low: Pixels, model: Served, restored: Restored, found: Check
    ) -> tuple[Served, Restored, Check, str]:
        """What the guard lets through: the image, or the conservative model's."""
        assert self.guard is not None
        if self.conservative is None or model.name == self.conservative:
            return model, restored, found, ""
        careful = await asyncio.to_thread(self._get, self.conservative)
        if careful.scale != model.scale or not careful.takes(low.shape[2]):
            return model, restored, found, ""
        reason = self.guard.objection(found)
        safe: Restored | None = None
        if not reason and self.guard.compares:
            safe = await self._again(ask, low, careful, f"{ask.id}.guard")
            reason = await self._in_codec(self.guard.disagreement, restored.image, safe.image)
        if not reason:
            return model, restored, found, ""
        self.measures.replaced.labels(reason.partition(" ")[0]).inc()
        safe = safe or await self._again(ask, low, careful, f"{ask.id}.guard")
        return careful, safe, await self._in_codec(check, low, safe.image), reason

    async def _again(self, ask: Ask, low: Pixels, model: Served, id: str, *, rank: int | None = None) -> Restored:
        """The image by a further model, without asking whether there is time."""
        plan = model.plan(*low.shape[:2])
        group = self.runner.group(model, plan, low.shape[2], str(low.dtype))
        work = Work(id=id, group=group, num_tiles=len(plan.tiles), rank=ask.rank if rank is None else rank)
        self.runner.insert(work, model, plan)
        try:
            return await asyncio.wrap_future(self.runner.submit(id, low))
        finally:
            self.runner.cancel(id)

    def _choice(self, ask: Ask, models: list[tuple[str, Served]]) -> tuple[Choice, Served | None]:
        """Champion or candidate, and the candidate."""
        candidate = self.shelf.candidate(self.main)
        if self.traffic is None or candidate is None or ask.rank or models[0][1].name != self.main:
            return Choice(), None
        if models[0][0] != "best" or candidate.scale != models[0][1].scale:
            return Choice(), None
        try:
            return self.traffic.choose(ask.id, ask.client), candidate
        except Exception:
            log.exception("the router failed: the champion answers")
            return Choice(), None

    def _shadow(self, ask: Ask, low: Pixels, restored: Restored, model: Served, choice: Choice) -> None:
        """Restores the image by the other of the two, when nobody waits, and shows the pair."""
        champion, candidate = self.shelf.get(self.main), self.shelf.candidate(self.main)
        other = champion if choice.answers == "candidate" else candidate
        if other is None or other is model or len(self._shadows) >= 4 or self.runner.seconds() > 1.0:
            return

        async def work() -> None:
            try:
                second = await self._again(ask, low, other, f"{ask.id}.shadow", rank=2)
            except Exception:
                log.warning("the shadow of request %s failed", ask.id)
                second = None
            self._pair(ask, low, restored, choice, second=second, scale=model.scale)

        task = asyncio.get_running_loop().create_task(work())
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    def _pair(
        self,
        ask: Ask,
        low: Pixels,
        restored: Restored | None,
        choice: Choice,
        *,
        scale: int,
        second: Restored | None = None,
        both: bool = True,
    ) -> None:
        assert self.traffic is not None
        champion, candidate = (restored, second) if choice.answers == "champion" else (second, restored)
        pair = Pair(
            request_id=ask.id, key=ask.client, low=low, scale=scale, answered=choice.answers,
            token=choice.token, both=both,
            champion=None if champion is None else champion.image,
            candidate=None if candidate is None else candidate.image,
            seconds=(champion.seconds if champion else 0.0, candidate.seconds if candidate else 0.0),
        )  # fmt: skip

        def observe() -> None:
            try:
                assert self.traffic is not None
                self.traffic.observe(pair)
            except Exception:
                log.exception("a pair was not taken in")

        self._pairs.submit(observe)

    async def _in_codec(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._codecs, function, *arguments)

    async def _timed(self, stage: str, work: Any) -> Any:
        begin = self.clock()
        result = await work
        self.measures.stage.labels(stage).observe(self.clock() - begin)
        return result

    def _count(self, model: Served, seconds: float, pixels: int, *, late: bool) -> None:
        self.measures.seconds.labels(size_class(pixels / 1e6)).observe(seconds)
        self.measures.pixel_seconds.observe(seconds / (pixels / 1e6))
        self.measures.pixels.labels(model.name, model.version).inc(pixels)
        if late:
            self.measures.late.inc()

    def _counted(self, engine: Any, tiles: int, seconds: float) -> None:
        name, _, version = engine.label.rpartition("/")
        self.measures.tiles.labels(name, version).inc(tiles)
        self.measures.tile_seconds.labels(name, version).inc(seconds)
        self.measures.batches.inc()

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
