"""Making low images of a folder or store of photos, with a manifest from which they can be made again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_lab.base.compute import Here, Mapper, spread
from sr_lab.base.files import require_folder_name
from sr_lab.base.words import counted
from sr_lab.data.degraded import HIGH, LOW, DegradeImages, Unit, drawn_units
from sr_lab.data.degraded_rows import MANIFEST, Row
from sr_lab.data.stores import open_stores
from sr_lab.degradations.base import Degradation
from sr_lab.images.extras import dropped_sentences


@dataclass(frozen=True)
class DegradedFolder:
    """What ``degrade`` made, below ``output``.

    Attributes:
        output: The folder or store that was written to.
        rows: What is known of each image, as the manifest has it; empty where an image failed.
        num_units: How many draws there were: one an image, or one a clip.
        unit: What a draw is of: ``image`` or ``clip``.
        failures: A message for each image or clip that failed; the others are written.
        cautions: A sentence for each kind of thing beside the pixels that the originals have and the output has not.
    """

    output: str
    rows: tuple[Row, ...]
    num_units: int
    unit: str
    failures: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def low(self) -> str:
        """Folder of the low images."""
        return f"{self.output}/{LOW}"

    @property
    def high(self) -> str:
        """Folder of the targets that the degradation changed."""
        return f"{self.output}/{HIGH}"

    @property
    def manifest(self) -> str:
        """File with one row an image."""
        return f"{self.output}/{MANIFEST}"

    @property
    def num_changed_targets(self) -> int:
        """How many targets the degradation changed."""
        return sum(bool(row.target) for row in self.rows)

    @property
    def lines(self) -> list[str]:
        """What was written, and where."""
        lines = [f"{counted(len(self.rows), 'low image')}: {self.low}"]
        if self.num_changed_targets:
            lines.append(f"{counted(self.num_changed_targets, 'changed target')}: {self.high}")
        return [*lines, f"manifest: {self.manifest}"]


def degrade(
    *,
    input: str | Path,
    output: str | Path,
    degradation: Degradation,
    config: Mapping[str, Any],
    seed: int = 0,
    clips: bool = False,
    launcher: Mapper | None = None,
) -> DegradedFolder:
    """Makes a low image of each image; what an earlier call made is left alone.

    Image number k of the sorted list is drawn by the key (seed, 0, k). Originals are cropped to a multiple of the
    scale, and 16 bits stay 16.

    Args:
        input: Folder or object store of the high images, searched with everything below it.
        output: Folder or object store for ``LR/``, ``HR/`` (where the degradation changes the target) and the manifest.
        degradation: Makes the low images.
        config: A ``_target_`` node with plain values that builds the degradation again; the manifest keeps it.
        seed: Seed of the draws.
        clips: Whether the images of one folder are the frames of one clip and share a draw.
        launcher: Where the work is done; None: in this process.

    Raises:
        ValueError: If there is no image, ``output`` lies in ``input``, or it holds what this call does not make.
        Stopped: If the process is asked to end; it says how many images are done.
    """
    require_folder_name(output, key="output")
    source, _ = open_stores(input, output)
    units = drawn_units(source.images(), seed=seed, clips=clips)
    return make_units(
        units,
        input=input,
        output=output,
        degradation=degradation,
        config=config,
        unit="clip" if clips else "image",
        launcher=launcher,
    )


def make_units(
    units: Sequence[Unit],
    *,
    input: str | Path,
    output: str | Path,
    degradation: Degradation,
    config: Mapping[str, Any],
    unit: str,
    launcher: Mapper | None,
) -> DegradedFolder:
    """Makes the images of ``units``, and their manifest where none failed; see ``degrade``."""
    mapper = launcher or Here()
    mapper.check_map()
    source, target = open_stores(input, output)
    work = DegradeImages(source=source, target=target, units=units, degradation=degradation, config=config)
    failures = spread(mapper, list(work.units), lambda: work, title="degrade", unit=unit)
    rows = () if failures else tuple(work.finish())
    cautions = dropped_sentences(source.extras([name for each in units for name in each.names]))
    return DegradedFolder(str(output), rows, len(units), unit, failures, cautions)
