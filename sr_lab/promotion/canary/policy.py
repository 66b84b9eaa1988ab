"""What a candidate has to show on live requests, and in which steps it may be given more of them."""

import math
from collections.abc import Mapping
from typing import Any

from sr_lab.base.statistics import spent_evenly
from sr_lab.promotion.measurement import digest


class PairCheck:
    """One metric of a pair: what is harm, and what has to be excluded before the candidate is promoted.

    A gain is the candidate's value less the champion's, turned so that positive is better. Two claims are bet against:

    - that its mean is at least ``-tolerance``; who refutes that has shown harm.
    - that its mean is at most ``-margin``; who refutes that has shown that nothing that matters is lost.

    Between the two lies what may happen either way, so that an equal candidate is not taken for harm and a bad one not
    for equal.

    Args:
        low: Least gain that counts: a larger loss counts as this one, which says how much one outlier weighs.
        high: Largest gain that counts.
        tolerance: Mean loss that is no harm yet, from 0 to below ``margin``.
        margin: Mean loss that is too much.
        required: Whether a promotion waits for it. False: harm stops, and a metric of which too little came holds
            nothing up (``enough``).
        enough: Bursts from which on a metric that is not required is asked for as well.

    Raises:
        ValueError: if the numbers are not in this order.
    """

    def __init__(
        self, *, low: float, high: float, margin: float, tolerance: float = 0.0, required: bool = True, enough: int = 20
    ) -> None:
        if not all(math.isfinite(value) for value in (low, high, tolerance, margin)):
            raise ValueError(f"low={low}, high={high}, tolerance={tolerance}, margin={margin}: finite numbers")
        if not low < -margin < -tolerance <= high:
            raise ValueError(
                f"low={low}, margin={margin}, tolerance={tolerance}, high={high}: the order has to be "
                "low < -margin < -tolerance <= high"
            )
        if tolerance < 0 or enough < 1:
            raise ValueError(f"tolerance={tolerance}, enough={enough}: at least 0, at least 1")
        self.low, self.high = float(low), float(high)
        self.tolerance, self.margin = float(tolerance), float(margin)
        self.required, self.enough = required, enough


class Stage:
    """A step of a rollout.

    Args:
        share: Part of the clients that get the candidate's images, from 0 (shadow: both answer, the client gets the
            champion's) to 1; a client stays on its side.
        bursts: Number of bursts of this stage that have to be seen before the next one.
        proven: Whether every check has to be shown before the next stage; the last stage always asks for that.
    """

    def __init__(self, *, share: float, bursts: int, proven: bool = False) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share={share}: from 0 to 1")
        if bursts < 0:
            raise ValueError(f"bursts={bursts}: 0 or more")
        self.share, self.bursts, self.proven = float(share), bursts, proven


class RolloutPolicy:
    """The checks, the steps, and the two errors.

    Args:
        name: What people call it.
        checks: By metric; a pair's gains have the same names.
        stages: In their order; the first is ``shadow`` by custom. After the last the candidate is champion.
        holdback: Stage after the promotion, in which ``1 - share`` of the clients still get the former champion's
            images; harm found there takes the promotion back.
        alpha: Probability that a candidate that loses ``margin`` in a check is promoted, over a period of ``releases``.
        alpha_harm: Probability that a candidate that loses at most ``tolerance`` in every check is stopped, over a
            period of ``releases``.
        releases: Rollouts in a period, over which both are spent evenly.
        sample: Part of the requests that both models answer; the rest are answered by one alone.
        pause: Seconds without a request of a client after which its burst has ended.
        most_pairs: Pairs of a burst that count.
        most_bursts: Bursts of one client that count.
        patience: Bursts without a decision after which the rollout pauses for a person.

    Raises:
        ValueError: if there is no check or stage, shares fall, or a number is out of range.
    """

    def __init__(
        self,
        *,
        name: str,
        checks: Mapping[str, PairCheck],
        stages: Mapping[str, Stage],
        holdback: Stage,
        alpha: float = 0.05,
        alpha_harm: float = 0.05,
        releases: int = 10,
        sample: float = 1.0,
        pause: float = 60.0,
        most_pairs: int = 20,
        most_bursts: int = 50,
        patience: int = 20_000,
    ) -> None:
        if not checks:
            raise ValueError(f"policy {name} has no check: nothing would ever stop a candidate")
        if not any(check.required for check in checks.values()):
            raise ValueError(f"policy {name} requires none of its checks: any candidate would be promoted")
        if not stages:
            raise ValueError(f"policy {name} has no stage")
        shares = [stage.share for stage in stages.values()]
        if shares != sorted(shares):
            raise ValueError(f"policy {name}: the shares of its stages fall: {', '.join(map(str, shares))}")
        if {HOLDBACK, *ENDS} & stages.keys():
            raise ValueError(f"policy {name}: no stage may be called {', '.join((HOLDBACK, *ENDS))}")
        if not 0 < sample <= 1:
            raise ValueError(f"policy {name}: sample={sample}: above 0, up to 1")
        if not pause > 0 or min(most_pairs, most_bursts, patience) < 1:
            raise ValueError(
                f"policy {name}: pause={pause}, most_pairs={most_pairs}, most_bursts={most_bursts}, "
                f"patience={patience}: above 0"
            )
        self.name = name
        self.checks, self.stages, self.holdback = dict(checks), dict(stages), holdback
        self.alpha, self.alpha_harm, self.releases = alpha, alpha_harm, releases
        self.sample, self.pause = sample, pause
        self.most_pairs, self.most_bursts, self.patience = most_pairs, most_bursts, patience
        self.level, self.harm_level = (spent_evenly(value, over=releases) for value in (alpha, alpha_harm))

    @property
    def all_stages(self) -> dict[str, Stage]:
        """Every stage, the holdback last."""
        return {**self.stages, HOLDBACK: self.holdback}

    def share(self, stage: str) -> float:
        """Part of the clients that get the candidate's images in a stage; 0 where there is no such stage any more."""
        return self.all_stages[stage].share if stage in self.all_stages else 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, everything that a decision depends on."""
        plain = {key: value for key, value in vars(self).items() if key not in ("checks", "stages", "holdback")}
        return {
            **plain,
            "checks": {key: vars(check) for key, check in self.checks.items()},
            "stages": [{"name": key, **vars(stage)} for key, stage in self.stages.items()],
            "holdback": vars(self.holdback),
        }

    @property
    def sha256(self) -> str:
        """Hash of ``as_dict``."""
        return digest(self.as_dict())


HOLDBACK = "holdback"
ENDS = ("finished", "aborted")
