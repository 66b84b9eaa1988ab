"""Looking at what a degradation does to one image."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sr_lab.base.signals import Stopped
from sr_lab.degradations.base import Degradation
from sr_lab.evaluation.contact_sheet import write_sheet
from sr_lab.evaluation.degradation_preview import cut_middle, draws_section, ladder_sections, step_section
from sr_lab.images import read_image, to_tensor


@dataclass(frozen=True)
class Preview:
    """A contact sheet.

    Attributes:
        picture: The sheet as a PNG file.
        page: The same as a page, with every drawn parameter.
    """

    picture: Path
    page: Path


def preview(
    *,
    image: Path,
    output: Path,
    degradation: Degradation,
    name: str,
    ladder: Mapping[str, Degradation] | None = None,
    seed: int = 0,
    num_draws: int = 12,
    num_ladder: int = 5,
    side: int = 256,
) -> Preview:
    """Shows a degradation operation by operation, several draws of it, and the ladder of severities.

    Args:
        image: The photo, of which the middle is shown.
        output: Folder for ``preview.png`` and ``preview.html``.
        degradation: What is shown.
        name: What it is called on the sheet.
        ladder: Degradations by the names of their severities, from weak to severe; None or empty leaves them out.
        seed: Seed of the draws.
        num_draws: How many draws are shown.
        num_ladder: How many draws of each severity are shown.
        side: Side in pixels of the square that is cut from the middle of the image.

    Raises:
        ValueError: If the image cannot be read, or nothing of it is left.
        Stopped: If the process is asked to end; the sheet is not whole then.
    """
    made = Preview(output / "preview.png", output / "preview.html")
    try:
        _draw(made, image, degradation, name, ladder or {}, seed, num_draws, num_ladder, side)
    except Stopped as stop:
        said = f"the sheet in {output} is not finished; a preview begins anew"
        raise stop.saying(said, goes_on=True) from None
    return made


def _draw(
    made: Preview,
    image: Path,
    degradation: Degradation,
    name: str,
    ladder: Mapping[str, Degradation],
    seed: int,
    num_draws: int,
    num_ladder: int,
    side: int,
) -> None:
    """Writes the sheet."""
    high = cut_middle(to_tensor(read_image(image)), side, degradation.scale)
    keys = [(seed, 0, index) for index in range(1 if degradation.deterministic else num_draws)]
    draws = {str(key): degradation.draw_keyed([key]) for key in keys}
    sections = [
        step_section(degradation, high, draws[str(keys[0])], name=name, key=str(keys[0])),
        draws_section(degradation, high, draws, title="The result" if len(keys) == 1 else f"{len(keys)} draws"),
        *ladder_sections(ladder, high, [(seed, 0, index) for index in range(num_ladder)]),
    ]
    subtitle = f"{image.name}, scale {degradation.scale}; draws are named by (seed, epoch, index)"
    write_sheet(f"Degradation {name}", subtitle, sections, png=made.picture, html=made.page)
