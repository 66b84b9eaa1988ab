"""Answer requests: a restorer, or the champion of a registered model, behind HTTP.

    srlab serve name=photos                              # the registered model's champion, and whatever follows it
    srlab serve restorer=bicubic scale=2 port=8080       # any restorer, without a registry
    srlab serve name=photos fast=bicubic guard=default   # a second, fast tier; images are compared with their inputs
    srlab serve name=photos launcher=ray launcher.num_workers=4 launcher.gpus=1    # replicas on a Ray cluster
    srlab serve name=photos launcher=ray scaling=queue scaling.most=8              # as many as the queue asks for
    srlab serve study=STUDY                              # the page of srlab study at /study/, answers are collected
    curl --data-binary @photo.jpg http://127.0.0.1:8000/v1/restore -H 'Accept: image/png' -o large.png

The image is that of srlab restore. A page to try it is at /, the routes are at /openapi.json, numbers for Prometheus at
/metrics. A request that cannot be answered before its deadline is refused at once, with 429 and the seconds to wait.
The alias is followed: another version is loaded, checked and warmed while the former one answers. SIGTERM ends the
server when what was accepted is answered. Needs  pip install 'sr-lab[serve]'.
"""

import functools
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.config.compose import build
from sr_lab.serving.answering import Parts
from sr_lab.serving.logs import set_up
from sr_lab.serving.server import Models, make_parts, serve
from sr_lab.workflows.load import choose_device


def run(cfg: DictConfig) -> int:
    """Answers until it is stopped; see the module's docstring."""
    set_up(cfg.logs)
    call(cfg)
    return 0


def call(cfg: DictConfig) -> None:
    """Serves; see the module's docstring."""
    alone = cfg.study is not None and cfg.name is None and cfg.restorer is None  # a study needs no model
    models = Models(
        name=cfg.name,
        restorer="bicubic" if alone else cfg.restorer,
        alias=cfg.alias,
        scale=2 if alone and cfg.scale is None else cfg.scale,
        fast=cfg.fast,
        conservative=cfg.conservative,
        more=dict(cfg.more),
        tracking_uri=cfg.tracking_uri,
        device=choose_device(cfg.device),
        tile=cfg.tile,
        engine=cfg.engine,
        seed=cfg.seed,
        memory_bytes=cfg.memory_bytes,
    )
    make = functools.partial(
        make_parts,
        models,
        limits=build(cfg.limits),
        guard=None if cfg.guard is None else build(cfg.guard),
        route=None if cfg.route is None else build(cfg.route),
        jobs=None if cfg.jobs is None else build(cfg.jobs),
        incoming=None if cfg.incoming is None else build(cfg.incoming),
        golden=None if cfg.golden is None else build(cfg.golden),
        cost=None if cfg.cost is None else build(cfg.cost),
        records=None if cfg.records is None else build(cfg.records),
        traces=cfg.traces,
        pairs=_file(cfg.pairs),
        keep_pictures=cfg.keep_pictures,
        keys=_file(cfg.api_keys),
        audit=_file(cfg.audit),
        study=_file(cfg.study),
        browser=_file(cfg.browser),
        batch_size=cfg.batch_size,
        codecs=cfg.codecs,
    )
    if cfg.scaling is not None and cfg.launcher is None:
        raise ValueError("scaling= starts and ends replicas on Ray: give launcher=ray too, or leave it out")
    if cfg.launcher is not None:
        _on_cluster(cfg, make)
        return
    serve(
        make(),
        host=cfg.host,
        port=cfg.port,
        admin_host=cfg.admin_host,
        admin_port=cfg.admin_port,
        grpc_port=cfg.grpc_port,
        poll=cfg.poll,
        notice_seconds=cfg.notice_seconds,
        drain_seconds=cfg.drain_seconds,
        certificate=_file(cfg.certificate),
        private_key=_file(cfg.private_key),
        started=_started,
    )


def _on_cluster(cfg: DictConfig, make: Callable[[], Parts]) -> None:
    from sr_lab.serving.ray_serve import serve_on

    if alone := [name for name in ("admin_port", "grpc_port", "certificate", "incoming") if cfg[name] is not None]:
        raise ValueError(f"{alone[0]}=: only a server of its own has that, leave it or launcher= out")
    serve_on(
        build(cfg.launcher),
        make,
        host=cfg.host,
        port=cfg.port,
        poll=cfg.poll,
        drain_seconds=cfg.drain_seconds,
        most_requests=cfg.limits.requests,
        scaling=None if cfg.scaling is None else build(cfg.scaling),
        started=_started,
    )


def _started(address: str) -> None:
    print(f"answering at {address}", flush=True)


def _file(name: str | None) -> Path | None:
    return None if name is None else Path(name)
