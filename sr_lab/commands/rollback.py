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

from omegaconf import DictConfig

from sr_lab.commands._telling import complain
from sr_lab.config.call import called
from sr_lab.config.compose import build
from sr_lab.workflows.rollback import HOOK_FAILED, RolledBack, rollback


def run(cfg: DictConfig) -> int:
    """Rolls back ``cfg.name`` and tells which version is the champion."""
    done = call(cfg)
    print(done.text)
    if done.failure is None:
        return 0
    complain("rollback", [done.failure])
    return HOOK_FAILED


def call(cfg: DictConfig) -> RolledBack:
    """Rolls back ``cfg.name``."""
    return called(rollback, cfg, hook=build(cfg.events))
