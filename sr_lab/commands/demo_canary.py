"""Rollouts rehearsed with planted candidates: bad ones are caught and taken back, a good one is promoted, in minutes.

    srlab demo_canary
    srlab demo_canary 'cases=[equal,better]' seed=1

A registry with a champion is made, and one candidate after another is rolled out to clients who send squares of photos:
one that shifts the colours, one that invents a texture, one that is slow, one that crashes on every second image, one
that is the same as the champion, one that is better, and one that turns bad only after its promotion. The clients, the
clock and the times are simulated; registry, audit, router, proxies and decisions are those of srlab rollout. Each case
ends with a page that shows the worst pairs. Exit code 1 if one of them ends otherwise than it should.
"""

import time
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands import prepare
from sr_lab.commands._steps import folder_of
from sr_lab.config.call import called
from sr_lab.config.compose import build, compose
from sr_lab.config.words import line, setting
from sr_lab.serving.rehearsal import CASES, rehearse


def run(cfg: DictConfig) -> int:
    """Rehearses each case; the exit code says whether all ended as they should."""
    start = time.perf_counter()
    output = folder_of(cfg, "demo-canary")
    store = f"sqlite:///{output.resolve() / 'mlflow.db'}"
    if unknown := [case for case in cfg.cases if case not in CASES]:
        raise ValueError(f"cases={unknown[0]}: {', '.join(CASES)}")
    if not Path(cfg.photos).is_dir():
        prepare.run(compose("prepare", ["data=photos"]))
    policy = build(compose("rollout", ["name=canary", *cfg.policy]).policy)
    own = {"name": "canary", "policy": policy, "output": output, "tracking_uri": store}
    wrong = []
    for case in cfg.cases:
        print(f"\n== {case}: {CASES[case].text}", flush=True)
        done = called(rehearse, cfg, case=case, **own, num_clients=cfg.clients, most_bursts=cfg.bursts)
        print("\n".join(f"  {told}" for told in (*done.moves, done.headline, f"page: {done.page}")), flush=True)
        wrong += [] if done.as_expected else [case]
    print(f"\n== done in {time.perf_counter() - start:.0f} s")
    print(line("history", "name=canary", setting("tracking_uri", store)))
    if wrong:
        print(f"NOT AS EXPECTED: {', '.join(wrong)}")
    return 1 if wrong else 0
