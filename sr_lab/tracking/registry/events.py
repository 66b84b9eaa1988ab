"""What follows a change of the champion: a command here, and on a tracking server MLflow's webhooks.

Both tell that the alias has moved; neither can undo it. A command that fails or a message that is lost leaves a
deployment behind, so it should compare itself with the alias, and ``srlab notify`` tells it once more.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from sr_lab.base.errors import SRLabError
from sr_lab.base.words import line
from sr_lab.tracking.registry.aliases import place
from sr_lab.tracking.registry.ledger import Record
from sr_lab.tracking.store import call, connect, resolve_uri, without_password

HOOK_FAILED = 5
SECRET = "SRLAB_WEBHOOK_SECRET"
WEBHOOK_EVENTS = ("model_version_alias.created", "model_version_alias.deleted")


class HookError(SRLabError, RuntimeError):
    """The command failed, or did not end in time."""


class Hook:
    """A command that runs after the champion has changed.

    Args:
        command: Line for ``/bin/sh``. It gets the facts (see ``facts``) as JSON on its standard input, and each of them
            as a variable: ``SRLAB_EVENT``, ``SRLAB_NAME``, ``SRLAB_VERSION``, ...; what it prints is shown.
        seconds: Time that it may take, in seconds; then it is killed with all that it started.
    """

    def __init__(self, *, command: str, seconds: float = 60.0) -> None:
        if not isinstance(command, str):
            raise ValueError(f"command={command}: give a line for the shell, in quotes: events.command=\"'...'\"")
        if not command.strip():
            raise ValueError("command: the hook has no command line")
        if not seconds > 0:
            raise ValueError(f"seconds={seconds}: more than 0")
        self.command = command
        self.seconds = seconds

    def __call__(self, told: Mapping[str, Any]) -> None:
        """Runs the command.

        Raises:
            HookError: if it fails or takes too long. The command itself is not in the message: it may hold secrets.
        """
        variables = {f"SRLAB_{key.upper()}": "" if value is None else str(value) for key, value in told.items()}
        process = subprocess.Popen(
            ["/bin/sh", "-c", self.command], stdin=subprocess.PIPE, env={**os.environ, **variables},
            start_new_session=True,
        )  # fmt: skip
        try:
            process.communicate(json.dumps(told).encode(), timeout=self.seconds)
        except subprocess.TimeoutExpired:
            raise HookError(f"it did not end within {self.seconds:g} s and was killed") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            raise HookError(f"it ended with exit code {process.returncode}")


def facts(record: Record, *, name: str, uri: str) -> dict[str, Any]:
    """What a hook is told: plain values, no credentials.

    Args:
        record: of a promotion or a rollback that is done.
        name: registered model.
        uri: its store.
    """
    return {
        "event": record.action,
        "name": name,
        "alias": "champion",
        "version": record.target,
        "former": record.source,
        "model": f"models:/{name}/{record.target}",
        "tracking_uri": without_password(resolve_uri(uri)),
        "record": record.number,
        "time": record.time,
        "who": record.who,
        "reason": record.reason,
        "decision": record.decision,
        "policy": record.policy,
    }


def tell(hook: Hook | None, record: Record, *, name: str, uri: str) -> str | None:
    """Runs the hook, if there is one, for a change that is done; the change stands in any case.

    Returns:
        What went wrong in the hook and what helps, in a sentence; None if nothing did.
    """
    if hook is None:
        return None
    try:
        hook(facts(record, name=name, uri=uri))
    except HookError as error:
        state = "has no champion" if record.action == "retire" else f"version {record.target} is the champion"
        return (
            f"{name} {state}, that stands; but the hook failed: {error}. Once more: "
            f"{line('notify', *place(uri, name))} events.command=..."
        )
    return None


def fire(hook: Hook | None, record: Record, *, name: str, uri: str) -> int:
    """As ``tell``, with the failure on stderr.

    Returns:
        Exit code of the command that made the change: 0, or ``HOOK_FAILED``.
    """
    failure = tell(hook, record, name=name, uri=uri)
    if failure is not None:
        print(f"srlab {record.action}: {failure}", file=sys.stderr)
    return 0 if failure is None else HOOK_FAILED


def subscribe(uri: str, url: str, *, label: str) -> str:
    """Has a tracking server send every change of an alias to ``url``; one of this label already there is changed.

    The server signs its messages with the secret in the environment variable ``SRLAB_WEBHOOK_SECRET``, where it is set.

    Args:
        uri: tracking server.
        url: receiver; MLflow sends to https at public addresses only.
        label: name of the webhook.

    Returns:
        The answer of the receiver to a message that the server sent for a trial: its status.

    Raises:
        ValueError: if the store is no server, or the server refuses the url.
        RuntimeError: if the server does not answer or the receiver did not take the trial.
        PermissionError: if the user is no administrator.
    """
    store = resolve_uri(uri)
    if not store.startswith("http"):
        raise ValueError(f"{without_password(store)} is no server and sends nothing: give events=hook to srlab promote")
    secret = os.environ.get(SECRET)
    settings = {"url": url, "events": list(WEBHOOK_EVENTS), "secret": secret}

    def work() -> Any:
        client = connect(store)
        found, token = [], None
        while True:
            page = client.list_webhooks(page_token=token)
            found += [webhook for webhook in page if webhook.name == label]
            token = page.token
            if not token:
                break
        if found:
            webhook = client.update_webhook(found[0].webhook_id, **settings)
        else:
            webhook = client.create_webhook(name=label, **settings)
        return client.test_webhook(webhook.webhook_id, WEBHOOK_EVENTS[0])

    result = call(f"set up the webhook {label!r}", store, work, needs="the rights of an administrator")
    if not result.success:
        why = result.error_message or f"it answered {result.response_status}"
        raise RuntimeError(f"the webhook {label!r} is set up, but {url} did not take a trial message: {why}")
    return str(result.response_status)
