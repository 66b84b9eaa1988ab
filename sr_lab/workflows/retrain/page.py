"""retrain.html: what a retraining was for, what it cost, and what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sr_lab.base.figures import add_axes, new_figure, png
from sr_lab.base.files import write_text
from sr_lab.base.page import data_url, render
from sr_lab.monitoring.report import JSON, PNG, PRESET

_GOOD, _BAD, _SOFT = "#2f7d5b", "#c43d20", "#8a8f96"


@dataclass(frozen=True, kw_only=True)
class Story:
    """What is told.

    Attributes:
        outcome: ``promoted``, ``rejected``, ``proposed`` or ``not allowed``.
        reasons: lines of the decision to retrain.
        checks: of the gate (``Reason.as_dict``).
        cost: estimated, in the policy's currency.
    """

    outcome: str
    reasons: Sequence[str]
    checks: Sequence[Mapping[str, Any]] = ()
    cost: float | None = None


def write_page(story: Story, folder: Path) -> Path:
    """Writes retrain.json and retrain.html into the folder of a retraining, which holds ``drift/``; gives the page."""
    found = json.loads((folder / "drift" / JSON).read_text(encoding="utf-8"))
    preset, picture = folder / "drift" / PRESET, folder / "drift" / PNG
    shown = [
        check for check in story.checks if check.get("low") is not None and check["check"].endswith(("_old", "_new"))
    ]
    gate = sorted((folder / "gate").glob("*.html"))
    page = render(
        Path(__file__).with_name("retrain.html.j2"),
        story=story,
        drift=found,
        picture=data_url(picture.read_bytes()) if picture.is_file() else None,
        gains=data_url(_gains(shown)) if shown else None,
        preset=preset.read_text(encoding="utf-8") if preset.is_file() else None,
        gate=[file.relative_to(folder).as_posix() for file in gate],
    )
    write_text(folder / "retrain.json", json.dumps({**asdict(story), "changes": found["changes"]}, indent=1) + "\n")
    write_text(folder / "retrain.html", page)
    return folder / "retrain.html"


def _gains(shown: Sequence[Mapping[str, Any]]) -> bytes:
    """Each compared check's gain with its interval and the limit that it had to exceed, as PNG."""
    groups = {metric: [check for check in shown if check["check"].startswith(metric)] for metric in ("psnr", "ssim")}
    groups = {metric: group for metric, group in groups.items() if group}
    figure = new_figure(9, 0.5 * max(map(len, groups.values())) + 1)
    places = add_axes(figure, 1, len(groups), left=1.8, wspace=0.75)
    for axes, (metric, group) in zip(places, groups.items(), strict=True):
        for place, check in enumerate(group):
            colour = _GOOD if check["verdict"] == "pass" else _BAD
            axes.plot([check["low"], check["high"]], [place, place], color=colour, lw=3, solid_capstyle="butt")
            axes.plot(check["estimate"], place, "o", color=colour)
            axes.plot(check["limit"], place, "|", color="black", ms=22, mew=1.5)
        axes.axvline(0, color=_SOFT, lw=0.8, zorder=0)
        axes.set_yticks(range(len(group)), [check["check"].replace("_", " under the ") for check in group])
        axes.set_ylim(len(group) - 0.5, -0.5)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlabel(f"gain over the champion{', dB' if metric == 'psnr' else ''}", fontsize=9)
    return png(figure)
