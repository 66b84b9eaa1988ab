"""Degrading the images of a store one by one, wherever each is done; ``degrade_folder`` does a whole folder at once.

Beside the images lies a row for each that is finished (``.rows/INDEX.json``), so that a stopped call goes on; at the
end the rows become the manifest.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sr_lab.data.degraded import degrade_files
from sr_lab.data.degraded_rows import MANIFEST, Row, library_versions, write_rows
from sr_lab.data.manifest import file_sha256
from sr_lab.data.stores import Store, distinct_stems
from sr_lab.degradations.base import Degradation, record

ROWS = ".rows"


class DegradeImages:
    """Degrades one named image after the other; image k of the sorted names is drawn by the key (seed, 0, k).

    Args:
        source: store of the high images.
        target: store of what is made.
        names: of all images, sorted.
        degradation: applied to each image, cropped to a multiple of the scale.
        seed: of the draws.
        config: what the degradation can be built from again.

    Raises:
        ValueError: if two images would be written to one file, or the target holds what other settings made.
    """

    def __init__(
        self,
        *,
        source: str,
        target: str,
        names: Sequence[str],
        degradation: Degradation,
        seed: int,
        config: Mapping[str, Any],
    ) -> None:
        distinct_stems(names)
        self.source, self.target = Store(source), Store(target)
        self.indices = {name: index for index, name in enumerate(names)}
        self.degradation, self.seed = degradation, seed
        self.common: dict[str, Any] = {
            "scale": degradation.scale,
            "settings": json.dumps(degradation.settings()),
            "config": json.dumps(config),
            "versions": json.dumps(library_versions()),
        }
        if self.target.has(MANIFEST):
            raise ValueError(f"{target} is finished, it holds {MANIFEST}: give another output")
        found = self.target.read_bytes(self._row_name(names[0]))
        if found is not None and self._differs(json.loads(found)):
            raise ValueError(f"{target} holds images of other settings or another seed: give another output")

    def __call__(self, name: str) -> None:
        """Degrades the image called ``name``, unless that is done.

        Raises:
            ValueError: naming the image, if it cannot be read or degraded.
        """
        if self.target.has(self._row_name(name)):
            return
        index = self.indices[name]
        params = self.degradation.draw_keyed([(self.seed, 0, index)])
        with tempfile.TemporaryDirectory(prefix="srlab-") as folder:
            given, made = Path(folder) / "given", Path(folder) / "made"
            file = self.source.fetch(name, given)
            root = given if self.source.local is None else self.source.local
            (facts,) = degrade_files(root, [name], made, self.degradation, params, [])
            facts["sha256"] = file_sha256(file)
            for part in ("low", "target"):
                if facts[part]:
                    self.target.put(made / facts[part], facts[part])
        drawn = json.dumps(record(params)[0] if params else {})
        row = Row(name=name, seed=self.seed, epoch=0, index=index, params=drawn, **facts, **self.common)
        self.target.write_bytes(self._row_name(name), json.dumps(asdict(row)).encode())

    def finish(self) -> list[Row]:
        """Makes the manifest of the rows, when every image is done.

        Raises:
            ValueError: if a row is missing.
        """
        rows = []
        for name in self.indices:
            content = self.target.read_bytes(self._row_name(name))
            if content is None:
                raise ValueError(f"{name} is not done: the same command goes on with it")
            rows.append(Row(**json.loads(content)))
        with tempfile.TemporaryDirectory(prefix="srlab-") as folder:
            write_rows(rows, Path(folder) / MANIFEST)
            self.target.put(Path(folder) / MANIFEST, MANIFEST)
        self.target.remove(ROWS)
        return rows

    def _row_name(self, name: str) -> str:
        return f"{ROWS}/{self.indices[name]:08d}.json"

    def _differs(self, row: Mapping[str, Any]) -> bool:
        first = next(iter(self.indices))
        now = {"name": first, "seed": self.seed, "settings": self.common["settings"], "config": self.common["config"]}
        return any(row[key] != value for key, value in now.items())
