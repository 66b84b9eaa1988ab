"""The watching rehearsed: a service, Prometheus and Alertmanager on loopback, and faults that are planted one by one.

Everything is real: the programs, the service, its alerts, the messages that Alertmanager sends. Spans are shorter than
in earnest, by ``speed``, which every line of the report says.
"""

import contextlib
import http.client
import json
import shutil
import socket
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sr_lab.base.extras import install
from sr_lab.base.listening import QuietHandler, listening
from sr_lab.objectives.dashboards import dashboards
from sr_lab.objectives.drawing import draw_dashboard
from sr_lab.objectives.objective import Objectives
from sr_lab.objectives.rules import alerts
from sr_lab.serving.incoming import PROBES
from sr_lab.serving.staging import SRLAB, process
from sr_lab.workflows.objectives import write_objectives

PROGRAMS = {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}
"""Programs and Debian's packages that bring them."""
LONGEST = 600.0
"""Seconds after which an alert that has not come is given up."""


@dataclass
class Told:
    """What Alertmanager has sent: alert, ``firing`` or ``resolved``, when."""

    messages: list[tuple[str, str, float]] = field(default_factory=list)

    def has(self, alert: str, status: str, since: float) -> bool:
        """Whether an alert was told so since a time."""
        return any((name, said) == (alert, status) and when >= since for name, said, when in self.messages)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of a planted fault.

    Attributes:
        name: Of the fault.
        alert: The alert that it should raise.
        raised: Seconds until Alertmanager told of it; None: never.
        cleared: Seconds from the fault's end until Alertmanager had it no more; None: never.
    """

    name: str
    alert: str
    raised: float | None
    cleared: float | None

    @property
    def as_expected(self) -> bool:
        """Whether it was raised and cleared."""
        return self.raised is not None and self.cleared is not None


def missing_programs() -> list[str]:
    """Debian's packages of the programs that are not installed."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


class Watched:
    """The programs of a rehearsal, which end with it.

    Args:
        objectives: With ``address`` and the receivers' addresses as ``free_addresses`` gives them.
        folder: Where their files go.
        serve: Settings of ``srlab serve``, beside the port.
        alertmanager: Its address.
        web: Prometheus' address.
    """

    def __init__(
        self, objectives: Objectives, folder: Path, serve: Sequence[str], *, alertmanager: str, web: str
    ) -> None:
        self.objectives, self.folder, self.serve = objectives, folder, serve
        self.alertmanager, self.web, self.url = alertmanager, web, f"http://{objectives.address}"
        self.told, self.begin = Told(), time.time()
        self._ends, self._service = contextlib.ExitStack(), contextlib.ExitStack()
        self._ends.push(self._service)

    def __enter__(self) -> "Watched":
        """Starts everything, and waits until the service's numbers are read."""
        write_objectives(self.objectives, self.folder / "slo", alertmanager_address=self.alertmanager, check=False)
        try:
            self._ends.enter_context(_receiver(self.objectives.receivers.page, self.told))
            self.restart()
            self._child(
                "alertmanager",
                [
                    "prometheus-alertmanager", "--config.file=slo/alertmanager.yaml", "--storage.path=alerts",
                    f"--web.listen-address={self.alertmanager}", "--cluster.listen-address=",
                ],
            )  # fmt: skip
            self._child(
                "prometheus",
                [
                    "prometheus", "--config.file=slo/prometheus.yaml", "--storage.tsdb.path=data",
                    f"--web.listen-address={self.web}", "--enable-feature=exemplar-storage",
                ],
            )  # fmt: skip
            _until(lambda: self.ask("srlab_queue_seconds"), "Prometheus reads nothing; see prometheus.log")
            _until(lambda: _get(f"http://{self.alertmanager}/-/ready"), "Alertmanager is not ready; see its log")
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends everything."""
        self._ends.close()

    def restart(self, *settings: str) -> None:
        """Starts the service anew, with further settings, and waits until it answers."""
        self._service.close()
        port = self.objectives.address.rpartition(":")[2]
        command = [*SRLAB, "serve", *self.serve, *settings, f"port={port}"]
        self._child("service", command, self._service)
        _until(lambda: _get(f"{self.url}/readyz"), "the service does not answer; see service.log")

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The vector of an expression now."""
        found: list[dict[str, Any]] = self._api("query", query=expression)["result"]
        return found

    def lines(self, expression: str) -> list[tuple[str, list[float], list[float]]]:
        """The values of an expression since the beginning."""
        span = {"start": f"{self.begin:.0f}", "end": f"{time.time():.0f}", "step": "2"}
        found = self._api("query_range", query=expression, **span)["result"]
        return [
            (
                " ".join(v for k, v in sorted(line["metric"].items()) if k not in ("__name__", "job", "instance")),
                [float(when) - self.begin for when, _ in line["values"]],
                [float(number) for _, number in line["values"]],
            )
            for line in found
        ]

    def plant(self, name: str, alert: str, fault: contextlib.AbstractContextManager[Any]) -> Seen:
        """Plants a fault until its alert was told, takes it away, and waits until the alert's end was told."""
        if alert not in {each.name for each in alerts(self.objectives)}:
            raise ValueError(f"there is no alert {alert}")
        begin = time.time()
        with fault:
            raised = _wait(lambda: self.told.has(alert, "firing", begin))
        cleared = _wait(lambda: self._gone(alert)) if raised is not None else None
        return Seen(name=name, alert=alert, raised=raised, cleared=cleared)

    def draw(self, marks: dict[str, float]) -> list[Path]:
        """The dashboards with what Prometheus has read, as pictures."""
        files = []
        for name, model in dashboards(self.objectives).items():
            file = self.folder / f"{name}.png"
            draw_dashboard(model, self.lines, file, marks={key: at - self.begin for key, at in marks.items()})
            files.append(file)
        return files

    def _api(self, path: str, **query: str) -> dict[str, Any]:
        with urllib.request.urlopen(
            f"http://{self.web}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=60
        ) as answer:
            found: dict[str, Any] = json.load(answer)["data"]
        return found

    def _gone(self, alert: str) -> bool:
        """Whether Alertmanager has an alert no more; its message of that may be held back beside a greater one."""
        with urllib.request.urlopen(f"http://{self.alertmanager}/api/v2/alerts", timeout=60) as answer:
            return all(each["labels"]["alertname"] != alert for each in json.load(answer))

    def _child(self, name: str, command: list[str], ends: contextlib.ExitStack | None = None) -> None:
        running = process(command, log=self.folder / f"{name}.log", threads=1, folder=self.folder)
        (ends or self._ends).enter_context(running)


def free_addresses(count: int) -> list[str]:
    """Addresses of loopback that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


@contextlib.contextmanager
def traffic(
    address: str, image: Callable[[], bytes], *, clients: int = 2, body_seconds: float = 0.0, probe: bool = False
) -> Iterator[dict[int, int]]:
    """Clients that send one image after another; the number of answers by status.

    Args:
        address: HOST:PORT.
        image: Makes the next file; one client at a time.
        clients: How many at once.
        body_seconds: How long each takes to send its image: as over a bad network.
        probe: Whether they only try the service, so that what they send is not counted as what comes in.
    """
    stop, lock, counts = threading.Event(), threading.Lock(), dict[int, int]()

    def send() -> None:
        while not stop.is_set():
            with lock:
                data = image()
            try:
                status = post_slowly(address, data, body_seconds, probe=probe)
            except OSError:
                status = 0
            with lock:
                counts[status] = counts.get(status, 0) + 1
            stop.wait(0.1)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def post_slowly(address: str, image: bytes, seconds: float, *, probe: bool = False) -> int:
    """Sends an image so that it takes so long, as over a bad network; the answer's status."""
    parts = 12 if seconds else 1
    size = -(-len(image) // parts)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(image), size):
            yield image[start : start + size]
            time.sleep(seconds / parts)

    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        headers = {"Content-Length": str(len(image))}
        if probe:
            headers["X-Request-ID"] = f"{PROBES[0]}{uuid.uuid4().hex}"
        connection.request("POST", "/v1/restore", body=pieces(), headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


@contextlib.contextmanager
def _receiver(url: str, told: Told) -> Iterator[None]:
    """What Alertmanager posts to."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in content["alerts"]:
                told.messages.append((alert["labels"]["alertname"], alert["status"], time.time()))
            self.send_response(200)
            self.end_headers()

    place = urllib.parse.urlsplit(url)
    with listening(str(place.hostname), int(place.port or 80), Handler):
        yield


def _get(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bool(answer.status == 200)


def _until(done: Callable[[], object], otherwise: str) -> None:
    if _wait(done) is None:
        raise RuntimeError(otherwise)


def _wait(done: Callable[[], object]) -> float | None:
    """Seconds until something is so; None where it does not come."""
    begin = time.monotonic()
    while time.monotonic() - begin < LONGEST:
        with contextlib.suppress(OSError):
            if done():
                return time.monotonic() - begin
        time.sleep(0.3)
    return None


def require_programs() -> None:
    """Says which programs are not there.

    Raises:
        ValueError: If one is missing.
    """
    if missing := missing_programs():
        raise ValueError(f"{', '.join(missing)}: not installed: apt-get install {' '.join(missing)}")
    try:
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise ValueError(f"the service is not installed: {install('prometheus_client')}") from error
