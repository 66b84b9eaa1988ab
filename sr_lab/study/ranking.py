"""What the ballots of a study say: who is counted, scores with intervals, who would win, and how far raters agree."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sr_lab.base.statistics.agreement import krippendorff_alpha
from sr_lab.base.statistics.preferences import Preferences, Votes, interval, prefer, preference
from sr_lab.base.words import counted
from sr_lab.study.ballots import SIDES, Ballot
from sr_lab.study.plan import Plan, digest
from sr_lab.study.rules import Check, check_of
from sr_lab.study.stopping import Stopping, stopping

ELO = 400 / math.log(10)


@dataclass(frozen=True, kw_only=True)
class Rater:
    """One rater.

    Attributes:
        code: Of the rater.
        num_votes: Votes on pairs that are no checks.
        num_checks: Answers on check pairs.
        points: Points of suspicion that the checks raised.
        most: Points that they could raise.
        seconds: Median time of a vote.
        left: Share of the left one among the decisions.
        ties: Share of ties.
        reasons: Why the rater is left out; empty where it counts.
    """

    code: str
    num_votes: int
    num_checks: int
    points: float
    most: float
    seconds: float
    left: float
    ties: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One restorer.

    Attributes:
        name: Of it.
        score: Logarithm of odds against the mean of all.
        low: Lower end of its interval; NaN where nothing is known of chance.
        high: Upper end.
        num_votes: Votes that it was in.
        group: Number of its part of the graph of comparisons: scores of different parts cannot be compared.
    """

    name: str
    score: float
    low: float
    high: float
    num_votes: int
    group: int


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Two restorers.

    Attributes:
        first: Name.
        second: Name.
        won: Votes for the first.
        tied: Votes for neither.
        lost: Votes for the second.
        difference: Of the scores.
        error: Standard error of it; NaN where nothing is known of chance.
        freedom: Degrees of freedom of that.
        wins: Probability that a rater prefers the first where one is preferred.
        low: Lower end of its interval.
        high: Upper end.
        tie: Probability of neither.
    """

    first: str
    second: str
    won: int
    tied: int
    lost: int
    difference: float
    error: float
    freedom: float
    wins: float
    low: float
    high: float
    tie: float


@dataclass(frozen=True, kw_only=True)
class Dissent:
    """A pair on one image on which people and a metric disagree.

    Attributes:
        image: Name.
        preferred: What people prefer.
        other: What the metric calls better.
        metric: Key.
        num_votes: Votes on it.
        share: Share of the votes for ``preferred``, ties half.
        ours: The metric's value of ``preferred``.
        theirs: Of ``other``.
    """

    image: str
    preferred: str
    other: str
    metric: str
    num_votes: int
    share: float
    ours: float
    theirs: float


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The result of a study.

    Attributes:
        study: Its id.
        seal: Of its plan.
        ballots: Hash of all ballots.
        alpha: Error of the two-sided intervals.
        standings: The best first.
        duels: Every pair.
        raters: All who answered.
        num_votes: Votes that count.
        num_images: Images among them.
        side: Logarithm of the odds that the left one is preferred, all else equal.
        agreement: Krippendorff's alpha of the answers (nominal) and of left, tie, right as numbers (interval).
        num_shared: Pairs on an image that two raters or more have judged.
        metrics: Metric to the share of decided votes with which it agrees, and their number.
        dissents: Where people and metrics disagree, the clearest first.
        stopping: Of two restorers: whether the study may stop.
        connected: Whether all restorers are compared with all, directly or not.
        notes: What else has to be said.
    """

    study: str
    seal: str
    ballots: str
    alpha: float
    standings: Sequence[Standing]
    duels: Sequence[Duel]
    raters: Sequence[Rater]
    num_votes: int
    num_images: int
    side: float
    agreement: Mapping[str, float]
    num_shared: int
    metrics: Mapping[str, tuple[float, int]]
    dissents: Sequence[Dissent]
    stopping: Stopping | None
    connected: bool
    notes: Sequence[str] = ()

    @property
    def counted(self) -> list[Rater]:
        """The raters that count."""
        return [rater for rater in self.raters if not rater.reasons]

    def duel(self, first: str, second: str) -> Duel:
        """The pair of two restorers, with ``first`` as the first.

        Raises:
            ValueError: If the study has no such pair.
        """
        for duel in self.duels:
            if (duel.first, duel.second) == (first, second):
                return duel
            if (duel.second, duel.first) == (first, second):
                return Duel(
                    first=first, second=second, won=duel.lost, tied=duel.tied, lost=duel.won,
                    difference=-duel.difference, error=duel.error, freedom=duel.freedom, wins=1 - duel.wins,
                    low=1 - duel.high, high=1 - duel.low, tie=duel.tie,
                )  # fmt: skip
        raise ValueError(f"study {self.study} does not compare {first} with {second}")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; what is not known is None."""
        plain = asdict(self)
        cleaned = _without_nan(plain)
        assert isinstance(cleaned, dict)
        return cleaned


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The votes that count.

    Attributes:
        votes: As numbers of restorers, raters and images.
        images: Names of the images, by number.
        raters: All who answered.
    """

    votes: Votes
    images: Sequence[str]
    raters: Sequence[Rater]


def count(plan: Plan, ballots: Sequence[Ballot]) -> Counts:
    """Judges the raters by the plan's rules, and counts the votes of the others.

    Raises:
        ValueError: if no vote counts.
    """
    by_rater: dict[str, list[Ballot]] = {}
    for ballot in ballots:
        by_rater.setdefault(ballot.rater, []).append(ballot)
    raters = [_judged(plan, code, given) for code, given in by_rater.items()]
    left_out = {rater.code for rater in raters if rater.reasons}
    votes = [b for b in ballots if b.rater not in left_out and plan.trials[b.trial].kind == "pair"]
    if not votes:
        out = f", and {counted(len(left_out), 'rater')} left out by the rules" if left_out else ""
        raise ValueError(f"study {plan.id}: no vote counts: {counted(len(ballots), 'answer')}{out}")
    numbers = {name: index for index, name in enumerate(plan.names)}
    shown = [(plan.pictures[b.left], plan.pictures[b.right]) for b in votes]
    codes = {code: index for index, code in enumerate(dict.fromkeys(b.rater for b in votes))}
    images = {name: index for index, name in enumerate(dict.fromkeys(left.image for left, _ in shown))}
    table = Votes(
        left=np.array([numbers[left.shows] for left, _ in shown]),
        right=np.array([numbers[right.shows] for _, right in shown]),
        answer=np.array([SIDES.index(b.answer) for b in votes]),
        rater=np.array([codes[b.rater] for b in votes]),
        image=np.array([images[left.image] for left, _ in shown]),
        num_items=len(numbers),
    )
    return Counts(votes=table, images=list(images), raters=raters)


def rank(
    plan: Plan, ballots: Sequence[Ballot], *, alpha: float = 0.05, num_draws: int = 1000, margin: float = 0.05
) -> Ranking:
    """What the ballots say.

    Args:
        plan: The study.
        ballots: As ``read_answers`` gives them.
        alpha: Error of the two-sided intervals.
        num_draws: Draws of each bootstrap.
        margin: Of ``stopping``, for two restorers.

    Raises:
        ValueError: if no vote counts.
    """
    counts = count(plan, ballots)
    table = counts.votes
    found = prefer(table, num_draws=num_draws, seed=plan.seed)
    groups = _groups(table)
    agreement, num_shared = _agreement(table)
    notes = []
    if min(found.num_raters, found.num_images) < 2:
        notes.append("one rater or one image: nothing can be said about chance")
    elif found.num_raters < 5:
        notes.append(f"{counted(found.num_raters, 'rater', 'is/are')} few: the intervals are rough")
    if len(set(groups)) > 1:
        parts = [
            "{" + ", ".join(n for n, g in zip(plan.names, groups, strict=True) if g == group) + "}"
            for group in sorted(set(groups))
        ]
        notes.append(f"not connected: {' and '.join(parts)} were never compared, their scores cannot be either")
    if unbeaten := _one_sided(table, plan.names):
        notes.append(f"never or always preferred, so that its score is the prior's: {', '.join(unbeaten)}")
    metrics, dissents = _metrics(plan, table, counts.images)
    return Ranking(
        study=plan.id,
        seal=plan.seal,
        ballots=digest(sorted((list(asdict(ballot).values()) for ballot in ballots), key=str)),
        alpha=alpha,
        standings=_standings(plan.names, table, found, groups, alpha),
        duels=list(_duels(plan.names, table, found, alpha)),
        raters=counts.raters,
        num_votes=len(table),
        num_images=len(counts.images),
        side=found.fit.side,
        agreement=agreement,
        num_shared=num_shared,
        metrics=metrics,
        dissents=dissents,
        stopping=_stopping(table, alpha, margin) if len(plan.names) == 2 else None,
        connected=len(set(groups)) == 1,
        notes=notes,
    )


def _judged(plan: Plan, code: str, ballots: Sequence[Ballot]) -> Rater:
    """A rater under the study's rules."""
    kinds = {ballot.trial: plan.trials[ballot.trial].kind for ballot in ballots}
    votes = [ballot for ballot in ballots if kinds[ballot.trial] == "pair"]
    chosen = {ballot.trial: _shown(plan, ballot.chosen) for ballot in votes}
    checks: list[Check] = []
    for ballot in ballots:
        kind = kinds[ballot.trial]
        if kind == "blur":
            good = "left" if plan.pictures[ballot.left].shows != "blur" else "right"
            checks.append(check_of("blur", ballot.answer, good=good))
        elif kind == "identical":
            checks.append(check_of("identical", ballot.answer))
        elif kind == "repeat" and (before := chosen.get(plan.trials[ballot.trial].key)) is not None:
            checks.append(check_of("repeat", _shown(plan, ballot.chosen), before=before))
    decided = [ballot.answer for ballot in votes if ballot.answer != "tie"]
    seconds = [ballot.seconds for ballot in ballots]
    reasons = plan.rules.reasons(
        checks=checks, seconds=seconds, answers=[ballot.answer for ballot in votes],
        ratios=[ballot.ratio for ballot in ballots],
    )  # fmt: skip
    return Rater(
        code=code,
        num_votes=len(votes),
        num_checks=len(checks),
        points=sum(check.points for check in checks),
        most=sum(check.most for check in checks),
        seconds=float(np.median(seconds)),
        left=decided.count("left") / len(decided) if decided else math.nan,
        ties=1 - len(decided) / len(votes) if votes else math.nan,
        reasons=tuple(reasons),
    )


def _shown(plan: Plan, picture: str) -> str:
    return "tie" if picture == "tie" else plan.pictures[picture].shows


def _standings(
    names: Sequence[str], votes: Votes, found: Preferences, groups: Sequence[int], alpha: float
) -> list[Standing]:
    standings = []
    for index, name in enumerate(names):
        weights = np.full(len(names), -1 / len(names))
        weights[index] += 1
        value, error, freedom = found.contrast(weights)
        low, high = interval(value, error, freedom, alpha=alpha)
        count = int(((votes.left == index) | (votes.right == index)).sum())
        standings.append(Standing(name=name, score=value, low=low, high=high, num_votes=count, group=groups[index]))
    return sorted(standings, key=lambda standing: -standing.score)


def _duels(names: Sequence[str], votes: Votes, found: Preferences, alpha: float) -> Iterator[Duel]:
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            straight = (votes.left == first) & (votes.right == second)
            turned = (votes.left == second) & (votes.right == first)
            won = int((straight & (votes.answer == 0)).sum() + (turned & (votes.answer == 2)).sum())
            lost = int((straight & (votes.answer == 2)).sum() + (turned & (votes.answer == 0)).sum())
            tied = int(((straight | turned) & (votes.answer == 1)).sum())
            value, error, freedom = found.difference(first, second)
            low, high = interval(value, error, freedom, alpha=alpha)
            yield Duel(
                first=names[first], second=names[second], won=won, tied=tied, lost=lost, difference=value, error=error,
                freedom=freedom, wins=_odds(value), low=_odds(low), high=_odds(high),
                tie=float(preference(value, found.fit.tie)[1]),
            )  # fmt: skip


def _odds(difference: float) -> float:
    return difference if math.isnan(difference) else 1 / (1 + math.exp(-min(max(difference, -700), 700)))


def _groups(votes: Votes) -> list[int]:
    """The part of the graph of comparisons that each thing is in."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(votes)), (votes.left, votes.right)), shape=(votes.num_items, votes.num_items))
    return [int(label) for label in connected_components(graph, directed=False)[1]]


def _one_sided(votes: Votes, names: Sequence[str]) -> list[str]:
    """Things that won, or lost, every vote: their likelihood has no top."""
    found = []
    for index, name in enumerate(names):
        left, right = votes.left == index, votes.right == index
        if not (left | right).any():
            continue
        won = (left & (votes.answer == 0)) | (right & (votes.answer == 2))
        lost = (left & (votes.answer == 2)) | (right & (votes.answer == 0))
        tied = (left | right) & (votes.answer == 1)
        if not tied.any() and (not won.any() or not lost.any()):
            found.append(name)
    return found


def _agreement(votes: Votes) -> tuple[dict[str, float], int]:
    """Krippendorff's alpha over the pairs on an image, each turned one way round."""
    turn = votes.left > votes.right
    low, high = np.where(turn, votes.right, votes.left), np.where(turn, votes.left, votes.right)
    values = np.where(turn, 1.0, -1.0) * (votes.answer - 1.0)
    units = (votes.image * votes.num_items + low) * votes.num_items + high
    _, sizes = np.unique(units, return_counts=True)
    return {
        "nominal": krippendorff_alpha(values, units),
        "interval": krippendorff_alpha(values, units, level="interval"),
    }, int((sizes > 1).sum())


def _metrics(
    plan: Plan, votes: Votes, images: Sequence[str], *, least_votes: int = 2, most: int = 24
) -> tuple[dict[str, tuple[float, int]], list[Dissent]]:
    """How often each metric agrees with a decision, and where people clearly say the opposite."""
    names = plan.names
    tally: dict[tuple[int, int, int], list[float]] = {}
    for left, right, answer, image in zip(votes.left, votes.right, votes.answer, votes.image, strict=True):
        low, high = sorted((int(left), int(right)))
        share = (2 - int(answer)) / 2 if left < right else int(answer) / 2
        tally.setdefault((int(image), low, high), []).append(share)
    agreed: dict[str, list[int]] = {}
    dissents = []
    for (image, first, second), shares in tally.items():
        measured = plan.measured.get(images[image], {})
        ours, theirs = measured.get(names[first], {}), measured.get(names[second], {})
        for key in ours.keys() & theirs.keys():
            better = ours[key] < theirs[key] if key in plan.lower else ours[key] > theirs[key]
            if ours[key] == theirs[key]:
                continue
            agreed.setdefault(key, []).extend(int((share > 0.5) == better) for share in shares if share != 0.5)
            mean = float(np.mean(shares))
            if len(shares) < least_votes or mean == 0.5 or (mean > 0.5) == better:
                continue
            pair = (first, second) if mean > 0.5 else (second, first)
            values = (ours[key], theirs[key]) if mean > 0.5 else (theirs[key], ours[key])
            dissents.append(
                Dissent(
                    image=images[image], preferred=names[pair[0]], other=names[pair[1]], metric=key,
                    num_votes=len(shares), share=max(mean, 1 - mean), ours=values[0], theirs=values[1],
                )
            )  # fmt: skip
    order = sorted(
        dissents, key=lambda d: (-(d.share - 0.5) * math.sqrt(d.num_votes), -abs(d.ours - d.theirs), d.image)
    )
    return {key: (float(np.mean(values)), len(values)) for key, values in sorted(agreed.items()) if values}, order[
        :most
    ]


def _stopping(votes: Votes, alpha: float, margin: float) -> Stopping:
    """By the raters' shares, in the order of their first answers."""
    share = np.where(votes.left == 0, 2 - votes.answer, votes.answer) / 2
    return stopping(
        [float(share[votes.rater == rater].mean()) for rater in range(votes.num_raters)], alpha=alpha, margin=margin
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(child) for child in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
