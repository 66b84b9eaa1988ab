"""The way back: an earlier champion of a registered model is the champion again."""

from dataclasses import dataclass

from sr_lab.base.provenance import user
from sr_lab.tracking.registry import aliases
from sr_lab.tracking.registry.aliases import Truth
from sr_lab.tracking.registry.events import HOOK_FAILED, Hook, tell
from sr_lab.tracking.registry.ledger import Record
from sr_lab.tracking.store import store_uri

__all__ = ["HOOK_FAILED", "Hook", "RolledBack", "rollback"]


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """A rollback that was done.

    Attributes:
        name: The registered model.
        record: Its record in the audit.
        failure: What went wrong in the hook that was run afterwards, and what to do about it; None if nothing did.
    """

    name: str
    record: Record
    failure: str | None

    @property
    def text(self) -> str:
        """Which version is the champion now, in a sentence."""
        name, record = self.name, self.record
        if record.action == "retire":
            return f"{name} has no champion any more: version {record.target} was given up"
        instead = "" if record.source in (None, record.target) else f", instead of version {record.source}"
        again = "" if record.action == "adopt" else " again"
        return f"{name} version {record.target} is models:/{name}@champion{again}{instead}"


def rollback(
    *,
    name: str,
    reason: str,
    settle: Truth | None = None,
    tracking_uri: str | None = None,
    hook: Hook | None = None,
) -> RolledBack:
    """Makes the previous champion the champion again: one step, and a further call goes one step further.

    Or, with ``settle``, ends a disagreement of the audit and the alias ``champion``, after something else than sr_lab
    has moved or removed the alias or deleted the version.

    Args:
        name: The registered model.
        reason: Why, for the audit.
        settle: None goes back. ``audit`` puts the alias back to the version that the audit knows; ``registry`` takes
            the version that the alias names for the champion, or gives the champion up where the alias is gone.
        tracking_uri: The store or server that has the registry; None is that of ``MLFLOW_TRACKING_URI``, else
            sqlite:///mlflow.db.
        hook: Told of the change afterwards, so that a deployment follows; the change stands also where it fails.

    Raises:
        NoPreviousChampionError: If there is no previous champion.
        ValueError: If there is nothing to settle, or no reason.
        PermissionError: If the server does not allow it to the user; then nothing was changed.
        RuntimeError: If the store does not answer, or refuses.
    """
    uri = store_uri(tracking_uri)
    if settle is None:
        record = aliases.rollback(uri, name, reason=reason, who=user())
    else:
        record = aliases.settle(uri, name, settle, reason=reason, who=user())
    return RolledBack(name=name, record=record, failure=tell(hook, record, name=name, uri=uri))
