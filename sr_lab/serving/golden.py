"""The golden set at work: restored on schedule on the way that requests go, so that a silent regression shows."""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from torch import Tensor

from sr_lab.base.files import read_json
from sr_lab.base.words import line, setting
from sr_lab.images import to_tensor
from sr_lab.images.files import read_image
from sr_lab.metrics.protocol import Protocol
from sr_lab.serving.asking import Ask
from sr_lab.serving.pictures import decode
from sr_lab.serving.problems import Problem
from sr_lab.serving.service import Service
from sr_lab.workflows.golden import (
    EXPECTED,
    GoldenPair,
    GoldenSet,
    expected,
    floor_of,
    lpips_network,
    measured,
    read_golden,
)

log = logging.getLogger(__name__)
SPARE = 2
"""The rank of what no client asked for."""
UNITS = {"psnr": "decibels", "ssim": "ratio", "lpips": "distance", "flicker": "levels"}
LABELS = ("model", "version", "protocol")


@dataclass(frozen=True, kw_only=True)
class GoldenSettings:
    """What is restored, and how often.

    Attributes:
        folder: The golden set, as ``srlab golden`` writes it.
        seconds: Between two restorations.
        protocol: Of PSNR and SSIM.
        lpips: Whether LPIPS is measured too.
        ratings: File that ``srlab study analyse`` wrote; None: no ratings.
        state: File of what each version reached first; None: beside the set.
    """

    folder: str
    seconds: float = 3600.0
    protocol: Protocol
    lpips: bool = False
    ratings: str | None = None
    state: str | None = None

    def __call__(self, service: Service) -> "Golden":
        """The golden set of a service.

        Raises:
            ValueError: If the set is none, or its scale is not the first model's.
        """
        return Golden(service, self)


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A golden set that was restored.

    Attributes:
        label: ``NAME/VERSION`` of the model.
        values: Means by metric: psnr, ssim, lpips, flicker.
        floor: Those of bicubic interpolation.
        failures: Pairs that were changed, or could not be restored.
    """

    label: str
    values: Mapping[str, float]
    floor: Mapping[str, float]
    failures: int


class Golden:
    """Restores a golden set on schedule, and tells its numbers.

    Args:
        service: What restores, through its queue, its guard and its encoder; at the rank of shadows.
        settings: What, and how often.
        time: Seconds since the epoch.
    """

    def __init__(self, service: Service, settings: GoldenSettings, *, time: Callable[[], float] = time.time) -> None:
        self.service, self.settings, self.time = service, settings, time
        self.set: GoldenSet = read_golden(Path(settings.folder))
        found = service.shelf.at_hand(service.main)
        if found is not None and found.scale != self.set.scale:
            raise ValueError(
                f"golden.folder={settings.folder} is of scale {self.set.scale}, {found.label} of {found.scale}: "
                f"{line('golden', setting('scale', found.scale))} makes one for it"
            )
        self.state = Path(settings.state) if settings.state else self.set.folder / EXPECTED
        self._network = lpips_network() if settings.lpips else None
        self._ended: float | None = None
        self._begun = time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="golden", daemon=True)
        self.gauges = _gauges(service.measures.registry, self._age)
        if settings.ratings is not None:
            self._rate(Path(settings.ratings))

    def start(self) -> None:
        """Begins, with a restoration."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; a restoration that is under way is not waited for."""
        self._stop.set()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self.restore()
            except Problem as problem:
                log.warning("the golden set was not restored: %s", problem.detail)
            except Exception:
                log.exception("the golden set could not be restored")
                self.gauges["failures"].set(len(self.set.pairs))
            self._stop.wait(self.settings.seconds)

    def restore(self) -> Restored:
        """Restores the set once, and sets the numbers.

        Raises:
            Problem: If the service has no room for it now; the numbers stay, and grow old.
        """
        images: list[tuple[GoldenPair, Tensor, Tensor]] = []
        labels, failures = set(), 0
        for pair in self.set.pairs:
            if not pair.intact:
                log.error("golden set: %s was changed, and is not measured", pair.name)
                failures += 1
                continue
            ask = Ask(
                id=f"golden-{uuid.uuid4().hex}", model=self.service.main, tier="best", rank=SPARE,
                begin=self.service.clock(),
            )  # fmt: skip
            try:
                answer = asyncio.run(self.service.restore(ask, pair.low.read_bytes()))
            except Problem as problem:
                if problem.status in (429, 503):
                    raise
                log.error("golden set: %s cannot be restored: %s", pair.name, problem.detail)
                failures += 1
                continue
            labels.add(answer.model.label if not answer.replaced else self._label())
            restored = decode(answer.data, max_pixels=1 << 30).pixels
            images.append((pair, to_tensor(restored), to_tensor(read_image(pair.high))))
        self.gauges["failures"].set(failures)
        label = labels.pop() if len(labels) == 1 else self._label()
        if not images or labels:  # the version changed meanwhile: the next restoration is of one
            return Restored(label=label, values={}, floor={}, failures=failures)
        how: dict[str, Any] = {"protocol": self.settings.protocol, "lpips": self._network}
        values = measured(images, scale=self.set.scale, **how)
        floor = floor_of(self.set, [pair for pair, _, _ in images], **how)
        self._tell(label, values, floor)
        if not failures:
            self._ended = self.time()
        return Restored(label=label, values=values, floor=floor, failures=failures)

    def _label(self) -> str:
        found = self.service.shelf.at_hand(self.service.main)
        return self.service.main if found is None else found.label

    def _tell(self, label: str, values: Mapping[str, float], floor: Mapping[str, float]) -> None:
        """Sets the gauges; what a version reaches first is what it is expected to reach from then on."""
        protocol = self.settings.protocol
        first = expected(self.state, label, values, protocol=protocol, num=len(self.set.pairs))
        name, _, version = label.rpartition("/")
        for kind in ("now", "expected", "floor"):
            for metric in UNITS:
                self.gauges[f"{kind} {metric}"].clear()
        for kind, told in (("now", values), ("expected", first), ("floor", floor)):
            for metric, number in told.items():
                if metric in values:
                    self.gauges[f"{kind} {metric}"].labels(name, version, protocol.name).set(number)

    def _age(self) -> float:
        return self.time() - (self._begun if self._ended is None else self._ended)

    def _rate(self, file: Path) -> None:
        """People's scores of a study: the strength of each restorer, and the lower end of its interval."""
        content = read_json(file)
        for standing in content["standings"]:
            for end in ("score", "low", "high"):
                if standing[end] is not None:
                    self.gauges["rating"].labels(standing["name"], end).set(standing[end])


def _gauges(registry: CollectorRegistry, age: Callable[[], float]) -> dict[str, Gauge]:
    said = {"now": "", "expected": "expected_", "floor": "floor_"}
    text = {"now": "now", "expected": "when this version first came", "floor": "by bicubic interpolation"}
    made = {
        f"{kind} {metric}": Gauge(
            f"srlab_golden_{said[kind]}{metric}_{unit}", f"Mean {metric} of the golden set, {text[kind]}.", LABELS,
            registry=registry,
        )
        for metric, unit in UNITS.items()
        for kind in said
    }  # fmt: skip
    made["failures"] = Gauge(
        "srlab_golden_failures", "Pairs of the golden set that were changed or not restored.", registry=registry
    )
    made["age"] = Gauge("srlab_golden_age_seconds", "Time since the whole golden set was restored.", registry=registry)
    made["age"].set_function(age)
    made["rating"] = Gauge(
        "srlab_rating_score", "People's score of a restorer in a study, and its interval.", ("restorer", "end"),
        registry=registry,
    )  # fmt: skip
    return made
