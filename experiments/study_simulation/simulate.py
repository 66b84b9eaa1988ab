"""Simulated raters with known preferences: are the intervals right, are cheaters found, how many votes does it take?

    python experiments/study_simulation/simulate.py                # everything, into results.csv and two pictures
    python experiments/study_simulation/simulate.py --studies 50   # a rough look
    python experiments/study_simulation/simulate.py --draw         # draws again from results.csv

The votes go through what srlab study analyse does: plan, rules, fit, bootstraps.
"""

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from sr_lab.base.statistics.preferences import Votes, fit, interval, prefer
from sr_lab.study.ballots import SIDES, Ballot
from sr_lab.study.plan import Deck, Plan
from sr_lab.study.ranking import rank
from sr_lab.study.rules import Rules
from sr_lab.study.selection import every_pair, pairs_by_information, pairs_of
from sr_lab.study.stopping import stopping

HERE = Path(__file__).parent
ALPHA = 0.05
DRAWS = 100
CHEATERS = ("coin", "three-sided coin", "always left", "always tie", "left and right in turn")


@dataclass(frozen=True, kw_only=True)
class World:
    """Where the votes come from.

    Attributes:
        scores: True scores of the restorers.
        image_sd: Of what an image adds to each restorer's score.
        taste_sd: Of what a rater adds.
        side_sd: Of a rater's inclination to a side.
        side: Mean of it.
        tie: Mean logarithm of a tie's weight.
        tie_sd: Of a rater's.
        lapse: Share of answers that are drawn blindly.
        blur: Score by which a sharp picture beats a blurred one.
        identical: What is added to a tie's logarithm where the two pictures are one.
    """

    scores: tuple[float, ...]
    image_sd: float = 0.4
    taste_sd: float = 0.3
    side_sd: float = 0.2
    side: float = 0.1
    tie: float = -0.3
    tie_sd: float = 0.7
    lapse: float = 0.02
    blur: float = 6.0
    identical: float = 2.0


SPREAD = World(scores=(0.6, 0.2, -0.2, -0.6))


def make_plan(num: int, images: int, raters: int, count: int, *, seed: int, checks: float = 0.125) -> Plan:
    """A plan as srlab study create makes it, without pictures on a disk."""
    names = [f"model {index}" for index in range(num)]
    deck = Deck(
        names=names, images=[f"image {index}" for index in range(images)], secret=f"{seed:032x}", seed=seed,
        originals=True,
    )  # fmt: skip
    pairs = pairs_of(num, np.random.default_rng(seed))
    blocks = [deck.deal(pairs, count=count, checks=checks, block=number) for number in range(raters)]
    return Plan(
        id="simulated", seed=seed, secret=deck.secret, title="", question="", display="side", reference=False,
        restorers={name: {} for name in names}, images=deck.images, scale=4, pictures=deck.pictures, trials=deck.trials,
        blocks=blocks, codes=[f"{number:03d}-aaaaaa" for number in range(raters)], rules=Rules(), created="",
    )  # fmt: skip


class Sheet:
    """The trials of a plan as arrays, so that a whole study is voted on at once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        numbers = {name: index for index, name in enumerate(plan.names)}
        images = {name: index for index, name in enumerate(plan.images)}
        rows = []
        for rater, code in enumerate(plan.codes):
            for trial in plan.order(code):
                left, right = (plan.pictures[name] for name in trial.sides(plan.seed, code))
                rows.append(
                    (rater, images[left.image], numbers.get(left.shows, -1), numbers.get(right.shows, -1),
                     left.shows == "blur", right.shows == "blur", trial)
                )  # fmt: skip
        self.trials = [row[6] for row in rows]
        self.rater, self.image, self.left, self.right = (np.array([row[k] for row in rows]) for k in range(4))
        self.left_blurred, self.right_blurred = (np.array([row[k] for row in rows]) for k in (4, 5))
        self.checks = np.array([trial.kind != "pair" for trial in self.trials])
        self.identical = np.array([trial.kind == "identical" for trial in self.trials])

    def vote(self, world: World, random: np.random.Generator, cheaters: Sequence[str] = ()) -> np.ndarray:
        """(N,) answers; the first raters are the cheaters, one of each kind that is named."""
        num_raters, num_images, num = len(self.plan.codes), len(self.plan.images), len(world.scores)
        quality = world.scores + world.image_sd * random.standard_normal((num_images, num))
        taste = world.taste_sd * random.standard_normal((num_raters, num))
        side = world.side + world.side_sd * random.standard_normal(num_raters)
        tie = world.tie + world.tie_sd * random.standard_normal(num_raters)
        blurred = self.left_blurred | self.right_blurred
        one, other = np.maximum(self.left, 0), np.maximum(self.right, 0)
        d = quality[self.image, one] + taste[self.rater, one] - quality[self.image, other] - taste[self.rater, other]
        d = np.where(blurred, world.blur * (1.0 * self.right_blurred - 1.0 * self.left_blurred), d)
        d = np.where(self.identical, 0, d) + side[self.rater]
        t = tie[self.rater] + world.identical * self.identical
        weights = np.exp(np.stack([d / 2, t, -d / 2]))
        weights /= weights.sum(axis=0)
        answer = (random.random(len(d)) > weights.cumsum(axis=0)[:2]).sum(axis=0)
        answer = np.where(random.random(len(d)) < world.lapse, random.integers(0, 3, len(d)), answer)
        for rater, kind in enumerate(cheaters):
            mine = self.rater == rater
            count = int(mine.sum())
            answer[mine] = {
                "coin": lambda count=count: 2 * random.integers(0, 2, count),
                "three-sided coin": lambda count=count: random.integers(0, 3, count),
                "always left": lambda count=count: np.zeros(count, int),
                "always tie": lambda count=count: np.ones(count, int),
                "left and right in turn": lambda count=count: 2 * (np.arange(count) % 2),
            }[kind]()
        return answer

    def ballots(self, answer: np.ndarray) -> list[Ballot]:
        """The answers as they are collected."""
        plan = self.plan
        made = []
        for rater, trial, said in zip(self.rater, self.trials, answer, strict=True):
            left, right = trial.sides(plan.seed, plan.codes[rater])
            made.append(
                Ballot(rater=plan.codes[rater], trial=trial.id, left=left, right=right, answer=SIDES[said], seconds=3.0)
            )
        return made

    def votes(self, answer: np.ndarray) -> Votes:
        """The answers that are no checks, as a table."""
        keep = ~self.checks
        return Votes(
            left=self.left[keep], right=self.right[keep], answer=answer[keep], rater=self.rater[keep],
            image=self.image[keep], num_items=len(self.plan.names),
        )  # fmt: skip


def true_scores(world: World, *, count: int = 50, repeats: int = 30, seed: int = 10**6) -> np.ndarray:
    """What a study of very many raters and images finds: the mean fit of ``repeats`` large ones.

    The raters of a world do not follow the model that is fitted (they differ, and images do), so that the scores which
    endless votes would lead to are nearer to zero than the world's.
    """
    random = np.random.default_rng(seed)
    found = []
    for repeat in range(repeats):
        sheet = Sheet(make_plan(len(world.scores), 120, 120, count, seed=seed + repeat, checks=0.0))
        found.append(fit(sheet.votes(sheet.vote(world, random))).scores)
    return np.mean(found, axis=0)


def coverage(
    world: World,
    truth: np.ndarray,
    *,
    raters: int,
    images: int,
    count: int,
    cheaters: Sequence[str],
    studies: int,
    seed: int,
) -> Iterator[tuple[str, float]]:
    """How often intervals hold the truth, and who is left out."""
    random = np.random.default_rng(seed)
    sheets = [Sheet(make_plan(len(truth), images, raters, count, seed=seed + k)) for k in range(10)]
    inside, scores_inside, widths, found, blamed = [], [], [], [], []
    caught: dict[str, list[bool]] = {kind: [] for kind in cheaters}
    for number in range(studies):
        sheet = sheets[number % len(sheets)]
        answer = sheet.vote(world, random, cheaters)
        ranking = rank(replace(sheet.plan, seed=sheet.plan.seed), sheet.ballots(answer), alpha=ALPHA, num_draws=DRAWS)
        for duel in ranking.duels:
            first, second = (sheet.plan.names.index(name) for name in (duel.first, duel.second))
            low, high = interval(duel.difference, duel.error, duel.freedom, alpha=ALPHA)
            inside.append(low <= truth[first] - truth[second] <= high)
            widths.append(high - low)
        scores_inside += [s.low <= truth[sheet.plan.names.index(s.name)] <= s.high for s in ranking.standings]
        found.append([s.score for s in sorted(ranking.standings, key=lambda s: s.name)])
        out = {rater.code for rater in ranking.raters if rater.reasons}
        for rater, kind in enumerate(cheaters):
            caught[kind].append(sheet.plan.codes[rater] in out)
        honest = sheet.plan.codes[len(cheaters) :]
        blamed.append(len(out.intersection(honest)) / len(honest))
    yield "differences inside", float(np.mean(inside))
    yield "scores inside", float(np.mean(scores_inside))
    yield "mean width", float(np.mean(widths))
    yield "largest bias", float(np.abs(np.mean(found, axis=0) - truth).max())
    yield "honest raters left out", float(np.mean(blamed))
    for kind, hits in caught.items():
        yield f"found: {kind}", float(np.mean(hits))


def power(difference: float, *, raters: int, studies: int, seed: int, count: int = 30) -> tuple[float, float]:
    """Share of studies of two restorers whose interval excludes no difference, and the preference in the long run."""
    world = World(scores=(difference / 2, -difference / 2))
    random = np.random.default_rng(seed)
    sheets = [Sheet(make_plan(2, 30, raters, count, seed=seed + k, checks=0.0)) for k in range(3)]
    shown, shares = 0, []
    for number in range(studies):
        sheet = sheets[number % len(sheets)]
        votes = sheet.votes(sheet.vote(world, random))
        low, high = interval(*prefer(votes, num_draws=DRAWS, seed=number).difference(0, 1), alpha=ALPHA)
        shown += low > 0 or high < 0
        decided = votes.answer != 1
        shares.append(float(((votes.answer == 0) == (votes.left == 0))[decided].mean()))
    return shown / studies, float(np.mean(shares))


def stopped(difference: float, *, most: int, studies: int, seed: int, count: int = 30) -> list[tuple[str, int]]:
    """Outcome and number of raters at the decision of studies that are looked at after every rater."""
    world = World(scores=(difference / 2, -difference / 2), image_sd=0.0, side=0.0)
    random = np.random.default_rng(seed)
    sheet = Sheet(make_plan(2, 30, most, count, seed=seed, checks=0.0))
    rows = []
    for _ in range(studies):
        votes = sheet.votes(sheet.vote(world, random))
        share = np.where(votes.left == 0, 2 - votes.answer, votes.answer) / 2
        found = stopping([float(share[votes.rater == rater].mean()) for rater in range(most)], alpha=ALPHA)
        rows.append((found.outcome, found.decided_at or most))
    return rows


def chosen_pairs(way: str, *, num: int, rounds: int, per_round: int, studies: int, seed: int) -> dict[str, float]:
    """How near the scores of many restorers come, with pairs at random or by information after each round."""
    random = np.random.default_rng(seed)
    truth = np.linspace(1.5, -1.5, num)
    errors, close, agreement = [], [], []
    for _ in range(studies):
        left, right, answer = (np.zeros(0, int) for _ in range(3))
        mean, covariance, tie = np.zeros(num), np.eye(num) * 4.0, 0.0
        for _ in range(rounds):
            pairs = (
                pairs_by_information(mean, covariance, tie=tie, random=random)
                if way == "information"
                else every_pair(num, random)
            )
            asked = np.array([next(pairs) for _ in range(per_round)])
            d = truth[asked[:, 0]] - truth[asked[:, 1]]
            weights = np.exp(np.stack([d / 2, np.full_like(d, -0.3), -d / 2]))
            weights /= weights.sum(axis=0)
            said = (random.random(len(d)) > weights.cumsum(axis=0)[:2]).sum(axis=0)
            left, right = np.concatenate([left, asked[:, 0]]), np.concatenate([right, asked[:, 1]])
            answer = np.concatenate([answer, said])
            zeros = np.zeros(len(left), int)
            found = fit(Votes(left=left, right=right, answer=answer, rater=zeros, image=zeros, num_items=num))
            mean, covariance, tie = found.scores, found.posterior, found.tie
        errors.append(float(np.sqrt(np.mean((mean - truth) ** 2))))
        step = np.diff(mean)
        close.append(float((step < 0).mean()))
        agreement.append(float(stats.kendalltau(mean, truth).statistic))
    return {
        "rms error": float(np.mean(errors)), "neighbours in order": float(np.mean(close)),
        "Kendall": float(np.mean(agreement)),
    }  # fmt: skip


def all_results(studies: int) -> Iterator[tuple[str, str, str, float]]:
    """(table, row, column, value) of everything."""
    worlds = {
        "4 restorers": (SPREAD, {"raters": 20, "images": 30, "count": 50}),
        "2 restorers, few": (World(scores=(0.3, -0.3)), {"raters": 12, "images": 20, "count": 40}),
        "6 restorers, many": (
            World(scores=(1.0, 0.6, 0.2, -0.2, -0.6, -1.0)), {"raters": 40, "images": 40, "count": 40},
        ),
        "images differ much": (replace(SPREAD, image_sd=1.0), {"raters": 20, "images": 30, "count": 50}),
        "raters differ much": (replace(SPREAD, taste_sd=1.0), {"raters": 20, "images": 30, "count": 50}),
    }  # fmt: skip

    def covered(names: Sequence[str]) -> Iterator[tuple[str, str, str, float]]:
        for name in names:
            world, size = worlds[name]
            truth = true_scores(world)
            for key, value in coverage(world, truth, **size, cheaters=(), studies=studies, seed=1):
                yield "coverage", name, key, value

    first, *others = worlds
    yield from covered([first])
    truth = true_scores(SPREAD)
    for key, value in coverage(
        SPREAD, truth, raters=25, images=30, count=50, cheaters=CHEATERS, studies=studies, seed=2
    ):
        yield "coverage", "4 restorers, 5 of 25 cheat", key, value
    for difference in (0.0, 0.1, 0.2, 0.4, 0.8, 1.6):
        for raters in (4, 8, 16, 32, 64):
            share, long_run = power(difference, raters=raters, studies=max(1, studies * 3 // 10), seed=3)
            yield "power", f"{difference:g}", f"{raters}", share
            yield "preference", f"{difference:g}", f"{raters}", long_run
    for difference in (0.0, 0.1, 0.2, 0.4, 0.8, 1.6):
        rows = stopped(difference, most=150, studies=max(1, studies * 3 // 10), seed=4)
        when = [count for outcome, count in rows if outcome in ("first", "second")]
        for outcome in ("first", "second", "alike", "open"):
            yield "stopping", f"{difference:g}", outcome, float(np.mean([found == outcome for found, _ in rows]))
        yield "stopping", f"{difference:g}", "median raters", float(np.median([count for _, count in rows]))
        yield "stopping", f"{difference:g}", "preferences claimed", len(when) / len(rows)
    for way in ("every pair", "information"):
        for rounds in (2, 4, 8):
            found = chosen_pairs(way, num=12, rounds=rounds, per_round=110, studies=max(1, studies // 10), seed=5)
            for key, value in found.items():
                yield "selection", f"{way}, {110 * rounds} votes", key, value
    yield from covered(others)


def draw(rows: Sequence[tuple[str, str, str, float]]) -> None:
    """Coverage and power as pictures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    table = {(t, r, c): v for t, r, c, v in rows}
    names = list(dict.fromkeys(r for t, r, _, _ in rows if t == "coverage"))
    figure, axis = plt.subplots(figsize=(7, 2.6), constrained_layout=True)
    axis.axvspan(0.93, 0.97, color="#e4efe8")
    axis.axvline(0.95, color="#2f7d5b", linewidth=1)
    places = np.arange(len(names))[::-1]
    for key, mark in (("differences inside", "o"), ("scores inside", "s")):
        axis.plot([table["coverage", name, key] for name in names], places, mark, label=key.replace(" inside", ""))
    axis.set_yticks(places, names)
    axis.set_xlim(0.9, 1.0)
    axis.set_xlabel("share of 95 % intervals that hold the truth")
    axis.legend(loc="upper left", fontsize=8)
    figure.savefig(HERE / "coverage.png", dpi=110)
    figure, axis = plt.subplots(figsize=(7, 3.4), constrained_layout=True)
    for difference in dict.fromkeys(r for t, r, _, _ in rows if t == "power"):
        columns = [c for t, r, c, _ in rows if t == "power" and r == difference]
        share = table["preference", difference, columns[-1]]
        axis.plot(
            [30 * int(c) for c in columns], [table["power", difference, c] for c in columns], "o-",
            label=f"{share:.1%} of decisions",
        )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_xticks([120, 240, 480, 960, 1920], ["120", "240", "480", "960", "1,920"])
    axis.set_xlabel("votes (30 a rater, on 30 images)")
    axis.set_ylabel("studies that show it")
    axis.legend(fontsize=8)
    figure.savefig(HERE / "power.png", dpi=110)


def main() -> None:
    """Simulates, writes results.csv, draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    file = HERE / "results.csv"
    if not given.draw:
        begin, rows = time.monotonic(), []
        for row in all_results(given.studies):
            rows.append(row)
            print(f"{time.monotonic() - begin:7.0f} s  {row[0]}: {row[1]}: {row[2]}: {row[3]:.4f}", flush=True)
            with file.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream, lineterminator="\n").writerows((*r[:3], f"{r[3]:.5f}") for r in rows)
    with file.open(newline="", encoding="utf-8") as stream:
        draw([(t, r, c, float(v)) for t, r, c, v in csv.reader(stream)])


if __name__ == "__main__":
    main()
