"""A person's consent to the decision that waits for one."""

from dataclasses import dataclass

from sr_lab.base.provenance import user
from sr_lab.base.words import line
from sr_lab.tracking.registry import decisions
from sr_lab.tracking.registry.aliases import place
from sr_lab.tracking.registry.ledger import Record
from sr_lab.tracking.store import store_uri

__all__ = ["Consent", "Record", "approve", "how_to_go_on"]


@dataclass(frozen=True, kw_only=True)
class Consent:
    """A consent that was written down.

    Attributes:
        request: The record of the decision that waited, with the gate's lines as its reason.
        record: The record of the consent.
    """

    request: Record
    record: Record


def how_to_go_on(uri: str, name: str) -> str:
    """The command that carries an approved decision out."""
    return line("promote", *place(uri, name))


def approve(*, name: str, by: str, version: int | None = None, tracking_uri: str | None = None) -> Consent:
    """Writes into the audit that a person agrees to the decision that waits; nothing else is changed.

    Args:
        name: The registered model.
        by: The person who agrees.
        version: The candidate that the person has looked at: another one is refused. None takes whichever waits.
        tracking_uri: The store or server that has the registry; None is that of ``MLFLOW_TRACKING_URI``, else
            sqlite:///mlflow.db.

    Raises:
        ValueError: If no decision waits, another one does, or the champion is another one by now.
        PermissionError: If the server does not allow it to the user.
        RuntimeError: If the store does not answer.
    """
    request, record = decisions.approve(store_uri(tracking_uri), name, by=by, user=user(), version=version)
    return Consent(request=request, record=record)
