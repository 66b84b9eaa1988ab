"""Weights & Biases: a run as a wandb run, live on a server or as the file of its offline mode."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sr_lab.tracking.delivery import PARENT_TAG, RefusedError
from sr_lab.tracking.spool import SYSTEM_PREFIX, Event, Identity, Spool, State
from sr_lab.tracking.trackers import Sink, Tracker

if TYPE_CHECKING:
    import wandb

STEP = "step"
OFFSET = "srlab/offset"
"""Key of the run's summary: up to which byte of our record the server has it, so that nothing is sent to it twice."""
PENDING = "pending"
_EXIT = {"FINISHED": 0, "FAILED": 1, "KILLED": 130}


class Wandb(Tracker):
    """Sends runs to Weights & Biases; the key is that of ``wandb login`` or ``WANDB_API_KEY``.

    Metrics stand at the training's step, also where they come late (an evaluation of the best weights after the end):
    every chart's axis is ``step``. The model is an artefact with its step as alias. The trials of a sweep are in one
    group with the sweep's own run. wandb says at a delivery's end only what has arrived; what a cut-off delivery had
    brought to the server is known from the run's summary and not sent again.

    Args:
        project: wandb's project.
        entity: User or team; None is wandb's default for the key.
        mode: ``online`` sends to the server; ``offline`` writes wandb's own file, which ``wandb sync`` sends.
        group: Group of the run; None groups a sweep's trials.
        directory: Folder of wandb's files; None is the run's folder, where they lie in ``wandb/``.
        patience: Seconds that the server has for its first answer.
    """

    confirms_while_running: ClassVar[bool] = False

    def __init__(
        self,
        *,
        project: str = "sr_lab",
        entity: str | None = None,
        mode: Literal["online", "offline"] = "online",
        group: str | None = None,
        directory: str | None = None,
        patience: float = 20.0,
    ) -> None:
        self.project, self.entity, self.mode, self.group = project, entity, mode, group
        self.directory, self.patience = directory, patience

    def check(self) -> None:
        """Refuses where wandb is not installed, or the mode is none of the two."""
        if self.mode not in ("online", "offline"):
            raise ValueError(f"mode={self.mode}: online or offline")
        if not re.fullmatch(r"[^/\\#?%:\s][^/\\#?%:]{0,127}", str(self.project)):
            raise ValueError(f"project={self.project!r}: wandb takes 1 to 128 characters without / \\ # ? % :")
        if importlib.util.find_spec("wandb") is None:
            raise ModuleNotFoundError("No module named 'wandb'", name="wandb")

    def open(self, spool: Spool, identity: Identity, state: State) -> Sink:
        """Begins, or resumes, the wandb run of this record."""
        return _WandbRun(self, spool, identity, state)

    def page(self, directory: Path, identity: Identity) -> str:
        """The run's page, or the line that sends what the offline mode wrote."""
        folder = Path(self.directory or directory) / "wandb"
        if self.mode == "offline":
            return f"wandb sync {shlex.quote(str(folder))}/offline-run-*-{identity.uid}"
        base = os.environ.get("WANDB_BASE_URL", "https://wandb.ai").replace("api.wandb", "wandb").rstrip("/")
        if self.entity is None:
            return f"open {base} in a browser"
        return f"open {base}/{self.entity}/{self.project}/runs/{identity.uid} in a browser"

    def reason(self, error: BaseException) -> str:
        """Wandb's reason, with what helps."""
        text = super().reason(error)
        if type(error).__name__ == "UsageError" or "api_key" in text.lower():
            return f"{text.split('. Use')[0].rstrip('.')}: run  wandb login , or set WANDB_API_KEY"
        return text


class _WandbRun(Sink):
    """One wandb run, from ``wandb.init`` to ``finish``."""

    def __init__(self, tracker: Wandb, spool: Spool, identity: Identity, state: State) -> None:
        self._spool, self._identity, self._exit = spool, identity, 0
        if pending := state.details.get(PENDING):  # written by a delivery that was cut off: it is written anew
            shutil.rmtree(pending, ignore_errors=True)
        root = Path(tracker.directory or spool.directory.parent)
        root.mkdir(parents=True, exist_ok=True)
        self.run = _init(tracker, identity, _marks(spool), root)
        offline = tracker.mode == "offline"
        if offline:
            state.details[PENDING] = str(Path(self.run.dir).parent)
            spool.acknowledge(state)
        self.run.define_metric(STEP, hidden=True)
        self.run.define_metric("*", step_metric=STEP)
        self.run.define_metric(f"{SYSTEM_PREFIX}{STEP}", hidden=True)
        self.run.define_metric(f"{SYSTEM_PREFIX}*", step_metric=f"{SYSTEM_PREFIX}{STEP}")
        self._row, self._keys = max(int(state.details.get("row", 0)), int(self.run.starting_step)), set[str]()
        known = 0 if offline else int(self.run.summary.get(OFFSET) or 0)
        self.offset = self._end = max(state.offset, known)

    def take(self, event: Event, end: int) -> None:
        """Hands one event to wandb."""
        write = getattr(self, f"_{event['kind']}", None)
        if write is None:
            raise RefusedError(f"damaged event: {event.get('line', event['kind'])}")
        write(event)
        self._end = end

    def confirm(self) -> None:
        """Wandb says at the end only whether everything has arrived; the summary says what the server has."""
        self.run.summary[OFFSET] = self._end

    def close(self) -> dict[str, Any]:
        """Finishes the wandb run, which waits until everything is sent, or written in the offline mode."""
        self.run.summary[OFFSET] = self._end
        self.run.finish(exit_code=self._exit)
        return {"row": self._row + 1}

    # Kinds of events.

    def _metrics(self, event: Event) -> None:
        values = event["values"]
        loads = {key: value for key, value in values.items() if key.startswith(SYSTEM_PREFIX)}
        if loads:
            self._log({**loads, f"{SYSTEM_PREFIX}{STEP}": event["step"]})
        if numbers := {key: value for key, value in values.items() if key not in loads}:
            self._log({**numbers, STEP: event["step"]}, event["step"])

    def _params(self, event: Event) -> None:
        self.run.config.update(event["values"], allow_val_change=True)

    def _tags(self, event: Event) -> None:
        values = {f"tags/{key}": value for key, value in event["values"].items()}
        self.run.config.update(values, allow_val_change=True)

    def _session(self, event: Event) -> None:
        self._tags({"values": {**event["tags"], "srlab.sessions": event["number"] + 1}})

    def _status(self, event: Event) -> None:
        self._exit = _EXIT[event["status"]]
        self.run.summary["srlab/status"] = event["status"]

    def _artefact(self, event: Event) -> None:
        path = f"{event['folder']}/{event['name']}".lstrip("/")
        self._save(self._source(event), path)

    def _table(self, event: Event) -> None:
        import wandb

        table = json.loads(self._source(event).read_text(encoding="utf-8"))
        rows = [[_cell(value) for value in row] for row in table["data"]]
        shown = wandb.Table(columns=table["columns"], data=rows, allow_mixed_types=True)
        self._log({event["path"].removesuffix(".json"): shown})
        self._save(self._source(event), event["path"])

    def _image(self, event: Event) -> None:
        import numpy as np
        import wandb

        try:
            picture = np.fromfile(self._source(event), np.uint8).reshape(event["shape"])
        except ValueError as error:
            raise RefusedError(f"image {event['key']!r}: {error}") from error
        self._log({event["key"]: wandb.Image(picture), STEP: event["step"]}, event["step"])

    def _model(self, event: Event) -> None:
        import wandb

        source = self._source(event)
        facts = {"step": event["step"], "weights": event.get("weights")}
        artefact = wandb.Artifact(f"{event['name']}-{self._identity.uid}", type="model", metadata=facts)
        artefact.add_dir(str(source), policy="mutable")  # copied: ours is removed once it is sent
        self.run.log_artifact(artefact, aliases=[f"step-{event['step']}"])

    def _dataset(self, event: Event) -> None:
        facts = {"name": event["name"], "digest": event["digest"], "source": event["location"], **event["profile"]}
        self.run.config.update({f"data/{event['context']}": facts}, allow_val_change=True)

    # Writing.

    def _log(self, row: dict[str, Any], step: int | None = None) -> None:
        """Adds to the row of a step; what comes late, or is of no step, gets a row of its own behind the last one."""
        if step is not None and step >= self._row:
            target = step
        elif step is None and not self._keys & row.keys():
            target = self._row
        else:
            target = self._row + 1
        if target > self._row:
            self._row, self._keys = target, set()
        self._keys |= row.keys()
        self.run.log(row, step=target)

    def _save(self, source: Path, path: str) -> None:
        """The file under this name among the run's files."""
        target = Path(self.run.dir) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        self.run.save(str(target), base_path=self.run.dir, policy="now")

    def _source(self, event: Event) -> Path:
        path: Path = self._spool.directory / event["source"]
        if not path.exists():
            raise RefusedError(f"{event.get('name', event['kind'])}: its copy {path} is gone")
        return path


def _init(tracker: Wandb, identity: Identity, marks: dict[str, Any], root: Path) -> "wandb.Run":
    if "wandb" not in sys.modules:  # else a process that began this one would hold the run when this one is killed
        os.environ.pop("WANDB_SERVICE", None)
    import wandb

    parent = marks.get(PARENT_TAG)
    sweep = marks.get("kind") == "sweep"
    for name in ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_MODE", "WANDB_RUN_GROUP", "WANDB_NAME", "WANDB_DIR"):
        os.environ.pop(name, None)  # of a launcher; the run's are its own
    base = os.environ.get("WANDB_BASE_URL")  # wandb reads it once a process
    settings = wandb.Settings(
        **({"base_url": base} if base else {}),
        silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True, save_code=False,
        disable_job_creation=True, init_timeout=tracker.patience, login_timeout=tracker.patience,
        x_start_time=identity.time / 1000, x_graphql_retry_max=1, x_graphql_timeout_seconds=tracker.patience,
    )  # fmt: skip
    try:
        return wandb.init(
            project=tracker.project, entity=tracker.entity, mode=tracker.mode, id=identity.uid, resume="allow",
            name=identity.name, group=tracker.group or parent or (identity.uid if sweep else None),
            job_type="sweep" if sweep else "trial" if parent else "train", notes=identity.experiment,
            dir=str(root), settings=settings, reinit="create_new",
        )  # fmt: skip
    except Exception:
        wandb.teardown(exit_code=1)  # its service would hold the run's id for as long as this process lives
        raise


def _marks(spool: Spool) -> dict[str, Any]:
    """The tags of the sessions so far."""
    marks: dict[str, Any] = {}
    for event in spool.events():
        if event["kind"] == "session":
            marks |= event["tags"]
    return marks


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else json.dumps(value)
