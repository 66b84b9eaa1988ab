"""Objectives: shares of requests that are to be good, and states that are to stay within a bound."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["page", "ticket"]
"""``page``: somebody is woken; ``ticket``: somebody looks on a working day."""
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+)(ms|s|m|h|d)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?")


def seconds(duration: str) -> float:
    """A duration of Prometheus in seconds.

    Raises:
        ValueError: If it is none.

    Example:
        >>> seconds("1h"), seconds("1m30s")
        (3600.0, 90.0)
    """
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"{duration!r} is no duration: give a number and ms, s, m, h or d, as 5m")
    return sum(int(number) * SECONDS[unit] for number, unit in parts)


def duration(span: float) -> str:
    """Seconds as a duration of Prometheus.

    Example:
        >>> duration(5400.0), duration(0.5), duration(0.0)
        ('90m', '500ms', '0s')
    """
    if span == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if span >= SECONDS[unit] and span % SECONDS[unit] == 0:
            return f"{int(span / SECONDS[unit])}{unit}"
    return f"{max(1, round(span * 1000))}ms"


def metric_of(selector: str) -> str:
    """The name of a selector's metric.

    Raises:
        ValueError: If it is no selector.

    Example:
        >>> metric_of('srlab_requests_total{status="429"}')
        'srlab_requests_total'
    """
    found = _SELECTOR.fullmatch(selector)
    if found is None:
        raise ValueError(
            f'{selector!r} is no selector: give a metric with its labels, as srlab_shed_total{{reason="time"}}'
        )
    return found[1]


@dataclass(frozen=True, kw_only=True)
class Burn:
    """How fast the error budget may go before somebody is told: in both windows, so that it is real and still goes on.

    Attributes:
        factor: Of the rate that uses the budget up in the whole period.
        long: The window that makes it significant.
        short: The window that makes the alert end soon after the trouble.
        severity: What it is.
    """

    factor: float
    long: str
    short: str
    severity: Severity

    def __post_init__(self) -> None:
        if self.factor <= 0:
            raise ValueError(f"factor={self.factor:g} must be above 0")
        if seconds(self.short) >= seconds(self.long):
            raise ValueError(f"short={self.short} must be shorter than long={self.long}")


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of counted things that is to be good.

    Attributes:
        title: What is promised, as a heading.
        target: The share, below 1.
        total: Selector of the counter of all.
        good: Selector of the counter of the good ones; or ``bad``.
        bad: Selector of the counter of the others.
        least: Least number of them a second in the long window, below which nobody is told: one of two is no share.
        failure: Which runbook it is of, F1 to F8.
        indicator: Which indicator it is of, M1 to M10 or none.
    """

    title: str
    target: float
    total: str
    good: str | None = None
    bad: str | None = None
    least: float = 0.01
    failure: str
    indicator: str

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ValueError(f"target={self.target:g} must lie between 0 and 1")
        if (self.good is None) == (self.bad is None):
            raise ValueError("give one of good= and bad=")
        for selector in (self.total, self.counted):
            metric_of(selector)

    @property
    def counted(self) -> str:
        """The selector beside ``total``."""
        return self.good or self.bad or ""

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return 1 - self.target


@dataclass(frozen=True, kw_only=True)
class State:
    """A number that is to stay within a bound: of a series alone, or beside another one.

    Attributes:
        title: What is wrong where it does not, as a heading.
        value: Selector of the series.
        over: Selector of what it is divided by.
        minus: Selector of what is taken from it.
        window: Where it is a counter: the time over which its increase counts.
        above: It is wrong above this; or ``below``.
        below: It is wrong below this.
        hold: How long it has to be so.
        keep: How long the alert stays after that: against flapping.
        least: With ``over`` and ``window``: least increase of what it is divided by.
        severity: What it is.
        failure: Which runbook it is of, F1 to F8.
        indicator: Which indicator it is of, M1 to M10 or none.
    """

    title: str
    value: str
    over: str | None = None
    minus: str | None = None
    window: str | None = None
    above: float | None = None
    below: float | None = None
    hold: str = "5m"
    keep: str = "10m"
    least: float = 0.0
    severity: Severity = "ticket"
    failure: str
    indicator: str

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("give one of above= and below=")
        if self.over is not None and self.minus is not None:
            raise ValueError("give at most one of over= and minus=")
        for selector in (self.value, self.over, self.minus):
            if selector is not None:
                metric_of(selector)
        for span in (self.hold, self.keep, self.window):
            if span is not None:
                seconds(span)

    @property
    def bound(self) -> float:
        """Beyond which it is wrong."""
        return self.below if self.above is None else self.above  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class Receivers:
    """Whom Alertmanager tells, and when it does not.

    Attributes:
        page: Address that a page is posted to.
        ticket: Address that a ticket is posted to.
        group_by: Labels by which alerts come together in one message.
        group_wait: How long further alerts of a group are waited for.
        group_interval: Least time between two messages of a group.
        repeat_page: After which a page that goes on is sent again.
        repeat_ticket: The same of a ticket.
        maintenance: Time intervals of Alertmanager, by name, in which nobody is told.
    """

    page: str
    ticket: str
    group_by: Mapping[str, bool] = field(default_factory=lambda: {"alertname": True, "job": True})
    group_wait: str = "30s"
    group_interval: str = "5m"
    repeat_page: str = "1h"
    repeat_ticket: str = "1d"
    maintenance: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """Everything that is promised of one service.

    Attributes:
        job: Its name in Prometheus.
        address: Where Prometheus finds its numbers, HOST:PORT.
        interval: How often they are read and the rules evaluated.
        runbooks: Address before ``#f1`` to ``#f8``.
        keep: How long an alert about a share stays after its windows are well again.
        burns: How fast budgets may go, by name.
        shares: By name.
        states: By name.
        records: Further recorded expressions, by the name ``level:metric:operations``.
        receivers: Whom Alertmanager tells.
        speed: All spans are divided by it: 1 in earnest, 60 in a demonstration.
    """

    job: str = "srlab"
    address: str = "127.0.0.1:8000"
    interval: str = "15s"
    runbooks: str = "docs/runbooks.md"
    keep: str = "15m"
    burns: Mapping[str, Burn]
    shares: Mapping[str, Share]
    states: Mapping[str, State]
    records: Mapping[str, str] = field(default_factory=dict)
    receivers: Receivers
    speed: float = 1.0

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError(f"speed={self.speed:g} must be above 0")
        for name in (*self.shares, *self.states):
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"{name}: an objective's name is of small letters, digits and _")
        fastest = max(burn.factor for burn in self.burns.values())
        for name, share in self.shares.items():
            if fastest * share.budget >= 1:
                raise ValueError(
                    f"shares.{name}.target={share.target:g}: a burn of {fastest:g} can never be reached, as it is more "
                    f"than everything: give a target above {1 - 1 / fastest:.3f}"
                )
        for name in self.records:
            if not re.fullmatch(r"[a-z_]+:[a-z0-9_]+:[a-z0-9_]+", name):
                raise ValueError(f"records.{name}: a recorded series is named level:metric:operations")

    def span(self, given: str) -> str:
        """A duration as it is used, at this speed.

        Raises:
            ValueError: If it is none.
        """
        return duration(seconds(given) / self.speed)

    @property
    def windows(self) -> list[str]:
        """The windows of the burns, shortest first, as they are given."""
        found = {window for burn in self.burns.values() for window in (burn.short, burn.long)}
        return sorted(found, key=seconds)


def camel(name: str) -> str:
    """``latency_small`` as ``LatencySmall``."""
    return "".join(word.capitalize() for word in name.split("_"))
