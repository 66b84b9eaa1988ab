"""Public weights, and exports, as tracked runs, so that they can be registered like a model that was trained here."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from sr_lab.artefacts.artefact import Artefact, save_artefact
from sr_lab.artefacts.export.manifest import MANIFEST, read_manifest
from sr_lab.artefacts.export.opened import load_export
from sr_lab.artefacts.folder import WEIGHTS
from sr_lab.artefacts.pretrained import find_pretrained, load_pretrained
from sr_lab.base.provenance import git_state
from sr_lab.base.words import counted
from sr_lab.tracking.models import save_model
from sr_lab.tracking.run import Run
from sr_lab.tracking.store import call, connect, resolve_uri, sqlite_path, without_password

EXPERIMENT = "pretrained"
TAG = "pretrained"
EXPORTS, EXPORT = "exports", "export"
_PATIENCE_SECONDS = 600.0


def run_of_pretrained(name: str, *, uri: str) -> str:
    """The id of the run that holds the weights called ``pretrained/NAME``; it is made where there is none yet.

    Args:
        name: ``pretrained/NAME``.
        uri: The store.

    Raises:
        ValueError: If there are no such weights, or their package is not installed.
        RuntimeError: If the store does not answer in time.
    """
    model, _, binary, version = find_pretrained(name)
    mark = f"{model.title} of {version}"
    uri = resolve_uri(uri)
    if (found := _found(uri, mark)) is not None:
        return found
    artefact = load_pretrained(name)
    tags = {TAG: mark, "file": binary.name, "network": type(artefact.network).__name__}
    return _made(uri, artefact, experiment=EXPERIMENT, title=model.title, tags=tags)


def run_of_export(folder: Path, *, uri: str) -> str:
    """The id of the run that holds an export's graph; it is made where there is none yet.

    Its tags say of which version of the registry, or of which weights, it is an export, in which precision.

    Args:
        folder: Of the export, of ``target=onnx`` or ``bundle``.
        uri: The store.

    Raises:
        ValueError: If it is of another target, or a file is not the one that was exported.
        RuntimeError: If the store does not answer in time.
    """
    artefact, manifest = load_export(folder), read_manifest(folder)
    mark, uri = str(artefact.metadata["sha256"][WEIGHTS]), resolve_uri(uri)
    if (found := _found(uri, mark, experiment=EXPORTS, tag=EXPORT)) is not None:
        return found
    source, judged = manifest["source"], manifest.get("judged")
    version = source["registry"]
    of = f"{version['name']}/{version['version']}" if version else str(source["name"])
    tags = {
        EXPORT: mark,
        "export.of": of,
        "export.weights": str(source["weights"]),
        "export.precision": manifest["precision"],
    }
    if judged is not None:
        tags["export.judged"] = (
            f"{-judged['worst_loss_db']:+.3f} dB on the worst of {counted(judged['images'], 'image')}"
        )
    title = f"{of.replace('/', '-')} in {manifest['precision']}"
    return _made(uri, artefact, experiment=EXPORTS, title=title, tags=tags, beside=folder / MANIFEST)


def _made(
    uri: str, artefact: Artefact, *, experiment: str, title: str, tags: dict[str, str], beside: Path | None = None
) -> str:
    """A finished run with the model, sent to the store; ``beside`` is a manifest that the model's folder keeps."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        metadata = {**artefact.metadata, "commit": git_state().commit}
        saved = save_artefact(folder / "artefact", artefact.network, config=artefact.config, metadata=metadata)
        if beside is not None:
            shutil.copyfile(beside, saved / "export.json")
        mlflow_model = save_model(folder / "model", artefact.network, artefact=saved)
        run = Run(
            uri=uri,
            experiment=experiment,
            name=title,
            directory=folder / "tracking",
            tags=tags,
            drain_seconds=_PATIENCE_SECONDS,
            system_seconds=0,
        )
        with run:
            run.log_model(mlflow_model)
        if run.run_id is None or run.spool.remaining():
            raise RuntimeError(f"{without_password(uri)} did not take {title} within {_PATIENCE_SECONDS:.0f} s")
        return run.run_id


def _found(uri: str, mark: str, *, experiment: str = EXPERIMENT, tag: str = TAG) -> str | None:
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        return None

    def work() -> str | None:
        client: Any = connect(uri)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            return None
        asked = f"tags.`{tag}` = '{mark}' and attributes.status = 'FINISHED'"
        runs = client.search_runs([known.experiment_id], filter_string=asked, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    found: str | None = call(f"look for {mark}", uri, work)
    return found
