"""Every decision on a registered model: promotions, rejections, rollbacks, with who, when, versions and why.

    srlab history name=NAME
    srlab history name=NAME short=true   # a line for each, with the checks that failed

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
    first = 1
    rejected: set[int] = set()
    for record in records:
        if record.phase != "intent" or record is records[-1]:
            print(_text(record, first=first, again=record.target in rejected, short=cfg.short))
            first = record.number + 1
        if record.action == "reject":
            rejected.add(record.target)
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


def _text(record: Record, *, first: int, again: bool, short: bool) -> str:
    """A record for people; a change has two, before and after it, and both numbers are shown."""
    change = f"version {record.target}"
    if record.action in ("promote", "rollback"):
        change = f"{'none' if record.source is None else f'version {record.source}'} -> {change}"
    state = {"intent": ", interrupted", "done": "", "abandoned": ", abandoned"}[record.phase]
    if record.recovered and record.phase == "done":
        state = ", finished after an interruption"
    number = str(record.number) if first >= record.number else f"{first}-{record.number}"
    head = f"{number:>7}  {record.time}  {record.who}  {record.action}{state}: {change}"
    if record.policy and record.decision:
        head += f"  (decision {record.decision[:12]}, policy {record.policy[:12]})"
    if again and record.action == "promote":
        head += "; this version was rejected before"
    lines = record.reason.splitlines()
    if short:
        failed = [line.split()[1].rstrip(":") for line in lines if line.startswith("fail ")]
        changed = any(line.startswith("note") and line.split()[1:2] == ["policy:"] for line in lines)
        head += f"; failed: {', '.join(failed)}" if failed else ""
        return head + ("; under a changed policy" if changed else "")
    return "\n".join([head, *(f"         {line}" for line in lines)])
