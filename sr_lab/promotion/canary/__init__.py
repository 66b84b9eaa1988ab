"""The canary: is a candidate safe on the requests that come? Pure functions of a stream of pairs and a policy."""

from sr_lab.promotion.canary.bursts import Burst, Bursts, Pair
from sr_lab.promotion.canary.evidence import Evidence, Finding, Judgement
from sr_lab.promotion.canary.policy import PairCheck, RolloutPolicy, Stage
from sr_lab.promotion.canary.steps import Move, Standing, next_move

__all__ = [
    "Burst",
    "Bursts",
    "Evidence",
    "Finding",
    "Judgement",
    "Move",
    "Pair",
    "PairCheck",
    "RolloutPolicy",
    "Stage",
    "Standing",
    "next_move",
]
