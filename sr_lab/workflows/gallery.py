"""Looking: many results of many pictures on one page."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sr_lab.base.files import write_text
from sr_lab.base.provenance import git_state
from sr_lab.base.signals import saying
from sr_lab.base.words import counted
from sr_lab.degradations.base import Degradation
from sr_lab.evaluation.contact_sheet import picture
from sr_lab.evaluation.gallery import Exhibit, gallery
from sr_lab.inference.restorers import Restorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.hallucination import invented_detail
from sr_lab.metrics.protocol import Protocol
from sr_lab.workflows.showing import ORIGINAL, Folder, Shown, cut_out, measured, shown, weights_of

__all__ = ["Gallery", "find_runs", "make_gallery"]

BEST = "best"


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """A page that was made.

    Attributes:
        page: Of it.
        num_images: On it.
        num_bytes: Of it.
        means: Restorer to metric to its mean over the images that have it.
    """

    page: Path
    num_images: int
    num_bytes: int
    means: Mapping[str, Mapping[str, float]]


def find_runs(runs: Sequence[str]) -> list[str]:
    """What to load of runs: ``best`` of each; ``*`` in a name takes every run there that has one.

    Raises:
        FileNotFoundError: If a run has none.
    """
    found = []
    for run in runs:
        if any(letter in run for letter in "*?["):
            places = sorted(str(Path(place)) for place in glob.glob(run) if (Path(place) / BEST).exists())  # noqa: PTH207
            if not places:
                raise FileNotFoundError(f"runs={run}: no folder there has a {BEST}/")
            found += places
        else:
            found.append(run)
    for run in found:
        if not Path(run).is_dir():
            raise FileNotFoundError(f"runs={run}: there is no such folder")
    return [str(Path(run) / BEST) if (Path(run) / BEST).exists() else run for run in dict.fromkeys(found)]


def make_gallery(
    restorers: Mapping[str, Restorer | Folder],
    images: Path,
    *,
    output: Path,
    scale: int,
    protocol: Protocol,
    metrics: Mapping[str, PerImageMetric],
    as_input: bool = False,
    degradation: Degradation | None = None,
    title: str = "Gallery",
    side: int = 768,
    where: Literal["differing", "random", "centre"] = "differing",
    num_images: int | None = 24,
    only: Sequence[str] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Gallery:
    """Restores the images by every restorer and writes the page.

    Args:
        restorers: By name, in the order in which they are shown.
        images: As for ``showing.shown``.
        output: The page; a folder gets ``gallery.html``.
        scale: Enlargement factor.
        protocol: How originals are cropped and made small; what metrics compare.
        metrics: Shown beside each result, measured on the whole image.
        as_input: Whether ``images`` are what restorers get.
        degradation: Makes the low images of originals.
        title: Of the page.
        side: Longest side of what is shown, in pixels; of a larger picture the same part of every result.
        where: Which part; see ``showing.cut_out``.
        num_images: At most so many images, evenly spread over the folder; None: all.
        only: Names of the images; None: all.
        seed: Of a random degradation and of random parts.
        device: Where the restorers compute.
        progress: Whether a progress bar is shown where there is a terminal.

    Raises:
        ValueError: If the settings do not fit together, or an image cannot be restored.
    """
    if not restorers:
        raise ValueError("a gallery shows one result or more: give restorers=[A,B] or runs=[A,B]")
    if side < 16 or where not in ("differing", "random", "centre"):
        raise ValueError(f"side={side}, where={where}: 16 or more; differing, random or centre")
    page = output if output.suffix.lower() in (".html", ".htm") else output / "gallery.html"
    if page != output and output.exists() and not output.is_dir():
        raise ValueError(f"output={output} is a file and no page: give a name that ends in .html, or a folder")
    exhibits: list[Exhibit] = []
    values: dict[str, dict[str, list[float]]] = {name: {} for name in restorers}
    words = {metric.key: metric.words for metric in metrics.values()}
    with saying(f"while the images were restored; {page} is not written"):
        for image in shown(
            restorers, images, scale=scale, protocol=protocol, as_input=as_input, degradation=degradation, seed=seed,
            device=device, only=only, most=num_images, progress="restoring" if progress else None,
        ):  # fmt: skip
            found = {} if image.target is None else {
                name: measured(metrics, image, restored, image.target) for name, restored in image.restored.items()
            }  # fmt: skip
            for name, row in found.items():
                for key, value in row.items():
                    values[name].setdefault(key, []).append(value)
            part = cut_out(image, side=side, scale=scale, where=where, seed=seed)
            exhibits.append(
                Exhibit(
                    name=image.name,
                    low=picture(part.low.clamp(0, 1)),
                    pictures=part.pictures(),
                    maps=_maps(part, scale),
                    values={
                        name: {key: words[key].value(value) for key, value in row.items()}
                        for name, row in found.items()
                    },
                )
            )
    by_key = {metric.key: metric for metric in metrics.values()}
    means = {name: {key: by_key[key].mean(row[key]) for key in row} for name, row in values.items()}
    html = gallery(
        exhibits,
        title=title,
        subtitle=f"{counted(len(restorers), 'result')} of {counted(len(exhibits), 'image')} at x{scale}",
        scale=scale,
        original=None if as_input else ORIGINAL,
        means={
            name: {key: words[key].value(value) for key, value in row.items()} for name, row in means.items() if row
        },
        labels={key: words[key].label for key in words if any(key in row for row in means.values())},
        facts={
            "images": str(images),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "code": git_state().commit or "unknown",
            "low images": "given" if as_input else type(degradation).__name__ if degradation else "bicubic, or given",
            "protocol of the numbers": protocol.definition,
            **{name: f"weights {weights_of(restorer) or 'none'}" for name, restorer in restorers.items()},
        },
    )
    write_text(page, html)
    return Gallery(page=page, num_images=len(exhibits), num_bytes=len(html.encode()), means=means)


def _maps(image: Shown, scale: int) -> dict[str, np.ndarray[Any, Any]]:
    """RMS of invented detail over the channels, in 8-bit levels."""
    return {
        name: invented_detail(restored.clamp(0, 1), image.target, scale=scale)
        .square().mean(dim=1)[0].sqrt().mul(255).cpu().numpy()
        for name, restored in image.restored.items()
    }  # fmt: skip
