"""The degradation of a folder of images, and the preset that imitates it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base.words import counted
from sr_lab.degradations.estimate.colour import Colour
from sr_lab.degradations.estimate.single import NEGLIGIBLE, Estimate, ImageEstimate, estimate_file
from sr_lab.images import list_images

_KERNEL_REACH = 3.5
_LARGEST_KERNEL = 255


@dataclass(frozen=True)
class Span:
    """The distribution of one parameter over a folder.

    Attributes:
        share: of the images where it is known, those that have it at all.
        low: 5 % of those that have it lie below, after removal of what the estimator's own error adds to the width.
        median: of those that have it.
        high: 95 % lie below.
        known: number of images where it could be told.
        unknown: number where it could not.
    """

    share: float
    low: float
    median: float
    high: float
    known: int
    unknown: int

    @property
    def present(self) -> bool:
        """Whether enough images have it for a range: at least 5 % of those known."""
        return self.known > 0 and self.share >= 0.05


@dataclass(frozen=True)
class Fit:
    """The degradation of a folder.

    Attributes:
        images: the estimate of each image.
        skipped: names of the files that could not be used, and why.
        noise: sigma in 8-bit levels.
        blur: sigma in pixels of the images.
        quality: JPEG quality.
        grey_noise: share of the noisy images whose noise is the same in all channels.
        shot_noise: share of the noisy images whose noise grows with brightness.
        colour: mean of each statistic.
    """

    images: Sequence[ImageEstimate]
    skipped: dict[str, str]
    noise: Span
    blur: Span
    quality: Span
    grey_noise: float
    shot_noise: float
    colour: Colour

    def to_dict(self) -> dict[str, Any]:
        """Every field, nested, as values that JSON can hold; the images as flat rows."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        spans = {name: asdict(plain[name]) for name in ("noise", "blur", "quality", "colour")}
        return {**plain, **spans, "images": [image.to_row() for image in self.images]}


def fit(folder: Path, *, num_images: int | None = None, progress: Callable[[int, int], None] | None = None) -> Fit:
    """Estimates the degradation of every image in a folder, and the ranges of its parameters.

    Files that are too small, damaged or of one value are skipped and named in the result.

    Args:
        folder: searched with its folders below.
        num_images: at most so many, evenly spaced in the sorted list; ``None`` for all.
        progress: called with the number of files done and of all, after each.

    Raises:
        ValueError: if the folder is missing or empty, ``num_images`` is below 1, or no file could be used.
    """
    files = list_images(folder)
    if num_images is not None:
        if num_images < 1:
            raise ValueError(f"num_images={num_images}: must be at least 1")
        picked = np.linspace(0, len(files) - 1, min(num_images, len(files))).round().astype(int)
        files = [files[index] for index in picked]
    images, skipped = [], {}
    for done, file in enumerate(files, start=1):
        name = str(file.relative_to(folder))
        try:
            images.append(estimate_file(file, name=name))
        except ValueError as error:
            skipped[name] = str(error)
        if progress:
            progress(done, len(files))
    if not images:
        name, reason = next(iter(skipped.items()))
        raise ValueError(f"{folder}: none of {counted(len(files), 'image')} could be used; {name}: {reason}")
    return fit_estimates(images, skipped=skipped)


def fit_estimates(images: Sequence[ImageEstimate], *, skipped: dict[str, str] | None = None) -> Fit:
    """The fit of images that were estimated one by one.

    Raises:
        ValueError: if there is none.
    """
    if not images:
        raise ValueError("no estimates to fit: give one image at least")
    noisy = [image for image in images if (image.noise.value or 0) >= NEGLIGIBLE["noise"]]
    compressed = [image.jpeg.quality for image in images if image.jpeg.quality is not None]
    low, median, high = np.percentile(compressed, (5, 50, 95)) if compressed else (math.nan,) * 3
    share = len(compressed) / len(images)
    return Fit(
        images=images,
        skipped=skipped or {},
        noise=_span([image.noise for image in images], NEGLIGIBLE["noise"]),
        blur=_span([image.blur for image in images], NEGLIGIBLE["blur"]),
        quality=Span(share, _number(low), _number(median), _number(high), len(images), 0),
        grey_noise=sum(image.grey_noise > 0.5 for image in noisy) / max(len(noisy), 1),
        shot_noise=sum(image.shot_noise > 0.5 for image in noisy) / max(len(noisy), 1),
        colour=Colour(
            **{
                field.name: float(np.mean([getattr(image.colour, field.name) for image in images]))
                for field in fields(Colour)
            }
        ),
    )


def _span(estimates: Sequence[Estimate], least: float) -> Span:
    known = [estimate for estimate in estimates if estimate.value is not None]
    having = [estimate for estimate in known if estimate.guess >= least]
    if not having:
        return Span(0.0, 0.0, 0.0, 0.0, len(known), len(estimates) - len(known))
    code = np.log([estimate.guess for estimate in having])
    low, quarter, median, three, high = np.percentile(code, (5, 25, 50, 75, 95))
    width = (three - quarter) / 1.349
    error = float(np.mean([estimate.spread**2 for estimate in having]))
    kept = math.sqrt(max(1 - error / width**2, 0)) if width > 0 else 0.0
    return Span(
        share=len(having) / len(known),
        low=math.exp(median + kept * (low - median)),
        median=math.exp(median),
        high=math.exp(median + kept * (high - median)),
        known=len(known),
        unknown=len(estimates) - len(known),
    )


def _number(value: float) -> float:
    return 0.0 if math.isnan(value) else float(value)


def preset(fit: Fit, *, scale: int, source: str = "images") -> str:
    """A degradation preset (YAML of ``conf/degradation``) that makes photos look like the images of a fit.

    Blur, antialiased bicubic shrinking, noise, rounding and JPEG, in that order, each with the range that was found
    and with the share of images that have it as its probability. What was not found is left out.

    Args:
        fit: of a folder.
        scale: from the photos to the images; blur is given in pixels of the photos, that is ``scale`` times wider.
        source: named in the first comment.

    Raises:
        ValueError: if ``scale`` is below 1.
    """
    if scale < 1:
        raise ValueError(f"scale={scale}: must be at least 1")
    lines = [f"# Fitted on {len(fit.images)} of {source.splitlines()[0]}: srlab degrade estimate."]
    for name, span in (("noise", fit.noise), ("blur", fit.blur)):
        if span.unknown > len(fit.images) / 4:
            lines.append(f"# Careful: {name} could not be told in {span.unknown} of them, which do not count below.")
    lines += ["_target_: sr_lab.degradations.pipeline.Pipeline", "ops:"]
    lines += _blur_lines(fit.blur, scale)
    if scale > 1 or not (fit.blur.present or fit.noise.present or fit.quality.present):
        lines.append(f"  resize: {{_target_: sr_lab.degradations.resize.Bicubic, scale: {scale}}}")
    if fit.noise.present:
        lines += _noise_lines(fit)
    lines.append("  round: {_target_: sr_lab.degradations.compression.Quantise}")
    if fit.quality.present:
        bounds = f"[{math.floor(fit.quality.low)}, {math.ceil(fit.quality.high)}]"
        lines += [
            "  jpeg:",
            "    _target_: sr_lab.degradations.compression.Jpeg",
            f"    quality: {bounds}",
            f"    probability: {fit.quality.share:.2f}",
        ]
    return "\n".join(lines) + "\n"


def _blur_lines(blur: Span, scale: int) -> list[str]:
    if not blur.present:
        return []
    low, high = blur.low * scale, blur.high * scale
    size = min(2 * math.ceil(_KERNEL_REACH * high) + 1, _LARGEST_KERNEL)
    return [
        "  blur:",
        "    _target_: sr_lab.degradations.blur.Blur",
        "    kinds: {isotropic: 1}",
        f"    sizes: [{size}, {size}]",
        f"    sigma: [{low:.3f}, {high:.3f}]    # [{blur.low:.3f}, {blur.high:.3f}] in pixels of the small image",
        f"    probability: {blur.share:.2f}",
    ]


def _noise_lines(fit: Fit) -> list[str]:
    noise, grey = fit.noise, fit.grey_noise
    gaussian = [
        "_target_: sr_lab.degradations.noise.GaussianNoise",
        f"sigma: [{noise.low:.2f}, {noise.high:.2f}]",
        f"colours: {{colour: {1 - grey:.2f}, grey: {grey:.2f}}}",
    ]
    if fit.shot_noise < 0.2:
        return ["  noise:", *(f"    {line}" for line in gaussian), f"    probability: {noise.share:.2f}"]
    unit = math.sqrt(max((fit.colour.red + fit.colour.green + fit.colour.blue) / 3, 0.02)) * 255 / 16
    return [
        "  noise:",
        "    _target_: sr_lab.degradations.pipeline.Choice",
        f"    weights: {{gaussian: {1 - fit.shot_noise:.2f}, poisson: {fit.shot_noise:.2f}}}",
        "    ops:",
        "      gaussian:",
        *(f"        {line}" for line in gaussian),
        "      poisson:",
        "        _target_: sr_lab.degradations.noise.PoissonNoise",
        f"        strength: [{noise.low / unit:.3f}, {noise.high / unit:.3f}]    # at the mean brightness found",
        f"        grey: {grey:.2f}",
        f"    probability: {noise.share:.2f}",
    ]
