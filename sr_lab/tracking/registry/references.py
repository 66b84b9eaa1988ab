"""The profile of the images that a version was made for, kept with the version's run: it comes and goes with it.

A service that follows the alias ``champion`` compares what comes in with the reference of the version that it serves;
after a promotion that is the new one's, after a rollback the former one's again.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sr_lab.base.files import write_bytes
from sr_lab.tracking.store import call, connect, resolve_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

FILE = "reference.parquet"


def keep_reference(uri: str, name: str, version: int, profile: Path) -> None:
    """Stores a profile with the run of a version, in place of one that was there.

    Args:
        uri: Tracking store, which is the registry too.
        name: Registered model.
        version: The version that was made for such images.
        profile: The Parquet file of the profile.

    Raises:
        ValueError: If there is no such version, or it has no run.
        RuntimeError: If the store does not answer, or refuses.
    """
    store = resolve_uri(uri)

    def work() -> None:
        client = connect(store)
        with tempfile.TemporaryDirectory() as directory:
            write_bytes(Path(directory) / FILE, profile.read_bytes())
            client.log_artifacts(_run(client, name, version), directory, _folder(name, version))

    call(f"keep the reference of {name}/{version}", store, work, needs="EDIT on the experiment of the version's run")


def fetch_reference(uri: str, name: str, version: int, *, to: Path) -> bool:
    """Writes the profile of a version to a file; whether there is one.

    Raises:
        ValueError: If there is no such version, or it has no run.
        RuntimeError: If the store does not answer.
    """
    store = resolve_uri(uri)

    def work() -> bytes | None:
        client = connect(store)
        run, folder = _run(client, name, version), _folder(name, version)
        if f"{folder}/{FILE}" not in [file.path for file in client.list_artifacts(run, folder)]:
            return None
        with tempfile.TemporaryDirectory() as directory:
            return Path(client.download_artifacts(run, f"{folder}/{FILE}", directory)).read_bytes()

    found: bytes | None = call(f"read the reference of {name}/{version}", store, work)
    if found is not None:
        write_bytes(to, found)
    return found is not None


def _folder(name: str, version: int) -> str:
    return f"drift/{name}-{version}"


def _run(client: "MlflowClient", name: str, version: int) -> str:
    run = client.get_model_version(name, str(version)).run_id
    if not run:
        raise ValueError(f"{name}/{version} has no run to keep a reference with: register it by srlab register")
    return str(run)
