"""Where the workers of a sweep run: as processes of this machine, as SLURM jobs, as Ray tasks.

A launcher only starts workers and says how many are left; which trial runs when is decided by the queue.
"""

import functools
import json
import multiprocessing
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sr_lab.base.compute import Work, here, num_cores, on_ray, on_slurm, room, start_ray
from sr_lab.base.extras import install
from sr_lab.base.files import write_text
from sr_lab.sweeps.share import Share, dies_with_parent

Task = Callable[[int, Share], object]
"""A worker: takes its index and its share of the machine, and ends when nothing is left to do."""


class WorkersFailed(RuntimeError):
    """Workers ended without having done their work; the message says how."""


class Launcher(ABC):
    """Starts workers."""

    def check_map(self) -> None:  # noqa: B027 - most launchers obey all that can be set
        """Refuses settings that ``map`` would not obey; see ``sr_lab.base.compute.Mapper``."""

    @abstractmethod
    def map(self, names: Sequence[str], make: Callable[[], Work]) -> Iterator[tuple[str, str]]:
        """Does the same to many named things; see ``sr_lab.base.compute.Mapper``."""

    @abstractmethod
    def start(self, task: Task, folder: Path) -> None:
        """Starts the workers; those of an earlier call with this folder that are still at work are kept.

        Args:
            task: what each worker does; it is sent to its process by pickling.
            folder: for scripts and logs, on a disk that every worker sees.
        """

    @abstractmethod
    def num_alive(self) -> int:
        """How many workers are at work or wait for a machine; one that was killed is replaced where that is ours to do.

        Raises:
            WorkersFailed: if one ended with an error.
        """

    @abstractmethod
    def stop(self) -> None:
        """Ends every worker; a trial that runs goes back into the queue."""


class Local(Launcher):
    """Processes of this machine.

    Args:
        num_workers: Number of trials at a time; None: one a GPU, or one a core where there is no GPU.
        threads: Number of threads of each trial; None shares the cores that this process may use among the workers.
        gpus: Numbers of the GPUs that are shared out, one a worker; None takes those that are there.
        restarts: How many workers that were killed are replaced, in all.
    """

    def __init__(
        self,
        *,
        num_workers: int | None = None,
        threads: int | None = None,
        gpus: list[int] | None = None,
        restarts: int = 20,
    ) -> None:
        _require_positive(num_workers=num_workers, threads=threads)
        asked = {"num_workers": num_workers, "threads": threads, "gpus": gpus}
        self._asked = [f"launcher.{name}" for name, value in asked.items() if value is not None]
        cores = num_cores()
        self.gpus = visible_gpus() if gpus is None else [str(gpu) for gpu in gpus]
        self.num_workers = num_workers or len(self.gpus) or max(1, cores // (threads or 1))
        self.threads = threads or max(1, cores // self.num_workers)
        self.restarts = restarts
        self._task: Task | None = None
        self._processes: dict[int, multiprocessing.process.BaseProcess] = {}

    def check_map(self) -> None:
        """See ``Launcher``."""
        if self._asked:
            raise ValueError(
                f"{', '.join(self._asked)}: launcher=local does batch work in this process, one thing after the other, "
                "and only a sweep obeys that: leave it out, or share the work out with launcher=ray or launcher=slurm"
            )

    def map(self, names: Sequence[str], make: Callable[[], Work]) -> Iterator[tuple[str, str]]:
        """See ``Launcher``; this process does it, one thing after the other."""
        return here(names, make)

    def share(self, index: int) -> Share:
        """What worker ``index`` gets."""
        return Share(threads=self.threads, gpu=self.gpus[index % len(self.gpus)] if self.gpus else None)

    def start(self, task: Task, folder: Path) -> None:
        """See ``Launcher``."""
        self._task = task
        for index in range(self.num_workers):
            self._spawn(index)

    def num_alive(self) -> int:
        """See ``Launcher``."""
        for index, process in list(self._processes.items()):
            if process.is_alive():
                continue
            del self._processes[index]
            if process.exitcode:
                if self.restarts <= 0 or process.exitcode > 0:
                    how = f"signal {-process.exitcode}" if process.exitcode < 0 else f"exit code {process.exitcode}"
                    raise WorkersFailed(f"worker {index} ended by {how}; its message is above")
                self.restarts -= 1
                print(f"worker {index} was killed by signal {-process.exitcode}: it is replaced", file=sys.stderr)
                self._spawn(index)
        return len(self._processes)

    def stop(self) -> None:
        """See ``Launcher``."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join(timeout=20)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()

    def _spawn(self, index: int) -> None:
        process = multiprocessing.get_context("spawn").Process(
            target=_run_locally, args=(self._task, index, self.share(index), os.getpid()), name=f"worker-{index}"
        )
        process.start()
        self._processes[index] = process


def _run_locally(task: Task, index: int, share: Share, parent: int) -> None:
    """A local worker's process: it ends with its parent, and leaves in order when it is asked to."""
    tie = dies_with_parent()
    if tie is not None:
        tie()
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    task(index, share)


class Slurm(Launcher):
    """SLURM jobs through submitit, one a worker; at their time limit they go back into SLURM's queue.

    Args:
        num_workers: Number of jobs, and of trials at a time.
        partition: SLURM's; None: its default.
        time_minutes: Time limit of a job, in minutes.
        cores: Number of cores of a job.
        gpus: Number of GPUs of a job.
        memory_gb: Memory of a job, in GB.
        setup: Lines of shell that come first in the job's script, as ``source env.sh``.
        extra: Further options of sbatch, by their names.
        cluster: ``slurm``; ``local`` runs the jobs as processes of this machine, for trying it out.
    """

    def __init__(
        self,
        *,
        num_workers: int,
        partition: str | None = None,
        time_minutes: int = 240,
        cores: int = 8,
        gpus: int = 1,
        memory_gb: int | None = None,
        setup: list[str] | None = None,
        extra: Mapping[str, Any] | None = None,
        cluster: str = "slurm",
    ) -> None:
        if cluster not in ("slurm", "local", "debug"):
            raise ValueError(f"launcher.cluster={cluster}: slurm or local")
        _require_positive(num_workers=num_workers, time_minutes=time_minutes, cores=cores)
        self.num_workers, self.cluster, self.cores, self.gpus = num_workers, cluster, cores, gpus
        self.parameters: dict[str, Any] = {"timeout_min": time_minutes}
        if cluster == "slurm":
            self.parameters |= {
                "slurm_partition": partition,
                "cpus_per_task": cores,
                "gpus_per_node": gpus or None,
                "mem_gb": memory_gb,
                "slurm_setup": setup,
                "slurm_additional_parameters": dict(extra or {}),
                "slurm_array_parallelism": num_workers,
                "slurm_job_name": "srlab",
            }
        self._jobs: list[Any] = []

    def map(self, names: Sequence[str], make: Callable[[], Work]) -> Iterator[tuple[str, str]]:
        """See ``Launcher``."""
        return on_slurm(names, make, executor=self.executor, num_workers=self.num_workers)

    def start(self, task: Task, folder: Path) -> None:
        """See ``Launcher``."""
        record = folder / "jobs.json"
        self._jobs = [job for job in self._recorded(record) if not job.done()]
        missing = self.num_workers - len(self._jobs)
        if missing > 0:
            executor = self.executor(folder)
            with executor.batch():
                for index in range(missing):
                    self._jobs.append(executor.submit(SlurmTask(task, self.share), index))
            write_text(record, json.dumps([[str(job.paths.folder), job.job_id] for job in self._jobs]))

    @property
    def share(self) -> Share:
        """What each worker gets; its GPUs are SLURM's to choose."""
        return Share(threads=self.cores)

    def executor(self, folder: Path) -> Any:
        """Submitit's executor, whose scripts and logs go to ``folder``."""
        submitit = _submitit()
        executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
        executor.update_parameters(**{key: value for key, value in self.parameters.items() if value is not None})
        return executor

    def num_alive(self) -> int:
        """See ``Launcher``."""
        ended = [job for job in self._jobs if job.done()]
        self._jobs = [job for job in self._jobs if job not in ended]
        for job in ended:
            if (error := job.exception()) is not None:
                said = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
                if self._jobs:
                    print(f"job {job.job_id} ended: {said} ({job.paths.stderr})", file=sys.stderr)
                else:
                    raise WorkersFailed(f"job {job.job_id} ended: {said}; its log: {job.paths.stderr}")
        return len(self._jobs)

    def stop(self) -> None:
        """See ``Launcher``."""
        for job in self._jobs:
            job.cancel()

    def _recorded(self, record: Path) -> list[Any]:
        if not record.is_file() or self.cluster != "slurm":
            return []
        submitit = _submitit()
        return [submitit.SlurmJob(folder, job) for folder, job in json.loads(record.read_text(encoding="utf-8"))]


class SlurmTask:
    """A worker as a SLURM job; at the time limit the same is submitted again, and goes on with what is left."""

    def __init__(self, task: Task, share: Share) -> None:
        self.task, self.share = task, share

    def __call__(self, index: int) -> object:
        """Works."""
        return self.task(index, self.share)

    def checkpoint(self, index: int) -> Any:
        """What submitit puts into SLURM's queue instead."""
        return _submitit().helpers.DelayedSubmission(self, index)


class Ray(Launcher):
    """Tasks of a Ray cluster, one a worker; Ray starts one anew whose process or machine died.

    Args:
        num_workers: Number of trials at a time; None: as many as the cluster's cores and GPUs allow.
        address: Address of the cluster; None starts a local one.
        cores: Number of cores of a worker.
        gpus: Number of GPUs of a worker; Ray chooses which.
        restarts: How often a worker is started anew.
    """

    def __init__(
        self,
        *,
        num_workers: int | None = None,
        address: str | None = None,
        cores: int = 1,
        gpus: float = 0,
        restarts: int = 20,
    ) -> None:
        _require_positive(num_workers=num_workers, cores=cores)
        self.num_workers, self.address, self.cores, self.gpus, self.restarts = (
            num_workers,
            address,
            cores,
            gpus,
            restarts,
        )
        self._tasks: list[Any] = []

    def map(self, names: Sequence[str], make: Callable[[], Work]) -> Iterator[tuple[str, str]]:
        """See ``Launcher``."""
        return on_ray(names, make, address=self.address, num_workers=self.num_workers, cores=self.cores, gpus=self.gpus)

    def start(self, task: Task, folder: Path) -> None:
        """See ``Launcher``."""
        ray = start_ray(self.address)
        remote = ray.remote(num_cpus=self.cores, num_gpus=self.gpus, max_retries=self.restarts)(_run_on_ray)
        share = Share(threads=self.cores)
        fits = room(ray, address=self.address, cores=self.cores, gpus=self.gpus)
        self._tasks = [remote.remote(task, index, share) for index in range(self.num_workers or fits)]

    def num_alive(self) -> int:
        """See ``Launcher``."""
        import ray

        ended, self._tasks = ray.wait(self._tasks, num_returns=len(self._tasks), timeout=0)
        for task in ended:
            try:
                ray.get(task)
            except ray.exceptions.RayError as error:
                raise WorkersFailed(f"a worker on Ray ended: {error}") from error
        return len(self._tasks)

    def stop(self) -> None:
        """See ``Launcher``."""
        import ray

        for task in self._tasks:
            ray.cancel(task, force=True)


def _run_on_ray(task: Task, index: int, share: Share) -> object:
    """A worker as a Ray task."""
    return task(index, share)


def worker_task(plan: Any) -> Task:
    """The worker of a plan as a launcher takes it."""
    from sr_lab.sweeps.worker import work

    return functools.partial(work, plan)


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; found without loading CUDA."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def _require_positive(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ValueError(f"launcher.{name}={count}: a whole number of at least 1")


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ValueError(f"launcher=slurm needs submitit: {install('submitit')}") from error
    return submitit
