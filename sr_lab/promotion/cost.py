"""Checks on what a model costs: time and memory, against the champion's in paired runs."""

import math
from collections.abc import Sequence

import numpy as np

from sr_lab.promotion.checks import Check, Evidence, Reason, Stop, Verdict, count
from sr_lab.promotion.measurement import Measurement
from sr_lab.promotion.statistics import mean_interval


class RatioLimit(Check):
    """The candidate costs at most ``limit`` times what the champion costs, in paired runs.

    Args:
        resource: key in ``Measurement.resources``, for example ``latency_s``.
        limit: highest acceptable ratio of candidate to champion, above zero.
        min_runs: fewer pairs fail.
        noisy: True (time): the upper bound of the geometric mean ratio, with confidence 1 - alpha, has to keep the
            limit. False (peak memory, which does not vary by chance): every pair has to.
    """

    def __init__(self, *, resource: str, limit: float, min_runs: int = 8, noisy: bool = True) -> None:
        if not (limit > 0 and math.isfinite(limit)):
            raise ValueError(f"{resource}: limit={limit} must be above zero")
        if min_runs < (2 if noisy else 1):
            raise ValueError(f"{resource}: min_runs={min_runs} is too few")
        self.resource = resource
        self.limit = limit
        self.min_runs = min_runs
        self.noisy = noisy

    def _judge(self, key: str, evidence: Evidence) -> Reason:
        assert evidence.champion is not None
        ours = self._runs(evidence.candidate)
        theirs = self._runs(evidence.champion)
        if len(ours) != len(theirs):
            raise Stop("fail", f"{self.resource}: {len(ours)} runs against {len(theirs)} are not pairs")
        if len(ours) < self.min_runs:
            raise Stop(
                "fail",
                f"{self.resource}: {count(len(ours), 'paired run')} of {self.min_runs} that the policy asks for",
                num_images=len(ours),
            )
        ratios = np.array(ours) / np.array(theirs)
        low = high = None
        base = count(len(ratios), "paired run")
        if not self.noisy:
            found = float(ratios.max())
            text = f"{self.resource}: highest ratio {found:.3f}, must be {self.limit:g} or less ({base})"
            verdict: Verdict = "pass" if found <= self.limit else "fail"
        else:
            interval = mean_interval(np.log(ratios), alpha=evidence.alpha)
            found = math.exp(float(interval.mean))
            if bool(interval.degenerate):
                verdict = "fail"
                text = f"{self.resource}: ratio {found:.3f} in every run alike, which no measured time has ({base})"
            else:
                low, high = math.exp(float(interval.low)), math.exp(float(interval.high))
                verdict = "pass" if high < self.limit else "fail"
                text = (
                    f"{self.resource}: ratio {found:.3f}, {1 - 2 * evidence.alpha:.0%} interval [{low:.3f}, {high:.3f}]"
                    f", must stay below {self.limit:g} ({base})"
                )
        return Reason(
            check=key, verdict=verdict, text=text, estimate=found, low=low, high=high, limit=self.limit,
            num_images=len(ratios),
        )  # fmt: skip

    def _runs(self, model: Measurement) -> Sequence[float]:
        runs = model.resources.get(self.resource)
        if not runs:
            raise Stop("fail", f"{self.resource} of {model.model} was not measured")
        if not all(math.isfinite(value) and value > 0 for value in runs):
            raise Stop("fail", f"{self.resource} of {model.model} has a value that is not above zero and finite")
        return runs
