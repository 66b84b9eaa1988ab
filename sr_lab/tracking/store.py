"""Where runs are kept: checking and naming a store, connecting to it quietly, fetching artefacts from it."""

import logging
import os
import shlex
import urllib.parse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sr_lab.base.databases import (
    POSTGRES,
    SQLITE,
    knock,
    require_no_password,
    require_sqlite,
    sqlite_path,
    with_driver,
    without_password,
)
from sr_lab.base.errors import SRLabError
from sr_lab.tracking.answers import is_of_database, mlflow_tool, sentence
from sr_lab.tracking.embedded import artefacts_of, prepare, require_usable
from sr_lab.tracking.registry.beside import place_card
from sr_lab.tracking.registry.seal import check_seal

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["sqlite_path", "without_password"]

SCHEMES = frozenset({"sqlite", "http", "https", "postgres", "postgresql", "mysql", "mssql"})
GIVE = "give sqlite:///FILE.db or http://HOST:PORT"
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
_WRONG = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE", "BAD_REQUEST")
DEFAULT_URI = "sqlite:///mlflow.db"
"""Where everything looks unless it is told otherwise."""
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


def store_uri(uri: str | None = None) -> str:
    """The store that is meant: where none is named that of ``MLFLOW_TRACKING_URI``, else ``DEFAULT_URI``."""
    return os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_URI) if uri is None else uri


def resolve_uri(uri: str | None) -> str:
    """The same store, named so that every working directory reaches it; None is the one of ``store_uri``.

    Raises:
        ValueError: if MLflow cannot use such a store, or the uri holds a password: a configuration is recorded.
    """
    uri = store_uri(uri)
    if not isinstance(uri, str) or not uri.strip():
        raise ValueError(f"tracking uri {uri!r} names no store: {GIVE}")
    require_no_password(
        uri,
        f"tracking uri {without_password(uri)}",
        instead="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or for a database PGPASSWORD",
    )
    if uri.split(":", 1)[0].split("+")[0] not in SCHEMES or ":/" not in uri:
        if Path(uri).is_dir():
            raise ValueError(f"tracking uri {uri!r} is a folder, not a store: {GIVE}")
        raise ValueError(f"tracking uri {uri!r} is not supported: {GIVE}")
    if uri.startswith("sqlite"):
        name = uri.removeprefix(SQLITE)
        if not uri.startswith(SQLITE) or not name or name.startswith(":") or "?" in name:
            raise ValueError(f"tracking uri {uri!r} names no file: give sqlite:///FILE.db")
        return SQLITE + str(Path(name).expanduser().resolve())
    return with_driver(uri.rstrip("/"))


class DeletedError(SRLabError, RuntimeError):
    """What is needed was deleted in the store, and can be restored there."""


def restore_command(kind: Literal["runs", "experiments"], number: str, uri: str) -> str:
    """The shell line that takes a deleted run or experiment out of the trash."""
    variable = f"MLFLOW_TRACKING_URI={shlex.quote(without_password(uri))}"
    option = "--run-id" if kind == "runs" else "--experiment-id"
    return f"{variable} {shlex.quote(mlflow_tool())} {kind} restore {option} {number}"


def check_uri(uri: str) -> None:
    """Refuses a store that is known to be unusable, without asking a server and without importing MLflow.

    Args:
        uri: A resolved store.

    Raises:
        ValueError: if its file is no database, of another version of MLflow, or was made in another place.
    """
    if (path := sqlite_path(uri)) is not None:
        require_usable(path, upgrade=upgrade_command(uri))


def upgrade_command(uri: str) -> str:
    """The shell line that brings a store's tables to the installed version of MLflow."""
    return f"{shlex.quote(mlflow_tool())} db upgrade {shlex.quote(without_password(uri))}"


def page_url(uri: str, experiment_id: str | None, run_id: str | None) -> str | None:
    """The page of a run on a tracking server; None for a store that has no server."""
    if not uri.startswith("http"):
        return None
    page = f"/experiments/{experiment_id}/runs/{run_id}" if run_id else "/"
    return f"{without_password(uri)}/#{page}?workflowType=machine_learning"


def page_command(uri: str) -> str:
    """The shell line that opens the MLflow page of a store."""
    if uri.startswith("http"):
        return f"open {shlex.quote(without_password(uri))} in a browser"
    return f"{shlex.quote(mlflow_tool())} ui --backend-store-uri {shlex.quote(without_password(uri))}"


def prepare_mlflow() -> None:
    """Give MLflow bounded waits and no noise, where the user's environment does not say otherwise.

    Has to run before the first import of mlflow.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"(mlflow|pydantic)(\..*)?")
    for logger in map(logging.getLogger, ("mlflow", "alembic", "mlflow.store.db.utils", "urllib3.connectionpool")):
        if logger.level != logging.ERROR:  # importing mlflow sets it; setting it empties what every logger remembers
            logger.setLevel(logging.ERROR)


def connect(uri: str) -> "MlflowClient":
    """A client of the store at ``uri``. A new SQLite file is made first, whole, by one process at a time.

    Raises:
        ValueError: if the file is no database, of another version of MLflow, or was made in another place.
        OSError, mlflow.MlflowException: if the store does not answer.
    """
    prepare_mlflow()
    path = sqlite_path(uri)
    if path is not None:
        require_sqlite(path)
    from mlflow import MlflowClient

    prepare_mlflow()
    if path is not None:
        prepare(path, upgrade=upgrade_command(uri))
    elif uri.startswith(POSTGRES):
        knock(uri)
    return MlflowClient(uri if path is None else resolve_uri(uri))  # MLflow keeps an engine for each uri it was given


def experiment_id(client: "MlflowClient", uri: str, name: str) -> str:
    """The experiment of that name, made if it does not exist; its artefacts lie beside a SQLite file in ``mlruns``.

    Raises:
        DeletedError: if the experiment was deleted on the server.
        mlflow.MlflowException: if the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    location: str | None = None
    if (path := sqlite_path(uri)) is not None:
        location = artefacts_of(path, name).as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        deleted = f"experiment {name!r} was deleted in {without_password(uri)}"
        raise DeletedError(
            f"{deleted}: restore it ({restore_command('experiments', str(found and found.experiment_id), uri)})"
        )
    return str(found.experiment_id)


def download(uri: str, *, tracking_uri: str | None, directory: Path) -> Path:
    """Fetch an artefact folder.

    Args:
        uri: ``runs:/RUN_ID/model``, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        tracking_uri: the store that knows it; None as for ``resolve_uri``.
        directory: where to put it; made if missing.

    Returns:
        The local folder (of a model: with MLmodel, weights.safetensors, config.yaml and metadata.json).

    Raises:
        ValueError: if the uri is malformed, the store knows no such artefact, or a file of a registered version is not
            the one that was registered.
        PermissionError: if the server does not let the user read it.
        RuntimeError: if the store does not answer.
    """
    if urllib.parse.urlparse(uri).scheme not in ("runs", "models"):
        raise ValueError(f"{uri!r} is not an artefact uri: give runs:/RUN_ID/model or models:/NAME@ALIAS")
    store = resolve_uri(tracking_uri)
    path = sqlite_path(store)
    if path is not None and not path.exists():
        raise ValueError(f"{uri}: there is no tracking store at {path}: run srlab train first, or give another uri")
    directory.mkdir(parents=True, exist_ok=True)
    client = call("connect", store, lambda: connect(store))
    from mlflow.artifacts import download_artifacts

    def fetch() -> "tuple[str, ModelVersion | None]":
        location, version = _located(client, uri)
        return download_artifacts(location, dst_path=str(directory), tracking_uri=store), version

    folder, version = call(f"find {uri}", store, fetch)
    if version is not None:
        check_seal(Path(folder), version.tags, uri=uri)
        place_card(Path(folder), version.name, int(version.version))
    return Path(folder)


def call(what: str, uri: str, function: Any, *, needs: str = "READ on it") -> Any:
    """Run a store operation whose failure the user has to see.

    Args:
        what: the operation, as in "cannot WHAT".
        uri: a resolved store.
        function: the operation.
        needs: what a server with access control asks of the user for it, as in "the user needs NEEDS"; see ``grant``.

    Raises:
        ValueError: if the store answered that the request is wrong.
        PermissionError: if the server does not know the user, or does not allow this to them.
        RuntimeError: if the store did not answer.
    """
    prepare_mlflow()
    from mlflow.exceptions import MlflowException

    where = without_password(uri)
    try:
        return function()
    except MlflowException as error:
        if refused := _refused(error.error_code, needs):
            raise PermissionError(f"cannot {what} in {where}: {refused}") from error
        kind = ValueError if error.error_code in _WRONG else RuntimeError
        raise kind(f"cannot {what} in {where}: {_explained(error, uri)}") from error
    except FileNotFoundError as error:
        raise ValueError(f"cannot {what} in {where}: {error}") from error
    except OSError as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if refused := _refused({401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}.get(status), needs):
            raise PermissionError(f"cannot {what} in {where}: {refused}") from error
        raise RuntimeError(f"cannot {what}: {where} does not answer: {sentence(error, uri)}") from error
    except Exception as error:
        if not is_of_database(error):
            raise
        raise RuntimeError(f"cannot {what} in {where}: {_explained(error, uri)}") from error


def _explained(error: Exception, uri: str) -> str:
    """The reason of a failure; where the tables are of another version of MLflow, with the command that helps."""
    if "out-of-date database schema" in str(error) or "Can't locate revision" in str(error):
        return (
            "its tables are of another version of MLflow; an older one is brought up to date by  "
            f"{upgrade_command(uri)}  (copy it before), a newer one needs  pip install --upgrade mlflow"
        )
    return sentence(error, uri)


def grant(permission: str, kind: str, name: str) -> str:
    """A permission of MLflow's basic-auth and how a user gets it, for ``call``."""
    call = f"grant_user_permission(USER, {kind!r}, {name!r}, {permission!r})"
    return (
        f"{permission} on the {kind.replace('_', ' ')} {name!r}; an administrator or holder of MANAGE gives it: "
        f"mlflow.server.get_app_client('basic-auth', URI).{call}"
    )


def _refused(code: str | None, needs: str) -> str:
    """What a server's refusal means and what helps; empty where it is another error."""
    if code == "UNAUTHENTICATED":
        return "the server does not know this user: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if code == "PERMISSION_DENIED":
        return f"permission denied: the user of MLFLOW_TRACKING_USERNAME needs {needs}"
    return ""


def find_model(client: "MlflowClient", run: "MlflowRun", name: str) -> "LoggedModel | None":
    """A run's model of that name; of several the one of the latest step; None if there is none."""
    outputs = run.outputs.model_outputs if run.outputs else []
    steps = {output.model_id: output.step for output in outputs}
    models = [model for model in map(client.get_logged_model, steps) if model.name == name]
    return max(models, key=lambda model: (steps[model.model_id], model.creation_timestamp), default=None)


def _located(client: "MlflowClient", uri: str) -> "tuple[str, ModelVersion | None]":
    """Where the files lie, and the registered version, if it is one.

    MLflow's own look-up of runs:/ and models:/ asks the process-wide default store instead.
    """
    first, _, rest = urllib.parse.urlparse(uri).path.lstrip("/").partition("/")
    if uri.startswith("runs:"):
        run = client.get_run(first)
        name, _, below = rest.partition("/")
        model = find_model(client, run, name)
        root, path = (model.artifact_location, below) if model else (run.info.artifact_uri, rest)
        return f"{root}/{path}".rstrip("/"), None
    if "@" in first:
        name, alias = first.rsplit("@", 1)
        version = client.get_model_version_by_alias(name, alias)
    elif rest:
        name, version = first, client.get_model_version(first, rest)
    else:
        raise ValueError(f"{uri!r} names no version: give models:/NAME@ALIAS or models:/NAME/VERSION")
    return str(client.get_model_version_download_uri(name, version.version)), version
