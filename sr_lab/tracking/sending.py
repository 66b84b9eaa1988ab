"""Sends one spool to one tracker beside MLflow, each event exactly once."""

import contextlib
import time
from dataclasses import replace
from typing import Any

from sr_lab.tracking.answers import sentence
from sr_lab.tracking.delivery import RefusedError
from sr_lab.tracking.shipping import AwayError
from sr_lab.tracking.spool import Event, Spool
from sr_lab.tracking.trackers import Sink, tracker_of

SINCE = "since"
"""Detail of a tracker's state: the bytes that others may have been sent before it was added."""


class TrackerShipper:
    """Sends one spool to the tracker whose acknowledgements it holds. Hold ``spool.shipper_lock`` while using it.

    Args:
        spool: the queue, of one tracker.

    Raises:
        ValueError: if the record's tracker cannot be made.
    """

    def __init__(self, spool: Spool) -> None:
        assert spool.tracker is not None
        self.spool = spool
        self.identity = spool.identity
        self.tracker = tracker_of(self.identity.trackers[spool.tracker])
        self.state = spool.state
        self._sink: Sink | None = None
        self._offset = self.state.offset

    def ship(self, *, deadline: float = float("inf")) -> int:
        """Send what is in the queue.

        Args:
            deadline: value of ``time.monotonic()`` after which nothing further is begun.

        Returns:
            How many events were sent.

        Raises:
            AwayError: if the tracker does not take them now; the reason is kept in the state.
        """
        sent = 0
        try:
            while (batch := self.spool.read(self._offset)) and time.monotonic() < deadline:
                sink = self._open()
                for end, event in batch:
                    if end > sink.offset:
                        self._take(sink, event, end)
                    self._offset, sent = end, sent + 1
                if (details := sink.confirm()) is not None:
                    self._acknowledge(details)
        except Exception as error:
            self._lose(error)
        return sent

    def finish(self) -> None:
        """End the delivery, after which everything that was sent is acknowledged.

        Raises:
            AwayError: as ``ship``.
        """
        if self._sink is None:
            return
        try:
            details = self._sink.close()
        except Exception as error:
            self._lose(error)
        self._sink = None
        self._acknowledge(details)

    def beat(self) -> None:
        """Nothing: these trackers see for themselves which runs are alive."""

    def reap(self) -> None:
        """Nothing: see ``beat``."""

    def _open(self) -> Sink:
        if self._sink is None:
            self._sink = self.tracker.open(self.spool, self.identity, self.state)
            self.state = self.spool.state  # with what it has noted at once
        return self._sink

    def _take(self, sink: Sink, event: Event, end: int) -> None:
        gone = (
            "source" in event and event["kind"] != "dataset" and not (self.spool.directory / event["source"]).exists()
        )
        if gone and end <= self.state.details.get(SINCE, 0):
            return  # was sent to others, before this tracker was added
        try:
            sink.take(event, end)
        except RefusedError as error:
            self.spool.reject(event, str(error))
            self._remember(rejected=self.state.rejected + 1)

    def _acknowledge(self, details: dict[str, Any]) -> None:
        before = self.state.offset
        kept = {SINCE: self.state.details[SINCE]} if SINCE in self.state.details else {}
        self._remember(offset=self._offset, error=None, details=kept | details)
        while before < self._offset and (batch := self.spool.read(before)):
            for end, event in batch:
                if end <= self._offset:
                    self.spool.release(event, end)
            before = batch[-1][0]

    def _lose(self, error: Exception) -> None:
        """Forget what is not acknowledged: it is sent again by the next delivery."""
        if self._sink is not None:
            with contextlib.suppress(Exception):
                self._sink.close()
        self._sink, self._offset = None, self.state.offset
        reason = sentence(error, "") if isinstance(error, ImportError) else self.tracker.reason(error)
        with contextlib.suppress(OSError):
            self._remember(error=reason)
        raise AwayError(f"{self.spool.tracker}: {reason}") from error

    def _remember(self, **changes: Any) -> None:
        state = replace(self.state, **changes)
        if state != self.state:
            self.spool.acknowledge(state)
            self.state = state
