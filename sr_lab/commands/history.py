"""Every decision on a registered model: promotions, rejections, rollbacks, with who, when, versions and why.

    srlab history name=NAME

Reads the audit records that are kept with the registry, the oldest first, and the aliases as they are now. A change
that was interrupted is listed as such; the next promotion or rollback clears it up. Exit code 1 if a record was changed
or removed after it was written, or the alias ``champion`` was set by something else than promotion and rollback.
"""

import sys

from omegaconf import DictConfig

from sr_lab.tracking.registry.aliases import CHAMPION, aliases, history
from sr_lab.tracking.registry.ledger import Record, last_change


def run(cfg: DictConfig) -> int:
    """Print the history of ``cfg.name``."""
    name = str(cfg.name)
    records = history(cfg.tracking_uri, name)
    for record in records:
        if record.phase != "intent" or record is records[-1]:
            print(_text(record))
    if not records:
        print(f"no decision on {name} yet")
    found = aliases(cfg.tracking_uri, name)
    print("now: " + (", ".join(f"{alias} is version {found[alias]}" for alias in sorted(found)) or "no alias is set"))
    broken = [record.number for record in records if not record.intact]
    for number in broken:
        print(f"srlab history: record {number} does not fit the one before it: that was changed later", file=sys.stderr)
    change, champion = last_change(records), found.get(CHAMPION)
    moved = (change.target if change else None) != champion and (not records or records[-1].phase != "intent")
    if moved:
        print(f"srlab history: the alias {CHAMPION} was changed by something else than srlab", file=sys.stderr)
    return 1 if broken or moved else 0


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
