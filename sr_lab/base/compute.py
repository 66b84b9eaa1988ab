"""The same done to many named things: in this process, on a Ray cluster, as SLURM jobs."""

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from sr_lab.base.extras import install
from sr_lab.base.signals import SIGNALS, Stopped
from sr_lab.base.words import counted

Work = Callable[[str], object]
"""What is done to a named thing; it may be done twice where a worker dies, so it has to be repeatable."""


class Mapper(Protocol):
    """Does work to many named things, somewhere; every launcher does."""

    def check_map(self) -> None:
        """Refuses settings that ``map`` would not obey; asked before anything is written.

        Raises:
            ValueError: Naming the settings.
        """

    def map(self, names: Sequence[str], make: Callable[[], Work]) -> Iterator[tuple[str, str]]:
        """Gives each name with its error, empty for none, as soon as its work is done.

        Args:
            names: The names of the things.
            make: Makes the work, once in each worker; it is sent there by pickling.
        """


class Here:
    """Does the work in this process, one thing after the other."""

    def check_map(self) -> None:
        """See ``Mapper``; there is nothing to set."""

    def map(self, names: Sequence[str], make: Callable[[], Work]) -> Iterator[tuple[str, str]]:
        """See ``Mapper``."""
        return here(names, make)


def spread(
    mapper: Mapper,
    names: Sequence[str],
    make: Callable[[], Work],
    *,
    title: str,
    unit: str = "image",
    sizes: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Does the work to every name, under a progress bar where there is a terminal.

    Args:
        mapper: Where it is done.
        names: The names of the things.
        make: Makes the work in each process that does some.
        title: What the progress bar is called.
        unit: What a name is of.
        sizes: Megapixels of each, by which the bar goes on, so that its estimate of the time left is a true one; None
            counts names.

    Returns:
        A message for each name that failed; the others are done.

    Raises:
        Stopped: With how many are done, if the process is asked to end.
    """
    failed, done = [], 0
    total, measure = (float(len(names)), unit) if sizes is None else (sum(sizes.values()), "MP")
    with tqdm(total=round(total, 1), desc=title, unit=measure, disable=None) as bar:
        try:
            for name, error in mapper.map(names, make):
                failed += [f"{name}: {error}" if name not in error else error] if error else []
                done += 1
                bar.update(1 if sizes is None else round(sizes.get(name, 0), 3))
        except Stopped as stop:
            said = f"{counted(done - len(failed), unit, 'is/are', of=len(names))} done and stay"
            raise stop.saying(said, goes_on=True) from None
    return tuple(failed)


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _init(ray: Any, **settings: Any) -> None:
    """``ray.init``, three times at most: Ray gives its own processes half a minute, and a busy machine takes longer."""
    for left in (2, 1, 0):
        try:
            ray.init(**settings)
        except Exception as error:  # a plain Exception of Ray's
            if not left or "timed out during startup" not in str(error):
                raise
            ray.shutdown()
        else:
            return


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
        raise ValueError(f"launcher=ray needs Ray: {install('ray')}") from error
    if ray.is_initialized():
        return ray
    local = {"num_cpus": num_cores(), "include_dashboard": False} if address is None else {}
    before = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        _init(ray, address=address or "local", log_to_driver=False, logging_level="error", **local)
    except ConnectionError as error:
        raise ValueError(f"launcher.address={address}: no Ray cluster answers there: {error}") from error
    except Exception as error:  # Ray's own are no class of theirs
        raise RuntimeError(
            f"launcher=ray: Ray did not start: {(str(error).splitlines() or ['no reason'])[0]}"
        ) from error
    if threading.current_thread() is threading.main_thread():
        for each, handler in before.items():  # Ray's own, below Python's, would abort the process at SIGTERM
            signal.signal(each, handler)
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
            f"{counted(int(there.get('CPU', 0)), 'core')} and {counted(int(there.get('GPU', 0)), 'GPU')}"
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


def on_slurm(
    names: Sequence[str], make: Callable[[], Work], *, executor: Callable[[Path], Any], num_workers: int
) -> Iterator[tuple[str, str]]:
    """Does the work as SLURM jobs (submitit), each with its share of the names; see ``here``.

    A job whose time is up goes back into SLURM's queue and does its share again: what is done already has to be
    passed over by the work itself. Jobs that are left are cancelled where the caller ends early.

    Args:
        names: The names of the things.
        make: Makes the work, once in each job; it is sent there by pickling.
        executor: Makes submitit's executor, whose scripts and logs go to a folder.
        num_workers: How many jobs at a time.
    """
    folder = Path(".srlab") / "slurm" / uuid.uuid4().hex[:8]
    count = max(1, min(num_workers, len(names)))
    shares = [list(names[start::count]) for start in range(count)]
    jobs_of = executor(folder)
    with jobs_of.batch():
        submitted = [jobs_of.submit(SlurmShare(make, share)) for share in shares]
    waiting = dict(zip(range(count), submitted, strict=True))
    try:
        while waiting:
            for number, job in list(waiting.items()):
                if not job.done():
                    continue
                del waiting[number]
                error = job.exception()
                if error is None:
                    yield from job.result()
                    continue
                lines = str(error).strip().splitlines() or [type(error).__name__]
                for name in shares[number]:
                    yield name, f"job {job.job_id} ended: {lines[-1]}; its log: {job.paths.stderr}"
            time.sleep(0.2 if waiting else 0)
    finally:
        for job in waiting.values():
            job.cancel()


class SlurmShare:
    """Some of the names as a SLURM job; at the time limit the same is submitted again.

    Args:
        make: Makes the work.
        names: The names of the things.
    """

    def __init__(self, make: Callable[[], Work], names: Sequence[str]) -> None:
        self.make, self.names = make, list(names)

    def __call__(self) -> list[tuple[str, str]]:
        """Each name with its error, empty for none."""
        return list(here(self.names, self.make))

    def checkpoint(self) -> Any:
        """What submitit puts into SLURM's queue instead."""
        return sys.modules["submitit"].helpers.DelayedSubmission(self)


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
