"""Faults planted in a service that is watched: each raises its alert, and the alert ends with it; in minutes.

    srlab demo_watch
    srlab demo_watch 'faults=[quality]' speed=60

A registry with a champion, srlab serve, Prometheus and Alertmanager are started on loopback, with the rules of srlab
slo at a speed that makes of an hour two minutes. Then slow bodies come (latency), the champion is replaced by a network
that was never trained (quality), the clients' images become noisy JPEG (drift), and more is computed than the day's
budget allows (cost). Of each it is told after how long Alertmanager had sent the alert, and its end. The three
dashboards are drawn with what Prometheus has read. Needs Debian's packages prometheus and prometheus-alertmanager. Exit
code 1 if an alert does not come, or stays.
"""

import functools
import time
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands import prepare
from sr_lab.commands._steps import folder_of
from sr_lab.config.call import called
from sr_lab.config.compose import build, compose
from sr_lab.config.words import setting
from sr_lab.serving.watch_faults import FAULTS, rehearse


def run(cfg: DictConfig) -> int:
    """Plants the faults; the exit code says whether all were seen."""
    start = time.perf_counter()
    if unknown := [name for name in cfg.faults if name not in FAULTS]:
        raise ValueError(f"faults={unknown[0]}: {', '.join(FAULTS)}")
    output = folder_of(cfg, "demo-watch")
    if not Path(cfg.photos).is_dir() or not Path("data/photos/train").is_dir():
        prepare.run(compose("prepare", ["data=photos"]))

    def objectives(address: str, receiver: str) -> object:
        settings = [f"deploy.speed={cfg.speed}", setting("deploy.interval", cfg.interval)]
        settings += [setting("deploy.address", address)]
        settings += [setting(f"deploy.receivers.{kind}", f"http://{receiver}/{kind}") for kind in ("page", "ticket")]
        return build(compose("slo", settings).deploy)

    say = functools.partial(print, flush=True)
    report = called(rehearse, cfg, output=output, objectives=objectives, say=say)
    for seen in report.seen:
        raised = "NOT RAISED" if seen.raised is None else f"told after {seen.raised:.0f} s"
        cleared = "NOT ENDED" if seen.cleared is None else f"its end {seen.cleared:.0f} s after the fault's"
        print(
            f"{seen.name}: {seen.alert} {raised}, {cleared} (windows are {cfg.speed:g} times shorter than in earnest)"
        )
    for file in report.pictures:
        print(f"picture: {file}")
    print(f"== done in {time.perf_counter() - start:.0f} s")
    return 0 if all(seen.as_expected for seen in report.seen) else 1
