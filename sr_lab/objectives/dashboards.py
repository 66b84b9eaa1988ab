"""Three dashboards for Grafana: for who decides, for who is on call, and for who looks for the fault.

They are plain dictionaries of Grafana's dashboard model; every expression is one that Prometheus evaluates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sr_lab.objectives.objective import Objectives
from sr_lab.objectives.rules import value

__all__ = ["Panel", "dashboards", "expressions"]

FIRING = 'ALERTS{{{job}alertstate="firing"}}'
REQUESTS = "sum(rate(srlab_requests_total{{{job}}}[1h]))"
SCHEMA = 39
"""Version of the dashboard model, that of Grafana 11; later ones migrate it."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel.

    Attributes:
        title: Its heading.
        queries: Expressions by legend; ``{{label}}`` is filled in.
        unit: Grafana's unit.
        kind: ``timeseries``, ``stat`` or ``table``.
        text: What it tells, shown beside the heading.
        width: Of 24.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    text: str = ""
    width: int = 8


def dashboards(objectives: Objectives) -> dict[str, dict[str, Any]]:
    """Grafana's models by file name: ``executive``, ``on_call``, ``debug``."""
    return {
        "executive": _dashboard(
            "executive", "sr_lab: how it does", _executive(objectives), refresh="5m", since="now-7d"
        ),
        "on_call": _dashboard("on-call", "sr_lab: on call", _on_call(objectives), refresh="30s", since="now-6h"),
        "debug": _dashboard("debug", "sr_lab: debug", _debug(objectives), refresh="30s", since="now-1h"),
    }


def expressions(dashboard: Mapping[str, Any]) -> list[str]:
    """Every expression of a dashboard."""
    return [str(target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", [])]


def _executive(objectives: Objectives) -> list[Panel]:
    longest = objectives.span(objectives.windows[-1])
    left = {
        share.title: f"1 - job:srlab_{name}_errors:ratio_rate{longest} / {share.budget:.10g}"
        for name, share in objectives.shares.items()
    }
    return [
        Panel(
            title="Error budget left, at the pace of the longest window", queries=left, unit="percentunit", kind="stat",
            width=24, text="Below 0 the promise of 30 days is broken if it goes on so.",
        ),
        Panel(
            title="Pages and tickets", kind="stat", width=6,
            queries={"{{severity}}": _own(objectives, f"sum by (severity) ({FIRING}) or vector(0)")},
        ),
        *_named(objectives, EXECUTIVE),
    ]  # fmt: skip


def _on_call(objectives: Objectives) -> list[Panel]:
    short = objectives.span(objectives.windows[0])
    told = ", ".join(f"{burn.factor:g}: {burn.severity}" for burn in objectives.burns.values())
    burning = {
        share.title: f"job:srlab_{name}_errors:ratio_rate{short} / {share.budget:.10g}"
        for name, share in objectives.shares.items()
    }
    return [
        Panel(
            title="Alerts", kind="table", width=24,
            queries={"": _own(objectives, f"{FIRING} or vector(0)")},
            text="The label failure is the runbook's.",
        ),
        Panel(
            title="Burn: 1 uses the budget up in 30 days", queries=burning, width=12, text=f"Over {short}; {told}",
        ),
        *_named(objectives, ON_CALL),
    ]  # fmt: skip


def _debug(objectives: Objectives) -> list[Panel]:
    states = [
        Panel(title=state.title, queries={"": value(objectives, state), "bound": f"vector({state.bound:.10g})"})
        for state in objectives.states.values()
    ]
    return [*_named(objectives, DEBUG), *states]


Row = tuple[str, str, str, Mapping[str, str]]
EXECUTIVE: Sequence[Row] = (
    ("M2 Requests", "reqps", "timeseries", {"a second": "sum(rate(srlab_requests_total{{{job}}}[5m]))"}),
    ("M2 Restored megapixels", "short", "timeseries",
     {"{{model}} {{version}}": "sum by (model, version) (rate(srlab_restored_pixels_total{{{job}}}[5m])) / 1e6"}),
    ("M3 Failed and shed", "percentunit", "timeseries", {
        "failed": f'sum(rate(srlab_requests_total{{{{{{job}}status=~"5.."}}}}[1h])) / {REQUESTS}',
        "shed": f'sum(rate(srlab_requests_total{{{{{{job}}status="429"}}}}[1h])) / {REQUESTS}',
    }),
    ("M4 PSNR of the golden set", "dB", "timeseries", {
        "{{model}} {{version}} {{protocol}}": "srlab_golden_psnr_decibels{{{job}}}",
        "bicubic": "srlab_golden_floor_psnr_decibels{{{job}}}",
    }),
    ("M5 SSIM of the golden set", "short", "timeseries",
     {"{{model}} {{version}} {{protocol}}": "srlab_golden_ssim_ratio{{{job}}}"}),
    ("M6 LPIPS of the golden set", "short", "timeseries",
     {"{{model}} {{version}}": "srlab_golden_lpips_distance{{{job}}}"}),
    ("M6 People's scores", "short", "table", {"": "srlab_rating_score{{{job}}}"}),
    ("M8 Drift of what comes in", "short", "timeseries", {
        "alarm": "srlab_drift_alarm{{{job}}}", "energy distance": "srlab_drift_energy_distance{{{job}}}",
    }),
    ("M9 Cost of an image, and of a megapixel", "short", "timeseries", {
        "image": "job:srlab_cost_per_image:ratio_rate1h", "megapixel": "job:srlab_cost_per_megapixel:ratio_rate1h",
    }),
    ("M9 Cost an hour, by what it is for", "short", "timeseries",
     {"{{use}} {{currency}}": "sum by (use, currency) (rate(srlab_cost_total{{{job}}}[1h])) * 3600"}),
    ("M9 Share of the day's budget", "percentunit", "stat", {"": "srlab_budget_spent_ratio{{{job}}}"}),
)  # fmt: skip
ON_CALL: Sequence[Row] = (
    ("M1 Answered within, p95 by restored megapixels", "s", "timeseries",
     {"{{megapixels}}": "job_megapixels:srlab_request_seconds:p95_5m"}),
    ("M1 Time of a restored megapixel, p95", "s", "timeseries", {"p95": "job:srlab_seconds_per_megapixel:p95_5m"}),
    ("Seconds of computing that wait", "s", "timeseries", {"{{instance}}": "srlab_queue_seconds{{{job}}}"}),
    ("M3 Answers by status", "reqps", "timeseries",
     {"{{status}}": "sum by (status) (rate(srlab_requests_total{{{job}}}[5m]))"}),
    ("M3 Shed, by what was short", "reqps", "timeseries",
     {"{{reason}}": "sum by (reason) (rate(srlab_shed_total{{{job}}}[5m])) or vector(0)"}),
    ("Served", "short", "table", {"": "srlab_model_info{{{job}}}"}),
    ("M10 Memory", "bytes", "timeseries", {
        "process": "process_resident_memory_bytes{{{job}}}", "machine": "srlab_machine_memory_bytes{{{job}}}",
    }),
)  # fmt: skip
DEBUG: Sequence[Row] = (
    ("M1 p50, p95, p99", "s", "timeseries", {
        f"p{p} {{{{megapixels}}}}": f"job_megapixels:srlab_request_seconds:p{p}_5m" for p in (50, 95, 99)
    }),
    ("Time in a stage, mean", "s", "timeseries", {"{{stage}}": (
        "sum by (stage) (rate(srlab_stage_seconds_sum{{{job}}}[5m])) / "
        "sum by (stage) (rate(srlab_stage_seconds_count{{{job}}}[5m]))"
    )}),
    ("Time of a tile, mean", "s", "timeseries", {"{{model}} {{version}}": (
        "sum by (model, version) (rate(srlab_tile_seconds_total{{{job}}}[5m])) / "
        "sum by (model, version) (rate(srlab_tiles_total{{{job}}}[5m]))"
    )}),
    ("M10 Computing by what it is for", "percentunit", "timeseries",
     {"{{use}}": "sum by (use) (rate(srlab_work_seconds_total{{{job}}}[5m]))"}),
    ("M10 Batch fill", "percentunit", "timeseries", {"": "job:srlab_batch_fill:ratio_rate5m"}),
    ("M8 Shift of each feature", "short", "timeseries", {"{{feature}}": "srlab_drift_feature_shift{{{job}}}"}),
    ("M8 Images that cannot be used", "percentunit", "timeseries", {"{{kind}}": "srlab_drift_unusable_ratio{{{job}}}"}),
    ("M10 GPU", "percentunit", "timeseries", {
        "busy {{gpu}}": "srlab_gpu_busy_ratio{{{job}}}",
        "memory {{gpu}}": "srlab_gpu_memory_bytes{{{job}}} / srlab_gpu_memory_limit_bytes{{{job}}}",
    }),
    ("M7 Flicker of the golden clips", "short", "timeseries", {
        "{{model}} {{version}}": "srlab_golden_flicker_levels{{{job}}}",
        "bicubic": "srlab_golden_floor_flicker_levels{{{job}}}",
    }),
    ("M10 Processors at work", "short", "timeseries", {
        "busy": "rate(process_cpu_seconds_total{{{job}}}[5m])", "there": "srlab_processors{{{job}}}",
    }),
    ("Open requests", "short", "timeseries", {"{{instance}}": "srlab_requests_open{{{job}}}"}),
    ("Images that the guard replaced", "short", "timeseries",
     {"{{reason}}": "sum by (reason) (rate(srlab_guard_replaced_total{{{job}}}[5m])) or vector(0)"}),
)  # fmt: skip


def _named(objectives: Objectives, rows: Sequence[Row]) -> Iterator[Panel]:
    for title, unit, kind, queries in rows:
        filled = {
            legend.replace("{{{{", "{{").replace("}}}}", "}}"): _own(objectives, text) if "{job}" in text else text
            for legend, text in queries.items()
        }
        yield Panel(title=title, unit=unit, kind=kind, queries=filled)


def _own(objectives: Objectives, text: str) -> str:
    """An expression with the label of the service in its selectors; alone in them it has no comma."""
    return text.format(job=f'job="{objectives.job}",').replace(",}", "}")


def _dashboard(uid: str, title: str, panels: Sequence[Panel], *, refresh: str, since: str) -> dict[str, Any]:
    placed, x, y = [], 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > 24:
            x, y = 0, y + 8
        placed.append(_panel(panel, number, x, y))
        x += panel.width
    return {
        "uid": f"srlab-{uid}",
        "title": title,
        "tags": ["srlab"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": refresh,
        "time": {"from": since, "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": placed,
    }


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    told: dict[str, Any] = {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.text, "datasource": source,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend or "__auto",
                "datasource": source, **({"instant": True, "format": "table"} if panel.kind == "table" else {}),
            }
            for index, (legend, expression) in enumerate(panel.queries.items())
        ],
    }  # fmt: skip
    return told
