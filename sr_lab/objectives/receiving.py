"""Alertmanager's configuration: who is told, alerts grouped, the lesser ones silent beside the greater."""

from typing import Any

from sr_lab.objectives.objective import Objectives


def alertmanager(objectives: Objectives) -> dict[str, Any]:
    """The configuration of Alertmanager.

    Alerts of a group come in one message; one that several Prometheus send is told once. A page silences the tickets of
    its failure, and a service that is down everything else of its instance. In maintenance nobody is told.
    """
    given, intervals = objectives.receivers, list(objectives.receivers.maintenance)

    def route(severity: str, repeat: str) -> dict[str, Any]:
        own: dict[str, Any] = {
            "receiver": severity, "matchers": [f'severity="{severity}"'], "repeat_interval": objectives.span(repeat),
        }  # fmt: skip
        return {**own, "mute_time_intervals": intervals} if intervals else own

    told: dict[str, Any] = {
        "route": {
            "receiver": "ticket",
            "group_by": [label for label, wanted in given.group_by.items() if wanted],
            "group_wait": objectives.span(given.group_wait),
            "group_interval": objectives.span(given.group_interval),
            "repeat_interval": objectives.span(given.repeat_ticket),
            "routes": [route("page", given.repeat_page), route("ticket", given.repeat_ticket)],
        },
        "inhibit_rules": [
            {
                "source_matchers": ['alertname="Down"'], "target_matchers": ['alertname!="Down"'],
                "equal": ["job", "instance"],
            },
            {
                "source_matchers": ['severity="page"'], "target_matchers": ['severity="ticket"'],
                "equal": ["job", "failure"],
            },
        ],
        "receivers": [
            {"name": name, "webhook_configs": [{"url": url, "send_resolved": True}]}
            for name, url in (("page", given.page), ("ticket", given.ticket))
        ],
    }  # fmt: skip
    if intervals:
        told["time_intervals"] = [
            {"name": name, "time_intervals": spans} for name, spans in given.maintenance.items()
        ]  # fmt: skip
    return told
