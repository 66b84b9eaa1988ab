"""Ray: connecting to a cluster, and doing the same to many named things there."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Work = Callable[[str], object]
"""What is done to a named thing; it may be done twice where a worker dies, so it has to be repeatable."""


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_ray(address: str | None) -> Any:
    """Connects to a Ray cluster, or starts a local one on the cores that this process may use.

    Raises:
        ValueError: if Ray is not installed, or there is no cluster at ``address``.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ValueError("launcher=ray needs Ray: pip install 'sr-lab[cluster]'") from error
    if ray.is_initialized():
        return ray
    local = {"num_cpus": num_cores(), "include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="error", **local)
    except ConnectionError as error:
        raise ValueError(f"launcher.address={address}: no Ray cluster answers there: {error}") from error
    return ray


def room(ray: Any, *, address: str | None, cores: int, gpus: float) -> int:
    """How many workers of that size fit at a time; 1 where a cluster at ``address``, which may grow, has no room yet.

    Raises:
        ValueError: if not one fits into a local cluster, where it would wait for ever.
    """
    there = ray.cluster_resources()
    asked = {"CPU": cores, "GPU": gpus}
    fits = min((int(there.get(kind, 0) // count) for kind, count in asked.items() if count > 0), default=1)
    if fits < 1 and address is None:
        raise ValueError(
            f"launcher.cores={cores}, launcher.gpus={gpus}: a worker of this size does not fit into this machine's "
            f"{int(there.get('CPU', 0))} cores and {int(there.get('GPU', 0))} GPUs"
        )
    return max(1, fits)


def here(names: Sequence[str], make: Callable[[], Work]) -> Iterator[tuple[str, str]]:
    """Does the work in this process, one after the other; gives each name with its error, empty for none."""
    work = make()
    for name in names:
        yield name, _tried(work, name)


def on_ray(
    names: Sequence[str],
    make: Callable[[], Work],
    *,
    address: str | None,
    num_workers: int | None,
    cores: int,
    gpus: float,
) -> Iterator[tuple[str, str]]:
    """Does the work on a Ray cluster (Ray Data); see ``here``. What a dead worker had begun is done again.

    Args:
        names: of the things.
        make: makes the work, once in each worker; it is sent there by pickling.
        address: of the cluster; None starts a local one.
        num_workers: at a time; None: as many as fit.
        cores: of a worker.
        gpus: of a worker.
    """
    ray = start_ray(address)
    import ray.data as data

    data.DataContext.get_current().enable_progress_bars = False
    fits = room(ray, address=address, cores=cores, gpus=gpus)
    most = max(1, min(num_workers or fits, len(names)))
    table = data.from_items([{"name": name} for name in names], override_num_blocks=min(len(names), 4 * most))
    found = table.map_batches(
        _Worker,
        fn_constructor_args=(make,),
        batch_size=1,
        concurrency=1 if most == 1 else (1, most),
        num_cpus=cores,
        num_gpus=gpus,
    )
    for row in found.iter_rows():
        yield str(row["name"]), str(row["error"])


class _Worker:
    """One actor of Ray Data."""

    def __init__(self, make: Callable[[], Work]) -> None:
        self.work = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"name": batch["name"], "error": [_tried(self.work, str(name)) for name in batch["name"]]}


def _tried(work: Work, name: str) -> str:
    try:
        work(name)
    except (ValueError, OSError, RuntimeError) as error:
        return str(error) or type(error).__name__
    return ""
