"""A sample of what comes in: its features are kept and compared with the reference of the version that is served.

Nobody waits for it. Which requests are measured is drawn by a keyed hash of their ids; a thread of its own measures
them, for a bounded share of one processor; what comes meanwhile is dropped, counted, and costs nothing.
"""

import io
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from sr_lab.images.headers import ImageError
from sr_lab.monitoring import Extractor, Profile, RepeatedChecks, read_profile
from sr_lab.monitoring.embedding import Embedding
from sr_lab.monitoring.incoming import IncomingStore
from sr_lab.monitoring.usability import Unusable
from sr_lab.serving.drift_measures import DriftMeasures
from sr_lab.serving.pictures import decode, facts_of
from sr_lab.workflows.watch.look import Look

__all__ = ["PROBES", "Incoming", "state_of"]

log = logging.getLogger(__name__)
MOST_WAITING, MOST_BYTES = 8, 32 * 2**20
"""Images that wait to be measured: their number, and the bytes of their files."""
PROBES = ("probe-", "golden-")
"""Beginnings of the ids of requests that only try the service: they are nobody's images, and not counted."""
LOOK_SECONDS, AGAIN_SECONDS = 2.0, 60.0


def state_of(file: Path) -> Path:
    """Where the checks of a service's windows are kept, beside the features."""
    return file.with_suffix(".checks.json")


class Incoming:
    """Measures a share of the images that come in.

    Args:
        file: SQLite file of the features; made where it is missing.
        embedding: Of the content, as for the profile.
        share: Part of the requests that are measured.
        cpu: Part of one processor that this may take.
        window: Number of images that are judged together.
        num_windows: Number of windows that are kept.
        pixels: Most pixels of an image that is measured.
        crop: As for the profile.
        reference: Profile to compare with; None: the one that is kept with the version (``srlab profile name=``).
        alpha: Probability of a false alarm over ``horizon`` windows.
        horizon: Number of windows in a period.
        clear_after: Number of quiet windows in a row that end an alarm.
        min_images: Least number of usable images in profile and window.
        max_unusable: Share of a window that may be unreadable, of one value or repeated, beyond the profile's own.
        num_permutations: Number of permutations of the deciding test.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        *,
        file: str,
        embedding: Embedding,
        share: float = 0.1,
        cpu: float = 0.05,
        window: int = 100,
        num_windows: int = 10,
        pixels: int = 8_000_000,
        crop: int = 512,
        reference: str | None = None,
        alpha: float = 0.05,
        horizon: int = 60,
        clear_after: int = 3,
        min_images: int = 20,
        max_unusable: float = 0.1,
        num_permutations: int = 9999,
    ) -> None:
        if not 0 < share <= 1 or not 0 < cpu <= 1:
            raise ValueError(f"incoming.share={share}, incoming.cpu={cpu}: above 0, up to 1")
        if window < min_images:
            raise ValueError(f"incoming.window={window}: fewer than min_images={min_images}")
        self.share, self.cpu, self.pixels = share, cpu, pixels
        self.rules = RepeatedChecks(alpha=alpha, horizon=horizon, clear_after=clear_after)
        self.min_images, self.max_unusable, self.num_permutations = min_images, max_unusable, num_permutations
        self.extractor = Extractor(embedding=embedding, crop=crop)
        self.store = IncomingStore(
            Path(file), settings=self.extractor.settings(), window=window, num_windows=num_windows
        )
        self._given = None if reference is None else read_profile(Path(reference))
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._wake, self._stop, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._measures: DriftMeasures | None = None
        self._version: Callable[[], str | None] = lambda: None
        self._fetch: Callable[[str, Path], bool] | None = None
        self._known: tuple[str | None, Profile | None] = (None, self._given)
        self._seen: tuple[int, str | None] = (-1, None)
        self._again = 0.0

    def start(
        self,
        registry: CollectorRegistry,
        *,
        version: Callable[[], str | None] = lambda: None,
        fetch: Callable[[str, Path], bool] | None = None,
    ) -> None:
        """Begins to measure.

        Args:
            registry: Where the metrics are shown.
            version: Tells the version that is served.
            fetch: Writes the reference of a version to a file; whether there is one. None: there are none.
        """
        self._measures = DriftMeasures(registry)
        self._version, self._fetch = version, fetch
        self._thread = threading.Thread(target=self._work, name="incoming", daemon=True)
        self._thread.start()

    def offer(self, request: str, data: bytes) -> None:
        """Tells of the file that a request brings; returns at once, and never fails a request."""
        measures = self._measures
        if measures is None or request.startswith(PROBES) or not self.store.chosen(request, self.share):
            return
        with self._lock:
            if len(self._waiting) >= MOST_WAITING or self._bytes + len(data) > MOST_BYTES:
                measures.dropped.labels("busy").inc()
                return
            self._waiting.append((request, data))
            self._bytes += len(data)
        self._wake.set()

    def close(self) -> None:
        """Ends; what still waits is dropped."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(30.0)
        self.store.close()

    def _work(self) -> None:
        measures = self._measures
        assert measures is not None
        while not self._stop.is_set():
            begin = time.thread_time()
            try:
                self._one(measures)
                self._compare(measures)
            except Exception:
                measures.dropped.labels("failed").inc()
                log.exception("the images that come in are not measured")
            spent = time.thread_time() - begin
            measures.cpu.inc(spent)
            self._stop.wait(spent / self.cpu - spent)
            if not self._waiting:
                self._wake.wait(LOOK_SECONDS)
                self._wake.clear()

    def _one(self, measures: DriftMeasures) -> None:
        with self._lock:
            if not self._waiting:
                return
            request, data = self._waiting.popleft()
            self._bytes -= len(data)
        now, name = time.time(), self.store.name_of(request)
        try:
            try:
                if facts_of(data).pixels > self.pixels:
                    measures.dropped.labels("large").inc()
                    return
                image = decode(data, max_pixels=self.pixels).colours
            except ImageError as error:
                raise Unusable("unreadable", str(error)) from error
            estimate, features = self.extractor.measure(image, name=name, file=io.BytesIO(data))
        except Unusable as reason:
            self.store.append(request, time=now, kind=reason.kind)
        except ValueError:
            self.store.append(request, time=now, kind="not measured")
        else:
            self.store.append(request, time=now, features=features, estimate=estimate)
        measures.sampled.inc()

    def _compare(self, measures: DriftMeasures) -> None:
        """Looks at the last window, once for each version's reference."""
        version, reference = self._reference(measures)
        found = self.store.num_images // self.store.window, version
        if found == self._seen:
            return
        self._seen = found
        window = self.store.latest()
        if window is None:
            return
        if reference is None or window.facts["images_sha256"] == reference.facts["images_sha256"]:
            measures.show(window, None, None, None)  # the window that the version was made for tells nothing of it
            return
        look = Look(
            reference=reference, folder=self.store.path, extractor=None, min_images=self.min_images,
            max_unusable=self.max_unusable, num_permutations=self.num_permutations, seed=0, workers=1, progress=None,
        )  # fmt: skip
        drift, checks, usable = look.checked(window, self.rules, state_of(self.store.path))
        if checks[-1].new:
            log.warning("what comes in is no longer what version %s was made for: %s", version, usable.text)
        measures.show(window, drift, checks[-1], usable)

    def _reference(self, measures: DriftMeasures) -> tuple[str | None, Profile | None]:
        """The version that is served and its reference; one that is missing is looked for again after a while."""
        version, clock = self._version(), time.monotonic()
        known, profile = self._known
        due = profile is None and clock >= self._again
        if self._given is None and self._fetch is not None and version is not None and (version != known or due):
            self._again = clock + AGAIN_SECONDS
            file, profile = self.store.path.with_suffix(".reference.parquet"), None
            try:
                profile = read_profile(file) if self._fetch(version, file) else None
            except Exception as error:
                log.warning("version %s: its reference cannot be read: %s", version, error)
            if profile is None:
                log.warning("version %s has no reference (srlab profile name=): drift is not looked for", version)
            elif wrong := profile.differences(self.extractor.settings()):
                log.warning("version %s: its reference was measured otherwise: %s", version, "; ".join(wrong))
                profile = None
        self._known = (version, profile)
        measures.reference.set(profile is not None)
        return self._known
