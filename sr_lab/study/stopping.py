"""Two restorers: may the study stop? By the bets of the canary, which may be looked at after every rater.

One observation is a rater: the mean over the votes of one, 1 for the first restorer, 0 for the second, 1/2 for a tie.
Two gamblers bet against "the mean is at most 1/2" and "it is at least 1/2", each at half of alpha, so that one of them
is wrongly convinced, ever, with probability alpha at most, however often one looks and whenever one stops. Images are
taken as given: the claim is of these images, and of all raters like these.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sr_lab.base.statistics import Gambler, confidence_sequence


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """What the raters so far show.

    Attributes:
        outcome: ``first`` or ``second`` is preferred; they are ``alike``, both bounds within the margin; or it is
            ``open``, and more raters are needed.
        num_raters: Raters.
        mean: Mean share of the first.
        low: Lower bound of it, valid at any time.
        high: Upper bound.
        for_first: Evidence that the first is preferred, an e-value.
        for_second: The same of the second.
        needed: What one of the two has to reach.
        decided_at: Number of the rater at whom it was decided; None where it was not.
    """

    outcome: Literal["first", "second", "alike", "open"]
    num_raters: int
    mean: float
    low: float
    high: float
    for_first: float
    for_second: float
    needed: float
    decided_at: int | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def stopping(shares: Sequence[float], *, alpha: float = 0.05, margin: float = 0.05) -> Stopping:
    """What the shares of the raters, in the order in which they came, show.

    Args:
        shares: Each rater's share of votes for the first one, ties half; 0 to 1.
        alpha: Probability with which a preference is ever claimed where there is none.
        margin: Distance of the mean share from 1/2 that is too small to matter.

    Raises:
        ValueError: if there is no rater, or a number is out of range.

    Example:
        >>> stopping([0.9, 0.8, 0.85, 0.9, 0.8] * 4).outcome
        'first'
    """
    if not shares:
        raise ValueError("no rater has voted yet")
    if not 0 < alpha < 0.5 or not 0 < margin < 0.5:
        raise ValueError(f"alpha={alpha}, margin={margin}: both between 0 and 0.5")
    above = Gambler(claim="at most", value=0.5, low=0.0, high=1.0, alpha=alpha / 2)
    below = Gambler(claim="at least", value=0.5, low=0.0, high=1.0, alpha=alpha / 2)
    bounds = confidence_sequence(shares, low=0.0, high=1.0, alpha=alpha / 2, points=(0.5 - margin, 0.5, 0.5 + margin))
    first, second = above.start(), below.start()
    outcome: Literal["first", "second", "alike", "open"] = "open"
    decided = None
    ours = theirs = 0.0
    for number, share in enumerate(shares, 1):
        first, second = above.bet(first, share), below.bet(second, share)
        ours, theirs = float(first.log_capital), float(second.log_capital)
        if decided is not None:
            continue
        if max(ours, theirs) >= math.log(2 / alpha):
            outcome, decided = "first" if ours > theirs else "second", number
        elif 0.5 - margin <= bounds.low[:number].max() and bounds.high[:number].min() <= 0.5 + margin:
            outcome, decided = "alike", number
    return Stopping(
        outcome=outcome, num_raters=len(shares), mean=float(bounds.mean[-1]), low=float(bounds.low.max()),
        high=float(bounds.high.min()), for_first=math.exp(min(ours, 700)), for_second=math.exp(min(theirs, 700)),
        needed=2 / alpha, decided_at=decided,
    )  # fmt: skip
