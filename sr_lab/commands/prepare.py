"""Brings the data in place, checks every file, and writes the manifest whose digest is the data version.

    srlab prepare                                          the demonstration's photos
    srlab prepare data=folder data.train.roots=DIR data.val.roots=DIR
    srlab prepare data=t91_bsds400 decode=true             and decode everything into the cache

A second run verifies the files against the manifest and changes nothing; files that have changed are an error.
"""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr_lab.base.files import write_json
from sr_lab.config.compose import build
from sr_lab.data.datamodule import SRDataModule
from sr_lab.data.manifest import Manifest


def run(cfg: DictConfig) -> int:
    """Returns 0; problems of the data are raised, all of them in one message."""
    data: SRDataModule = build(cfg.data)
    for source in data.sources.values():
        source.fetch()
    problems = [text for part in data.parts.values() for text in part.problems()]
    if problems:
        raise ValueError(f"{len(problems)} problems with the data:\n" + "\n".join(f"- {text}" for text in problems))
    manifests = {label: part.manifest for label, part in data.parts.items()}
    file = Path(cfg.manifest)
    state = _write(file, data, manifests, accept=cfg.accept)
    for label, manifest in manifests.items():
        print(f"{label}: {len(manifest.entries)} files, {sum(entry.size for entry in manifest.entries) / 1e6:.1f} MB")
    print(f"data version {data.data_version[:16]}, {state}: {file}")
    if cfg.decode:
        data.setup()
        print(f"decoded into {data.cache}")
    return 0


def _write(file: Path, data: SRDataModule, manifests: dict[str, Manifest], *, accept: bool) -> str:
    """Writes the manifest if it is missing or ``accept`` takes the changes; says what was done."""
    content = {
        "name": data.name,
        "version": data.data_version,
        "parts": {label: manifest.to_dict() for label, manifest in manifests.items()},
    }
    if file.is_file() and not accept:
        if changes := _changes(file, manifests):
            more = f"\n- and {len(changes) - 10} more" if len(changes) > 10 else ""
            raise ValueError(
                f"the data are not those of {file}:\n"
                + "\n".join(f"- {line}" for line in changes[:10])
                + f"{more}\nput the files back, or accept the new version with accept=true"
            )
        return "verified, nothing to do"
    write_json(file, content)
    return "written"


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
