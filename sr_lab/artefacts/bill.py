"""The bill of materials of what ships: packages and models, with licences and hashes, as CycloneDX (ECMA-424)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from sr_lab.artefacts.export.manifest import read_manifest
from sr_lab.artefacts.folder import WEIGHTS, read_folder
from sr_lab.artefacts.shipped import MODELS, shipped_models

PACKAGE = "sr-lab"
UNKNOWN = "unknown"
OWN_LICENCE = "Apache-2.0"
_LONGEST = 80
"""Characters of a licence's name; what is longer is the licence's text."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that ships.

    Attributes:
        name: Of the package, or of the model.
        version: Of the package; of a model the first digits of its weights' hash.
        licence: An SPDX expression, or what its authors call it; ``unknown`` where they do not say.
        needs: Names of the packages that it needs, in order.
        hashes: SHA-256 of its files by name; of models.
        parents: Hash of the weights that it was made of, by name; of exports.
    """

    name: str
    version: str
    licence: str
    needs: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)


def packages(extras: Sequence[str] = ()) -> list[Part]:
    """sr_lab and every package that it needs, with what those need; sr_lab is the first.

    Args:
        extras: Names of its extras that ship too, as ``serve``.

    Raises:
        ValueError: If there is no such extra, or something that is needed is not installed: it cannot be listed then.

    Example:
        >>> parts = packages()
        >>> parts[0].name, "torch" in [part.name for part in parts]
        ('sr-lab', True)
    """
    own = _distribution(PACKAGE, by="this command")
    offered = own.metadata.get_all("Provides-Extra") or []
    if strange := [extra for extra in extras if extra not in offered]:
        raise ValueError(f"extras={strange[0]}: {PACKAGE} has {', '.join(offered)}")
    found: dict[str, Part] = {}
    left: list[tuple[str, tuple[str, ...], str]] = [(PACKAGE, tuple(extras), "")]
    asked: set[tuple[str, tuple[str, ...]]] = set()
    while left:
        name, wanted, by = left.pop()
        if (name, wanted) in asked:
            continue
        asked.add((name, wanted))
        package = _distribution(name, by=by)
        needs = dict(_needs(package, wanted))
        before = found[name].needs if name in found else ()
        found[name] = Part(
            name=name, version=package.version, licence=licence_of(package.metadata),
            needs=tuple(sorted({*before, *needs})),
        )  # fmt: skip
        left += [(other, more, name) for other, more in needs.items()]
    return [found.pop(PACKAGE), *(found[name] for name in sorted(found))]


def models(exports: Sequence[Path] = ()) -> list[Part]:
    """The models that come with the package, and exports, whose files are compared with their hashes.

    Args:
        exports: Folders of ``srlab export``.

    Raises:
        ValueError: If a file is missing, or is not the one that was saved.

    Example:
        >>> sorted(part.name for part in models()) == sorted(shipped_models())
        True
    """
    shipped = [(name, read_folder(MODELS / name).hashes) for name in shipped_models()]
    found = [
        Part(name=name, version=hashes[WEIGHTS][:12], licence=OWN_LICENCE, hashes=hashes) for name, hashes in shipped
    ]
    for folder in exports:
        manifest = read_manifest(folder)
        source, files = manifest["source"], dict(manifest["files"])
        digest = source["weights"]
        found.append(
            Part(
                name=folder.name,
                version=f"{manifest['target']}-{manifest['precision']}-{digest[:12]}",
                licence=UNKNOWN,
                hashes=files,
                parents={source["name"]: digest},
            )
        )
    return found


def licence_of(metadata: Any) -> str:
    """The licence of a package by its metadata: its expression, else its short name, else its classifiers.

    Example:
        >>> from email.message import Message
        >>> told = Message()
        >>> told["Classifier"] = "License :: OSI Approved :: MIT License"
        >>> licence_of(told)
        'MIT License'
    """
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    name = str(metadata.get("License") or "").strip()
    classified = [
        entry.rpartition(" :: ")[2]
        for entry in metadata.get_all("Classifier") or []
        if entry.startswith("License :: ") and entry != "License :: OSI Approved"
    ]
    if name and name.upper() != UNKNOWN.upper() and len(name) <= _LONGEST and "\n" not in name:
        return name
    return " AND ".join(sorted(set(classified))) or UNKNOWN


def _distribution(name: str, *, by: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise ValueError(f"{name} is not installed, and {by} needs it: what is not there cannot be listed") from error


def _needs(package: Distribution, extras: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names and extras of what a package needs here."""
    from packaging.requirements import Requirement

    for text in package.requires or []:
        wanted = Requirement(text)
        held = wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        if held:
            yield re.sub(r"[-_.]+", "-", wanted.name).lower(), tuple(sorted(wanted.extras))
