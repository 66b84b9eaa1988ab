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

import functools
from collections.abc import Callable

from omegaconf import DictConfig

from sr_lab.commands._actions import chosen
from sr_lab.commands._telling import complain
from sr_lab.config.call import called
from sr_lab.config.compose import build
from sr_lab.workflows import rollout

STOPPED, ASKED, HOOK_FAILED, UNDER_WAY = 3, 4, 5, 75


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    return chosen(cfg, ACTIONS)(cfg)


def _follow(cfg: DictConfig) -> int:
    """Stays with the rollout (``run``), or takes the steps that the pairs allow by now (``step``)."""
    news = functools.partial(print, flush=True)
    found = called(rollout.follow, cfg, once=cfg.action == "step", hook=build(cfg.events), news=news)
    print(found.text)
    if code := _told(found.failure):
        return code
    if found.rollout.over:
        return 0 if found.rollout.stage == "finished" else STOPPED
    return ASKED if found.rollout.paused else UNDER_WAY


def _status(cfg: DictConfig) -> int:
    print(called(rollout.standing, cfg).text)
    return 0


def _pause(cfg: DictConfig) -> int:
    now = called(rollout.pause, cfg, reason=cfg.reason or "")
    print(f"{now.name}: {now.stage}, paused")
    return 0


def _resume(cfg: DictConfig) -> int:
    now = called(rollout.resume, cfg, reason=cfg.reason or "")
    print(f"{now.name}: {now.stage}, goes on")
    return 0


def _abort(cfg: DictConfig) -> int:
    again = cfg.action == "rollback"
    ended, failure = called(rollout.abort, cfg, reason=cfg.reason or "", promoted=again, hook=build(cfg.events))
    print(f"{ended.name}: the rollout of version {ended.candidate} is aborted, version {ended.base} is champion")
    return _told(failure)


def _told(failure: str | None) -> int:
    complain("rollout", [] if failure is None else [failure])
    return 0 if failure is None else HOOK_FAILED


ACTIONS: dict[str, Callable[[DictConfig], int]] = {
    "run": _follow, "step": _follow, "status": _status, "pause": _pause, "resume": _resume, "abort": _abort,
    "rollback": _abort,
}  # fmt: skip
