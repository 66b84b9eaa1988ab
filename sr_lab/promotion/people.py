"""What people say of candidate and champion: a blind study as evidence, bound to both by their weights' hashes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sr_lab.base.words import counted
from sr_lab.promotion.checks import Check, Evidence, Reason, Stop, Verdict


@dataclass(frozen=True, kw_only=True)
class Preference:
    """Two models in a study.

    Attributes:
        first: Hash of the first one's weights.
        second: Of the second one's.
        share: Probability that a rater prefers the first, where one of the two is preferred.
        low: Its lower bound, each of the two at the policy's alpha; None where nothing is known of chance.
        high: Its upper bound.
        num_votes: Votes on the two, ties among them.
    """

    first: str
    second: str
    share: float
    low: float | None
    high: float | None
    num_votes: int


@dataclass(frozen=True, kw_only=True)
class People:
    """What the gate looks at of a study.

    Attributes:
        study: Its id.
        seal: Hash of what was fixed beforehand: restorers with their weights, question, rules, images.
        ballots: Hash of every answer.
        made: When, ISO 8601.
        age_days: Its age when it was looked at.
        candidate: Hash of the candidate's weights.
        champion: Of the champion's; None where there is none.
        preferences: The pairs of models that people were asked about.
        num_raters: Raters that the study's rules count.
        num_images: Images of the votes that count.
        seen: Images of the study that the candidate has learnt from; None where the study's images are not known.
        notes: What else the study says of itself.
    """

    study: str
    seal: str
    ballots: str
    made: str
    age_days: float
    candidate: str | None
    champion: str | None
    preferences: Sequence[Preference]
    num_raters: int
    num_images: int
    seen: Sequence[str] | None = None
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        plain = asdict(self)
        plain["preferences"] = [asdict(pair) for pair in self.preferences]
        plain["seen"] = None if self.seen is None else list(self.seen)
        return {**plain, "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "People":
        """What ``as_dict`` gave."""
        pairs = [Preference(**pair) for pair in document["preferences"]]
        return cls(**{**document, "preferences": pairs})

    def share(self) -> Preference | None:
        """What people say of candidate against champion; None where they were not asked about these two."""
        for pair in self.preferences:
            if (pair.first, pair.second) == (self.candidate, self.champion):
                return pair
            if (pair.second, pair.first) == (self.candidate, self.champion):
                return Preference(
                    first=pair.second, second=pair.first, share=1 - pair.share, num_votes=pair.num_votes,
                    low=None if pair.high is None else 1 - pair.high,
                    high=None if pair.low is None else 1 - pair.low,
                )  # fmt: skip
        return None


class Preferred(Check):
    """People do not prefer the champion: the candidate's share of the preferences exceeds ``least`` with confidence.

    The study counts only if it asked about these very weights, is not too old, and has raters enough. One that does not
    count is said; then the check fails where a study is ``required`` and is skipped where it is not. One that counts
    decides either way.

    Args:
        least: Share that has to be exceeded, with confidence 1 - alpha: 0.5 demands a preference for the candidate,
            0.45 that the champion is not preferred by more than a little.
        max_age_days: Days after which a study has expired.
        min_raters: Raters below which it does not count.
        min_images: Images below which it does not count.
        required: Whether a candidate without a study that counts fails.
    """

    def __init__(
        self,
        *,
        least: float = 0.45,
        max_age_days: float = 90,
        min_raters: int = 5,
        min_images: int = 5,
        required: bool = False,
    ) -> None:
        if not 0 < least < 1:
            raise ValueError(f"least={least} is a share, between 0 and 1")
        if max_age_days <= 0 or min_raters < 2 or min_images < 2:
            raise ValueError(
                f"max_age_days={max_age_days}, min_raters={min_raters}, min_images={min_images}: above 0, and 2 or more"
            )
        self.least, self.max_age_days, self.required = least, max_age_days, required
        self.min_raters, self.min_images = min_raters, min_images

    def expired(self, age_days: float) -> bool:
        """Whether a study of that age counts no more."""
        return age_days > self.max_age_days

    def _judge(self, key: str, evidence: Evidence) -> Reason:
        people = evidence.people
        if people is None:
            raise self._missing("no study was given: people=STUDY, of srlab study, which asks about both")
        name = f"study {people.study}"
        if people.candidate is None or people.champion is None:
            raise self._missing(f"{name}: the weights of candidate or champion have no hash to bind it to")
        share = people.share()
        if share is None:
            raise self._missing(
                f"{name} did not ask about candidate {people.candidate[:12]} against champion {people.champion[:12]}: "
                "it is of other weights"
            )
        if self.expired(people.age_days):
            raise self._missing(
                f"{name} has expired: it was made {people.age_days:.0f} days ago, the policy takes "
                f"{self.max_age_days:g}"
            )
        if people.seen:
            raise self._missing(
                f"{name} shows {counted(len(people.seen), 'image')} that the candidate has learnt from "
                f"({', '.join(list(people.seen)[:3])})"
            )
        if people.num_raters < self.min_raters or people.num_images < self.min_images:
            raise self._missing(
                f"{name} has {counted(people.num_raters, 'rater')} and {counted(people.num_images, 'image')} that "
                f"count, the policy asks for {self.min_raters} and {self.min_images}"
            )
        if share.low is None or share.high is None:
            raise self._missing(f"{name}: of so few answers nothing is known of chance")
        verdict: Verdict = "pass" if share.low > self.least else "fail"
        text = (
            f"{name}: the candidate is preferred in {share.share:.0%} of the decisions, {1 - 2 * evidence.alpha:.0%} "
            f"interval [{share.low:.0%}, {share.high:.0%}], must exceed {self.least:.0%} "
            f"({counted(share.num_votes, 'vote')}, {counted(people.num_raters, 'rater')}, "
            f"{counted(people.num_images, 'image')}, {people.age_days:.0f} days old)"
        )
        return Reason(
            check=key, verdict=verdict, text=text, estimate=share.share, low=share.low, high=share.high,
            limit=self.least, num_images=people.num_images, num_scenes=people.num_images,
        )  # fmt: skip

    def _missing(self, text: str) -> Stop:
        if self.required:
            return Stop("fail", f"{text}; the policy requires one that counts")
        return Stop("skip", f"{text}; the policy does without")
