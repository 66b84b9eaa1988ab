"""Making the low images of a manifest again, byte by byte."""

import json
from dataclasses import dataclass
from pathlib import Path

from sr_lab.base.compute import Mapper
from sr_lab.base.words import counted
from sr_lab.data.degraded_rows import MANIFEST, read_rows
from sr_lab.data.replayed import check_replay, differing_files, rebuild, replayed_units
from sr_lab.data.stores import Store
from sr_lab.workflows.degrade import DegradedFolder, make_units


@dataclass(frozen=True)
class ReplayedFolder(DegradedFolder):
    """What ``replay`` made.

    Attributes:
        differing: The files whose bytes are not those of the manifest.
        versions: The library versions that the manifest was made with, as JSON.
    """

    differing: tuple[str, ...]
    versions: str

    @property
    def lines(self) -> list[str]:
        """What was written, and where; and whether it is what was written before."""
        lines = [f"{counted(len(self.rows), 'low image')}: {self.low}"]
        return lines if self.differing else [*lines, "every file is that of the manifest, byte by byte"]

    @property
    def difference(self) -> str:
        """Which files are other ones than those of the manifest, and why; empty where none is."""
        if not self.differing:
            return ""
        differ = f"{counted(len(self.differing), 'file', 'differs/differ')} from the manifest's"
        shown = ", ".join(self.differing[:5])
        return f"{differ}: {shown}. It was made with {self.versions}: install these versions"


def replay(*, manifest: Path, input: str | Path, output: str | Path, launcher: Mapper | None = None) -> ReplayedFolder:
    """Makes the images that a manifest describes from the originals and the recorded draws.

    The manifest may come from anywhere: nothing but degradations of this package, and of packages that the environment
    variable ``SRLAB_TRUSTED`` names by commas, is built from it.

    Args:
        manifest: The ``manifest.parquet`` that ``degrade`` wrote.
        input: Folder or object store of the originals.
        output: Folder or object store for what is made, another than that of the manifest.
        launcher: Where the work is done; None: in this process.

    Raises:
        ValueError: If the manifest is none, asks for other classes, or an original is missing or has changed.
        Stopped: If the process is asked to end; it says how many images are done.
    """
    rows = read_rows(manifest)
    if (Path(output) / MANIFEST).resolve() == manifest.resolve():
        raise ValueError(f"output={output} is where the manifest to replay lies: give another folder")
    degradation = rebuild(rows, manifest)
    check_replay(rows, Store(input), degradation)
    units = replayed_units(rows)
    made = make_units(
        units,
        input=input,
        output=output,
        degradation=degradation,
        config=json.loads(rows[0].config),
        unit="clip" if any(len(unit.names) > 1 for unit in units) else "image",
        launcher=launcher,
    )
    differing = () if made.failures else tuple(differing_files(rows, made.rows))
    return ReplayedFolder(
        made.output,
        made.rows,
        made.num_units,
        made.unit,
        made.failures,
        made.cautions,
        differing,
        str(rows[0].versions),
    )
