"""Who is not counted: rules that are written into a study before the first vote, and part of its page's seal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sr_lab.base.words import counted

WRONG_BLUR, TIED_BLUR, DECIDED_IDENTICAL, CONTRADICTED = 2.0, 1.0, 1.0, 1.0
"""Points of suspicion."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rater's answer on a check pair.

    Attributes:
        kind: ``blur``, ``identical`` or ``repeat``.
        points: Suspicion that the answer raises.
        most: The most that an answer of this kind can raise.
    """

    kind: str
    points: float
    most: float


class Rules:
    """When all of a rater's votes are left out.

    Check pairs raise suspicion: a blurred picture that is preferred to the sharp one 2 points, a tie of those 1, a
    winner among two identical pictures 1, a pair that is judged the other way round when its sides are swapped 1.

    Args:
        max_suspicion: Share of the points that can be raised from which on a rater is left out, 0 to 1.
        min_votes: Votes below which a rater is left out.
        least_seconds: Time a pair has to be looked at; the page asks for it too.
        max_hurried: Share of the votes that may have taken less.
        max_one_sided: Share of the decisions for one side from which on a rater with 20 or more is left out.
        whole_pixels: Whether a screen whose zoom is no whole number leaves a rater out.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self,
        *,
        max_suspicion: float = 0.3,
        min_votes: int = 10,
        least_seconds: float = 1.0,
        max_hurried: float = 0.1,
        max_one_sided: float = 0.9,
        whole_pixels: bool = False,
    ) -> None:
        for name, value in (
            ("max_suspicion", max_suspicion),
            ("max_hurried", max_hurried),
            ("max_one_sided", max_one_sided),
        ):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value}: from 0 to 1")
        if min_votes < 1 or not 0 <= least_seconds <= 60:
            raise ValueError(f"min_votes={min_votes}, least_seconds={least_seconds}: at least 1, and 0 to 60")
        self.max_suspicion, self.min_votes, self.least_seconds = float(max_suspicion), min_votes, float(least_seconds)
        self.max_hurried, self.max_one_sided = float(max_hurried), float(max_one_sided)
        self.whole_pixels = whole_pixels

    def as_dict(self) -> dict[str, Any]:
        """The settings, as the constructor takes them."""
        return dict(vars(self))

    def reasons(
        self,
        *,
        checks: Sequence[Check],
        seconds: Sequence[float],
        answers: Sequence[str],
        ratios: Sequence[float],
    ) -> list[str]:
        """Why a rater is left out; empty where none of the rules says so.

        Args:
            checks: Answers on check pairs.
            seconds: Time of each vote.
            answers: ``left``, ``tie`` or ``right`` of each vote on a pair that is no check.
            ratios: Device pixels a CSS pixel at each vote.
        """
        found = []
        if len(answers) < self.min_votes:
            found.append(f"{counted(len(answers), 'vote')}, fewer than min_votes={self.min_votes}")
        most = sum(check.most for check in checks)
        points = sum(check.points for check in checks)
        if most and points / most > self.max_suspicion:
            kinds = ", ".join(
                f"{kind} {sum(check.points > 0 for check in checks if check.kind == kind)} of "
                f"{sum(check.kind == kind for check in checks)}"
                for kind in dict.fromkeys(check.kind for check in checks)
            )
            found.append(
                f"{points:g} of {most:g} points on check pairs (failed: {kinds}), more than "
                f"max_suspicion={self.max_suspicion:g} of them"
            )
        if seconds and (hurried := float(np.mean(np.asarray(seconds) < self.least_seconds))) > self.max_hurried:
            found.append(
                f"{hurried:.0%} of the votes took less than least_seconds={self.least_seconds:g}, more than "
                f"max_hurried={self.max_hurried:g}"
            )
        decided = [answer for answer in answers if answer != "tie"]
        if len(decided) >= 20 and (share := max(decided.count(side) for side in ("left", "right")) / len(decided)) >= (
            self.max_one_sided
        ):
            found.append(f"{share:.0%} of the decisions for one side, max_one_sided={self.max_one_sided:g}")
        if self.whole_pixels and any(abs(ratio - round(ratio)) > 0.01 for ratio in ratios):
            found.append("the screen's zoom was no whole number")
        return found


def check_of(kind: str, answer: str, *, good: str = "", before: str = "") -> Check:
    """What an answer on a check pair says of a rater.

    Args:
        kind: ``blur``, ``identical`` or ``repeat``.
        answer: ``left``, ``tie`` or ``right``; of a repeat the picture that was preferred, or ``tie``.
        good: Of ``blur`` the side of the sharp picture.
        before: Of ``repeat`` the picture that was preferred the other time, or ``tie``.
    """
    if kind == "blur":
        points = 0.0 if answer == good else TIED_BLUR if answer == "tie" else WRONG_BLUR
        return Check(kind=kind, points=points, most=WRONG_BLUR)
    if kind == "identical":
        return Check(kind=kind, points=0.0 if answer == "tie" else DECIDED_IDENTICAL, most=DECIDED_IDENTICAL)
    opposed = "tie" not in (answer, before) and answer != before
    return Check(kind=kind, points=CONTRADICTED if opposed else 0.0, most=CONTRADICTED)
