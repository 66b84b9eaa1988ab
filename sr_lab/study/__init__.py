"""What people prefer: the plan of a blind comparison, the ballots, and the ranking that they give."""

from sr_lab.study.ballots import Ballot, BallotBox, Refused, read_answers
from sr_lab.study.plan import Picture, Plan, Trial
from sr_lab.study.ranking import Ranking, rank
from sr_lab.study.rules import Rules

__all__ = ["Ballot", "BallotBox", "Picture", "Plan", "Ranking", "Refused", "Rules", "Trial", "rank", "read_answers"]
