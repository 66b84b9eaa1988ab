"""The page of a study's result."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sr_lab.base.page import render
from sr_lab.study.plan import Plan
from sr_lab.study.ranking import ELO, Ranking

TEMPLATE = Path(__file__).with_name("report.html.j2")
_WIDTH, _LABEL = 1000, 240


def report_of(
    plan: Plan,
    ranking: Ranking,
    *,
    refused: Sequence[str],
    pictures: Mapping[tuple[str, str], bytes],
    num_dissents: int = 12,
) -> str:
    """The page, without outside references.

    Args:
        plan: The study.
        ranking: Its result.
        refused: Answers that were not taken.
        pictures: PNG files by image and restorer, of the pairs on which people and a metric disagree.
        num_dissents: Of those at most so many.
    """
    names = [standing.name for standing in ranking.standings]
    duels = {(one, other): ranking.duel(one, other) for one in names for other in names if one != other}
    return render(
        TEMPLATE,
        plan=plan,
        ranking=ranking,
        names=names,
        duels=duels,
        forest=_forest(ranking),
        refused=refused,
        dissents=[d for d in ranking.dissents[:num_dissents] if (d.image, d.preferred) in pictures],
        pictures=pictures,
        elo=ELO,
        known=lambda value: value is not None and math.isfinite(value),
        left=1 / (1 + math.exp(-ranking.side)),
    )


def _forest(ranking: Ranking) -> dict[str, Any]:
    """Geometry of the plot of scores: 1000 wide, a row each."""
    ends = [
        value for standing in ranking.standings for value in (standing.score, standing.low, standing.high)
        if math.isfinite(value)
    ]  # fmt: skip
    low, high = min([*ends, -0.1]), max([*ends, 0.1])
    room = 0.06 * (high - low)
    low, high = low - room, high + room

    def place(value: float) -> float:
        return round(_LABEL + (_WIDTH - _LABEL - 20) * (value - low) / (high - low), 1)

    rows = [
        {
            "name": standing.name,
            "middle": place(standing.score),
            "low": place(standing.low) if math.isfinite(standing.low) else None,
            "high": place(standing.high) if math.isfinite(standing.high) else None,
            "y": 22 + 34 * index,
        }
        for index, standing in enumerate(ranking.standings)
    ]
    step = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 1e9) if (high - low) / step <= 9)
    ticks = [round(step * k, 6) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return {"rows": rows, "ticks": [(tick, place(tick)) for tick in ticks], "height": 34 * len(rows) + 34}
