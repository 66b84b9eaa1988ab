"""What was decided on a registered model, and whether the records can be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sr_lab.tracking.registry import aliases
from sr_lab.tracking.registry.aliases import CHAMPION
from sr_lab.tracking.registry.ledger import Record, breaks, champion_of
from sr_lab.tracking.store import store_uri

__all__ = ["History", "Record", "history"]


@dataclass(frozen=True, kw_only=True)
class History:
    """The audit of a registered model.

    Attributes:
        name: The registered model.
        records: Every record, the oldest first.
        aliases: The aliases as they are now, with the versions that they name.
        faults: What does not fit, in sentences: records that were changed later, aliases that were moved by others.
    """

    name: str
    records: Sequence[Record]
    aliases: Mapping[str, int]
    faults: tuple[str, ...]

    def lines(self, *, short: bool = False) -> list[str]:
        """Every decision for people, the oldest first; a change has two records, and both numbers are shown.

        Args:
            short: A line for each, with the checks that failed; otherwise the reasons, too.
        """
        lines, first, rejected = [], 1, set[int]()
        for record in self.records:
            if record.phase != "intent" or record is self.records[-1]:
                lines.append(_text(record, first=first, again=record.target in rejected, short=short))
                first = record.number + 1
            if record.action == "reject":
                rejected.add(record.target)
        return lines


def history(*, name: str, tracking_uri: str | None = None) -> History:
    """Reads the audit of a registered model; nothing is changed, not even what was interrupted.

    Args:
        name: The registered model.
        tracking_uri: The store or server that has the registry; None is that of ``MLFLOW_TRACKING_URI``, else
            sqlite:///mlflow.db.

    Raises:
        ValueError: If there is no such model.
        RuntimeError: If the store does not answer.
    """
    uri = store_uri(tracking_uri)
    records, found = aliases.history(uri, name), aliases.aliases(uri, name)
    faults = [
        f"record {record.number} does not fit the one before it: that was changed later"
        for record in records
        if not record.intact
    ]
    faults += breaks(records)
    interrupted = bool(records) and records[-1].phase == "intent"
    if champion_of(records) != found.get(CHAMPION) and not interrupted:
        faults.append(f"the alias {CHAMPION} was changed by something else than srlab")
    return History(name=name, records=records, aliases=found, faults=tuple(faults))


def _text(record: Record, *, first: int, again: bool, short: bool) -> str:
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
