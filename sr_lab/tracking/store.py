"""Where runs are kept: checking and naming a store, connecting to it quietly, fetching artefacts from it."""

import importlib.util
import logging
import os
import re
import shlex
import shutil
import sqlite3
import sys
import urllib.parse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from sr_lab.tracking.registry.seal import check_seal

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as MlflowRun

SCHEMES = frozenset({"sqlite", "http", "https", "postgresql", "mysql", "mssql"})
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
_SQLITE = "sqlite:///"
_POSTGRES = "postgresql+psycopg2:"
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


def resolve_uri(uri: str) -> str:
    """The same store, named so that every working directory reaches it.

    Raises:
        ValueError: if MLflow cannot use such a store, or the uri holds a password: a configuration is recorded.
    """
    if urllib.parse.urlsplit(uri).password is not None:
        raise ValueError(
            f"tracking uri {without_password(uri)} holds a password, which would be recorded: leave it out and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or for a database PGPASSWORD"
        )
    if uri.split(":", 1)[0].split("+")[0] not in SCHEMES or ":/" not in uri:
        raise ValueError(f"tracking uri {uri!r} is not supported: give sqlite:///FILE.db or http://HOST:PORT")
    if uri.startswith(_SQLITE):
        name = uri.removeprefix(_SQLITE)
        if not name or name.startswith(":"):
            raise ValueError(f"tracking uri {uri!r} names no file: give sqlite:///FILE.db")
        return _SQLITE + str(Path(name).expanduser().resolve())
    return re.sub("^postgresql:", _POSTGRES, uri.rstrip("/"))


def sqlite_path(uri: str) -> Path | None:
    """The database file of a resolved SQLite uri, None for any other store."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def without_password(uri: str) -> str:
    """The uri as it may be shown."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


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
    tool = Path(sys.executable).with_name("mlflow")
    if shutil.which("mlflow") is not None or not tool.exists():
        shown = "mlflow"
    else:
        shown = str(tool.relative_to(Path.cwd()) if tool.is_relative_to(Path.cwd()) else tool)
    return f"{shlex.quote(shown)} ui --backend-store-uri {shlex.quote(without_password(uri))}"


def prepare_mlflow() -> None:
    """Give MLflow bounded waits and no noise, where the user's environment does not say otherwise.

    Has to run before the first import of mlflow.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"(mlflow|pydantic)(\..*)?")
    for name in ("mlflow", "alembic", "mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)


def connect(uri: str) -> "MlflowClient":
    """A client of the store at ``uri``. A new SQLite file is set up first, by one process at a time, in WAL mode.

    Concurrent first connections would otherwise break each other's migrations, and even leave a broken file behind.

    Raises:
        OSError, mlflow.MlflowException: if the store does not answer.
    """
    prepare_mlflow()
    from mlflow import MlflowClient

    prepare_mlflow()
    path = sqlite_path(uri)
    if path is None:
        if uri.startswith(_POSTGRES):
            _knock(uri)
        return MlflowClient(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        database = sqlite3.connect(path, timeout=30)
        try:
            database.execute("PRAGMA journal_mode=WAL")
        finally:
            database.close()
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def _knock(uri: str) -> None:
    """Connects to a PostgreSQL database once: MLflow itself tries a dead one for minutes, without a word.

    Raises:
        ValueError: if the driver is not installed.
        ConnectionError: if the database does not answer, or does not know the user.
    """
    if importlib.util.find_spec("psycopg2") is None:
        raise ValueError(f"{without_password(uri)} needs PostgreSQL's driver: pip install 'sr-lab[postgres]'")
    import psycopg2

    try:
        psycopg2.connect(uri.replace(_POSTGRES, "postgresql:"), connect_timeout=10).close()
    except psycopg2.OperationalError as error:
        raise ConnectionError(str(error).splitlines()[0]) from error


def experiment_id(client: "MlflowClient", uri: str, name: str) -> str:
    """The experiment of that name, made if it does not exist; its artefacts lie beside a SQLite file in ``mlruns``.

    Raises:
        RuntimeError: if the experiment was deleted on the server.
        mlflow.MlflowException: if the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    location: str | None = None
    if (path := sqlite_path(uri)) is not None:
        location = (path.parent / "mlruns" / (re.sub(r"[^\w.-]+", "_", name).strip("._") or "experiment")).as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise RuntimeError(
            f"experiment {name!r} was deleted in {without_password(uri)}: restore it or use another name"
        )
    return str(found.experiment_id)


def download(uri: str, *, tracking_uri: str, directory: Path) -> Path:
    """Fetch an artefact folder.

    Args:
        uri: ``runs:/RUN_ID/model``, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        tracking_uri: the store that knows it.
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

    def fetch() -> tuple[str, dict[str, str] | None]:
        location, tags = _located(client, uri)
        return download_artifacts(location, dst_path=str(directory), tracking_uri=store), tags

    folder, tags = call(f"find {uri}", store, fetch)
    if tags is not None:
        check_seal(Path(folder), tags, uri=uri)
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

    try:
        return function()
    except MlflowException as error:
        if refused := _refused(error.error_code, needs):
            raise PermissionError(f"cannot {what} in {without_password(uri)}: {refused}") from error
        message = str(error.message).splitlines()[0] if str(error.message) else type(error).__name__
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
            raise ValueError(f"cannot {what} in {without_password(uri)}: {message}") from error
        raise RuntimeError(f"cannot {what} in {without_password(uri)}: {message[:300]}") from error
    except FileNotFoundError as error:
        raise ValueError(f"cannot {what} in {without_password(uri)}: {error}") from error
    except OSError as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if refused := _refused({401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}.get(status), needs):
            raise PermissionError(f"cannot {what} in {without_password(uri)}: {refused}") from error
        raise RuntimeError(f"cannot {what}: {without_password(uri)} does not answer: {error}") from error


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


def _located(client: "MlflowClient", uri: str) -> tuple[str, dict[str, str] | None]:
    """Where the files lie, and the tags of a registered version.

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
    return str(client.get_model_version_download_uri(name, version.version)), dict(version.tags)
