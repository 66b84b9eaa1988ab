"""Recording rules and alerts of objectives, as Prometheus reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sr_lab.objectives.objective import Objectives, Severity, Share, State, camel, metric_of

__all__ = ["Alert", "alerts", "prometheus", "rules"]

NUMBERS = "numbers"
SEVERITIES: dict[Severity, str] = {"page": "BurnsFast", "ticket": "BurnsSlowly"}


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert.

    Attributes:
        name: In Prometheus.
        expression: It is raised where this has a value.
        hold: For so long.
        keep: It stays for so long after that.
        severity: ``page`` or ``ticket``.
        title: What is wrong.
        description: With the value.
        failure: F1 to F8, the runbook.
        indicator: M1 to M10.
        objective: Name of the share or state that it is of.
    """

    name: str
    expression: str
    hold: str
    keep: str
    severity: Severity
    title: str
    description: str
    failure: str
    indicator: str
    objective: str

    def as_rule(self, runbooks: str) -> dict[str, Any]:
        """The alert as a rule of Prometheus."""
        rule: dict[str, Any] = {"alert": self.name, "expr": self.expression}
        if self.hold != "0s":
            rule["for"] = self.hold
        rule["keep_firing_for"] = self.keep
        rule["labels"] = {"severity": self.severity, "failure": self.failure, "indicator": self.indicator}
        rule["annotations"] = {
            "summary": self.title, "description": self.description,
            "runbook": f"{runbooks}#{self.failure.lower()}",
        }  # fmt: skip
        return rule


def alerts(objectives: Objectives) -> list[Alert]:
    """Every alert: of each share one a severity, of each state one."""
    found = [alert for name, share in objectives.shares.items() for alert in _of_share(objectives, name, share)]
    return found + [_of_state(objectives, name, state) for name, state in objectives.states.items()]


def rules(objectives: Objectives) -> dict[str, dict[str, Any]]:
    """The rules' files, one an objective by its name, with what it records and its alerts; ``numbers`` only records."""
    files: dict[str, list[dict[str, Any]]] = {
        name: [
            recorded
            for window in map(objectives.span, objectives.windows)
            for recorded in (
                {"record": _errors(name, window), "expr": _ratio(objectives, share, window)},
                {"record": _volume(name, window), "expr": _rate(objectives, share.total, window)},
            )
        ]
        for name, share in objectives.shares.items()
    }
    for alert in alerts(objectives):
        files.setdefault(alert.objective, []).append(alert.as_rule(objectives.runbooks))
    if objectives.records:
        files[NUMBERS] = [
            {"record": name, "expr": expression.replace("$job", objectives.job)}
            for name, expression in objectives.records.items()
        ]
    return {name: {"groups": [{"name": f"srlab-{name}", "rules": own}]} for name, own in files.items()}


def prometheus(objectives: Objectives, *, alertmanager: str, rules_files: str = "rules/*.yaml") -> dict[str, Any]:
    """The configuration of a Prometheus that reads the service's numbers and follows the rules."""
    return {
        "global": {"scrape_interval": objectives.interval, "evaluation_interval": objectives.interval},
        "rule_files": [rules_files],
        "scrape_configs": [
            {
                "job_name": objectives.job,
                "metrics_path": "/metrics",
                "static_configs": [{"targets": [objectives.address]}],
            }
        ],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
    }


def selector(objectives: Objectives, given: str) -> str:
    """A selector of the service's series alone.

    Example:
        >>> from sr_lab.objectives.objective import Burn, Objectives, Receivers
        >>> own = Objectives(burns={"page": Burn(factor=2, long="1h", short="5m", severity="page")}, shares={},
        ...                  states={}, receivers=Receivers(page="http://p", ticket="http://t"))
        >>> selector(own, 'srlab_shed_total{reason="time"}')
        'srlab_shed_total{job="srlab",reason="time"}'
    """
    name = metric_of(given)
    inside = given[len(name) :].strip("{}")
    return f'{name}{{job="{objectives.job}"{"," if inside else ""}{inside}}}'


def value(objectives: Objectives, state: State) -> str:
    """The expression of a state's number."""

    def part(given: str) -> str:
        own = selector(objectives, given)
        if state.window is None:
            return own
        return f"sum by (job) (increase({own}[{objectives.span(state.window)}]))"

    if state.over is not None:
        return f"{part(state.value)} / {part(state.over)}"
    if state.minus is not None:
        return f"{part(state.value)} - {part(state.minus)}"
    return part(state.value)


def _of_share(objectives: Objectives, name: str, share: Share) -> Iterator[Alert]:
    for severity, ending in SEVERITIES.items():
        burns = [burn for burn in objectives.burns.values() if burn.severity == severity]
        if not burns:
            continue
        parts = []
        for burn in burns:
            long, short = objectives.span(burn.long), objectives.span(burn.short)
            bound = f"{burn.factor * share.budget:.10g}"
            parts.append(
                f"({_errors(name, long)} > {bound} and {_errors(name, short)} > {bound} "
                f"and {_volume(name, long)} > {share.least:.10g})"
            )
        yield Alert(
            name=f"{camel(name)}{ending}", expression=" or ".join(parts), hold="0s",
            keep=objectives.span(objectives.keep), severity=severity,
            title=f"{share.title}: the error budget goes {'fast' if severity == 'page' else 'slowly'}",
            description=f"{{{{ $value | humanizePercentage }}}} are bad; {share.budget:.4%} may be.",
            failure=share.failure, indicator=share.indicator, objective=name,
        )  # fmt: skip


def _of_state(objectives: Objectives, name: str, state: State) -> Alert:
    sign = ">" if state.below is None else "<"
    expression = f"{value(objectives, state)} {sign} {state.bound:.10g}"
    if state.window is not None and state.over is not None and state.least:
        span = objectives.span(state.window)
        own = f"sum by (job) (increase({selector(objectives, state.over)}[{span}]))"
        expression = f"({expression}) and {own} > {state.least:.10g}"
    return Alert(
        name=camel(name), expression=expression, hold=objectives.span(state.hold), keep=objectives.span(state.keep),
        severity=state.severity, title=state.title,
        description=f"{{{{ $value | humanize }}}}, the bound is {state.bound:g}.",
        failure=state.failure, indicator=state.indicator, objective=name,
    )  # fmt: skip


def _errors(name: str, window: str) -> str:
    return f"job:srlab_{name}_errors:ratio_rate{window}"


def _volume(name: str, window: str) -> str:
    return f"job:srlab_{name}:rate{window}"


def _rate(objectives: Objectives, given: str, window: str) -> str:
    return f"sum by (job) (rate({selector(objectives, given)}[{window}]))"


def _ratio(objectives: Objectives, share: Share, window: str) -> str:
    total, counted = _rate(objectives, share.total, window), _rate(objectives, share.counted, window)
    if share.good is not None:
        return f"1 - {counted} / {total}"
    return f"({counted} or 0 * {total}) / {total}"
