"""Every decision on a registered model: promotions, rejections, rollbacks, with who, when, versions and why.

    srlab history name=NAME

Reads the audit records that are kept with the registry, the oldest first, and the aliases as they are now. A change
that was interrupted is listed as such; the next promotion or rollback clears it up. Exit code 1 if a record was changed
or removed after it was written, or the alias ``champion`` was set by something else than promotion and rollback.
"""

import sys

from omegaconf import DictConfig

from sr_lab.workflows import history
from sr_lab.workflows.history import History, Record


def run(cfg: DictConfig) -> int:
    """Prints the history of ``cfg.name``."""
    found = call(cfg)
    records = found.records
    for record in records:
        if record.phase != "intent" or record is records[-1]:
            print(_text(record))
    if not records:
        print(f"no decision on {found.name} yet")
    named = ", ".join(f"{alias} is version {version}" for alias, version in sorted(found.aliases.items()))
    print(f"now: {named or 'no alias is set'}")
    for fault in found.faults:
        print(f"srlab history: {fault}", file=sys.stderr)
    return 1 if found.faults else 0


def call(cfg: DictConfig) -> History:
    """Reads the history of ``cfg.name``."""
    return history.history(name=str(cfg.name), tracking_uri=str(cfg.tracking_uri))


def _text(record: Record) -> str:
    change = f"version {record.target}"
    if record.action in ("promote", "rollback"):
        change = f"{'none' if record.source is None else f'version {record.source}'} -> {change}"
    state = {"intent": ", interrupted", "done": "", "abandoned": ", abandoned"}[record.phase]
    if record.recovered and record.phase == "done":
        state = ", finished after an interruption"
    head = f"{record.number:>4}  {record.time}  {record.who}  {record.action}{state}: {change}"
    if record.policy and record.decision:
        head += f"  (decision {record.decision[:12]}, policy {record.policy[:12]})"
    return "\n".join([head, *(f"      {line}" for line in record.reason.splitlines())])
