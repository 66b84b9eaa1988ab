"""Counters of live video, and how monitoring reads them: the Prometheus text format, in a file or at an address."""

import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sr_lab.base.files import replacing
from sr_lab.base.listening import QuietHandler, listening

QUANTILES = (0.5, 0.95, 0.99)
KEPT = 5000
"""Frames whose latencies are kept: the last minutes."""
_ADDRESS = re.compile(r"^(?P<host>\[[0-9a-fA-F:]+\]|[\w.-]*):(?P<port>\d{1,5})$")


@dataclass
class Counts:
    """What became of the frames; each that came in is restored by the first model, degraded, late or dropped.

    Attributes:
        frames_in: Frames that were decoded.
        frames_out: Frames that were written.
        late: Frames that got the classical enlargement, as a model would have made them late.
        degraded: Frames of a smaller model, or of none, as larger ones had been late too often.
        dropped: Frames that were lost before anything was made of them, as the queue was full.
        undecodable: Packets that could not be decoded.
        clock_jumps: Times that the source's clock went back or leapt.
        reconnects: Times that the source was opened again.
        resized: Frames of another size than the first, fitted into its size.
    """

    frames_in: int = 0
    frames_out: int = 0
    late: int = 0
    degraded: int = 0
    dropped: int = 0
    undecodable: int = 0
    clock_jumps: int = 0
    reconnects: int = 0
    resized: int = 0


_TOLD = {
    "frames_in": ("srlab_live_frames_in_total", "Frames that were decoded."),
    "frames_out": ("srlab_live_frames_out_total", "Frames that were written."),
    "late": ("srlab_live_late_frames_total", "Frames enlarged classically, as the model would have made them late."),
    "degraded": ("srlab_live_degraded_frames_total", "Frames of a smaller model, or of none, after step-down."),
    "dropped": ("srlab_live_dropped_frames_total", "Frames lost before the model, as the queue was full."),
    "undecodable": ("srlab_live_undecodable_packets_total", "Packets that could not be decoded."),
    "clock_jumps": ("srlab_live_clock_jumps_total", "Jumps of the source's clock."),
    "reconnects": ("srlab_live_reconnects_total", "Times that the source was opened again."),
    "resized": ("srlab_live_resized_frames_total", "Frames of another size than the first, fitted into its size."),
}
"""Name and explanation of each count, as monitoring reads them."""


class Counters:
    """Counts, latencies, level and queue of a live run; any thread may write and read.

    Example:
        >>> counters = Counters()
        >>> counters.add(frames_in=1)
        >>> counters.out(0.04)
        >>> "srlab_live_frames_out_total 1" in counters.text()
        True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts()
        self._latencies: deque[float] = deque(maxlen=KEPT)
        self._seconds = 0.0
        self.level, self.queued = 0, 0

    def add(self, **counts: int) -> None:
        """Adds to counts by their names."""
        with self._lock:
            for name, count in counts.items():
                setattr(self._counts, name, getattr(self._counts, name) + count)

    def out(self, latency: float) -> None:
        """Counts a frame that was written, with its seconds from packet in to packet out."""
        with self._lock:
            self._counts.frames_out += 1
            self._latencies.append(latency)
            self._seconds += latency

    @property
    def counts(self) -> Counts:
        """The counts as they are now."""
        with self._lock:
            return Counts(**asdict(self._counts))

    def quantiles(self) -> dict[float, float]:
        """Seconds from packet in to packet out, by quantile, of the last ``KEPT`` frames; NaN before the first."""
        with self._lock:
            kept = np.array(self._latencies)
        if not len(kept):
            return dict.fromkeys(QUANTILES, float("nan"))
        return {share: float(np.quantile(kept, share)) for share in QUANTILES}

    def text(self) -> str:
        """Everything, in the Prometheus text format (version 0.0.4)."""
        counts = asdict(self.counts)
        lines = list[str]()
        for key, (name, help) in _TOLD.items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} counter", f"{name} {counts[key]}"]
        for name, help, value in (
            ("srlab_live_level", "Model in force: 0 is the first, each next one smaller.", self.level),
            ("srlab_live_queued_frames", "Frames that wait for a model.", self.queued),
        ):
            lines += [f"# HELP {name} {help}", f"# TYPE {name} gauge", f"{name} {value}"]
        name = "srlab_live_latency_seconds"
        lines += [f"# HELP {name} From packet in to packet out.", f"# TYPE {name} summary"]
        lines += [f'{name}{{quantile="{share}"}} {_number(value)}' for share, value in self.quantiles().items()]
        lines += [f"{name}_sum {self._seconds:.6f}", f"{name}_count {counts['frames_out']}"]
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return "NaN" if np.isnan(value) else f"{value:.6f}"


@contextmanager
def telling(counters: Counters, where: str | None) -> Iterator[None]:
    """Within it the counters can be read at an address (``HOST:PORT``, path /metrics), or in a file, each second.

    The file is replaced as a whole, as Prometheus' textfile collector wants it, and holds the last state at the end.

    Raises:
        ValueError: If the address cannot be listened at, or the file not be written.
    """
    if where is None:
        yield
        return
    address = _ADDRESS.match(where)
    with _served(counters, where, address) if address else _filed(counters, Path(where)):
        yield


@contextmanager
def _served(counters: Counters, where: str, address: re.Match[str]) -> Iterator[None]:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            found = self.path.split("?")[0] in ("/metrics", "/")
            body = counters.text().encode() if found else b"see /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ExitStack() as stack:
        try:
            host = address["host"].strip("[]") or "0.0.0.0"
            stack.enter_context(listening(host, int(address["port"]), Handler))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"streaming.metrics={where}: cannot listen there ({error}): give another HOST:PORT"
            ) from error
        yield


@contextmanager
def _filed(counters: Counters, file: Path) -> Iterator[None]:
    def write() -> None:
        with replacing(file, durable=False) as partial:
            partial.write_text(counters.text(), encoding="utf-8")

    try:
        write()
    except OSError as error:
        raise ValueError(f"streaming.metrics={file} cannot be written ({error}): give another file") from error
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(1.0):
            try:
                write()
            except OSError:
                continue  # a full disk ends no stream

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            write()
