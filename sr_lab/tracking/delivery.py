"""How each kind of event becomes MLflow calls. Every call may be repeated: a second delivery changes nothing."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sr_lab.tracking.marks import HEARTBEAT_TAG, PROCESS_TAG, run_of
from sr_lab.tracking.spool import Event, Spool, State
from sr_lab.tracking.values import TAG_LIMIT, as_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

DIGEST_LIMIT = 36
THUMBNAIL = 1024
MODEL_TAG = "srlab.model"
PARENT_TAG = "srlab.parent"


class RefusedError(Exception):
    """This event can never be delivered."""


class GoneSourceError(RefusedError):
    """The copy that the event names is not there any more."""


def deliver(client: "MlflowClient", spool: Spool, state: State, events: list[Event]) -> None:
    """Send events that go into one request: any number of metrics, params and tags, or one of another kind.

    Args:
        client: connected client.
        spool: where the artefacts of the events lie.
        state: names the run.
        events: what to send.

    Raises:
        RefusedError: if an event is damaged or its artefact is gone.
        Exception: whatever MLflow raises.
    """
    assert state.run_id is not None
    kind = events[0]["kind"]
    if kind in ("metrics", "params", "tags"):
        _batch(client, state.run_id, events)
    elif kind in _SINGLE:
        _SINGLE[kind](client, spool, state, events[0])
    else:
        raise RefusedError(f"damaged event: {events[0].get('line', kind)}")


def _batch(client: "MlflowClient", run_id: str, events: list[Event]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    metrics, params, tags = [], [], {}
    for event in events:
        if event["kind"] == "metrics":
            metrics += [Metric(key, value, event["time"], event["step"]) for key, value in event["values"].items()]
        elif event["kind"] == "params":
            params += [Param(key, value) for key, value in event["values"].items()]
        else:
            tags.update(event["values"])
    client.log_batch(run_id, metrics, params, [RunTag(key, value) for key, value in tags.items()])


def _session(client: "MlflowClient", spool: Spool, state: State, event: Event) -> None:
    from mlflow.entities import RunTag

    tags = {
        PROCESS_TAG: event["process"],
        HEARTBEAT_TAG: str(event["time"]),
        "srlab.sessions": str(event["number"] + 1),
        **event["tags"],
    }
    if PARENT_TAG in tags:
        tags |= _parent(client, str(state.experiment_id), str(tags[PARENT_TAG]))
    if event.get("reopened"):
        tags = {key: value for key, value in tags.items() if key not in (PROCESS_TAG, HEARTBEAT_TAG)}
    client.log_batch(state.run_id, tags=[RunTag(*item) for item in as_text(tags, limit=TAG_LIMIT, where="").items()])
    if not event.get("reopened"):  # which adds results to a run that ended, and leaves it ended
        client.update_run(state.run_id, status="RUNNING")


def _parent(client: "MlflowClient", experiment: str, uid: str) -> dict[str, str]:
    """The tag by which MLflow's page shows a run below its parent; none where the parent has not been sent yet."""
    found = run_of(client, experiment, uid)
    return {} if found is None else {"mlflow.parentRunId": found.info.run_id}


def _status(client: "MlflowClient", spool: Spool, state: State, event: Event) -> None:
    client.set_terminated(state.run_id, event["status"], end_time=event["time"])


def _artefact(client: "MlflowClient", spool: Spool, state: State, event: Event) -> None:
    with _named(_source(spool, event), event["name"]) as named:
        client.log_artifact(state.run_id, str(named), event["folder"] or None)


def _table(client: "MlflowClient", spool: Spool, state: State, event: Event) -> None:
    _artefact(client, spool, state, event)
    listing = [{"path": path, "type": "table"} for path in event["tables"]]
    client.set_tag(state.run_id, "mlflow.loggedArtifacts", json.dumps(listing))


def _image(client: "MlflowClient", spool: Spool, state: State, event: Event) -> None:
    """As ``MlflowClient.log_image`` does it, but under a name that is the same when it is sent again.

    The preview is larger than MLflow's 256 pixels, which hide what super-resolution changes.
    """
    import numpy as np
    from PIL import Image

    source = _source(spool, event)
    try:
        image = Image.fromarray(np.fromfile(source, np.uint8).reshape(event["shape"]))
    except ValueError as error:
        raise RefusedError(f"image {event['key']!r}: {error}") from error
    key = event["key"].replace("/", "~")
    stem = f"{key}+step+{event['step']}+timestamp+{event['time']}+{event['uid']}"
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    with _scratch() as folder:
        image.save(folder / f"{stem}.png")
        small.save(folder / f"{stem}+compressed.webp")
        client.log_artifacts(state.run_id, str(folder), "images")
    client.set_tag(state.run_id, "mlflow.loggedImages", "True")


def _dataset(client: "MlflowClient", spool: Spool, state: State, event: Event) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=event["name"],
        digest=event["digest"][:DIGEST_LIMIT],
        source_type="local",
        source=json.dumps({"uri": event["location"]}),
        profile=json.dumps(event["profile"]),
    )
    client.log_inputs(state.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", event["context"])])])
    client.set_tag(state.run_id, f"data.{event['context']}", event["digest"])


def _model(client: "MlflowClient", spool: Spool, state: State, event: Event) -> None:
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    source = _source(spool, event)
    model = _find_or_create_model(client, state, event)
    description = Model.load(str(source))
    description.run_id, description.model_id, description.artifact_path = state.run_id, model.model_id, None
    description.save(str(source / "MLmodel"))
    client.log_model_artifacts(model.model_id, str(source))
    client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(state.run_id).outputs
    if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        client.log_outputs(state.run_id, [LoggedModelOutput(model.model_id, event["step"])])


def _find_or_create_model(client: "MlflowClient", state: State, event: Event) -> "LoggedModel":
    where = f"name = '{event['name']}' AND tags.`{MODEL_TAG}` = '{event['uid']}'"
    if found := client.search_logged_models([state.experiment_id], where, max_results=1):
        return found[0]
    tags = {MODEL_TAG: event["uid"]}
    return client.create_logged_model(state.experiment_id, event["name"], source_run_id=state.run_id, tags=tags)


_SINGLE: "dict[str, Callable[[MlflowClient, Spool, State, Event], None]]" = {
    "session": _session,
    "status": _status,
    "artefact": _artefact,
    "table": _table,
    "image": _image,
    "dataset": _dataset,
    "model": _model,
}


def _source(spool: Spool, event: Event) -> Path:
    path: Path = spool.directory / event["source"]
    if (
        not path.exists()
        and event["kind"] == "model"
        and _is_that_model(path := spool.directory.parent / "model", event)
    ):
        return path
    if not path.exists():
        raise GoneSourceError(f"{event.get('name', event['kind'])}: its copy {path} is gone")
    return path


def _is_that_model(folder: Path, event: Event) -> bool:
    """Whether the run's folder has the model that was recorded, by the hash of its weights."""
    file = folder / "metadata.json"
    if not event.get("weights") or not file.is_file():
        return False
    known = json.loads(file.read_text(encoding="utf-8")).get("sha256", {})
    return bool(known.get("weights.safetensors") == event["weights"])


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="srlab-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _named(source: Path, name: str) -> Iterator[Path]:
    """The file under the name that it shall have on the server."""
    with tempfile.TemporaryDirectory(prefix="send-", dir=source.parent) as folder:
        link = Path(folder) / name
        link.symlink_to(source.resolve())
        yield link
