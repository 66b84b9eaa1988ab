"""The page of a rollout: where it stands, what each check shows over time, and the pairs that one should look at."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base import page as pages
from sr_lab.base.figures import add_axes, new_figure, png
from sr_lab.base.statistics import confidence_sequence
from sr_lab.monitoring.proxies import badness
from sr_lab.promotion.canary import Burst, Bursts, Evidence, Pair, RolloutPolicy
from sr_lab.promotion.canary.policy import HOLDBACK
from sr_lab.tracking.registry.rollouts import Rollout
from sr_lab.workflows.pairs import PairStore

NUM_WORST = 20
"""Pairs that the page shows."""
PICTURES = ("low", "champion", "candidate")
_POINTS = 300


@dataclass(frozen=True, kw_only=True)
class WorstPair:
    """A pair that a person should look at.

    Attributes:
        pair: What is known of it.
        badness: Its largest loss, in units of the check's margin.
        pictures: The kept pictures by their name, encoded; empty where none were kept.
    """

    pair: Pair
    badness: float
    pictures: dict[str, bytes]

    @property
    def difference(self) -> Any:
        """(H, W, 3) uint8: how far the two images are apart in each colour, 128 is nothing; None without pictures."""
        if not self.pictures:
            return None
        from PIL import Image

        ours, theirs = (
            np.asarray(Image.open(io.BytesIO(self.pictures[name])).convert("RGB"), np.float32)
            for name in ("candidate", "champion")
        )
        return np.clip(128 + 4 * (ours - theirs), 0, 255).astype(np.uint8)


def worst_pairs(store: PairStore, rollout: Rollout, *, num: int = NUM_WORST) -> list[WorstPair]:
    """The pairs of a rollout in which the candidate lost most, those with pictures first, worst first."""
    rated = [(badness(pair.gains, rollout.margins), pair) for pair in store.read(rollout.id)]
    rated = [(rating, pair) for rating, pair in rated if rating > 0]
    found = []
    for rating, pair in sorted(rated, key=lambda item: (item[1].picture is None, -item[0], item[1].number))[:num]:
        files = {name: store.pictures / f"{pair.picture}-{name}.png" for name in PICTURES if pair.picture}
        kept = {name: file.read_bytes() for name, file in files.items() if file.is_file()}
        found.append(WorstPair(pair=pair, badness=rating, pictures=kept if len(kept) == len(PICTURES) else {}))
    return found


def render(rollout: Rollout, policy: RolloutPolicy, store: PairStore, evidence: Evidence, *, until: float) -> str:
    """The page, without outside references."""
    judgement = evidence.judge()
    bursts = _read(store, rollout, policy, until)
    stages = [*policy.stages, HOLDBACK]
    reached = _reached(bursts, stages)
    tone = "bad" if rollout.stage == "aborted" else "good" if rollout.stage in ("finished", HOLDBACK) else "wait"
    return pages.render(
        Path(__file__).with_name("rollout.html.j2"),
        rollout=rollout,
        policy=policy,
        judgement=judgement,
        stages=[(name, policy.all_stages[name], reached[name]) for name in stages],
        tone=tone,
        plot=_plot(bursts, policy) if bursts else None,
        worst=worst_pairs(store, rollout),
        num_pairs=sum(1 for _ in store.read(rollout.id)),
        level=policy.level,
        harm_level=policy.harm_level,
    )


def _read(store: PairStore, rollout: Rollout, policy: RolloutPolicy, until: float) -> list[Burst]:
    counter = Bursts(pause=policy.pause, most_pairs=policy.most_pairs, most_bursts=policy.most_bursts)
    ended = [burst for pair in store.read(rollout.id) for burst in counter.add(pair)]
    return [*ended, *counter.until(until)]


def _reached(bursts: Sequence[Burst], stages: Sequence[str]) -> dict[str, int]:
    return {name: sum(burst.stage == name for burst in bursts) for name in stages}


def _plot(bursts: Sequence[Burst], policy: RolloutPolicy) -> bytes:
    """Evidence of harm and proof above, a confidence sequence for each check below."""
    seen = {key: [burst.gains[key] for burst in bursts if key in burst.gains] for key in policy.checks}
    shown = [key for key, values in seen.items() if values]
    columns, above = 3, 3.4
    rows = math.ceil(len(shown) / columns)
    figure = new_figure(12, above + 2.3 * rows, dpi=110)
    harm, proof = add_axes(figure, 1, 2, bottom=2.3 * rows + 0.5, top=0.3, wspace=0.14)
    _evidence(harm, proof, bursts, policy)
    places = add_axes(figure, rows, columns, bottom=0.3, top=above + 0.3, hspace=0.35, wspace=0.2) if rows else []
    for axes in places[len(shown) :]:
        axes.set_axis_off()
    for key, axes in zip(shown, places, strict=False):
        check = policy.checks[key]
        found = confidence_sequence(
            seen[key], low=check.low, high=check.high, alpha=policy.level, points=[-check.margin, -check.tolerance]
        )
        steps = np.arange(1, len(seen[key]) + 1)
        axes.fill_between(steps, found.low, found.high, color="#3f7cac", alpha=0.25, linewidth=0)
        axes.plot(steps, found.mean, color="#3f7cac", linewidth=1.2)
        axes.axhline(-check.margin, color="#c43d20", linewidth=1, linestyle="--")
        axes.axhline(-check.tolerance, color="#646a72", linewidth=0.8, linestyle=":")
        axes.set_title(key, fontsize=10)
        reach = max(3 * check.margin, float(np.abs(found.mean[-max(1, len(steps) // 2) :]).max()) * 1.3)
        axes.set_ylim(max(check.low, -reach), min(check.high, reach) or 0.1 * reach)
        axes.tick_params(labelsize=8)
    return png(figure)


def _evidence(harm: Any, proof: Any, bursts: Sequence[Burst], policy: RolloutPolicy) -> None:
    evidence = Evidence(policy)
    every = max(1, len(bursts) // _POINTS)
    steps, together, rows = [], [], []
    for index, burst in enumerate(bursts, start=1):
        evidence.add(burst)
        if index % every == 0 or index == len(bursts):
            judgement = evidence.judge()
            steps.append(index)
            together.append(judgement.harm)
            rows.append([(finding.harm, finding.proof) for finding in judgement.findings])
    values = np.clip(np.array(rows), 1e-3, 1e12)
    for axes, side, needed, title in (
        (harm, 0, 1 / policy.harm_level, "evidence of harm"),
        (proof, 1, 1 / policy.level, "evidence that less than the margin is lost"),
    ):
        for number, key in enumerate(policy.checks):
            axes.plot(steps, values[:, number, side], label=key, linewidth=1)
        axes.axhline(needed, color="#c43d20", linewidth=1, linestyle="--")
        axes.set_yscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("bursts", fontsize=9)
        axes.tick_params(labelsize=8)
    harm.plot(steps, np.clip(together, 1e-3, 1e12), color="black", linewidth=2, label="all together")
    harm.legend(fontsize=7, ncols=2)
