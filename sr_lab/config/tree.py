"""Where the configuration trees lie, ours and the user's; the standard library only, so that help answers at once."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from sr_lab.base.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
VARIABLE = "SRLAB_CONF"
"""Environment variable that names the user's own configuration trees; worker processes inherit it."""


def config_dir() -> Path:
    """The configuration tree: ``conf/`` of the checkout, or the copy inside an installed wheel."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"


def own_dirs() -> list[Path]:
    """The user's own trees, as ``SRLAB_CONF`` names them: folders like ``conf/``, with groups of options.

    Raises:
        ConfigError: If one is missing, or has a file of the same name as ours, which would stay unread.
    """
    found = [Path(name).resolve() for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for folder in found:
        if not folder.is_dir():
            raise ConfigError(f"{VARIABLE}={folder}: there is no such folder; give one like conf/, or leave it out")
        for file in folder.rglob("*.yaml"):
            name = file.relative_to(folder)
            if (config_dir() / name).exists() and folder != config_dir():
                raise ConfigError(f"{file} has the name of sr_lab's own {name}, which is read instead: rename it")
    return found


def stamp() -> frozenset[tuple[str, int]]:
    """The files of the trees, each with the time of its last change: equal as long as no file has become another."""
    return frozenset(found for folder in (config_dir(), *own_dirs()) for found in _changes(str(folder)))


def _changes(folder: str) -> Iterator[tuple[str, int]]:
    for root, _, names in os.walk(folder):  # each command asks, and Path.rglob takes twice as long
        for file in (f"{root}/{name}" for name in names if name.endswith(".yaml")):
            yield file, os.stat(file).st_mtime_ns  # noqa: PTH116


def find_option(group: str, name: str) -> Path | None:
    """The file of an option of a group, in our tree or the user's; None where there is none."""
    files = (folder / group / f"{name}.yaml" for folder in (config_dir(), *own_dirs()))
    return next((file for file in files if file.is_file()), None)


def is_group(key: str) -> bool:
    """Whether a key names a group of options."""
    return any((folder / key).is_dir() for folder in (config_dir(), *own_dirs()))


def options(group: str) -> list[str]:
    """The options of a group, the user's among them; a name that begins with ``_`` is a part of others."""
    folders = (folder / group for folder in (config_dir(), *own_dirs()))
    return sorted({file.stem for folder in folders for file in folder.glob("[!_]*.yaml")})


def nearest(word: str, candidates: list[str]) -> str:
    """A hint that names the candidates closest to ``word``; empty where none is close."""
    close = difflib.get_close_matches(word, candidates, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
