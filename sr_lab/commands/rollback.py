"""Make the previous champion of a registered model the champion again, in one step.

    srlab rollback name=NAME reason="text got worse"
    srlab rollback name=NAME reason="..." events=hook events.command="./deploy.sh"
    srlab rollback name=NAME reason="..." settle=audit     # the alias was moved or removed by hand: put it back
    srlab rollback name=NAME reason="..." settle=registry  # it was meant: take what the registry says

The alias ``champion`` goes back to the version that ``previous`` names, and who did it, when and why becomes an audit
record (srlab history). A second rollback goes one champion further back; it does not return to the bad version. It
works also where the champion's alias is gone or its version deleted, as the audit knows the versions. Fails, and
changes nothing, where there is no previous champion, or the alias names a version that no record made champion: settle=
says which of the two is right. Exit code 5: done, but the hook failed.
"""

import sys

from omegaconf import DictConfig

from sr_lab.config.compose import build
from sr_lab.workflows import rollback
from sr_lab.workflows.rollback import HOOK_FAILED, RolledBack


def run(cfg: DictConfig) -> int:
    """Rolls back ``cfg.name`` and tells which version is the champion."""
    done = call(cfg)
    name, record = done.name, done.record
    if record.action == "retire":
        print(f"{name} has no champion any more: version {record.target} was given up")
    else:
        instead = "" if record.source in (None, record.target) else f", instead of version {record.source}"
        again = "" if record.action == "adopt" else " again"
        print(f"{name} version {record.target} is models:/{name}@champion{again}{instead}")
    if done.failure is not None:
        print(f"srlab rollback: {done.failure}", file=sys.stderr)
        return HOOK_FAILED
    return 0


def call(cfg: DictConfig) -> RolledBack:
    """Rolls back ``cfg.name``."""
    return rollback.rollback(
        name=str(cfg.name),
        reason=str(cfg.reason),
        settle=cfg.settle,
        tracking_uri=str(cfg.tracking_uri),
        hook=None if cfg.events is None else build(cfg.events),
    )
