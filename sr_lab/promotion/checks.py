"""What a check is: it looks at the numbers and answers with one line; what it cannot judge fails."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from sr_lab.promotion.measurement import Measurement

if TYPE_CHECKING:
    from sr_lab.promotion.people import People

ROUNDING = 1e-6
"""Relative difference up to which two numbers of one model are one."""

Verdict = Literal["pass", "fail", "skip", "wait", "note"]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """What one check found.

    Attributes:
        check: Its key in the policy, or the gate's own ``policy``, ``holdout``, ``protocol``, ``history``, ``images``,
            ``baseline``, ``approval``.
        verdict: ``fail`` stops the candidate; ``skip`` had too little to judge, and the policy allows that; ``wait`` is
            for a person; ``note`` is said and decides nothing.
        text: the finding in words, with its numbers.
        estimate: gain, value or ratio; None where nothing was computed.
        low: lower one-sided bound of it.
        high: upper one-sided bound of it.
        limit: what it was held against.
        num_images: images, or paired runs, that it rests on.
        num_scenes: independent scenes among them.
    """

    check: str
    verdict: Verdict
    text: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    num_images: int = 0
    num_scenes: int = 0

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.verdict:<4}  {self.check}: {self.text}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "line": self.line}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the checks look at; both measurements are of the same images (the gate has made sure).

    Attributes:
        candidate: the model that wants to be champion.
        champion: the model that is; None where there is none yet.
        alpha: probability of the error that each check may make.
        accept_identical: equal numbers on every image lose nothing.
        people: what people said of the two; None where nobody was asked.
    """

    candidate: Measurement
    champion: Measurement | None
    alpha: float
    accept_identical: bool = False
    people: "People | None" = None

    @property
    def identical(self) -> bool:
        """Whether both models have the same numbers throughout: most likely the same weights."""
        if self.champion is None:
            return False
        theirs = {row.name: row.metrics for row in self.champion.rows}
        return all(_close(row.metrics, theirs[row.name]) for row in self.candidate.rows)


class Stop(Exception):
    """A check has its answer before any statistics."""

    def __init__(self, verdict: Verdict, text: str, *, num_images: int = 0, num_scenes: int = 0) -> None:
        super().__init__(text)
        self.verdict, self.text, self.num_images, self.num_scenes = verdict, text, num_images, num_scenes


class Check(ABC):
    """One demand on the candidate."""

    needs_champion = True

    def judge(self, key: str, evidence: Evidence) -> Reason:
        """The answer of the check that the policy calls ``key``."""
        if evidence.champion is None and self.needs_champion:
            return Reason(check=key, verdict="skip", text="there is no champion yet to compare with")
        try:
            return self._judge(key, evidence)
        except Stop as stop:
            return Reason(
                check=key, verdict=stop.verdict, text=stop.text, num_images=stop.num_images, num_scenes=stop.num_scenes
            )

    @abstractmethod
    def _judge(self, key: str, evidence: Evidence) -> Reason: ...


def _close(ours: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    return ours.keys() == theirs.keys() and all(
        math.isclose(value, theirs[key], rel_tol=ROUNDING, abs_tol=1e-12) for key, value in ours.items()
    )
