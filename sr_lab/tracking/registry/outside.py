"""Public weights as a tracked run, so that they can be registered like a model that was trained here."""

import tempfile
from pathlib import Path
from typing import Any

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.artefacts.pretrained import find_pretrained, load_pretrained
from sr_lab.base.provenance import git_state
from sr_lab.tracking.models import save_model
from sr_lab.tracking.run import Run
from sr_lab.tracking.store import call, connect, resolve_uri, sqlite_path, without_password

EXPERIMENT = "pretrained"
TAG = "pretrained"
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
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        metadata = {**artefact.metadata, "commit": git_state().commit}
        saved = save_artefact(folder / "artefact", artefact.network, config=artefact.config, metadata=metadata)
        mlflow_model = save_model(folder / "model", artefact.network, artefact=saved)
        run = Run(
            uri=uri,
            experiment=EXPERIMENT,
            name=model.title,
            directory=folder / "tracking",
            tags={TAG: mark, "file": binary.name, "network": type(artefact.network).__name__},
            drain_seconds=_PATIENCE_SECONDS,
            system_seconds=0,
        )
        with run:
            run.log_model(mlflow_model)
        if run.run_id is None or run.spool.remaining():
            raise RuntimeError(f"{without_password(uri)} did not take {model.title} within {_PATIENCE_SECONDS:.0f} s")
        return run.run_id


def _found(uri: str, mark: str) -> str | None:
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        return None

    def work() -> str | None:
        client: Any = connect(uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return None
        asked = f"tags.{TAG} = '{mark}' and attributes.status = 'FINISHED'"
        runs = client.search_runs([experiment.experiment_id], filter_string=asked, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    found: str | None = call(f"look for {mark}", uri, work)
    return found
