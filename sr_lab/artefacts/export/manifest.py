"""The manifest of an export: what it is, where it came from, how it was checked, what it costs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sr_lab.base.files import read_json, sha256, write_json

MANIFEST = "manifest.json"
FORMAT = "sr_lab export 1"


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the manifest of a folder, with the hash of every other file below it."""
    files = {
        file.relative_to(folder).as_posix(): sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    whole = {"format": FORMAT, **facts, "files": files}
    write_json(folder / MANIFEST, whole)
    return whole


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export."""
    return (folder / MANIFEST).is_file() and not (folder / "metadata.json").exists()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export whose files are those that were written.

    Raises:
        ValueError: if it is none, or a file is missing or another one.
    """
    manifest: Any = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{folder / MANIFEST} is not the manifest of an export")
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise ValueError(f"{folder / name} is missing or not the file that was exported: export again")
    return manifest
