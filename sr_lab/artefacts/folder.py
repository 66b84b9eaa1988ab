"""The folder of an artefact as files say it: what it is, before its network is built, and without PyTorch."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sr_lab.base.files import sha256
from sr_lab.base.words import counted

WEIGHTS, CONFIG, METADATA = "weights.safetensors", "config.yaml", "metadata.json"
FILES = (WEIGHTS, CONFIG, METADATA)


@dataclass(frozen=True)
class Folder:
    """An artefact's files, which are those that were saved.

    Attributes:
        folder: Where they are.
        config: The resolved configuration of its run.
        metadata: Commit, data version, metrics, hashes.
    """

    folder: Path
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @property
    def node(self) -> dict[str, Any]:
        """What builds the network."""
        return dict(self.config["model"]["network"])

    @property
    def hashes(self) -> dict[str, str]:
        """Of weights and configuration."""
        return {name: str(self.metadata["sha256"][name]) for name in (WEIGHTS, CONFIG)}


def read_folder(path: Path) -> Folder:
    """What an artefact's folder, or a folder that holds one, says of it.

    Raises:
        ValueError: if a file is missing, or differs from its recorded hash.
    """
    folders = [path] if (path / METADATA).exists() else sorted(file.parent for file in path.rglob(METADATA))
    if not folders:
        raise ValueError(f"{path} holds no artefact (a folder with {', '.join(FILES)})")
    if len(folders) != 1:
        raise ValueError(
            f"{path} holds {counted(len(folders), 'artefact')} (a folder with {', '.join(FILES)}): name one"
        )
    folder = folders[0]
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise ValueError(f"artefact {folder} lacks {', '.join(missing)}")
    with naming_damage(folder / METADATA) as file:
        metadata = dict(json.loads(file.read_text(encoding="utf-8")))
        hashes = {name: metadata["sha256"][name] for name in (WEIGHTS, CONFIG)}
    for name, digest in hashes.items():
        if digest != sha256(folder / name):
            raise ValueError(f"{folder / name} is not the file that was saved: its hash differs from {METADATA}")
    with naming_damage(folder / CONFIG) as file:
        config = dict(yaml.safe_load(file.read_text(encoding="utf-8")))
        dict(config["model"]["network"])
    return Folder(folder, config, metadata)


@contextmanager
def naming_damage(file: Path) -> Iterator[Path]:
    """Whatever else a file of an artefact holds is a ``ValueError`` that names it."""
    try:
        yield file
    except (ValueError, TypeError, KeyError, RuntimeError, yaml.YAMLError) as error:
        raise ValueError(f"{file} was not written by srlab: {error}") from error
