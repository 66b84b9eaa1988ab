"""Estimating a degradation from low images alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_lab.base.files import replacing, write_bytes, write_json
from sr_lab.base.signals import Stopped
from sr_lab.base.words import counted
from sr_lab.degradations.estimate import fit, preset
from sr_lab.degradations.estimate.fit import Fit


@dataclass(frozen=True)
class Estimate:
    """A preset that imitates a folder of low images.

    Attributes:
        fit: Noise, blur, JPEG quality and colour of the images, and which were not used and why.
        preset: File with the preset.
        numbers: File with the numbers, as JSON.
        plots: File with the plots.
    """

    fit: Fit
    preset: Path
    numbers: Path
    plots: Path

    @property
    def lines(self) -> list[str]:
        """What was found, a line each."""
        lines, fitted = [], self.fit
        for name, span in (
            ("noise sigma", fitted.noise),
            ("blur sigma", fitted.blur),
            ("JPEG quality", fitted.quality),
        ):
            values = f"{span.low:.3g} to {span.high:.3g}, median {span.median:.3g}" if span.present else "none"
            unknown = f", {span.unknown} could not be told" if span.unknown else ""
            lines.append(f"{name}: {values} ({span.share:.0%} of {counted(span.known, 'image')}{unknown})")
        return lines


def estimate(
    *,
    folder: Path,
    output: Path,
    scale: int,
    num_images: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Estimate:
    """Reads noise, blur, JPEG quality and colour from low images and writes the preset that imitates them.

    Args:
        folder: The low images, searched with everything below it.
        output: Folder for ``preset.yaml``, ``fit.json`` and ``fit.png``.
        scale: Enlargement factor that the preset is for.
        num_images: How many images are looked at, evenly spaced; None for all.
        progress: Called with the numbers of images done and of all.

    Raises:
        ValueError: If the folder holds no image that can be measured.
        Stopped: If the process is asked to end; it says how many images were measured.
    """
    done = (0, 0)

    def tell(number: int, total: int) -> None:
        nonlocal done
        done = (number, total)
        if progress is not None:
            progress(number, total)

    try:
        from sr_lab.degradations.estimate.plots import plot_fit

        fitted = fit(folder, num_images=num_images, progress=tell)
        text = preset(fitted, scale=scale, source=folder.name)
        made = Estimate(fitted, output / "preset.yaml", output / "fit.json", output / "fit.png")
        with replacing(made.plots, durable=False) as partial:
            plot_fit(fitted, partial, folder=folder)
        write_json(made.numbers, fitted.to_dict())
        write_bytes(made.preset, text.encode())
    except Stopped as stop:
        count = f"{counted(done[0], 'image', 'was/were', of=done[1])} measured" if done[1] else "no image was measured"
        said = f"{count}, the preset is not written; an estimate begins anew"
        raise stop.saying(said, goes_on=True) from None
    return made
