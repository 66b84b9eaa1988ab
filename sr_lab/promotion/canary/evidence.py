"""What the bursts so far show of a candidate: a fold over the stream, the same for the same stream, always.

Harm. Against "the mean gain is at least -tolerance" bet, for each check, one gambler from the first burst on and one
more from the beginning of each stage, so that harm that begins late, under more load, is not hidden by a good past.
Their capitals are averaged with weights that are fixed beforehand, over the stages and over the checks: an average of
e-processes is one, however they depend on each other. The candidate is stopped as soon as the average reaches
1 / level. It does so no later than one check alone would under e-Bonferroni (that check's capital at
number of checks / level), and by e-Bonferroni the checks are named that are harmed by themselves.

Proof. Each check has to refute "the mean gain is at most -margin" at the level: the confidence sequence excludes
-margin. All have to, so that no correction is needed (an intersection-union test, as the gate's).

Both hold under what the bets assume (see ``base.statistics.betting``): given all that came before, the mean gain of the
next burst, clipped to the bounds, is on the claim's side. Whether a request becomes a pair must not depend on what the
models make of it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from sr_lab.base.statistics import Gambler, Purse
from sr_lab.base.words import counted
from sr_lab.promotion.canary.bursts import Burst
from sr_lab.promotion.canary.policy import PairCheck, RolloutPolicy

State = Literal["harmed", "shown", "open", "not seen"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check has found.

    Attributes:
        check: Its key.
        state: ``harmed`` by itself; ``shown`` that less than the margin is lost; ``open``; ``not seen`` often enough,
            and not required.
        num_bursts: Bursts in which it was measured.
        mean: Mean gain over them, clipped; None of none.
        harm: Evidence of harm, an e-value: in a fair game it is 1 on average.
        proof: Evidence that less than the margin is lost, an e-value.
        tolerance: Of the check.
        margin: Of the check.
    """

    check: str
    state: State
    num_bursts: int
    mean: float | None
    harm: float
    proof: float
    tolerance: float
    margin: float

    @property
    def line(self) -> str:
        """One line for people."""
        verdict = {"harmed": "fail", "shown": "pass", "open": "wait", "not seen": "skip"}[self.state]
        mean = "no gain yet" if self.mean is None else f"mean gain {self.mean:+.4g}"
        return (
            f"{verdict:<4}  {self.check}: {mean} in {counted(self.num_bursts, 'burst')}; evidence of harm (below "
            f"{-self.tolerance or 0:g}) {self.harm:.3g}, of less than the margin lost (above {-self.margin:g}) "
            f"{self.proof:.3g}"
        )


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What all checks together say.

    Attributes:
        outcome: ``harm`` was shown; it was ``proven`` that nothing that matters is lost; or it is ``open``.
        findings: One a check.
        harm: Evidence of harm of all checks together, an e-value.
        harm_needed: What it has to reach.
        proof_needed: What each check's proof has to reach.
        num_bursts: Bursts that were looked at.
        harmed_at: Number of the burst at which harm was shown; None where it was not.
    """

    outcome: Literal["harm", "proven", "open"]
    findings: tuple[Finding, ...]
    harm: float
    harm_needed: float
    proof_needed: float
    num_bursts: int
    harmed_at: int | None

    @property
    def blamed(self) -> tuple[str, ...]:
        """The checks that are harmed; the one with the most evidence where only all together show it."""
        named = tuple(finding.check for finding in self.findings if finding.state == "harmed")
        if named or self.outcome != "harm":
            return named
        return (max(self.findings, key=lambda finding: finding.harm).check,)

    @property
    def lines(self) -> list[str]:
        """For people: each check, and all together."""
        together = (
            f"note  together: evidence of harm {self.harm:.3g} of {self.harm_needed:.4g}, of each check's proof "
            f"{self.proof_needed:.4g} is needed, {counted(self.num_bursts, 'burst')}"
        )
        return [*(finding.line for finding in self.findings), together]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings], "blamed": self.blamed}


@dataclass(frozen=True, kw_only=True)
class _Tally:
    """What one check has seen and won."""

    num: int
    total: float
    whole: Purse
    stages: Mapping[str, Purse]
    proof: Purse


class Evidence:
    """The capitals of all gamblers after the bursts so far.

    Args:
        policy: What is demanded.
    """

    def __init__(self, policy: RolloutPolicy) -> None:
        self.policy = policy
        self.num_bursts = 0
        self.stage_bursts: dict[str, int] = {}
        self.harmed_at: int | None = None
        self._players = {
            key: (
                Gambler(
                    claim="at least", value=-check.tolerance, low=check.low, high=check.high, alpha=policy.harm_level
                ),
                Gambler(claim="at most", value=-check.margin, low=check.low, high=check.high, alpha=policy.level),
            )
            for key, check in policy.checks.items()
        }
        self._tallies = {
            key: _Tally(num=0, total=0.0, whole=harm.start(), stages={}, proof=proof.start())
            for key, (harm, proof) in self._players.items()
        }

    def add(self, burst: Burst) -> None:
        """Takes one more burst into account; a metric that no check asks for is passed over."""
        self.num_bursts += 1
        self.stage_bursts[burst.stage] = self.stage_bursts.get(burst.stage, 0) + 1
        for key, check in self.policy.checks.items():
            if key in burst.gains:
                self._tallies[key] = self._after(key, check, burst)
        if self.harmed_at is None and self.log_harm >= -math.log(self.policy.harm_level):
            self.harmed_at = self.num_bursts

    def extend(self, bursts: Iterable[Burst]) -> "Evidence":
        """Takes several into account; gives itself."""
        for burst in bursts:
            self.add(burst)
        return self

    @property
    def log_harm(self) -> float:
        """Natural logarithm of the evidence of harm of all checks together."""
        capitals = [self._log_harm(key) for key in self.policy.checks]
        return float(np.logaddexp.reduce(capitals)) - math.log(len(capitals))

    def judge(self) -> Judgement:
        """What the bursts so far show. Harm that was once shown stays shown."""
        findings = tuple(self._finding(key, check) for key, check in self.policy.checks.items())
        if self.harmed_at is not None:
            outcome: Literal["harm", "proven", "open"] = "harm"
        elif all(finding.state in ("shown", "not seen") for finding in findings):
            outcome = "proven"
        else:
            outcome = "open"
        return Judgement(
            outcome=outcome,
            findings=findings,
            harm=_e_value(self.log_harm),
            harm_needed=1 / self.policy.harm_level,
            proof_needed=1 / self.policy.level,
            num_bursts=self.num_bursts,
            harmed_at=self.harmed_at,
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: all that the next judgement depends on."""
        return {
            "num_bursts": self.num_bursts,
            "stage_bursts": dict(self.stage_bursts),
            "harmed_at": self.harmed_at,
            "checks": {
                key: {
                    "num": tally.num,
                    "total": tally.total,
                    "whole": tally.whole.as_dict(),
                    "stages": {stage: purse.as_dict() for stage, purse in tally.stages.items()},
                    "proof": tally.proof.as_dict(),
                }
                for key, tally in self._tallies.items()
            },
        }

    @classmethod
    def from_dict(cls, policy: RolloutPolicy, kept: Mapping[str, Any]) -> "Evidence":
        """The evidence that ``as_dict`` described, under the same policy."""
        evidence = cls(policy)
        evidence.num_bursts, evidence.harmed_at = kept["num_bursts"], kept["harmed_at"]
        evidence.stage_bursts = dict(kept["stage_bursts"])
        evidence._tallies = {
            key: _Tally(
                num=tally["num"],
                total=tally["total"],
                whole=Purse.from_dict(tally["whole"]),
                stages={stage: Purse.from_dict(purse) for stage, purse in tally["stages"].items()},
                proof=Purse.from_dict(tally["proof"]),
            )
            for key, tally in kept["checks"].items()
        }
        return evidence

    def _after(self, key: str, check: PairCheck, burst: Burst) -> _Tally:
        tally, (harm, proof) = self._tallies[key], self._players[key]
        gain = min(max(burst.gains[key], check.low), check.high)
        before = tally.stages.get(burst.stage) or harm.start()
        return replace(
            tally,
            num=tally.num + 1,
            total=tally.total + gain,
            whole=harm.bet(tally.whole, gain),
            stages={**tally.stages, burst.stage: harm.bet(before, gain)},
            proof=proof.bet(tally.proof, gain),
        )

    def _log_harm(self, key: str) -> float:
        """Half of it has bet from the start on; the other half is shared out to the stages, some not begun yet."""
        tally, slots = self._tallies[key], len(self.policy.all_stages)
        begun = [float(purse.log_capital) for purse in tally.stages.values()][:slots]
        stages = float(np.logaddexp.reduce([*begun, *[0.0] * (slots - len(begun))])) - math.log(slots)
        return float(np.logaddexp(float(tally.whole.log_capital), stages)) - math.log(2)

    def _finding(self, key: str, check: PairCheck) -> Finding:
        tally = self._tallies[key]
        log_harm, log_proof = self._log_harm(key), float(tally.proof.log_capital)
        state: State = "open"
        if log_harm >= math.log(len(self.policy.checks)) - math.log(self.policy.harm_level):
            state = "harmed"
        elif log_proof >= -math.log(self.policy.level):
            state = "shown"
        elif not check.required and tally.num < check.enough:
            state = "not seen"
        return Finding(
            check=key,
            state=state,
            num_bursts=tally.num,
            mean=tally.total / tally.num if tally.num else None,
            harm=_e_value(log_harm),
            proof=_e_value(log_proof),
            tolerance=check.tolerance,
            margin=check.margin,
        )


def _e_value(logarithm: float) -> float:
    """Kept finite, so that it can be written as JSON."""
    return math.exp(min(max(logarithm, -700.0), 700.0))
