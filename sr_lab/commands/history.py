"""Every decision on a registered model: promotions, rejections, rollbacks, with who, when, versions and why.

    srlab history name=NAME
    srlab history name=NAME short=true   # a line for each, with the checks that failed

Reads the audit records that are kept with the registry, the oldest first, and the aliases as they are now. A change
that was interrupted is listed as such; the next promotion or rollback clears it up. Exit code 1 if a record was changed
or removed after it was written, or the alias ``champion`` was set by something else than promotion and rollback.
"""

from omegaconf import DictConfig

from sr_lab.commands._telling import complain
from sr_lab.config.call import called
from sr_lab.workflows.history import history


def run(cfg: DictConfig) -> int:
    """Prints the history of ``cfg.name``."""
    found = called(history, cfg)
    print("\n".join(found.lines(short=cfg.short) or [f"no decision on {found.name} yet"]))
    named = ", ".join(f"{alias} is version {version}" for alias, version in sorted(found.aliases.items()))
    print(f"now: {named or 'no alias is set'}")
    complain("history", found.faults)
    return 1 if found.faults else 0
