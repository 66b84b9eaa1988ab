"""One error probability spent evenly over a period of many decisions, however they depend on each other."""


def spent_evenly(alpha: float, *, over: int) -> float:
    """The level of each decision, so that a period of ``over`` decisions errs at all with probability alpha at most.

    Bonferroni's bound: nothing is assumed of the dependence of the decisions, and the level does not fall with time.

    Args:
        alpha: Probability that a period holds a wrong decision; in (0, 0.5).
        over: Number of decisions in a period, at least 1.

    Raises:
        ValueError: if one of them is out of range.

    >>> spent_evenly(0.05, over=10)
    0.005
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha={alpha}: must lie between 0 and 0.5")
    if over < 1:
        raise ValueError(f"{over} decisions a period: must be at least 1")
    return alpha / over
