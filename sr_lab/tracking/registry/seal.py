"""The seal of a registered version: the hash of every file of its model, kept as a tag that MLflow's pages leave out.

An artefact names the hashes of its own files, which shows damage, and a file that was exchanged. Files that were
exchanged together with their hashes show by the seal, as it lies in the registry's database and not beside them.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from sr_lab.base.files import sha256
from sr_lab.tracking.registry.beside import WRITTEN_LATER

SEAL, EARLIER = "mlflow.srlab.sha256", "sha256"
"""Name of the tag, and what earlier releases called it."""
METADATA = "metadata.json"


def seal(folder: Path) -> str:
    """The hashes of all files below a model's folder, as JSON by path; without those that registering adds.

    Raises:
        ValueError: if its metadata is missing, or a file is not the one that its metadata names.
    """
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    hashes = {name: sha256(file) for name, file in files.items() if not name.startswith(WRITTEN_LATER)}
    if METADATA not in hashes:
        raise ValueError(f"the model has no {METADATA}: it was not written by srlab train")
    try:
        named = dict(json.loads((folder / METADATA).read_text(encoding="utf-8"))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{METADATA} of the model does not say its files' hashes: it was changed") from error
    for name, digest in named.items():
        if hashes.get(name) != digest:
            raise ValueError(f"{name} is not the file that the run saved: its hash differs from {METADATA}")
    return json.dumps(hashes, sort_keys=True)


def sealed(tags: Mapping[str, str]) -> str | None:
    """The seal in the tags of a version; None if it has none."""
    return tags.get(SEAL, tags.get(EARLIER))


def check_seal(folder: Path, tags: Mapping[str, str], *, uri: str) -> None:
    """Compares a model's files with the seal in the tags of its version; files that came later are not looked at.

    Raises:
        ValueError: naming the file that was changed or removed since, or if the version was never sealed.
    """
    text = sealed(tags)
    if text is None:
        raise ValueError(f"{uri} has no hashes of its files, so that they cannot be checked: srlab register run=...")
    for name, digest in json.loads(text).items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{uri}: {name} is gone since the version was registered")
        if sha256(file) != digest:
            raise ValueError(f"{uri}: {name} is not the file that was registered: its hash differs from the registry's")
