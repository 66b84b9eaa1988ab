"""Looking at what a degradation does to one image."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sr_lab.base.files import write_bytes
from sr_lab.base.signals import Stopped
from sr_lab.base.words import counted
from sr_lab.degradations.base import Degradation, record
from sr_lab.evaluation.contact_sheet import Panel, Section, write_sheet
from sr_lab.evaluation.degradation_preview import cut_middle, draws_section, ladder_sections, step_section
from sr_lab.evaluation.film import animated, busiest_line, enlarged, side_by_side, temporal_profile
from sr_lab.evaluation.pictures import Array
from sr_lab.images import read_image, to_tensor, to_uint8
from sr_lab.images.clips import Clip, find_clips, is_video

_MOST_FRAMES = 32


@dataclass(frozen=True)
class Preview:
    """A contact sheet.

    Attributes:
        picture: The sheet as a PNG file.
        page: The same as a page, with every drawn parameter.
        film: Of a clip, low and high frames side by side in motion, as an animated WebP.
    """

    picture: Path
    page: Path
    film: Path | None = None


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
        image: The photo, of which the middle is shown; or a clip, a folder of frames or a video file, of which up to 32
            frames are shown in motion and as a line over time.
        output: Folder for ``preview.png`` and ``preview.html``; of a clip ``preview.webp``, too.
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
    for key, number in (("num_draws", num_draws), ("num_ladder", num_ladder), ("side", side)):
        if number < 1:
            raise ValueError(f"{key}={number}: a whole number of at least 1")
    made = Preview(output / "preview.png", output / "preview.html")
    clip = image.is_dir() or is_video(image)
    if clip:
        made = replace(made, film=output / "preview.webp")
    try:
        if clip:
            _draw_clip(made, image, degradation, name, seed, side)
            return made
        _draw(made, image, degradation, name, ladder or {}, seed, num_draws, num_ladder, side)
    except Stopped as stop:
        said = f"the sheet in {output} is not finished; a preview begins anew"
        raise stop.saying(said, goes_on=True) from None
    return made


def _draw_clip(made: Preview, place: Path, degradation: Degradation, name: str, seed: int, side: int) -> None:
    """Writes the film and the sheet of a clip: one line of it over time, low and high, and its draw."""
    found = find_clips(place) if place.is_dir() else {place.stem: Clip(place.stem, (place,))}
    clip = next(iter(found.values()))
    frames = [cut_middle(to_tensor(pixels), side, degradation.scale) for pixels in islice(clip.frames(), _MOST_FRAMES)]
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{place}: its frames differ in size: give each clip a folder of its own")
    key = (seed, 0, 0)
    params = degradation.draw_keyed([key])
    low, high = degradation.pair_clip(torch.stack(frames, dim=1), params)
    lows = [enlarged(array, degradation.scale) for array in (_array(low[:, number]) for number in range(len(frames)))]
    highs = [_array(high[:, number]) for number in range(len(frames))]
    pairs = list(zip(lows, highs, strict=True))
    assert made.film is not None
    write_bytes(made.film, animated([side_by_side(pair) for pair in pairs]))
    line = busiest_line(highs)
    profile = temporal_profile(pairs, line)
    details = [(parameter, str(value)) for parameter, value in (record(params)[0] if params else {}).items()]
    sections = [
        Section(
            "One line over time",
            f"Line {line} of {counted(len(frames), 'frame')} of {clip.name}, the first one on top: low on the "
            f"left, high on "
            f"the right. In motion: {made.film.name}.",
            [Panel(profile, f"draw {key}", [], details)],
        ),
        Section(
            "Frames",
            "The first and the last of them.",
            [Panel(side_by_side(pairs[place]), f"frame {place}") for place in dict.fromkeys((0, len(pairs) - 1))],
        ),
    ]
    subtitle = f"{clip.name}, scale {degradation.scale}; the draw is named by (seed, epoch, index)"
    write_sheet(f"Degradation {name} of a clip", subtitle, sections, png=made.picture, html=made.page)


def _array(image: Tensor) -> Array:
    return np.ascontiguousarray(to_uint8(image)[0].permute(1, 2, 0).cpu().numpy())


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
        draws_section(
            degradation, high, draws, title="The result" if len(keys) == 1 else f"{counted(len(keys), 'draw')}"
        ),
        *ladder_sections(ladder, high, [(seed, 0, index) for index in range(num_ladder)]),
    ]
    subtitle = f"{image.name}, scale {degradation.scale}; draws are named by (seed, epoch, index)"
    write_sheet(f"Degradation {name}", subtitle, sections, png=made.picture, html=made.page)
