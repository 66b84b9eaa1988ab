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
