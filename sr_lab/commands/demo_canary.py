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
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands import prepare
from sr_lab.config.compose import build, compose
from sr_lab.config.words import line, setting
from sr_lab.serving.rehearsal import CASES, Rehearsed, rehearse


def run(cfg: DictConfig) -> int:
    """Rehearses each case; the exit code says whether all ended as they should."""
    start = time.perf_counter()
    output = Path("runs") / (cfg.name or f"demo-canary-{datetime.now():%Y%m%d-%H%M%S}")
    store = f"sqlite:///{output.resolve() / 'mlflow.db'}"
    found = call(cfg, output=output, store=store)
    wrong = [case for case, done in found if not done.as_expected]
    print(f"\n== done in {time.perf_counter() - start:.0f} s")
    print(line("history", "name=canary", setting("tracking_uri", store)))
    if wrong:
        print(f"NOT AS EXPECTED: {', '.join(wrong)}")
    return 1 if wrong else 0


def call(cfg: DictConfig, *, output: Path, store: str) -> list[tuple[str, Rehearsed]]:
    """Rehearses each case and tells what came of it."""
    unknown = [case for case in cfg.cases if case not in CASES]
    if unknown:
        raise ValueError(f"cases={unknown[0]}: {', '.join(CASES)}")
    if not Path(cfg.photos).is_dir():
        prepare.run(compose("prepare", ["data=photos"]))
    policy = build(compose("rollout", ["name=canary", *map(str, cfg.policy)]).policy)
    done = []
    for case in cfg.cases:
        print(f"\n== {case}: {CASES[case].text}", flush=True)
        result = rehearse(
            case, name="canary", policy=policy, photos=Path(cfg.photos), output=output, tracking_uri=store,
            num_clients=cfg.clients, side=cfg.side, most_bursts=cfg.bursts, seed=cfg.seed,
        )  # fmt: skip
        for move in result.moves:
            print(f"  {move}")
        print(f"  {result.headline}\n  page: {result.page}", flush=True)
        done.append((case, result))
    return done
