"""The models of a server: which are loaded, which one answers, and the watcher that follows the registry."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sr_lab.serving.models import Served

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where a model comes from.

    Attributes:
        name: What clients call it.
    """

    name: str

    def version(self) -> str:
        """The version that should be served now.

        Raises:
            Exception: If the registry does not answer.
        """

    def load(self, version: str) -> Served:
        """Loads a version, after its files were compared with their hashes.

        Raises:
            Exception: If it cannot be had, or its files are not what was registered.
        """


@dataclass
class _Place:
    source: Source
    lazy: bool = False
    current: Served | None = None
    former: Served | None = None
    candidate: Served | None = None
    wanted: str = ""
    refused: str = ""
    used: int = 0
    failure: str = ""
    loading: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, kw_only=True)
class State:
    """What is known of a model's place, for ``/v1/models`` and ``/readyz``."""

    name: str
    current: Served | None
    former: Served | None
    candidate: Served | None
    wanted: str
    failure: str


class Shelf:
    """The models of a server.

    A version is loaded, checked and warmed beside the one that answers, and then takes its place: requests that began
    with the one end with it. The former one stays loaded, so that the way back takes no loading.

    Args:
        sources: The first one answers where a request names none.
        lazy: Names of those that are loaded when they are first asked for, and unloaded when memory is short.
        memory_bytes: Most bytes of models; a former version goes first, then the lazy model that was not used longest.
        warm: Called with each model before it answers.
        changed: Called after every change of what is loaded.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        lazy: Sequence[str] = (),
        memory_bytes: int = 8 * 2**30,
        warm: Callable[[Served], None] | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        if not sources:
            raise ValueError("a server needs a model: give name= or restorer=")
        self._places = {source.name: _Place(source, lazy=source.name in lazy) for source in sources}
        if len(self._places) != len(sources):
            raise ValueError("two models have one name")
        self.memory_bytes, self.warm, self.changed = memory_bytes, warm, changed
        self._lock, self._count = threading.Lock(), 0
        self._stop, self._ask = threading.Event(), threading.Event()
        self._watcher: threading.Thread | None = None
        self.registry_up = True
        self.candidates: Callable[[], dict[str, int | None]] = dict

    @property
    def names(self) -> tuple[str, ...]:
        """What clients call the models."""
        return tuple(self._places)

    @property
    def states(self) -> tuple[State, ...]:
        """What is loaded."""
        with self._lock:
            return tuple(
                State(
                    name=name, current=place.current, former=place.former, candidate=place.candidate,
                    wanted=place.wanted, failure=place.failure,
                )
                for name, place in self._places.items()
            )  # fmt: skip

    @property
    def ready(self) -> bool:
        """Whether each model that is not lazy can answer."""
        return all(place.current is not None for place in self._places.values() if not place.lazy)

    def load(self) -> None:
        """Loads what should be loaded at the start.

        Raises:
            Exception: If a model cannot be loaded.
        """
        for place in self._places.values():
            if not place.lazy:
                self._replace(place, place.source.version())

    def at_hand(self, name: str) -> Served | None:
        """The model that answers under a name; None where there is none, or it has to be loaded first."""
        place = self._places.get(name)
        if place is None:
            return None
        with self._lock:
            self._count += 1
            place.used = self._count
            return place.current

    def get(self, name: str) -> Served:
        """The model that answers under a name; a lazy one is loaded now, which takes a while.

        Raises:
            KeyError: If there is none of that name.
            Exception: If it cannot be loaded.
        """
        place = self._places[name]
        if (found := self.at_hand(name)) is not None:
            return found
        self._replace(place, place.source.version())
        assert place.current is not None
        return place.current

    def candidate(self, name: str) -> Served | None:
        """The candidate of a model, where one is loaded."""
        with self._lock:
            return self._places[name].candidate

    def swap_back(self, name: str) -> Served:
        """The former version answers again, at once; the registry is not told.

        Raises:
            ValueError: If no former version is loaded.
        """
        place = self._places[name]
        with self._lock:
            if place.former is None or place.current is None:
                raise ValueError(f"{name}: no former version is loaded")
            place.refused = place.current.version
            place.current, place.former = place.former, place.current
            found = place.current
        self._tell()
        return found

    def follow(self) -> bool:
        """Looks once at what should be served, and changes what is; whether all went well."""
        well, reached = True, True
        try:
            wanted_beside = self.candidates()
        except Exception:
            log.exception("the rollout cannot be followed; nothing is changed beside the champion")
            wanted_beside = {name: _number(place.candidate) for name, place in self._places.items()}
        for place in self._places.values():
            if place.current is None and place.lazy:
                continue
            try:
                wanted = place.source.version()
            except Exception as error:
                reached = well = False
                self._failed(place, f"the registry does not answer: {error}")
                continue
            try:
                if place.current is None or wanted not in (place.current.version, place.refused):
                    self._replace(place, wanted)
                elif wanted == place.current.version:
                    place.refused = ""
                self._follow_candidate(place, wanted_beside.get(place.source.name))
                place.wanted, place.failure = wanted, ""
            except Exception as error:
                well, place.wanted = False, wanted
                self._failed(place, f"version {wanted} cannot be loaded: {error}")
        if reached != self.registry_up:
            (log.warning if not reached else log.info)(
                "the registry %s; what is loaded goes on serving", "answers again" if reached else "does not answer"
            )
        self.registry_up = reached
        self._tell()
        return well

    @contextmanager
    def watching(self, seconds: float) -> Iterator[None]:
        """Looks every so many seconds, and whenever ``look`` is called."""
        self._watcher = threading.Thread(target=self._watch, args=(seconds,), name="watcher", daemon=True)
        self._watcher.start()
        try:
            yield
        finally:
            self._stop.set()
            self._ask.set()
            self._watcher.join(5.0)

    def look(self) -> None:
        """Has the watcher look now."""
        self._ask.set()

    def _watch(self, seconds: float) -> None:
        while not self._stop.is_set():
            self._ask.wait(seconds)
            self._ask.clear()
            if not self._stop.is_set():
                try:
                    self.follow()
                except Exception:
                    log.exception("the watcher goes on")

    def _failed(self, place: _Place, text: str) -> None:
        if place.failure != text:
            log.warning("%s: %s", place.source.name, text)
        place.failure = text

    def _replace(self, place: _Place, version: str) -> None:
        with place.loading:
            for known in (place.current, place.former, place.candidate):
                if known is not None and known.version == version:
                    new = known
                    break
            else:
                new = self._loaded(place, version)
            with self._lock:
                if new is not place.current:
                    place.former, place.current = place.current, new
                    if place.candidate is new:
                        place.candidate = None
                place.wanted, place.refused = version, ""
        self._make_room(keep=place)
        self._tell()

    def _loaded(self, place: _Place, version: str) -> Served:
        new = place.source.load(version)
        if self.warm is not None:
            self.warm(new)
        log.info("%s is loaded", new.label)
        return new

    def _follow_candidate(self, place: _Place, number: int | None) -> None:
        wanted = None if number is None else str(number)
        if wanted is None or (place.current is not None and wanted == place.current.version):
            place.candidate = None
        elif place.candidate is None or place.candidate.version != wanted:
            known = place.former if place.former is not None and place.former.version == wanted else None
            place.candidate = known or self._loaded(place, wanted)

    def _make_room(self, *, keep: _Place) -> None:
        with self._lock:
            for place in sorted(self._places.values(), key=lambda place: place.used):
                if self._bytes() <= self.memory_bytes:
                    return
                if place.former is not None:
                    log.info("%s is unloaded, as memory is short", place.former.label)
                    place.former = None
            for place in sorted(self._places.values(), key=lambda place: place.used):
                if self._bytes() <= self.memory_bytes:
                    return
                if place.lazy and place is not keep and place.current is not None:
                    log.info("%s is unloaded, as memory is short", place.current.label)
                    place.current = None

    def _bytes(self) -> int:
        held = {
            id(model): model.num_bytes
            for place in self._places.values()
            for model in (place.current, place.former, place.candidate)
            if model is not None
        }
        return sum(held.values())

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed()


def _number(model: Served | None) -> int | None:
    return int(model.version) if model is not None else None
