"""Registering: the model of a finished run becomes a version in MLflow's registry, whole and with its card."""

from collections.abc import Mapping
from pathlib import Path

from sr_lab.artefacts.export.manifest import is_export
from sr_lab.artefacts.pretrained import is_pretrained
from sr_lab.tracking.registry import versions
from sr_lab.tracking.registry.card import INTENDED_USE
from sr_lab.tracking.registry.outside import run_of_export, run_of_pretrained
from sr_lab.tracking.registry.versions import Version
from sr_lab.tracking.store import store_uri

__all__ = ["Version", "register"]


def register(
    *,
    run: str,
    name: str,
    alias: str = "candidate",
    model: str = "model",
    intended_use: str | None = None,
    tags: Mapping[str, str] | None = None,
    uri: str | None = None,
    default_uri: str | None = None,
) -> Version:
    """Makes a version of a registered model from a run's model, and points an alias at it.

    Registering the same model again makes no second version, and writes the card anew.

    Args:
        run: The folder of a run, or its id in MLflow; ``pretrained/NAME``, public weights of the
            package index; or the folder of an export (``srlab export``), which shares the history of its source.
        name: The registered model; it is made if it does not exist.
        alias: The alias that points at the version afterwards. ``champion`` and ``previous`` are moved by promotion and
            rollback only, and are refused here.
        model: Which of the run's models is taken.
        intended_use: What the model is for, in a sentence or two for the card; None says pictures to look at.
        tags: Further tags of the version.
        uri: The store; None takes the one that the run's folder names, else ``default_uri``.
        default_uri: Where a run's id is looked up; None is the store of ``MLFLOW_TRACKING_URI``, else sqlite:///mlflow.db.

    Returns:
        The version, with its number, its alias, and what should be known about it.

    Raises:
        ValueError: If run or model do not exist or do not belong together, the run did not finish, a file was
            exchanged, or a name is none that the registry takes.
        PermissionError: If the server does not allow it to the user.
        RuntimeError: If the store does not answer.
    """
    if is_pretrained(run) or is_export(Path(run)):
        store = store_uri(uri or default_uri)
        run = run_of_pretrained(run, uri=store) if is_pretrained(run) else run_of_export(Path(run), uri=store)
        uri = store
    store, run_id = versions.locate(run, uri=uri, default_uri=default_uri)
    return versions.register(
        store,
        run_id,
        name,
        alias,
        tags,
        model=model,
        intended_use=INTENDED_USE if intended_use is None else intended_use,
        folder=Path(run) if Path(run).is_dir() else None,
    )
