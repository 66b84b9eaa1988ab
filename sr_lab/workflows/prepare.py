"""Bringing data in place, and the manifest whose digest is the data version."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_lab.base.files import write_json
from sr_lab.base.signals import Stopped
from sr_lab.base.words import counted
from sr_lab.data.datamodule import SRDataModule
from sr_lab.data.manifest import Manifest

_MOST_SHOWN = 10


@dataclass(frozen=True)
class PreparedData:
    """Data that are in place and whole.

    Attributes:
        manifest: The file that lists them.
        written: Whether the file was written; else the data are those that it lists.
        version: The data version.
        parts: The manifests of ``train`` and ``val``.
        cache: Folder of the decoded images; None where they were not decoded.
    """

    manifest: Path
    written: bool
    version: str
    parts: dict[str, Manifest]
    cache: Path | None


def prepare(*, data: SRDataModule, manifest: Path, accept: bool = False, decode: bool = False) -> PreparedData:
    """Fetches what can be fetched, reads every file, and writes the manifest or verifies the files against it.

    Args:
        data: The data.
        manifest: File of the manifest.
        accept: Whether files that have changed are accepted, and the manifest written anew.
        decode: Whether every image is decoded into the cache too.

    Raises:
        ValueError: Naming every problem of the data, or what has changed since the manifest was written.
        Stopped: If the process is asked to end; it says whether the manifest is written, and the same call goes on.
    """
    before = _stamp(manifest)
    try:
        return _prepare(data, manifest, accept, decode)
    except Stopped as stop:
        written = "is written" if _stamp(manifest) != before else "is as it was" if before else "is not written yet"
        said = f"the manifest {manifest} {written}; what was fetched and hashed stays, decoding begins anew"
        raise stop.saying(said, goes_on=True) from None


def _stamp(file: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None where there is none."""
    if not file.is_file():
        return None
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_ino


def _prepare(data: SRDataModule, manifest: Path, accept: bool, decode: bool) -> PreparedData:
    for source in data.sources.values():
        source.fetch()
    problems = [text for part in data.parts.values() for text in part.problems()]
    if problems:
        raise ValueError(
            f"{counted(len(problems), 'problem')} with the data:\n" + "\n".join(f"- {text}" for text in problems)
        )
    parts = {label: part.manifest for label, part in data.parts.items()}
    written = _write(manifest, data, parts, accept=accept)
    if decode:
        data.setup()
    return PreparedData(manifest, written, data.data_version, parts, data.cache if decode else None)


def _write(file: Path, data: SRDataModule, manifests: dict[str, Manifest], *, accept: bool) -> bool:
    """Writes the manifest if it is missing or ``accept`` takes the changes."""
    if file.is_file() and not accept:
        if changes := _changes(file, manifests):
            more = f"\n- and {len(changes) - _MOST_SHOWN} more" if len(changes) > _MOST_SHOWN else ""
            raise ValueError(
                f"the data are not those of {file}:\n"
                + "\n".join(f"- {line}" for line in changes[:_MOST_SHOWN])
                + f"{more}\nput the files back, or accept the new version with accept=true"
            )
        return False
    parts = {label: manifest.to_dict() for label, manifest in manifests.items()}
    write_json(file, {"name": data.name, "version": data.data_version, "parts": parts})
    return True


def _changes(file: Path, manifests: dict[str, Manifest]) -> list[str]:
    try:
        parts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["parts"]
        old = {label: Manifest.from_dict(part, where=file) for label, part in parts.items()}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is not a manifest of srlab prepare: remove it, or set accept=true") from error
    empty = Manifest(())
    labels = sorted(old.keys() | manifests.keys())
    return [
        f"{label}: {line}" for label in labels for line in old.get(label, empty).changes(manifests.get(label, empty))
    ]
