"""TensorBoard: a run as event files, read by ``tensorboard --logdir``; files and models lie beside them."""

import contextlib
import html
import importlib.util
import io
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_lab.tracking.delivery import RefusedError
from sr_lab.tracking.spool import Event, Identity, Spool, State
from sr_lab.tracking.trackers import Sink, Tracker

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

FILES = "files"
_STATUS = {"FINISHED": 1, "FAILED": 2, "KILLED": 2}  # of the hparams plugin: success, failure


class TensorBoard(Tracker):
    """Writes the event files of TensorBoard.

    Numbers are scalars, pictures images with a slider over the steps, the configuration hyper-parameters; tables,
    texts, data sets and tags are text. TensorBoard knows no artefacts: files and models lie in ``files/`` beside the
    event file. What was sent is safe as soon as it is in the file, and a delivery that was cut off is cut back to that.

    Args:
        directory: Folder of the event file; None is ``tensorboard`` in the run's folder, so that
            ``tensorboard --logdir`` on the folder of the runs, or of a sweep, shows all of them.
    """

    def __init__(self, *, directory: str | None = None) -> None:
        self.directory = directory

    def check(self) -> None:
        """Refuses where TensorBoard is not installed."""
        if importlib.util.find_spec("tensorboard") is None:
            raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")

    def place(self, run: Path) -> Path:
        """The folder of the event file of the run in that folder."""
        return Path(self.directory) if self.directory else run / "tensorboard"

    def open(self, spool: Spool, identity: Identity, state: State) -> Sink:
        """Goes on with the event file of this run, or begins one."""
        return _EventFile(self.place(spool.directory.parent), spool, identity, state)

    def page(self, directory: Path, identity: Identity) -> str:
        """TensorBoard on the folder that holds the run's, beside the others."""
        folder = self.place(directory)
        return f"tensorboard --logdir {shlex.quote(str(folder if self.directory else directory.parent))}"


class _EventFile(Sink):
    def __init__(self, folder: Path, spool: Spool, identity: Identity, state: State) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.offset, self._folder, self._spool, self._identity = state.offset, folder, spool, identity
        folder.mkdir(parents=True, exist_ok=True)
        name = state.details.get("file") or f"events.out.tfevents.{identity.time // 1000}.{identity.uid}"
        size = int(state.details.get("size", 0))
        path = folder / name
        if size and not path.is_file():
            raise FileNotFoundError(f"{path} is gone: delete {spool.state_path}, and the whole run is written again")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(descriptor, size)  # a delivery that was cut off is not acknowledged
        self._stream = os.fdopen(descriptor, "r+b")
        self._stream.seek(size)
        self._name, self._writer = name, RecordWriter(self._stream)
        if size == 0:
            self._write(identity.time, 0, file_version="brain.Event:2")

    def take(self, event: Event, end: int) -> None:
        """Writes one event."""
        write = getattr(self, f"_{event['kind']}", None)
        if write is None:
            raise RefusedError(f"damaged event: {event.get('line', event['kind'])}")
        write(event)

    def confirm(self) -> dict[str, Any]:
        """The file's size so far."""
        self._stream.flush()
        return {"file": self._name, "size": self._stream.tell()}

    def close(self) -> dict[str, Any]:
        """Closes the file."""
        details = self.confirm()
        self._stream.close()
        return details

    # Kinds of events.

    def _metrics(self, event: Event) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=key, simple_value=value) for key, value in event["values"].items()]
        self._write(event["time"], event["step"], summary=Summary(value=values))

    def _params(self, event: Event) -> None:
        from tensorboard.plugins.hparams import summary_v2

        hparams = summary_v2.hparams_pb(
            event["values"], trial_id=self._identity.name, start_time_secs=event["time"] / 1000
        )
        self._write(event["time"], 0, summary=hparams)
        self._text(event, "params", _table_of(["parameter", "value"], list(event["values"].items())))

    def _tags(self, event: Event) -> None:
        for key, value in event["values"].items():
            self._text(event, f"tags/{key}", value)

    def _session(self, event: Event) -> None:
        self._tags({"time": event["time"], "values": {key: str(value) for key, value in event["tags"].items()}})
        if not event.get("reopened"):
            self._text(event, "run", f"session {event['number']} of run {self._identity.name} ({self._identity.uid})")

    def _status(self, event: Event) -> None:
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        end = plugin_data_pb2.SessionEndInfo(status=_STATUS[event["status"]], end_time_secs=event["time"] / 1000)
        data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
        self._plain(event, metadata.SESSION_END_INFO_TAG, metadata.create_summary_metadata(data))
        self._text(event, "status", event["status"])

    def _artefact(self, event: Event) -> None:
        source = self._source(event)
        path = f"{event['folder']}/{event['name']}".lstrip("/")
        _link(source, self._folder / FILES / path)
        if source.stat().st_size < 100_000 and source.suffix != ".png":
            with contextlib.suppress(UnicodeDecodeError):
                text = source.read_text(encoding="utf-8")
                self._text(event, f"files/{path}", f"<pre>{html.escape(text)}</pre>")

    def _model(self, event: Event) -> None:
        folder = self._folder / FILES / event["name"]
        shutil.rmtree(folder, ignore_errors=True)
        source = self._source(event)
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            _link(file, folder / file.relative_to(source))
        self._text(event, f"models/{event['name']}", f"step {event['step']}: {folder}, weights {event.get('weights')}")

    def _table(self, event: Event) -> None:
        source = self._source(event)
        table = json.loads(source.read_text(encoding="utf-8"))
        _link(source, self._folder / FILES / event["path"])
        self._text(event, event["path"].removesuffix(".json"), _table_of(table["columns"], table["data"]))

    def _image(self, event: Event) -> None:
        import numpy as np
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        shape = event["shape"]
        try:
            picture = Image.fromarray(np.fromfile(self._source(event), np.uint8).reshape(shape))
        except ValueError as error:
            raise RefusedError(f"image {event['key']!r}: {error}") from error
        encoded = io.BytesIO()
        picture.save(encoded, "png")
        image = Summary.Image(
            height=shape[0], width=shape[1], colorspace=shape[2] if len(shape) == 3 else 1,
            encoded_image_string=encoded.getvalue(),
        )  # fmt: skip
        self._write(event["time"], event["step"], summary=Summary(value=[Summary.Value(tag=event["key"], image=image)]))

    def _dataset(self, event: Event) -> None:
        rows = [("name", event["name"]), ("digest", event["digest"]), ("source", event["location"])]
        self._text(event, f"data/{event['context']}", _table_of(["", ""], [*rows, *event["profile"].items()]))

    # Writing.

    def _write(self, milliseconds: int, step: int, **what: "Summary | str") -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record

        record: Record = Record(wall_time=milliseconds / 1000, step=step, **what)
        self._writer.write(record.SerializeToString())

    def _text(self, event: Event, tag: str, text: str) -> None:
        from tensorboard.plugins.text import metadata

        self._plain(event, tag, metadata.create_summary_metadata(tag, ""), text)

    def _plain(self, event: Event, tag: str, metadata: "SummaryMetadata", text: str | None = None) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        tensor = TensorProto(dtype="DT_STRING" if text is not None else "DT_FLOAT", tensor_shape=TensorShapeProto())
        if text is not None:
            tensor.string_val.append(text.encode())
        else:
            tensor.float_val.append(0)
        value = Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        self._write(event["time"], int(event.get("step", 0)), summary=Summary(value=[value]))

    def _source(self, event: Event) -> Path:
        path: Path = self._spool.directory / event["source"]
        if not path.exists():
            raise RefusedError(f"{event.get('name', event['kind'])}: its copy {path} is gone")
        return path


def _link(source: Path, target: Path) -> None:
    """The file at another place of the same disk, without a second copy where the disk allows that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _table_of(columns: list[str], rows: "list[Any]") -> str:
    """A table as TensorBoard's Markdown knows it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )
