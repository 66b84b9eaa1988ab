"""What computing costs: counted by what it is for, told beforehand, and refused when the day's budget is spent."""

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sr_lab.base.files import read_json, replacing
from sr_lab.serving.measures import USES, num_processors
from sr_lab.serving.problems import Problem

log = logging.getLogger(__name__)
DAY = 86400.0
WRITE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class CostSettings:
    """Prices and a budget.

    Attributes:
        currency: Its letters.
        per_hour: Price of one processor (``cpu``) and of one GPU by a part of its name, in small letters.
        daily: Most that may be computed for in a day of UTC; None: no limit. Idle time is not counted: refusing saves
            none of it.
        state: File of the day's sum, of this server alone; None: a restart forgets it.
    """

    currency: str = "EUR"
    per_hour: Mapping[str, float]
    daily: float | None = None
    state: str | None = None

    def __post_init__(self) -> None:
        if "cpu" not in self.per_hour:
            raise ValueError("per_hour has no cpu: the price of one processor is needed")
        for name, price in self.per_hour.items():
            if not (math.isfinite(price) and price >= 0):
                raise ValueError(f"per_hour.{name}={price} must be a price of at least 0")
        if self.daily is not None and not self.daily > 0:
            raise ValueError(f"daily={self.daily} must be above 0; null is no limit")

    def rate(self, gpu: str | None = None) -> float:
        """Price of a second of this machine: all its processors, and the GPU that computes.

        Raises:
            ValueError: If the GPU has no price.
        """
        total = self.per_hour["cpu"] * num_processors()
        if gpu is not None:
            name = next((name for name in self.per_hour if name != "cpu" and name in gpu.lower()), None)
            if name is None:
                raise ValueError(
                    f"there is no price of {gpu}: give one by a part of its name, as +cost.per_hour.l4=0.7"
                )
            total += self.per_hour[name]
        return total / 3600


class Costs(Collector):
    """The sums of one server.

    Args:
        settings: Prices and budget.
        gpu: Name of the GPU that computes; None: there is none.
        time: Seconds since the epoch.
    """

    def __init__(
        self, settings: CostSettings, *, gpu: str | None = None, time: Callable[[], float] = time.time
    ) -> None:
        self.settings, self.time, self.rate = settings, time, settings.rate(gpu)
        self.sums = dict.fromkeys(USES.values(), 0.0)
        self._begin, self._written, self._lock = time(), 0.0, threading.Lock()
        self._day, self._spent = self._today(), 0.0
        self._read()

    @property
    def spent(self) -> float:
        """What was computed for today."""
        with self._lock:
            return self._spent if self._day == self._today() else 0.0

    def add(self, rank: int, seconds: float) -> None:
        """Takes in computing time."""
        with self._lock:
            amount, today = seconds * self.rate, self._today()
            if today != self._day:
                self._day, self._spent = today, 0.0
            self.sums[USES[rank]] += amount
            self._spent += amount
            due = self.time() - self._written >= WRITE_SECONDS
        if due:
            self.write()

    def require(self) -> None:
        """Lets a request pass while there is budget.

        Raises:
            Problem: With 429 and the seconds until the day's end, when it is spent.
        """
        if self.settings.daily is None or self.spent < self.settings.daily:
            return
        wait = max(1, math.ceil(DAY - self.time() % DAY))
        raise Problem(
            429, f"the day's budget of {self.settings.daily:g} {self.settings.currency} is spent: wait {wait} s",
            kind="budget", headers={"Retry-After": str(wait)},
        )  # fmt: skip

    def write(self) -> None:
        """Keeps the day's sum; a disk that is full is said, and stops nobody."""
        with self._lock:
            content = {"day": self._day, "spent": self._spent, "currency": self.settings.currency}
            self._written = self.time()
        if self.settings.state is None:
            return
        try:
            with replacing(Path(self.settings.state), durable=False) as file:
                file.write_text(json.dumps(content), encoding="utf-8")
        except OSError as error:
            log.error("the day's cost cannot be kept: %s", error)

    def collect(self) -> Iterator[Metric]:
        """The counters."""
        cost = CounterMetricFamily(
            "srlab_cost", "What the service cost, by what it was for, in the currency.", labels=("use", "currency")
        )
        with self._lock:
            sums = dict(self.sums)
        whole = (self.time() - self._begin) * self.rate
        for use, amount in {**sums, "idle": max(0.0, whole - sum(sums.values()))}.items():
            cost.add_metric((use, self.settings.currency), amount)
        yield cost
        if self.settings.daily is not None:
            yield GaugeMetricFamily(
                "srlab_budget_spent_ratio",
                "Share of the day's budget that is spent.",
                value=self.spent / self.settings.daily,
            )

    def _read(self) -> None:
        if self.settings.state is None or not Path(self.settings.state).is_file():
            return
        try:
            content: dict[str, Any] = read_json(Path(self.settings.state))
            if content["day"] == self._day and content["currency"] == self.settings.currency:
                self._spent = float(content["spent"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ValueError(f"cost.state={self.settings.state} cannot be read ({error}): move it away") from error

    def _today(self) -> int:
        return int(self.time() // DAY)
