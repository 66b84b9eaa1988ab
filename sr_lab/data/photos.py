"""The demonstration's photos: they ship inside the scikit-image and scikit-learn wheels, so they need no network."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sr_lab.base.files import sha256, write_bytes
from sr_lab.base.words import line, setting
from sr_lab.data.manifest import Manifest
from sr_lab.data.sources import Channels, FolderSource, Item

Split = Literal["train", "val", "test"]
DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


class PhotoSource(FolderSource):
    """One split of the photos, below ``root/split``; ``fetch`` copies all splits there out of the wheels.

    The files are copied as they are, so the data version is the same everywhere.

    Args:
        root: Folder of the splits.
        split: ``train``, ``val`` or ``test``.
        channels: See ``Source``.
    """

    def __init__(self, *, root: str | Path, split: Split, channels: Channels = "keep") -> None:
        super().__init__(roots=Path(root) / split, channels=channels)
        self.root, self.split = Path(root), split

    def list_items(self) -> list[Item]:
        """The photos of the split that the fixed manifest names.

        Raises:
            ValueError: if one is missing.
        """
        paths = [Path(file["path"]) for file in photo_records() if Path(file["path"]).parts[0] == self.split]
        items = [Item(name=path.name, path=path.name, high=self.root / path) for path in sorted(paths)]
        if not items:
            raise ValueError(f"split={self.split!r}: must be 'train', 'val' or 'test'")
        if missing := [str(item.high) for item in items if not item.high.is_file()]:
            raise ValueError(
                f"the photos are not prepared ({missing[0]} is missing): "
                + line("prepare", "data=photos", setting("data.train.root", self.root))
            )
        return items

    def fetch(self) -> None:
        """See ``extract_photos``."""
        extract_photos(self.root)


def extract_photos(root: Path) -> int:
    """Copies the photos of the fixed manifest from the installed wheels to ``root/{train,val,test}``.

    Photos that are already there are verified and left alone; a photo appears whole or not at all.

    Args:
        root: folder of the splits.

    Returns:
        Number of files written; 0 if all were there.

    Raises:
        ValueError: naming the file whose content is not the manifest's, in the wheel or below ``root``.
    """
    written = 0
    for record in photo_records():
        target = root / record["path"]
        if target.is_file():
            if sha256(target) != record["sha256"]:
                raise ValueError(f"{target} is not the photo of the fixed manifest: remove it and prepare again")
            continue
        original = _packaged(record["source"])
        if sha256(original) != record["sha256"]:
            distribution = DISTRIBUTIONS[record["source"].split("/")[0]]
            raise ValueError(
                f"{original} has another content than the manifest says: this {distribution} ships another version of "
                "the photo; install the one that the manifest was made with (data/README.md)"
            )
        write_bytes(target, original.read_bytes())
        written += 1
    return written


@cache
def photo_records() -> list[dict[str, Any]]:
    """The fixed manifest: entries as in ``Manifest``, and ``source``, the path inside the installed package."""
    file = manifest_file()
    data = json.loads(file.read_text(encoding="utf-8"))
    Manifest.from_dict(data, where=file)
    return list(data["files"])


def manifest_file() -> Path:
    """The fixed manifest: of the checkout, or the copy inside an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    candidates = [package / "manifests" / "photos.json", package.parent / "data" / "manifests" / "photos.json"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ValueError(f"the manifest of the photos is missing: {candidates[1]}")


def _packaged(source: str) -> Path:
    """A file inside an installed package, which is not imported."""
    package, _, rest = source.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{DISTRIBUTIONS[package]} is not installed: pip install {DISTRIBUTIONS[package]}")
    file = Path(spec.submodule_search_locations[0]) / rest
    if not file.is_file():
        name = DISTRIBUTIONS[package]
        raise ValueError(f"the installed {name} does not ship {file}: data/README.md names a version that does")
    return file
