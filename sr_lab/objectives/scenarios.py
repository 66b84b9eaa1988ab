"""Tests of the rules for ``promtool test rules``: each alert is raised in one story and ends, and silent in others."""

import math
import re
from typing import Any

from sr_lab.objectives.objective import Objectives, Share, State, duration, metric_of, seconds
from sr_lab.objectives.rules import Alert, alerts

__all__ = ["scenarios"]

_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
_FIRST = re.compile(r"[^|()]+")
STEPS = {"page": 120.0, "ticket": 1800.0}
"""Seconds between two samples, and two evaluations, of a share's test: the windows of tickets are days long."""
STATE_STEP = 60.0


def scenarios(objectives: Objectives) -> dict[str, dict[str, Any]]:
    """The tests' files, one an alert by its name; they find the rules in ``../rules``.

    Values follow from the bounds: of a story that raises an alert they are beyond it, of the other half-way to it. In
    the first story the trouble ends, and so does the alert, after its ``keep_firing_for``.
    """
    files = {}
    for alert in alerts(objectives):
        share = objectives.shares.get(alert.objective)
        state = objectives.states.get(alert.objective)
        step = _step(objectives, STEPS[alert.severity] if state is None else _state_step(state))
        if share is not None:
            stories = _of_share(objectives, alert, share, step)
        else:
            stories = _of_state(objectives, alert, objectives.states[alert.objective], step)
        files[alert.name] = {
            "rule_files": [f"../rules/{alert.objective}.yaml"], "evaluation_interval": duration(step), "tests": stories,
        }  # fmt: skip
    return files


def _state_step(state: State) -> float:
    """Seconds between two samples of a state's test: a window of days has some hundred of them."""
    return STATE_STEP if state.window is None else max(STATE_STEP, seconds(state.window) / 240)


def _step(objectives: Objectives, step: float) -> float:
    return max(0.5, step / objectives.speed)


def _of_share(objectives: Objectives, alert: Alert, share: Share, step: float) -> list[dict[str, Any]]:
    burns = [burn for burn in objectives.burns.values() if burn.severity == alert.severity]
    burn = min(burns, key=lambda each: seconds(each.long))
    lasts = seconds(burn.long) / objectives.speed
    bad = min(1.0, 1.25 * burn.factor * share.budget)
    slowest = min(each.factor for each in burns)
    ends = max(seconds(each.long) for each in burns) / objectives.speed + seconds(alert.keep) + 2 * step
    count = max(10.0, 100 * share.least * step)
    good = 0.5 * slowest * share.budget
    stories = []
    for title, shares, moments in (
        ("is raised, and ends", (bad, 0.0), ((lasts, True), (lasts + ends, False))),
        ("is silent", (good, good), ((lasts, False),)),
    ):
        spans = (lasts, ends if len(moments) > 1 else step)
        series = _counters(objectives, share, shares, count, spans, step)
        stories.append(_story(objectives, alert, title, step=step, series=series, moments=moments))
    few = _counters(objectives, share, (1.0, 1.0), 0.2 * share.least * step, (lasts, step), step)
    title = "is silent where there are few"
    stories.append(_story(objectives, alert, title, step=step, series=few, moments=((lasts, False),)))
    return stories


def _of_state(objectives: Objectives, alert: Alert, state: State, step: float) -> list[dict[str, Any]]:
    window = 0.0 if state.window is None else seconds(state.window) / objectives.speed
    hold, keep = seconds(alert.hold), seconds(alert.keep)
    lasts = math.ceil((window + hold) / step + 2) * step
    ends = math.ceil((window + keep) / step + 3) * step
    wrong, right = _beyond(state), _within(state)
    if state.over is not None and metric_of(state.over) == metric_of(state.value):  # a share of a whole
        wrong = min(wrong, (1 + state.bound) / 2)
    stories = []
    for title, numbers, moments in (
        ("is raised, and ends", (wrong, right), ((lasts, True), (lasts + ends, False))),
        ("is silent", (right, right), ((lasts, False),)),
    ):
        spans = (lasts, ends if len(moments) > 1 else step)
        series = _gauges(objectives, state, numbers, spans, step)
        stories.append(_story(objectives, alert, title, step=step, series=series, moments=moments))
    if state.least:
        few = _gauges(objectives, state, (wrong, wrong), (lasts, step), step, total=0.5 * state.least)
        title = "is silent where there are few"
        stories.append(_story(objectives, alert, title, step=step, series=few, moments=((lasts, False),)))
    return stories


def _beyond(state: State) -> float:
    bound = state.bound
    if state.below is not None:
        return bound - max(0.25 * abs(bound), 0.01 if bound <= 0 else 0.0)
    return bound + max(0.25 * abs(bound), 1.0 if bound == 0 else 0.0)


def _within(state: State) -> float:
    bound = state.bound
    if state.below is not None:
        return bound + max(0.25 * abs(bound), 0.01)
    return 0.5 * bound if bound > 0 else bound - 0.25 * abs(bound)


def _counters(
    objectives: Objectives,
    share: Share,
    bad: tuple[float, float],
    count: float,
    spans: tuple[float, float],
    step: float,
) -> list[dict[str, str]]:
    """The two counters of a share: ``count`` things a step, of which first one share is bad, and then the other."""
    subset = metric_of(share.total) == metric_of(share.counted)
    counted = [each if share.bad is not None else 1 - each for each in bad]
    rest = [1 - each for each in counted] if subset else [1.0, 1.0]
    return [
        {
            "series": _series(objectives, share.counted),
            "values": _ramp([count * each for each in counted], spans, step),
        },
        {
            "series": _series(objectives, share.total, test="other"),
            "values": _ramp([count * e for e in rest], spans, step),
        },
    ]


def _gauges(
    objectives: Objectives,
    state: State,
    numbers: tuple[float, float],
    spans: tuple[float, float],
    step: float,
    *,
    total: float | None = None,
) -> list[dict[str, str]]:
    """The series of a state: what it is of, and what it is beside, so that it is first one number, then the other.

    ``total`` is the increase of what it is divided by, in a window; None: enough for the alert.
    """
    beside = 0.0 if state.over is None and state.minus is None else 100.0
    each = [n * beside if state.over is not None else n + beside if state.minus is not None else n for n in numbers]
    if state.window is None:
        made = [{"series": _series(objectives, state.value), "values": _steps(each, spans, step)}]
        if (other := state.over or state.minus) is not None:
            made.append({"series": _series(objectives, other), "values": _steps([beside, beside], spans, step)})
        return made
    part = step / (seconds(state.window) / objectives.speed)
    if state.over is not None:
        beside = max(beside, 10 * state.least) if total is None else total
        each = [number * beside for number in numbers]
    subset = state.over is not None and metric_of(state.over) == metric_of(state.value)
    made = [
        {"series": _series(objectives, state.value), "values": _ramp([max(0.0, e) * part for e in each], spans, step)}
    ]
    if state.over is not None:
        rest = [beside - e if subset else beside for e in each]
        made.append(
            {
                "series": _series(objectives, state.over, test="other"),
                "values": _ramp([r * part for r in rest], spans, step),
            }
        )
    return made


def _steps(values: list[float], spans: tuple[float, float], step: float) -> str:
    first, second = (max(1, round(span / step)) for span in spans)
    return f"{values[0]:.10g}+0x{first} {values[1]:.10g}+0x{second}"


def _ramp(slopes: list[float], spans: tuple[float, float], step: float) -> str:
    """A counter that rises by one slope a step, and then by another."""
    first, second = (max(1, round(span / step)) for span in spans)
    top = slopes[0] * first
    return f"0+{slopes[0]:.10g}x{first} {top + slopes[1]:.10g}+{slopes[1]:.10g}x{second}"


def _series(objectives: Objectives, selector: str, **more: str) -> str:
    """One series that a selector finds."""
    name = metric_of(selector)
    labels = {"job": objectives.job}
    for label, sign, text in _MATCHER.findall(selector[len(name) :]):
        if sign == "=":
            labels[label] = text
        elif sign == "=~":
            found = _FIRST.search(text)
            labels[label] = found[0].replace(".+", "0").replace(".*", "0").replace(".", "0") if found else ""
    labels |= more
    inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inside}}}"


def _story(
    objectives: Objectives, alert: Alert, title: str, *, step: float, series: list[dict[str, str]],
    moments: tuple[tuple[float, bool], ...],
) -> dict[str, Any]:  # fmt: skip
    return {
        "name": f"{alert.name} {title}",
        "interval": duration(step),
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert.name}",alertstate="firing"}}) or vector(0)',
                "eval_time": duration(round(moment / step) * step),
                "exp_samples": [{"labels": "{}", "value": int(raised)}],
            }
            for moment, raised in moments
        ],
    }
