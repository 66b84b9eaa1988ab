"""Which images a sweep selects on, and that they are not those on which a promotion is decided."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sr_lab.base.errors import ConfigError
from sr_lab.base.files import sha256
from sr_lab.config.compose import build
from sr_lab.config.tree import config_dir, nearest
from sr_lab.data.audit import audit
from sr_lab.data.datamodule import SRDataModule
from sr_lab.images import list_images


def selection_images(config: DictConfig) -> list[Path]:
    """The validation files of a training's configuration."""
    data: SRDataModule = build(config.data)
    return [file for item in data.sources["val"].items for _, file in item.files]


def hashes(files: Sequence[Path]) -> list[str]:
    """SHA-256 of each file, once, sorted."""
    return sorted({sha256(file) for file in files})


def require_fresh_holdouts(policies: Sequence[str], images: Sequence[Path]) -> dict[str, str]:
    """Refuses validation images that show a picture of a policy's hold-out.

    Compared by content: same file, same pixels, or recompressed, resized, cropped or turned (see ``data.audit``).

    Args:
        policies: names of files in conf/policy.
        images: what the sweep selects on.

    Returns:
        What was found, by policy and part of its hold-out, for the record.

    Raises:
        ValueError: naming the pictures and the policy.
    """
    found: dict[str, str] = {}
    for policy in policies:
        for name, folder in _holdouts(policy).items():
            label = f"{policy}.{name} ({folder})"
            if not folder.is_dir():
                found[label] = "not on this machine, not compared; srlab promote compares"
                continue
            tests = list_images(folder)
            if pairs := _shared(images, tests):
                more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
                raise ValueError(
                    f"the sweep would select on the hold-out of policy {policy}: {'; '.join(pairs[:3])}{more}. A model "
                    "chosen there cannot be promoted honestly: give other validation images (data.val), or the policy "
                    "another hold-out; policies=[...] names those that count"
                )
            found[label] = f"none of its {len(tests)} images is among the {len(images)} validation files"
    return found


def _shared(images: Sequence[Path], tests: Sequence[Path]) -> list[str]:
    """A line for each pair of a validation file and one of ``tests`` that it is or shows."""
    return [
        f"{match.file} {'is' if match.kind == 'same file' else 'shows'} {match.other} ({match.kind})"
        for match in audit(images, tests).leaks
    ]


def _holdouts(policy: str) -> dict[str, Path]:
    file = config_dir() / "policy" / f"{policy}.yaml"
    if not file.is_file():
        names = sorted(known.stem for known in file.parent.glob("*.yaml"))
        raise ConfigError(f"policies: no policy {policy!r} in conf/policy.{nearest(policy, names)}")
    node: Any = OmegaConf.load(file)
    parts = node.get("holdout", {})
    return {
        str(name): Path(parts[name].benchmark) for name in parts if not OmegaConf.is_missing(parts[name], "benchmark")
    }
