"""The page on which many results of one picture are looked at together; see ``gallery.html.j2``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base.page import data_url, embed, render
from sr_lab.evaluation.pictures import Array

TEMPLATE = Path(__file__).with_name("gallery.html.j2")
MAP_TOP = 32
"""Invented detail, in 8-bit levels, at which the colours end."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One image.

    Attributes:
        name: Of it.
        low: The input, (h, w, 3), uint8.
        pictures: By result, (h * scale, w * scale, 3), uint8; the original, where there is one, as the last.
        maps: Result to its invented detail, (h * scale, w * scale), in 8-bit levels.
        values: Result to metric to value, as text.
    """

    name: str
    low: Array
    pictures: Mapping[str, Array]
    maps: Mapping[str, np.ndarray[Any, Any]]
    values: Mapping[str, Mapping[str, str]]


def gallery(
    exhibits: Sequence[Exhibit],
    *,
    title: str,
    subtitle: str,
    scale: int,
    original: str | None,
    means: Mapping[str, Mapping[str, str]],
    labels: Mapping[str, str],
    facts: Mapping[str, str],
) -> str:
    """The page, without outside references; it works from a disk.

    Args:
        exhibits: The images.
        title: Of the page.
        subtitle: Below it.
        scale: Enlargement factor.
        original: What the original is called among the pictures; None: there is none.
        means: Result to metric to its mean over the images, as text.
        labels: What metrics are called.
        facts: Where it comes from.
    """
    content = {
        "scale": scale,
        "original": original,
        "top": MAP_TOP,
        "results": list(exhibits[0].pictures),
        "images": [
            {
                "name": exhibit.name,
                "size": [exhibit.low.shape[1] * scale, exhibit.low.shape[0] * scale],
                "low": data_url(np.ascontiguousarray(exhibit.low)),
                "pictures": {name: data_url(np.ascontiguousarray(p)) for name, p in exhibit.pictures.items()},
                "maps": {
                    name: data_url(np.clip(np.rint(levels * (255 / MAP_TOP)), 0, 255).astype(np.uint8))
                    for name, levels in exhibit.maps.items()
                },
                "values": exhibit.values,
            }
            for exhibit in exhibits
        ],
    }
    return render(
        TEMPLATE, title=title, subtitle=subtitle, data=embed(content), means=means, labels=labels, facts=facts,
        top=MAP_TOP, original=original,
    )  # fmt: skip
