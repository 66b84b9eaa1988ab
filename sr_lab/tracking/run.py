"""A tracked run: everything that is logged goes to disk first and to the tracking server when that can be had."""

import json
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import yaml
from filelock import Timeout

from sr_lab.base import provenance
from sr_lab.base.words import counted, line, setting
from sr_lab.tracking.companion import WATCH_SECONDS, ShippingProcess, Watch
from sr_lab.tracking.places import require_reopenable
from sr_lab.tracking.reaper import Process
from sr_lab.tracking.sending import SINCE
from sr_lab.tracking.spool import SYSTEM_PREFIX, History, Identity, Spool, State
from sr_lab.tracking.store import check_uri, page_command, page_url, resolve_uri, without_password
from sr_lab.tracking.system import SystemSampler
from sr_lab.tracking.trackers import Tracker, tracker_of
from sr_lab.tracking.values import PARAM_LIMIT, TAG_LIMIT, as_name, as_text, cell, check_key, split_path

Status = Literal["FINISHED", "FAILED", "KILLED"]
_IMAGE_KEY = re.compile(r"[\w\-. /]+", re.ASCII)
_LOCK_PATIENCE_SECONDS = 10.0
_KILLED = (130, 143)  # exit codes after Ctrl-C and SIGTERM


class Run:
    """A run that is recorded on disk and shipped to its trackers, each by a process of its own.

    No ``log_*`` call waits for the server or fails because of it; what it did not take is sent by ``srlab sync``. Made
    again on the same directory it continues the same MLflow run: metrics and images of steps that were recorded before
    are not recorded again (a resumed training repeats the steps after its last checkpoint); a parameter that changed is
    recorded as ``resume.N.NAME``. Machine, packages and code version are recorded at the start. Use it from one
    process; threads may share it. As a context manager it finishes itself: FAILED on an exception, KILLED where the
    process is asked to end (Ctrl-C, SIGTERM).

    Args:
        uri: MLflow's store: ``sqlite:///FILE.db`` or ``http://HOST:PORT``; None sends nothing to MLflow.
        trackers: Where the run is sent beside that, by any name: ``Wandb``, ``TensorBoard``.
        experiment: Experiment in which MLflow lists the run; made if it does not exist.
        name: Name of the run.
        directory: Folder of the record; ``RUN/tracking`` by convention, so that commands find it from the run's folder.
        tags: Tags of the run.
        ship: False only records; ``srlab sync`` sends later (a machine without a network).
        drain_seconds: How long ``finish`` waits for the server, in seconds.
        system_seconds: Time between two samples of the machine's load, in seconds; 0 takes none.
        observe: Whether to record machine, packages and the git state of the working directory.

    Raises:
        ValueError: if the store is not usable, or MLflow does not take a name.
        RuntimeError: if another process writes this run.
        OSError: if the directory cannot be written.
    """

    def __init__(
        self,
        *,
        uri: str | None = None,
        trackers: Mapping[str, Tracker] | None = None,
        experiment: str,
        name: str,
        directory: Path | str,
        tags: Mapping[str, str] | None = None,
        ship: bool = True,
        drain_seconds: float = 15.0,
        system_seconds: float = 10.0,
        observe: bool = True,
    ) -> None:
        if uri is None and not trackers:
            raise ValueError("the run is sent nowhere: give uri or a tracker (tracking=none records nothing)")
        if uri is not None:
            uri = resolve_uri(uri)
            check_uri(uri)
        self._trackers = dict(trackers or {})
        for label, tracker in self._trackers.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]*", label):
                raise ValueError(f"trackers.{label}: a tracker's name has small letters, digits, _ and - only")
            tracker.check()
        marks = as_text(tags or {}, limit=TAG_LIMIT, where="the run's files")
        for key in marks:
            check_key(key)
        self.name = as_name(name, "name")
        self.spool = Spool(Path(directory).resolve())
        self._finished = False
        self._open(uri, as_name(experiment, "experiment"), marks)
        self._start(ship, drain_seconds, system_seconds, observe)

    def _start(self, ship: bool, drain_seconds: float, system_seconds: float, observe: bool) -> None:
        queues = self.spool.queues() if ship else []
        self._drain_seconds = drain_seconds
        self._shipping = [
            ShippingProcess(self.spool.directory, drain_seconds=drain_seconds, tracker=queue.tracker)
            for queue in queues
        ]
        self._sampler: SystemSampler | None = None
        self._watch = Watch(
            first=self._begin(observe, sample=system_seconds > 0),
            tick=self._tick,
            seconds=system_seconds or WATCH_SECONDS,
        )

    @classmethod
    def reopen(cls, directory: Path | str, *, drain_seconds: float = 15.0) -> Self:
        """Add results to a run that ended; everything else is as it was recorded, its status and its end too.

        Args:
            directory: folder of the record.
            drain_seconds: how long ``finish`` waits for the server.

        Raises:
            ValueError: if the folder holds no tracked run, or its store is not usable, or has the run in its trash.
            RuntimeError: if another process writes this run.
        """
        run = cls.__new__(cls)
        run.spool = Spool(Path(directory).resolve())
        identity = require_reopenable(directory)
        run.name, run._finished = identity.name, False
        run._trackers = {label: tracker_of(node) for label, node in identity.trackers.items()}
        run._open(identity.uri, identity.experiment, {}, reopened=True)
        run._start(True, drain_seconds, 0, observe=False)
        return run

    def _open(self, uri: str | None, experiment: str, tags: Mapping[str, str], *, reopened: bool = False) -> None:
        now = _now()
        self.spool.directory.mkdir(parents=True, exist_ok=True)
        try:
            self.spool.writer_lock.acquire(timeout=_LOCK_PATIENCE_SECONDS)
        except Timeout:
            raise RuntimeError(
                f"{self.spool.directory}: another process writes this run: stop it or take another folder"
            ) from None
        self._reopened = reopened
        try:
            self._continue(uri, experiment, tags, now)
        except BaseException:
            self.spool.close()
            raise

    def _continue(self, uri: str | None, experiment: str, tags: Mapping[str, str], now: int) -> None:
        if not self.spool.exists:
            marks = {"mlflow.user": provenance.user(), "mlflow.source.name": "srlab", "mlflow.source.type": "LOCAL"}
            uid, place = uuid.uuid4().hex, str(self.spool.directory)
            self.spool.create(
                Identity(
                    uid=uid, uri=uri, experiment=experiment, name=self.name, time=now, tags=marks, directory=place,
                    trackers=self._described(),
                )
            )  # fmt: skip
        else:
            if uri is not None and self.spool.identity.uri != uri:
                self.spool.readdress(uri)
            self._add_trackers()
        self._before: History = self.spool.history()
        if self._reopened:  # a result may be measured again
            self._before.metric_steps, self._before.image_steps = {}, {}
        self._params = dict(self._before.params)
        self._tables = list(self._before.tables)
        self._system_step = self._before.system_step
        self.spool.open_for_writing()
        if self._reopened and self._before.status is None:
            self.spool.append({"kind": "status", "status": "KILLED", "time": self._before.time})
        session = {"number": self._before.sessions, "process": Process.current().text(), "tags": dict(tags)}
        session |= {"reopened": True} if self._reopened else {}
        self.spool.append({"kind": "session", "time": now, **session})

    def _described(self) -> dict[str, dict[str, Any]]:
        return {label: tracker.described() for label, tracker in self._trackers.items()}

    def _add_trackers(self) -> None:
        """Sends a run that goes on to the trackers that it has now, too; what it had goes on."""
        identity, known = self.spool.identity, self.spool.identity.trackers
        if (all_of_them := {**known, **self._described()}) == known:
            return
        size = self.spool.events_path.stat().st_size if self.spool.events_path.exists() else 0
        for label in all_of_them.keys() - known.keys():
            Spool(self.spool.directory, label).acknowledge(State(details={SINCE: size}))
        self.spool.create(replace(identity, trackers=all_of_them))

    @property
    def uid(self) -> str:
        """Our own id of the run; the tag ``srlab.parent`` of another run names it as that one's parent."""
        return self.spool.identity.uid

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, None until it has given one."""
        return self.spool.state.run_id

    @property
    def url(self) -> str | None:
        """The run's page on a tracking server; None for a store without a server, see ``page_command``."""
        state, uri = self.spool.state, self.spool.identity.uri
        return None if uri is None else page_url(uri, state.experiment_id, state.run_id)

    @property
    def page_commands(self) -> list[str]:
        """The lines that open the run's pages, MLflow's first."""
        identity = self.spool.identity
        first = [] if identity.uri is None else [page_command(identity.uri)]
        return first + [tracker.page(self.spool.directory.parent, identity) for tracker in self._trackers.values()]

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier process began this run."""
        return self._before.sessions > 0

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested mappings are joined with dots, values beyond 6000 characters are visibly cut.

        Raises:
            ValueError: if a name is not allowed, or this process recorded another value under it before.
        """
        fresh = {}
        for key, value in as_text(params, limit=PARAM_LIMIT, where="config.yaml").items():
            check_key(key)
            known = self._params.get(key)
            if known == value:
                continue
            if known is not None:
                if self._before.params.get(key) != known:
                    raise ValueError(f"parameter {key!r} was already recorded as {known!r}, now it is {value!r}")
                key = f"resume.{self._before.sessions}.{key}"
                if self._params.get(key) == value:
                    continue
            fresh[key] = value
        self._append({"kind": "params", "values": fresh}, empty=not fresh)
        self._params.update(fresh)

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Record a resolved configuration, as parameters and as config.yaml; one that a resume changed, beside it."""
        self.log_params(config)
        number = self._before.sessions
        text = yaml.safe_dump(json.loads(json.dumps(config, default=str)), sort_keys=False)
        self.log_text(text, f"config.resume.{number}.yaml" if number else "config.yaml")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers at a training step. Steps that an earlier process recorded are passed over.

        Raises:
            ValueError: if a name is not allowed in MLflow.
        """
        values = {}
        for key, value in metrics.items():
            check_key(key)
            if step > self._before.metric_steps.get(key, -sys.maxsize):
                values[key] = float(value)
        self._append({"kind": "metrics", "step": int(step), "values": values}, empty=not values)

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Record tags; a later value replaces the earlier one."""
        values = as_text(tags, limit=TAG_LIMIT, where="the run's files")
        for key in values:
            check_key(key)
        self._append({"kind": "tags", "values": values}, empty=not values)

    def log_text(self, text: str, path: str) -> None:
        """Record a text as the artefact ``path``, for instance ``config.yaml``."""
        folder, name = split_path(path)
        source = self.spool.keep_bytes(text.encode())
        self._append({"kind": "artefact", "source": source, "folder": folder, "name": name})

    def log_file(self, path: Path, folder: str = "") -> None:
        """Record a file as it is now, under its own name in an artefact folder.

        Raises:
            ValueError: if it does not exist.
        """
        if not path.is_file():
            raise ValueError(f"{path} is not a file: nothing to record")
        self._append({"kind": "artefact", "source": self.spool.keep(path), "folder": folder, "name": path.name})

    def log_model(self, path: Path, *, name: str = "model", step: int = 0) -> None:
        """Record a folder made by ``models.save_model`` as an MLflow model: ``runs:/RUN_ID/NAME`` names it.

        Args:
            path: the folder.
            name: the model's name within the run.
            step: training step of its weights.

        Raises:
            ValueError: if the folder holds no MLflow model.
        """
        if not (path / "MLmodel").is_file():
            raise ValueError(f"{path} holds no MLmodel file: write it with sr_lab.tracking.models.save_model")
        source = self.spool.keep(path)
        event = {"kind": "model", "source": source, "name": name, "step": int(step), "uid": uuid.uuid4().hex}
        self._append({**event, "weights": _weights(path)})

    def log_image(self, image: np.ndarray, key: str, step: int) -> None:
        """Record a picture; MLflow's page shows the pictures of one key with a slider over the steps.

        Args:
            image: (H, W, C) uint8, C = 1, 3 or 4.
            key: name of the series, for instance ``val/butterfly``.
            step: training step.

        Raises:
            ValueError: if the array is not such a picture or the key has other characters than letters, digits, _-./
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
            raise ValueError(f"image {key!r} is {image.dtype} {image.shape}: give (H, W, C) uint8, C = 1, 3 or 4")
        if not _IMAGE_KEY.fullmatch(key):
            raise ValueError(f"image key {key!r}: use letters, digits and _-./ only")
        if step <= self._before.image_steps.get(key, -sys.maxsize):
            return
        shape = list(image.shape[:2]) if image.shape[2] == 1 else list(image.shape)
        source = self.spool.keep_bytes(np.ascontiguousarray(image).tobytes())
        event = {"kind": "image", "source": source, "key": key, "step": int(step), "shape": shape}
        self._append({**event, "uid": str(uuid.uuid4())})

    def log_table(self, rows: Sequence[Mapping[str, Any]], path: str = "tables/per_image.json") -> None:
        """Record a table that MLflow's page shows; ``path`` ends in .json, a second one of that path replaces it.

        Numbers that JSON does not know become words: ``inf`` is the PSNR of two equal images.
        """
        if not path.endswith(".json"):
            raise ValueError(f"table {path!r}: the name has to end in .json, for MLflow to show it as a table")
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = {"columns": columns, "data": [[cell(row.get(key)) for key in columns] for row in rows]}
        source = self.spool.keep_bytes(json.dumps(table, default=str).encode())
        if path not in self._tables:
            self._tables.append(path)
        folder, name = split_path(path)
        event = {"kind": "table", "source": source, "folder": folder, "name": name, "path": path}
        self._append({**event, "tables": list(self._tables)})

    def log_dataset(
        self, name: str, digest: str, source: str, context: str, profile: Mapping[str, Any] | None = None
    ) -> None:
        """Record which data the run used, as an MLflow dataset input and, in full length, as the tag ``data.CONTEXT``.

        Args:
            name: name of the data set.
            digest: its version (the manifest's hash); MLflow's own field shows the first 36 characters.
            source: where it lies.
            context: what for: ``training``, ``validation``, ``test``.
            profile: counts and sizes worth knowing.
        """
        event = {"kind": "dataset", "name": name, "digest": digest, "location": source, "context": context}
        self._append({**event, "profile": dict(profile or {})})

    def flush(self, timeout: float) -> int:
        """Wait until everything logged so far is on the servers, at most ``timeout`` seconds.

        A tracker that says only at the end what has arrived (wandb) is not asked.

        Returns:
            How many events are not there.
        """
        deadline = time.monotonic() + timeout
        asked = [
            queue for queue in self.spool.queues()
            if queue.tracker is None or self._trackers[queue.tracker].confirms_while_running
        ]  # fmt: skip
        while (left := sum(queue.remaining() for queue in asked)) and self._shipping and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def finish(self, status: Status = "FINISHED") -> int:
        """End the run: wait for the server, but not long, and say what it did not take.

        A run that was opened again keeps the status that it had.

        Returns:
            How many events remain on disk only; ``srlab sync`` sends them.
        """
        if self._finished:
            return sum(queue.remaining() for queue in self.spool.queues())
        self._watch.stop()
        try:
            self._append({"kind": "status", "status": status}, empty=self._reopened)
        finally:
            self._finished = True
            for process in self._shipping:
                process.end()
            deadline = time.monotonic() + self._drain_seconds
            for process in self._shipping:
                process.wait(deadline)
            self.spool.close()
        return self._report()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None or (isinstance(error, SystemExit) and not error.code):
            self.finish("FINISHED")
        elif isinstance(error, SystemExit):
            self.finish("KILLED" if error.code in _KILLED else "FAILED")
        else:
            self.finish("FAILED" if issubclass(kind, Exception) else "KILLED")

    def _append(self, event: dict[str, Any], *, empty: bool = False) -> None:
        if self._finished:
            raise RuntimeError(f"run {self.name!r} is finished: nothing can be recorded any more")
        if not empty:
            self.spool.append({"time": _now(), **event})

    def _begin(self, observe: bool, *, sample: bool) -> Callable[[], None]:
        def begin() -> None:
            self._sampler = SystemSampler() if sample else None
            for process in self._shipping:
                process.ensure_alive()
            if observe:
                self._observe()

        return begin

    def _observe(self) -> None:
        code, hardware = provenance.git_state(), provenance.hardware()
        suffix = f".resume.{self._before.sessions}" if self.is_resumed else ""
        packages = "".join(f"{name}=={version}\n" for name, version in provenance.packages().items())
        self.log_tags({**code.tags(), **{f"env.{key}": hardware[key] for key in ("python", "platform", "cpu", "gpu")}})
        self.log_text(json.dumps(hardware, indent=2), f"environment/hardware{suffix}.json")
        self.log_text(packages, f"environment/packages{suffix}.txt")
        if code.diff:
            self.log_text(code.diff, f"code/dirty{suffix}.diff")
        sources = provenance.own_sources()
        for name, text in sources.kept.items():
            self.log_text(text, f"code/untracked{suffix}/{name}")
        if sources.left_out:
            self.log_text("\n".join(sources.left_out) + "\n", f"code/untracked{suffix}/LEFT_OUT.txt")

    def _tick(self) -> None:
        """Sample the machine's load, and see that the shipping process lives."""
        if self._sampler is not None:
            self._system_step += 1
            values = {SYSTEM_PREFIX + key: value for key, value in self._sampler.sample().items()}
            self._append({"kind": "metrics", "step": self._system_step, "values": values})
        for process in self._shipping:
            process.ensure_alive()

    def _report(self) -> int:
        """Say what the trackers did not take; returns how many events that are."""
        return sum(map(self._report_of, self.spool.queues()))

    def _report_of(self, queue: Spool) -> int:
        uri = without_password(str(queue.identity.uri)) if queue.tracker is None else queue.tracker
        state, left = queue.state, queue.remaining()
        if left:
            why = f" ({state.error})" if state.error else ""
            sending = line("sync", setting("directory", self.spool.directory.parent))
            print(
                f"tracking: {counted(left, 'event')} of run {self.name!r} did not reach {uri}{why}\n"
                f"tracking: all are kept; this sends them:  {sending}",
                file=sys.stderr,
            )
        if state.rejected:
            refused = counted(state.rejected, "event")
            print(
                f"tracking: {uri} refused {refused} of run {self.name!r}: {queue.rejected_path}",
                file=sys.stderr,
            )
        return left


def _now() -> int:
    return int(time.time() * 1000)


def _weights(model: Path) -> str | None:
    """SHA-256 of a model's weights, by its own metadata."""
    file = model / "metadata.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8")).get("sha256", {}).get("weights.safetensors")
    return None if found is None else str(found)
