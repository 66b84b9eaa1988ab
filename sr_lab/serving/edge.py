"""The model that the page computes in its reader's browser: an export of ``srlab export target=bundle web=``."""

import json
from pathlib import Path

from sr_lab.artefacts.export.bundle import WEB

EDGE_FILES = ("manifest.json", "model.onnx", "page/worker.js", *(f"page/ort/{name}" for name in WEB))


class EdgeBundle:
    """A model that the page computes in the browser.

    Args:
        folder: What ``srlab export target=bundle web=FOLDER`` has written.

    Raises:
        ValueError: If it is no bundle with a page.
    """

    def __init__(self, folder: Path) -> None:
        missing = [name for name in EDGE_FILES if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"browser={folder}: {missing[0]} is missing; make it by  srlab export target=bundle web=FOLDER"
            )
        self.folder = folder
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.scale, self.card = int(manifest["scale"]), str(manifest.get("card", ""))

    def file(self, name: str) -> Path | None:
        """One of its files that the page needs; None where it is none of them."""
        return self.folder / name if name in EDGE_FILES else None
