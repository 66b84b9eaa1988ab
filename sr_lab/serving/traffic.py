"""The rollout of a registered model, as the service's router: who answers, and what the pairs show."""

from collections.abc import Callable

from sr_lab.serving.hooks import Choice, Pair
from sr_lab.serving.rollout import Answer, Rollouts, Route


class RolloutTraffic:
    """Follows the rollout that the registry's audit tells; see ``hooks.Traffic``.

    The service has one version that its alias names, and one beside it. Before a promotion the one beside it is the
    rollout's candidate; in the holdback after it, the champion of before.

    Args:
        rollouts: Routes requests and writes pairs down.
        current: Tells the version that the alias names and that is loaded.
    """

    def __init__(self, rollouts: Rollouts, current: Callable[[], str | None]) -> None:
        self.rollouts, self._current = rollouts, current

    @property
    def candidate(self) -> int | None:
        """The version beside the current one; the plan is read again."""
        plan, current = self.rollouts.refresh(), self._current()
        if plan is None or current not in (str(plan.base), str(plan.candidate)):
            return None
        return plan.base if current == str(plan.candidate) else plan.candidate

    def choose(self, request_id: str, key: str) -> Choice:
        """Who answers, as the rollout says of this client."""
        route = self.rollouts.route(client=key, request=request_id)
        if route.version is None or self._current() is None:
            return Choice()
        answers = "champion" if str(route.version) == self._current() else "candidate"
        return Choice(answers=answers, shadow=route.other is not None, token=route)  # type: ignore[arg-type]

    def observe(self, pair: Pair) -> None:
        """Writes down what both made of a request, or the candidate alone."""
        route = pair.token
        if not isinstance(route, Route) or route.rollout is None:
            return
        mine = Answer(image=pair.champion, seconds=pair.seconds[0] or None)
        beside = Answer(image=pair.candidate, seconds=pair.seconds[1] or None)
        asked = (pair.both or pair.answered == "champion", pair.both or pair.answered == "candidate")
        answers = [answer if was else None for answer, was in zip((mine, beside), asked, strict=True)]
        if self._current() == str(route.rollout.candidate):
            answers.reverse()
        self.rollouts.observe(route, low=pair.low, champion=answers[0], candidate=answers[1])
