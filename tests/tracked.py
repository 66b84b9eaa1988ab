"""Reads back what trackers wrote: one run as the same plain facts, whoever recorded it."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

BLOCK, HEADER = 32768, 7


@dataclass
class Recorded:
    """What a tracker has of a run."""

    name: str = ""
    status: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    images: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    tables: dict[str, list[list[Any]]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    model: set[str] = field(default_factory=set)
    data: dict[str, str] = field(default_factory=dict)
    group: str | None = None


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of a .wandb file: a LevelDB log behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = file.read_bytes(), HEADER, []
    assert data[:4] == b":W&B"
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        size, kind = struct.unpack_from("<HB", data, position + 4)
        position += HEADER
        parts.append(data[position : position + size])
        position += size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


def of_wandb(folder: Path, uid: str) -> Recorded:
    """What all offline runs of this id hold, in the order in which they were written."""
    from PIL import Image

    found = Recorded()
    for run in sorted(folder.glob(f"offline-run-*-{uid}"), key=lambda path: path.name):
        (file,) = run.glob("*.wandb")
        for record in wandb_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                found.name, found.group = record.run.display_name, record.run.run_group
                _config(found, record.run.config)
            elif kind == "config":
                _config(found, record.config)
            elif kind == "exit":
                found.status = {0: "FINISHED", 1: "FAILED"}.get(record.exit.exit_code, "KILLED")
            elif kind == "artifact" and record.artifact.type == "model":
                found.model |= {entry.path for entry in record.artifact.manifest.contents}
                if record.artifact.manifest.manifest_file_path:
                    found.model.add("?")
            elif kind == "history":
                row = _row(record.history.item)
                step = row.get("step", row["_step"])
                for key, value in row.items():
                    if not isinstance(value, dict) and key not in ("step", "_step", "_timestamp", "_runtime"):
                        found.metrics.setdefault(key, []).append((step, float(value)))
                    elif isinstance(value, dict) and value["_type"] == "image-file":
                        found.images[key, step] = np.asarray(Image.open(run / "files" / value["path"]))
                    elif isinstance(value, dict) and value["_type"] == "table-file":
                        table = json.loads((run / "files" / value["path"]).read_text())
                        found.tables[f"{key}.json"] = table["data"]
        kept = [path.relative_to(run / "files") for path in (run / "files").rglob("*") if path.is_file()]
        found.files |= {str(path) for path in kept if path.parts[0] != "media"}
    return found


def _row(items: Any) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for item in items:
        key, *below = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        if below:
            row.setdefault(key, {})[below[0]] = value
        else:
            row[key] = value
    return row


def _config(found: Recorded, config: Any) -> None:
    for item in config.update:
        key, value = "/".join(item.nested_key) or item.key, json.loads(item.value_json)
        if key.startswith("tags/"):
            found.tags[key.removeprefix("tags/")] = value
        elif key.startswith("data/"):
            found.data[key.removeprefix("data/")] = value["digest"]
        elif key != "_wandb":
            found.params[key] = value


def of_tensorboard(folder: Path) -> Recorded:
    """What the event files of a folder hold, read by TensorBoard itself."""
    import io

    from PIL import Image
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.plugins.hparams import metadata

    found = Recorded()
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(file)).Load():
            for value in event.summary.value:
                tag = value.tag
                if value.HasField("image"):
                    picture = np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
                    found.images[tag, event.step] = picture
                elif tag == metadata.SESSION_START_INFO_TAG:
                    info = metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
                    found.params |= {key: item.string_value for key, item in info.hparams.items()}
                    found.name = found.name or info.group_name
                elif value.HasField("simple_value"):
                    found.metrics.setdefault(tag, []).append((event.step, value.simple_value))
                elif value.tensor.string_val:
                    _text(found, tag, value.tensor.string_val[0].decode())
    kept = {str(path.relative_to(folder / "files")) for path in (folder / "files").rglob("*") if path.is_file()}
    found.model = {name.removeprefix("model/") for name in kept if name.startswith("model/")}
    found.files = {name for name in kept if not name.startswith("model/")}
    return found


def _text(found: Recorded, tag: str, text: str) -> None:
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines()[2:]]
    if tag == "status":
        found.status = text
    elif tag.startswith("tags/"):
        found.tags[tag.removeprefix("tags/")] = text
    elif tag.startswith("tables/"):
        found.tables[f"{tag}.json"] = rows
    elif tag.startswith("data/"):
        found.data[tag.removeprefix("data/")] = dict(rows)["digest"]


def of_mlflow(client: Any, run_id: str, folder: Path) -> Recorded:
    """What a store of MLflow's holds of a run."""
    from PIL import Image

    run = client.get_run(run_id)
    found = Recorded(name=run.info.run_name, status=run.info.status, params=run.data.params, tags=run.data.tags)
    for key in run.data.metrics:
        found.metrics[key] = [(item.step, item.value) for item in client.get_metric_history(run_id, key)]
    kept = Path(client.download_artifacts(run_id, "", str(folder)))
    for path in (path for path in kept.rglob("*") if path.is_file()):
        name = str(path.relative_to(kept))
        if name.startswith("images/"):
            if path.suffix == ".png":
                key, _, step, *_ = path.name.split("+")
                found.images[key.replace("~", "/"), int(step)] = np.asarray(Image.open(path))
            continue
        found.files.add(name)
        if name.startswith("tables/"):
            found.tables[name] = json.loads(path.read_text())["data"]
    found.data = {key.removeprefix("data."): text for key, text in run.data.tags.items() if key.startswith("data.")}
    (output,) = run.outputs.model_outputs
    location = client.get_logged_model(output.model_id).artifact_location.removeprefix("file://")
    found.model = {str(path.relative_to(location)) for path in Path(location).rglob("*") if path.is_file()}
    return found
