"""Sending to the tracking server what it did not take while the runs were alive."""

from dataclasses import dataclass
from pathlib import Path

from sr_lab.tracking.store import page_command
from sr_lab.tracking.sync import Outcome, reap_dead_runs
from sr_lab.tracking.sync import sync as send

__all__ = ["Outcome", "Synced", "page_command", "sync"]


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What became of the runs below a folder.

    Attributes:
        directory: The folder that was searched.
        outcomes: One outcome a run, sorted by path.
        closed: The ids of runs that were marked KILLED, as nobody feeds them any more.
    """

    directory: Path
    outcomes: list[Outcome]
    closed: list[str]

    @property
    def complete(self) -> bool:
        """Whether nothing is left that did not reach its store."""
        return all(outcome.complete for outcome in self.outcomes)


def sync(*, directory: Path, uri: str | None = None, seconds: float = 300.0, stale_minutes: float = 30.0) -> Synced:
    """Sends every run at or below a folder, each event once, and closes the runs whose process is gone.

    Args:
        directory: The folder that holds the runs.
        uri: A store that takes the place of the recorded one from now on; None keeps the recorded one.
        seconds: The longest time that is spent on one run.
        stale_minutes: A run without a sign of life for so long is marked KILLED.

    Returns:
        One outcome a run, and the runs that were closed.

    Raises:
        ValueError: if the folder does not exist, or the uri is no store.
        RuntimeError: if a store that took its runs does not answer afterwards.

    Examples:
        >>> from tempfile import mkdtemp
        >>> sync(directory=Path(mkdtemp())).outcomes
        []
    """
    outcomes = send(directory, uri=uri, seconds=seconds)
    stores = sorted({outcome.uri for outcome in outcomes if outcome.uri and outcome.state == "sent"})
    closed = [run_id for store in stores for run_id in reap_dead_runs(store, stale_minutes=stale_minutes)]
    return Synced(directory=directory, outcomes=outcomes, closed=closed)
