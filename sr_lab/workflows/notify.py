"""Telling others of the champion: a hook that is run once more, and a server's webhook."""

from dataclasses import dataclass

from sr_lab.tracking.registry import aliases, events
from sr_lab.tracking.registry.events import HOOK_FAILED, Hook, tell
from sr_lab.tracking.registry.ledger import Record, last_change
from sr_lab.tracking.store import store_uri

__all__ = ["HOOK_FAILED", "Hook", "Told", "notify", "subscribe"]


@dataclass(frozen=True, kw_only=True)
class Told:
    """The change that a hook was told of.

    Attributes:
        record: The last change of the champion.
        failure: What went wrong in the hook, and what to do about it; None if nothing did.
    """

    record: Record
    failure: str | None


def notify(*, name: str, hook: Hook, tracking_uri: str | None = None) -> Told:
    """Tells a hook of the last change of the champion, as right after it.

    Args:
        name: The registered model.
        hook: What is told.
        tracking_uri: The store or server that has the registry; None is that of ``MLFLOW_TRACKING_URI``, else
            sqlite:///mlflow.db.

    Raises:
        UnsettledError: If the champion is another version than the audit says.
        ValueError: If there was no champion yet.
        RuntimeError: If the store does not answer.
    """
    uri = store_uri(tracking_uri)
    change = last_change(aliases.history(uri, name))
    if change is None:
        raise ValueError(f"{name} has had no champion yet: there is nothing to tell")
    aliases.standing(uri, name)
    return Told(record=change, failure=tell(hook, change, name=name, uri=uri))


def subscribe(*, url: str, tracking_uri: str, label: str = "champion") -> str:
    """Has a tracking server send every change of an alias to a receiver; a webhook of this label is changed.

    Args:
        url: The receiver; MLflow sends to https at public addresses only.
        tracking_uri: The tracking server that sends.
        label: The name of the webhook.

    Returns:
        The status with which the receiver answered a message that the server sent for a trial.

    Raises:
        ValueError: If the store is no server, or the server refuses the url.
        PermissionError: If the user is no administrator.
        RuntimeError: If the server does not answer, or the receiver did not take the trial.
    """
    return events.subscribe(tracking_uri, url, label=label)
