"""The same application on Ray Serve: replicas on a cluster's machines, one that dies started anew.

Ray's default way to a replica costs five times what the application does; its HAProxy ingress with the throughput flags
costs no more than uvicorn. The flags are those of the environment, and are set here before Ray is imported.
"""

import contextlib
import logging
import os
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from sr_lab.base.compute import start_ray
from sr_lab.base.extras import install
from sr_lab.base.memory import keep_pages
from sr_lab.base.signals import deferred
from sr_lab.serving.answering import Parts
from sr_lab.serving.app import make_app
from sr_lab.serving.scaling import WAITING, QueuePolicy, QueueScaling
from sr_lab.sweeps.launchers import Ray

log = logging.getLogger(__name__)
NAME = "srlab"
_ASKED_AGAIN = """conn-failure empty-response
    option http-buffer-request
    timeout http-request 60s"""
"""What a replica was asked that died is asked of another one: its image is the same. HAProxy can do that with requests
that it has whole, so that it takes their bodies in first; Ray copies the text into HAProxy's defaults."""
FLAGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # see base.threads; of a local Ray's replicas, which have its environment
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # by default a proxy that starts on a busy machine is killed
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",  # of a replica that has nothing to do any more
    "RAY_SERVE_HAPROXY_RETRY_ON": _ASKED_AGAIN,
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(2**20),  # most bytes of a request that can be asked again
}
"""What is set in the environment where that says nothing: with 0 for the first two Ray works as it does by default."""
PORTS = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT")
"""Of a local Ray they are free ones: Ray's fixed ones would keep a second server from starting on the machine."""
INTERVAL = "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S"
"""How often a replica tells what waits for it: Ray reads the environment, and takes 10 s where that says nothing."""
STARTS = 3
"""How often Ray's proxy is waited for: Ray gives up after a minute, and starts another one meanwhile."""


class Replica:
    """One process that answers, with models and threads of its own; what Ray calls when it makes one.

    Args:
        make: Makes its parts.
        poll: Seconds between two looks at the registry.
    """

    def __init__(self, make: Callable[[], Parts], poll: float) -> None:
        keep_pages()
        self.parts = make()
        self._watching = contextlib.ExitStack()
        self._watching.enter_context(self.parts.service.shelf.watching(poll))

    def __serve_build_asgi_app__(self) -> Any:
        """The application."""
        return make_app(self.parts)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the number of replicas follows, where it does; see ``scaling``."""
        return {WAITING: self.parts.service.runner.seconds()}

    def check_health(self) -> None:
        """Ray starts another replica where this raises.

        Raises:
            RuntimeError: If nothing computes any more.
        """
        if not self.parts.service.runner.alive:
            raise RuntimeError("the computing thread has ended")


def serve_on(
    launcher: object,
    make: Callable[[], Parts],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    poll: float = 5.0,
    drain_seconds: float = 60.0,
    most_requests: int = 256,
    scaling: QueueScaling | None = None,
    started: Callable[[str], None] | None = None,
) -> None:
    """Answers on Ray Serve until the process is asked to end, and then finishes what was accepted.

    Args:
        launcher: ``conf/launcher/ray.yaml``: how many replicas, of how many cores and GPUs, on which cluster.
        make: Makes the parts of a replica; it is sent there by pickling.
        host: Address that Ray's proxy listens at. With the throughput flags the replicas' own ports are open to other
            machines, too.
        port: 0 takes a free one.
        poll: See ``Replica``.
        drain_seconds: Longest wait for what was accepted, at the end.
        most_requests: Most requests that a replica has at once; its own limits refuse more with 429.
        scaling: How many replicas there are, by what waits; None: as many as the launcher says.
        started: Told the address as soon as requests are answered.

    Raises:
        ValueError: If the launcher is not Ray's, names a number of replicas beside ``scaling``, or Ray Serve is not
            installed.
        Stopped: When it was asked to end, and has.
    """
    if not isinstance(launcher, Ray):
        raise ValueError("the service runs in this process, or on Ray: leave launcher= out, or give launcher=ray")
    if scaling is not None and launcher.num_workers is not None:
        raise ValueError(
            f"launcher.num_workers={launcher.num_workers} beside scaling=: leave it out, scaling.least= and "
            "scaling.most= say how many"
        )
    if scaling is not None:
        os.environ.setdefault(INTERVAL, f"{scaling.every:g}")
    for name, value in FLAGS.items():
        os.environ.setdefault(name, value)
    if launcher.address is None:
        for name in PORTS:
            os.environ.setdefault(name, str(_free_port("")))
    with deferred() as asked:
        ray = start_ray(launcher.address)
        try:
            from ray import serve
            from ray.serve.config import HTTPOptions
        except ImportError as error:
            raise ValueError(f"launcher=ray needs Ray Serve: {install('ray')}") from error
        taken = port or _free_port(host)
        options = HTTPOptions(host=host, port=taken)
        _started(lambda: serve.start(http_options=options))
        deployment = serve.deployment(serve.ingress()(Replica)).options(
            name=NAME,
            **_number(launcher, scaling),
            max_ongoing_requests=most_requests + 8,  # our own refusal says when to come again
            ray_actor_options={"num_cpus": launcher.cores, "num_gpus": launcher.gpus},
            graceful_shutdown_timeout_s=drain_seconds,
            health_check_period_s=2.0,
        )
        try:
            serve.run(deployment.bind(make, poll), name=NAME, route_prefix="/")
            address = f"http://{host}:{taken}"
            while asked.signum is None and not _answers(address):
                time.sleep(0.1)  # the proxy learns of the replicas a moment later
            (started or log.info)(address)
            while asked.signum is None:
                time.sleep(0.2)
        finally:
            serve.delete(NAME)  # waits for what was accepted
            serve.shutdown()
            if launcher.address is None:
                ray.shutdown()
        asked.raise_if_asked("what was accepted is answered")


def _number(launcher: Ray, scaling: QueueScaling | None) -> dict[str, Any]:
    """How many replicas a deployment has, in Ray's words."""
    if scaling is None:
        return {"num_replicas": launcher.num_workers or 1}
    policy = {"policy_function": QueuePolicy, "policy_kwargs": {"seconds": scaling.seconds}}
    return {
        "autoscaling_config": {
            "min_replicas": scaling.least, "max_replicas": scaling.most, "look_back_period_s": scaling.over,
            "upscale_delay_s": scaling.up_after, "downscale_delay_s": scaling.down_after, "policy": policy,
        }
    }  # fmt: skip


def _started(start: Callable[[], object]) -> None:
    for left in reversed(range(STARTS)):
        try:
            start()
            return
        except Exception as error:  # Ray's own are of many classes
            if not left:
                reason = (str(error).splitlines() or ["no reason"])[0]
                raise RuntimeError(f"launcher=ray: Ray Serve's proxy did not start: {reason}") from error
            log.warning("Ray Serve's proxy did not start in time, and is waited for again")


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_port(host: str) -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        return int(found.getsockname()[1])
