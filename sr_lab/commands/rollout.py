"""Let a candidate answer beside the champion on live requests, in stages, and promote it or take it back.

    srlab rollout name=NAME policy=rollout pairs=PAIRS.db                  # begins or goes on, until it is decided
    srlab rollout name=NAME policy=rollout pairs=PAIRS.db action=step      # all steps that the pairs allow by now
    srlab rollout name=NAME policy=rollout pairs=PAIRS.db action=status    # where it stands; changes nothing
    srlab rollout name=NAME action=pause|resume|abort reason="..."
    srlab rollout name=NAME action=rollback reason="..."                   # after the promotion: the former champion

The service runs both models on sampled requests and appends what the pairs show, without pixels, to ``pairs``; this
command reads them. Stages: shadow (the client gets the champion's image), 1, 5, 25 and 50 % of the clients, each client
always on the same side; then the candidate is champion, and the former one keeps 1 % for comparison (holdback). Harm
stops it at once, at any stage; a promotion asks that every check excludes its margin. Every step is an audit record
(srlab history), and a rollout that was killed goes on from there: call the same command again.

Exit codes: 0 promoted and finished, or what was asked for is done; 3 stopped or taken back; 4 paused, a person decides;
5 done but the hook failed; 75 still under way; 130 and 143 ended by a signal, the rollout goes on with the next call;
others error.
"""

import sys
import time
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.base.errors import ConfigError
from sr_lab.base.signals import Stopped
from sr_lab.config.compose import build
from sr_lab.workflows import rollout
from sr_lab.workflows.rollout import Rolled

ACTIONS = ("run", "step", "status", "pause", "resume", "abort", "rollback")
STOPPED, ASKED, HOOK_FAILED, UNDER_WAY = 3, 4, 5, 75


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    if cfg.action not in ACTIONS:
        raise ConfigError(f"action={cfg.action}: one of {', '.join(ACTIONS)}")
    place = {"name": str(cfg.name), "tracking_uri": str(cfg.tracking_uri)}
    reason = "" if cfg.reason is None else str(cfg.reason)
    if cfg.action in ("pause", "resume"):
        now = (rollout.pause if cfg.action == "pause" else rollout.resume)(**place, reason=reason)
        print(f"{now.name}: {now.stage}, {'paused' if now.paused else 'goes on'}")
        return 0
    if cfg.action in ("abort", "rollback"):
        hook = None if cfg.events is None else build(cfg.events)
        ended, failure = rollout.abort(**place, reason=reason, promoted=cfg.action == "rollback", hook=hook)
        print(f"{ended.name}: the rollout of version {ended.candidate} is aborted, version {ended.base} is champion")
        return _told(failure) or 0
    found = call(cfg)
    print("\n".join([found.headline, *(f"  {line}" for line in found.judgement.lines)]))
    if found.page is not None:
        print(f"page: {found.page}")
    if _told(found.failure):
        return HOOK_FAILED
    if cfg.action == "status":
        return 0
    if found.rollout.over:
        return 0 if found.rollout.stage == "finished" else STOPPED
    return ASKED if found.rollout.paused else UNDER_WAY


def call(cfg: DictConfig) -> Rolled:
    """Looks at the rollout that ``cfg`` names (``status``), takes its steps (``step``), or stays with it (``run``)."""
    place = {"name": str(cfg.name), "tracking_uri": str(cfg.tracking_uri)}
    what = {**place, "policy": build(cfg.policy), "pairs": Path(cfg.pairs), "report": Path(cfg.report)}
    if cfg.action == "status":
        return rollout.standing(**what)
    rollout.begin(**place, policy=what["policy"], version=cfg.version)
    hook = None if cfg.events is None else build(cfg.events)
    end = float("inf") if cfg.max_hours is None else time.monotonic() + 3600 * float(cfg.max_hours)
    while True:
        found = rollout.advance(**what, hook=hook)
        for move in found.moves:
            print(move, flush=True)
        if cfg.action == "step" or found.rollout.over or found.failure or time.monotonic() > end:
            return found
        try:
            time.sleep(float(cfg.poll_seconds))
        except Stopped as stop:
            raise stop.saying(f"the rollout stands at {found.rollout.stage}", goes_on=True) from None


def _told(failure: str | None) -> int:
    if failure is None:
        return 0
    print(f"srlab rollout: {failure}", file=sys.stderr)
    return HOOK_FAILED
