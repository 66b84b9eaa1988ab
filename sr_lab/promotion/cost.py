"""Checks on what a model costs: time and memory, against the champion's in paired runs."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from sr_lab.base.statistics import median_bounds
from sr_lab.base.words import counted
from sr_lab.promotion.checks import Check, Evidence, Reason, Stop, Verdict
from sr_lab.promotion.measurement import Measurement

WORK = ("parameters", "operations")
"""Resources that are counted, not measured: the same on every machine and in every run."""


class RatioLimit(Check):
    """The candidate costs at most ``limit`` times what the champion costs, in paired runs.

    Two models of one architecture do the same work: their times keep any limit from 1 on, whatever a busy machine
    measures.

    A time is judged by the median ratio, with bounds that hold for any distribution: below the limit it is kept, above
    it is broken. In between noise would decide. Then more runs are made, up to ``max_runs``: their number is doubled,
    and each look is made at alpha over the number of looks. What is undecided after the last one is decided by the work
    (``undecided``).

    Args:
        resource: Key in ``Measurement.resources``, for example ``latency_s``.
        limit: Highest acceptable ratio of candidate to champion, above zero.
        min_runs: Number of pairs; fewer fail.
        noisy: True (time): judged as above. False (peak memory, which does not vary by chance): every pair has to keep
            the limit.
        max_runs: Number of pairs up to which an undecided time is measured on; None: no more than ``min_runs``.
        undecided: ``work``: a time that stays undecided passes if the candidate has no more than ``limit`` times the
            champion's parameters and operations, and fails otherwise; ``fail``: it fails.
    """

    LATER: ClassVar[dict[str, object]] = {"max_runs": None, "undecided": "work"}

    def __init__(
        self,
        *,
        resource: str,
        limit: float,
        min_runs: int = 8,
        noisy: bool = True,
        max_runs: int | None = None,
        undecided: Literal["work", "fail"] = "work",
    ) -> None:
        if not (limit > 0 and math.isfinite(limit)):
            raise ValueError(f"{resource}: limit={limit} must be above zero")
        if min_runs < (2 if noisy else 1):
            raise ValueError(f"{resource}: min_runs={min_runs} is too few")
        if max_runs is not None and max_runs < min_runs:
            raise ValueError(f"{resource}: max_runs={max_runs} is less than min_runs={min_runs}")
        if undecided not in ("work", "fail"):
            raise ValueError(f"{resource}: undecided={undecided!r} must be 'work' or 'fail'")
        self.resource = resource
        self.limit = limit
        self.min_runs = min_runs
        self.noisy = noisy
        self.max_runs = max_runs
        self.undecided = undecided

    @property
    def num_looks(self) -> int:
        """How often the time may be looked at, with twice as many runs each time."""
        return 1 + math.ceil(math.log2((self.max_runs or self.min_runs) / self.min_runs))

    def wants_more(self, evidence: Evidence) -> bool:
        """Whether more paired runs are made: until the limit is shown to be kept, or broken in every run.

        A limit that is broken by bounds alone is looked at once more, so that noise does not fail a model by one of
        several looks.
        """
        if not self.noisy or evidence.champion is None or self._same_work(evidence):
            return False
        ours, theirs = (model.resources.get(self.resource) or () for model in (evidence.candidate, evidence.champion))
        if len(ours) != len(theirs) or len(ours) >= (self.max_runs or self.min_runs):
            return False
        if len(ours) < self.min_runs:
            return True
        ratios = np.array(ours) / np.array(theirs)
        return self._bounds(ratios, evidence.alpha)[1] >= self.limit and float(ratios.min()) <= self.limit

    def _judge(self, key: str, evidence: Evidence) -> Reason:
        assert evidence.champion is not None
        if self.noisy and self._same_work(evidence):
            text = f"{self.resource}: the same architecture does the same work"
            return Reason(check=key, verdict="pass", text=text, limit=self.limit)
        ours = self._runs(evidence.candidate)
        theirs = self._runs(evidence.champion)
        if len(ours) != len(theirs):
            raise Stop(
                "fail", f"{self.resource}: {counted(len(ours), 'run')} against {len(theirs)}: these are not pairs"
            )
        if len(ours) < self.min_runs:
            raise Stop(
                "fail",
                f"{self.resource}: {counted(len(ours), 'paired run')} of {self.min_runs} that the policy asks for",
                num_images=len(ours),
            )
        ratios = np.array(ours) / np.array(theirs)
        low = high = None
        base = counted(len(ratios), "paired run")
        if not self.noisy:
            found = float(ratios.max())
            text = f"{self.resource}: highest ratio {found:.3f}, must be {self.limit:g} or less ({base})"
            verdict: Verdict = "pass" if found <= self.limit else "fail"
        elif float(np.ptp(np.log(ratios))) <= 1e-12:
            found, verdict = float(ratios[0]), "fail"
            text = f"{self.resource}: ratio {found:.3f} in every run alike, which no measured time has ({base})"
        else:
            found = float(np.median(ratios))
            low, high = self._bounds(ratios, evidence.alpha)
            level = 1 - 2 * evidence.alpha / self.num_looks
            text = (
                f"{self.resource}: median ratio {found:.3f}, {level:.0%} interval [{low:.3f}, {high:.3f}], "
                f"must stay below {self.limit:g} ({base})"
            )
            verdict, said = self._verdict(low, high, evidence)
            text += said
        known = [bound if bound is not None and math.isfinite(bound) else None for bound in (low, high)]
        return Reason(
            check=key, verdict=verdict, text=text, estimate=found, low=known[0], high=known[1], limit=self.limit,
            num_images=len(ratios),
        )  # fmt: skip

    def _verdict(self, low: float, high: float, evidence: Evidence) -> tuple[Verdict, str]:
        """By the bounds or, where they hold the limit between them, by the work."""
        if high < self.limit:
            return "pass", ""
        if low > self.limit:
            return "fail", ""
        remedy = "measure again where nothing else runs, or allow more runs (max_runs of this check)"
        if self.undecided == "fail":
            return "fail", f": undecided, {remedy}"
        work = _work_ratios(evidence)
        if not work:
            return "fail", f": undecided, and parameters and operations are not known to decide by; {remedy}"
        shown = ", ".join(f"{key} x{ratio:.3f}" for key, ratio in work.items())
        if max(work.values()) <= self.limit:
            return "pass", f": undecided on this machine, so the work decides: {shown}"
        return "fail", f": undecided, and it is more work ({shown}); {remedy}"

    def _bounds(self, ratios: np.ndarray, alpha: float) -> tuple[float, float]:
        low, high = median_bounds(np.log(ratios), alpha=alpha / self.num_looks)
        return math.exp(low), math.exp(high)

    def _same_work(self, evidence: Evidence) -> bool:
        """Whether both are of one architecture, so that none can cost more."""
        assert evidence.champion is not None
        ours, theirs = evidence.candidate.architecture, evidence.champion.architecture
        work = _work_ratios(evidence).values()
        return self.limit >= 1 and ours is not None and ours == theirs and all(ratio == 1 for ratio in work)

    def _runs(self, model: Measurement) -> Sequence[float]:
        runs = model.resources.get(self.resource)
        if not runs:
            raise Stop("fail", f"{self.resource} of {model.model} was not measured")
        if not all(math.isfinite(value) and value > 0 for value in runs):
            raise Stop("fail", f"{self.resource} of {model.model} has a value that is not above zero and finite")
        return runs


def _work_ratios(evidence: Evidence) -> dict[str, float]:
    """Candidate over champion of what is counted; empty unless all of it is known of both."""
    assert evidence.champion is not None
    ours, theirs = evidence.candidate.resources, evidence.champion.resources
    if not all(key in ours and key in theirs and theirs[key][0] > 0 for key in WORK):
        return {}
    return {key: float(ours[key][0]) / float(theirs[key][0]) for key in WORK}
