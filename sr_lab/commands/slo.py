"""Make Prometheus' rules and alerts, Alertmanager's routes and Grafana's dashboards out of the service's objectives.

    srlab slo                                              # into runs/slo, checked by promtool and amtool
    srlab slo output=/etc/srlab deploy.shares.available.target=0.995 deploy.receivers.page=https://pager.example.org/x
    prometheus --config.file=runs/slo/prometheus.yaml      # reads the service, raises the alerts

The objectives are conf/deploy/slo.yaml: shares of requests that are to be good, with alerts on how fast the rest uses
the error budget up, in several windows; and states that are to stay within a bound. Each alert names its runbook, and
comes with tests for promtool: one in which it is raised and ends, one in which it is silent. What is wrong with them by
promtool or amtool is an error; where these programs are not installed, that is said. docs/watching.md explains each.
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.config.compose import build
from sr_lab.config.words import counted
from sr_lab.workflows.objectives import write_objectives


def run(cfg: DictConfig) -> int:
    """Writes the files; see the module's docstring."""
    written = write_objectives(build(cfg.deploy), Path(cfg.output), alertmanager_address=cfg.alertmanager)
    print(f"{counted(written.num_alerts, 'alert')} with {counted(written.num_tests, 'test')} in {written.folder}")
    for line in written.checked:
        print(f"checked: {line}")
    for program in written.unchecked:
        print(f"NOT checked: {program} is not installed (Debian: prometheus, prometheus-alertmanager)")
    return 0
