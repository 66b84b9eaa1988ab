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

from sr_lab.config.call import arguments, called
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
    instead = {"restorer": "bicubic", "scale": 2 if cfg.scale is None else cfg.scale} if alone else {}
    models = called(Models, cfg, device=choose_device(cfg.device), **instead)
    keys = None if cfg.api_keys is None else Path(cfg.api_keys)
    make = functools.partial(make_parts, **arguments(make_parts, cfg, models=models, keys=keys))
    if cfg.launcher is not None:
        _on_cluster(cfg, make)
        return
    if cfg.scaling is not None:
        raise ValueError("scaling= starts and ends replicas on Ray: give launcher=ray too, or leave it out")
    called(serve, cfg, parts=make(), started=_started)


def _on_cluster(cfg: DictConfig, make: Callable[[], Parts]) -> None:
    from sr_lab.serving.ray_serve import serve_on

    if alone := [name for name in ("admin_port", "grpc_port", "certificate", "incoming") if cfg[name] is not None]:
        raise ValueError(f"{alone[0]}=: only a server of its own has that, leave it or launcher= out")
    called(
        serve_on,
        cfg,
        launcher=build(cfg.launcher),
        make=make,
        most_requests=cfg.limits.requests,
        scaling=build(cfg.scaling),
        started=_started,
    )


def _started(address: str) -> None:
    print(f"answering at {address}", flush=True)
