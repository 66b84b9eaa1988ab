"""A server process: what it is made of, and uvicorn around it."""

import asyncio
import functools
import logging
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import uvicorn

from sr_lab.artefacts.shipped import shipped_scales
from sr_lab.base.signals import Asked, deferred
from sr_lab.serving.answering import Parts
from sr_lab.serving.app import make_admin_app, make_app
from sr_lab.serving.connections import Protocol, Server, listen
from sr_lab.serving.cost import Costs, CostSettings
from sr_lab.serving.edge import EdgeBundle
from sr_lab.serving.grpc_door import make_grpc_server
from sr_lab.serving.guard import Guard
from sr_lab.serving.keys import AuditLog, Keys
from sr_lab.serving.limits import Limits
from sr_lab.serving.records import Records, RecordSettings
from sr_lab.serving.rollout import Rollouts
from sr_lab.serving.routes import Route
from sr_lab.serving.runner import Runner
from sr_lab.serving.service import Service
from sr_lab.serving.shelf import Shelf, Source
from sr_lab.serving.sources import RegistrySource, RestorerSource
from sr_lab.serving.studies import StudyDesk
from sr_lab.serving.tracing import traces_to
from sr_lab.serving.traffic import RolloutTraffic
from sr_lab.tracking.registry.references import fetch_reference
from sr_lab.tracking.registry.rollouts import current
from sr_lab.workflows.pairs import PairStore

if TYPE_CHECKING:
    from sr_lab.serving.incoming import Incoming  # brings pandas, half a second of a start

log = logging.getLogger(__name__)
FAST, CONSERVATIVE = "fast", "conservative"


@dataclass(frozen=True, kw_only=True)
class Models:
    """Which models a server has.

    Attributes:
        name: Registered model whose alias is followed; or, with ``restorer``, what clients call that.
        restorer: A restorer instead of a registered model, as ``load_restorer`` takes it.
        alias: What is followed.
        scale: Enlargement factor of ``restorer``, where it has several (bicubic, shipped models as ``edge``) or to be
            refused if it has another.
        fast: Restorer of the tier ``fast``; None: there is no such tier.
        conservative: Restorer whose image replaces one that the guard refuses.
        more: Further restorers by the names that clients call them; loaded when they are first asked for.
        tracking_uri: The store that has the registry.
        device: Where to compute.
        tile: Side of the tiles, in low-resolution pixels.
        engine: What computes plain networks on a CPU; see ``load_restorer``; None: PyTorch.
        seed: Of generative networks.
        memory_bytes: Most bytes of loaded models.
    """

    name: str | None = None
    restorer: str | None = None
    alias: str = "champion"
    scale: int | None = None
    fast: str | None = None
    conservative: str | None = None
    more: Mapping[str, str]
    tracking_uri: str = "sqlite:///mlflow.db"
    device: torch.device
    tile: int = 256
    engine: str | None = None
    seed: int = 0
    memory_bytes: int = 8 * 2**30

    def main(self) -> Source:
        """The model that answers where a request names none.

        Raises:
            ValueError: If neither a name nor a restorer is given, or a scale for what is followed.
        """
        followed = self.restorer is None or _is_alias(self.restorer)
        if self.scale is not None and followed and (self.restorer or self.name) is not None:
            raise ValueError(
                f"scale={self.scale}: the versions of {self.restorer or self.name} have their own; leave scale= out"
            )
        if self.restorer is not None:
            called = self.name or ("bicubic" if self.restorer == "bicubic" else "model")
            return self._restorer(called, self.restorer, self.scale)
        if self.name is None:
            raise ValueError("give name= of a registered model, or restorer=")
        return RegistrySource(
            name=self.name, alias=self.alias, tracking_uri=self.tracking_uri, device=self.device, tile=self.tile,
            seed=self.seed, engine=self.engine,
        )  # fmt: skip

    def others(self, scale: int) -> list[Source]:
        """The further models; those that have several scales take the first model's."""
        given = {FAST: self.fast, CONSERVATIVE: self.conservative, **self.more}
        return [
            self._restorer(name, restorer, scale if _has_scales(restorer) else None)
            for name, restorer in given.items()
            if restorer is not None
        ]

    def _restorer(self, name: str, restorer: str, scale: int | None) -> Source:
        if _is_alias(restorer):
            registered, _, alias = restorer.removeprefix("models:/").partition("@")
            return RegistrySource(
                name=name, registered=registered, alias=alias, tracking_uri=self.tracking_uri, device=self.device,
                tile=self.tile, seed=self.seed, engine=self.engine,
            )  # fmt: skip
        return RestorerSource(
            name=name, restorer=restorer, scale=scale, device=self.device, tracking_uri=self.tracking_uri,
            tile=self.tile, seed=self.seed, engine=self.engine,
        )  # fmt: skip


def _has_scales(restorer: str) -> bool:
    """Whether a restorer enlarges by several factors."""
    return restorer == "bicubic" or len(shipped_scales(restorer)) > 1


def _is_alias(restorer: str) -> bool:
    return restorer.startswith("models:/") and "@" in restorer


def make_parts(
    models: Models,
    *,
    limits: Limits | None = None,
    guard: Guard | None = None,
    route: Route | None = None,
    pairs: Path | None = None,
    keep_pictures: int = 0,
    incoming: "Incoming | None" = None,
    keys: Path | None = None,
    audit: Path | None = None,
    jobs: Any = None,
    golden: Callable[[Service], Any] | None = None,
    cost: CostSettings | None = None,
    records: RecordSettings | None = None,
    traces: str | None = None,
    study: Path | None = None,
    browser: Path | None = None,
    batch_size: int | None = None,
    codecs: int | None = None,
) -> Parts:
    """Loads the models and makes the parts of a server; nothing listens yet.

    Args:
        models: Which models.
        limits: What a request may cost.
        guard: What compares each image with its input.
        route: What chooses the model where a request names none.
        pairs: SQLite file for the pairs of a rollout (srlab rollout), which is followed then; None: it is not.
        keep_pictures: Number of the worst pairs of which small pictures are kept beside ``pairs``; 0 keeps none.
        incoming: What keeps features of sampled images; None: nothing does.
        keys: File of the API keys; None: anybody may call.
        audit: File of the audit log; None: none is kept.
        jobs: Makes the queue of jobs, given the service; None: there are none.
        golden: Makes what restores a golden set on schedule, given the service; None: nothing does.
        cost: Prices and the day's budget; None: nothing is counted in money.
        records: What is kept of requests; None: nothing.
        traces: Address of an OpenTelemetry collector, as http://HOST:4318; None: there are no traces.
        study: Folder of a study (srlab study) whose page is served and whose answers are collected; None: of none.
        browser: Folder of a bundle (srlab export target=bundle web=) that the page computes in the browser while the
            server works; None: there is none.
        batch_size: Most tiles of a batch; None: 1 on a CPU, 8 on a GPU.
        codecs: Threads that decode and encode; None: as many as processors.

    Raises:
        Exception: If a model cannot be loaded, or a file cannot be read.
    """
    found = Keys(keys)
    if keep_pictures and pairs is None:
        raise ValueError(f"keep_pictures={keep_pictures}: pictures are kept beside pairs=, give that or leave it out")
    desk = None if study is None else StudyDesk(study)
    edge = None if browser is None else EdgeBundle(browser)
    main = models.main()
    scale = models.scale
    others: list[Source] = []
    if guard is not None and models.conservative is None:
        models = Models(**{**vars(models), "conservative": "bicubic"})
    if models.fast is not None or models.conservative is not None or models.more:
        scale = main.load(main.version()).scale
        others = models.others(scale)
    shelf = Shelf([main, *others], lazy=list(models.more), memory_bytes=models.memory_bytes)
    runner = Runner(batch_size=batch_size or (8 if models.device.type == "cuda" else 1))
    traffic = None
    if pairs is not None:
        if models.name is None or models.restorer is not None:
            raise ValueError("pairs= follows the rollout of a registered model: give name=, and no restorer=")
        plan = functools.partial(current, models.tracking_uri, models.name)
        rollouts = Rollouts(PairStore(pairs), plan, keep_pictures=keep_pictures)
        traffic = RolloutTraffic(rollouts, functools.partial(_version, shelf, main.name))
    service = Service(
        shelf=shelf, runner=runner, limits=limits, fast=FAST if models.fast else None, guard=guard,
        conservative=CONSERVATIVE if models.conservative else None, route=route, traffic=traffic, keys=found,
        inputs=incoming,
        costs=None if cost is None else Costs(cost, gpu=_gpu(models.device)),
        records=None if records is None else Records(records), traces=traces_to(traces),
        codecs=codecs or os.cpu_count() or 2,
    )  # fmt: skip
    shelf.warm = service.warm
    shelf.load()
    runner.start()
    if incoming is not None:
        incoming.start(
            service.measures.registry, version=functools.partial(_version, shelf, main.name), fetch=_references(models)
        )
    parts = Parts(service=service, keys=found, audit=AuditLog(audit), study=desk, edge=edge)
    if jobs is not None:
        parts.jobs = jobs(service)
    if golden is not None:
        parts.golden = golden(service)
    return parts


def _gpu(device: torch.device) -> str | None:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def _version(shelf: Shelf, name: str) -> str | None:
    found = next(state.current for state in shelf.states if state.name == name)
    return None if found is None else found.version


def _references(models: Models) -> Callable[[str, Path], bool] | None:
    """Writes the reference of a version of the registered model to a file; None where it is none."""
    name = models.name
    if name is None or models.restorer is not None:
        return None

    def fetch(version: str, file: Path) -> bool:
        return fetch_reference(models.tracking_uri, name, int(version), to=file)

    return fetch


def serve(
    parts: Parts,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    admin_host: str = "127.0.0.1",
    admin_port: int | None = None,
    grpc_port: int | None = None,
    poll: float = 5.0,
    notice_seconds: float = 0.0,
    drain_seconds: float = 60.0,
    certificate: Path | None = None,
    private_key: Path | None = None,
    started: Callable[[str], None] | None = None,
) -> None:
    """Answers until the process is asked to end, and then finishes what was accepted.

    First ``/readyz`` says so, while requests are taken for ``notice_seconds`` more, as those who share them out look at
    it now and then only; then nothing is taken any more, and what was accepted is answered within ``drain_seconds``.

    Args:
        parts: What the server is made of.
        host: Address to listen at.
        port: 0 takes a free one.
        admin_host: Address of the administrator's routes.
        admin_port: Port of them; None: there are none.
        grpc_port: Port of the Open Inference Protocol over gRPC, at ``host``; None: there is none, 0 takes a free one.
        poll: Seconds between two looks at the registry.
        notice_seconds: From when ``/readyz`` says that the server ends, to when it takes no requests.
        drain_seconds: Longest wait for what was accepted, at the end.
        certificate: File of the TLS certificate; None: no TLS.
        private_key: File of its key.
        started: Told each address as soon as requests are answered.

    Raises:
        OSError: If the address is taken, or a file is not there.
        ValueError: If of the TLS files only one is given, or they are no certificate and its key.
        Stopped: When it was asked to end, and has.
    """
    _check_tls(certificate, private_key)
    common: dict[str, Any] = {
        "log_config": None, "access_log": False, "server_header": False, "timeout_keep_alive": 30,
        "http": Protocol,
        "timeout_graceful_shutdown": max(1, int(drain_seconds)),
    }  # fmt: skip
    tls: dict[str, Any] = (
        {} if certificate is None else {"ssl_certfile": str(certificate), "ssl_keyfile": str(private_key)}
    )
    listening = [(Server(uvicorn.Config(make_app(parts), **tls, **common)), listen(host, port))]
    if admin_port is not None:
        config = uvicorn.Config(make_admin_app(parts), lifespan="off", **common)
        listening.append((Server(config), listen(admin_host, admin_port)))
    taken = listening[0][1].getsockname()[1]
    addresses = [f"{'http' if certificate is None else 'https'}://{host}:{taken}"]
    grpc: Callable[[], tuple[Any, int]] | None = None
    if grpc_port is not None:
        grpc = functools.partial(
            make_grpc_server, parts, host=host, port=grpc_port, certificate=certificate, private_key=private_key
        )
    with deferred() as asked, parts.service.shelf.watching(poll):
        with asyncio.Runner(loop_factory=listening[0][0].config.get_loop_factory()) as loop:
            told = functools.partial(_told, started or log.info, addresses)
            loop.run(_serve(listening, parts, asked, told, grpc, (notice_seconds, drain_seconds)))
        asked.raise_if_asked("what was accepted is answered")


def _check_tls(certificate: Path | None, private_key: Path | None) -> None:
    """Refuses files that no TLS can be made of, before anything listens."""
    if (certificate is None) != (private_key is None):
        raise ValueError("TLS needs both, certificate= and private_key=")
    if certificate is None or private_key is None:
        return
    for name, file in (("certificate", certificate), ("private_key", private_key)):
        if not file.is_file():
            raise FileNotFoundError(f"{name}={file}: there is no such file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(
            f"certificate={certificate}, private_key={private_key}: {error}; give a certificate and its key as PEM"
        ) from error


def _told(started: Callable[[str], None], addresses: list[str], grpc: str | None) -> None:
    for address in [*addresses, *([] if grpc is None else [grpc])]:
        started(address)


async def _serve(
    listening: list[tuple[Server, socket.socket]],
    parts: Parts,
    asked: Asked,
    started: Callable[[str | None], object],
    make_grpc: Callable[[], tuple[Any, int]] | None,
    ending: tuple[float, float],
) -> None:
    servers = [server for server, _ in listening]
    grpc, address = None, None
    if make_grpc is not None:
        grpc, port = make_grpc()
        await grpc.start()
        address = f"grpc://{listening[0][0].config.host}:{port}"
    told = functools.partial(started, address)
    waiting = asyncio.create_task(_until_asked(servers, grpc, parts, asked, told, ending))
    try:
        await asyncio.gather(*(server.serve(sockets=[own]) for server, own in listening))
    finally:
        waiting.cancel()
        if grpc is not None:
            await grpc.stop(0)


async def _until_asked(
    servers: list[Server],
    grpc: Any,
    parts: Parts,
    asked: Asked,
    started: Callable[[], object],
    ending: tuple[float, float],
) -> None:
    while not all(server.started for server in servers):
        await asyncio.sleep(0.02)
    started()
    while asked.signum is None:
        await asyncio.sleep(0.1)
    notice, drain = ending
    parts.leaving = True
    await asyncio.sleep(notice)
    parts.draining = True
    if grpc is not None:
        await grpc.stop(drain)  # before the runner ends with HTTP's part
    for server in servers:
        server.should_exit = True
