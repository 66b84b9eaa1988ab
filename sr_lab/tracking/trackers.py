"""What a tracker beside MLflow has to be: a description that is cheap to make, and a sink that takes a run's events.

The spool is the one record; a tracker is a place that it is sent to. A new one is a class like ``Wandb`` and a file
like ``conf/tracking/wandb.yaml``.
"""

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from sr_lab.base.trusted import is_within, trust_hint, trusted_packages
from sr_lab.tracking.spool import Event, Identity, Spool, State

TARGET = "_target_"


class Sink(ABC):
    """One delivery: takes events in order and says when what it took is safe.

    Attributes:
        offset: byte of the record from which on it wants the events.
    """

    offset: int

    @abstractmethod
    def take(self, event: Event, end: int) -> None:
        """Delivers one event, which ends at byte ``end`` of the record.

        Raises:
            RefusedError: if this event can never be delivered.
            Exception: if it cannot be now.
        """

    @abstractmethod
    def confirm(self) -> dict[str, Any] | None:
        """What to remember if all that was taken is safe now, None where that is known at the end only."""

    @abstractmethod
    def close(self) -> dict[str, Any]:
        """Ends the delivery; what to remember, everything that was taken being safe.

        Raises:
            Exception: if it is not.
        """


class Tracker(ABC):
    """A place that runs are sent to. Each argument of the constructor is kept as the attribute of its name.

    Attributes:
        confirms_while_running: whether it says during the run that events have arrived, or at its end only.
    """

    confirms_while_running: ClassVar[bool] = True

    @abstractmethod
    def check(self) -> None:
        """Refuses what is known to be unusable, without asking a server and without importing the tracker's package.

        Raises:
            ModuleNotFoundError: if the package is not installed.
            ValueError: if a setting makes no sense.
        """

    @abstractmethod
    def open(self, spool: Spool, identity: Identity, state: State) -> Sink:
        """A delivery of this run.

        Raises:
            Exception: if the tracker does not answer.
        """

    @abstractmethod
    def page(self, directory: Path, identity: Identity) -> str:
        """The shell line that shows the run to a person.

        Args:
            directory: The run's folder.
            identity: Who the run is.
        """

    def reason(self, error: BaseException) -> str:
        """A failure in one sentence that a user can act on."""
        text = " ".join(str(error).split()) or type(error).__name__
        return text if len(text) <= 400 else f"{text[:400].rsplit(' ', 1)[0]} ..."

    def described(self) -> dict[str, Any]:
        """The ``_target_`` node that makes this tracker again."""
        names = list(inspect.signature(type(self)).parameters)
        return {TARGET: f"{type(self).__module__}.{type(self).__qualname__}"} | {
            key: getattr(self, key) for key in names
        }


def tracker_of(node: Mapping[str, Any]) -> Tracker:
    """The tracker that a record describes.

    Raises:
        ValueError: if its class is not of a package that is trusted, or does not exist.
    """
    target = str(node.get(TARGET, ""))
    if not is_within(target, ["sr_lab", *trusted_packages()]):
        raise ValueError(f"the run is sent by {target!r}, which is not of sr_lab{trust_hint(target)}")
    module, _, name = target.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), name)(**{k: v for k, v in node.items() if k != TARGET})
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"the run is sent by {target!r}, which cannot be made: {error}") from error
    assert isinstance(made, Tracker)
    return made
