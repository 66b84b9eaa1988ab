"""Pictures of a fit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from sr_lab.base.figures import add_axes, new_figure, png
from sr_lab.base.files import write_bytes
from sr_lab.base.words import counted
from sr_lab.degradations.estimate.fit import Fit, Span
from sr_lab.images import list_images, read_image

_SAMPLES = 6
_BAR, _RANGE, _UNKNOWN = "#4c72b0", "#dd8452", "#999999"


def plot_fit(fit: Fit, path: Path, *, folder: Path | None = None) -> None:
    """Writes histograms of noise, blur, JPEG quality and colour with the fitted ranges, and sample images, as PNG.

    Args:
        fit: of a folder.
        path: the PNG; missing folders are made.
        folder: where the images lie; ``None`` leaves the sample images out.
    """
    below = 2.8 if folder else 0.0
    figure = new_figure(13, 4.2 + below, dpi=80)
    axes = add_axes(figure, 1, 4, left=0.6, bottom=below + 0.3, top=0.65, wspace=0.2)
    images = fit.images
    _histogram(axes[0], [i.noise.value for i in images], fit.noise, "noise: sigma, 8-bit levels")
    _histogram(axes[1], [i.blur.value for i in images], fit.blur, "blur: sigma, pixels")
    _histogram(axes[2], [i.jpeg.quality for i in images], fit.quality, "JPEG quality", lacking="no JPEG")
    for name, colour in (("red", "#c44e52"), ("green", "#55a868"), ("blue", "#4c72b0")):
        values = [getattr(i.colour, name) for i in images]
        axes[3].hist(values, bins=20, range=(0, 1), histtype="step", color=colour, label=name)
    axes[3].hist([i.colour.brightness for i in images], bins=20, range=(0, 1), color="#dddddd", label="luma", zorder=0)
    axes[3].set_title("colour: means, median luma", fontsize=10)
    axes[3].tick_params(labelsize=8)
    axes[3].legend(fontsize=7)
    if folder:
        _samples(add_axes(figure, 1, _SAMPLES, left=0.15, bottom=0.1, top=4.2 + 0.5, wspace=0.06), fit, folder)
    figure.suptitle(
        f"{counted(len(images), 'image')}, {len(fit.skipped)} skipped", fontsize=11, y=1 - 0.1 / figure.get_figheight()
    )
    write_bytes(path, png(figure))


def _histogram(axes: Axes, values: Sequence[float | None], span: Span, title: str, *, lacking: str = "unknown") -> None:
    known = [value for value in values if value is not None]
    if known:
        axes.hist(known, bins=24, color=_BAR)
    if span.present:
        axes.axvspan(span.low, span.high, color=_RANGE, alpha=0.25, label=f"{span.low:.3g} to {span.high:.3g}")
        axes.axvline(span.median, color=_RANGE, label=f"median {span.median:.3g}")
    axes.plot([], [], color=_UNKNOWN, label=f"{len(values) - len(known)} {lacking}; {span.share:.0%} have it")
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7)


def _samples(places: Sequence[Axes], fit: Fit, folder: Path) -> None:
    """Six images, from the least to the most noisy, with their estimates."""
    files = {str(file.relative_to(folder)): file for file in list_images(folder)}
    order = sorted(fit.images, key=lambda image: image.noise.guess)
    chosen = np.linspace(0, len(order) - 1, min(len(places), len(order))).round().astype(int)
    for axes in places:
        axes.set_axis_off()
    for axes, image in zip(places, (order[index] for index in chosen), strict=False):
        pixels = read_image(files[image.name])
        pixels = (pixels / 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
        axes.imshow(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[:, :, :3], interpolation="nearest")
        noise, blur = (
            "?" if estimate.value is None else f"{estimate.value:.2g}" for estimate in (image.noise, image.blur)
        )
        quality = "-" if image.jpeg.quality is None else f"{image.jpeg.quality:.0f}"
        axes.set_title(f"{image.name[:24]}\nnoise {noise}, blur {blur}, JPEG {quality}", fontsize=8)
