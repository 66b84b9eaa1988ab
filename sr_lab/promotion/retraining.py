"""Whether to retrain: a pure function of what was found, of what it costs, and of what was done before."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the decision looks at.

    Attributes:
        alarm: whether there is drift.
        trainable: whether a change of noise, blur or JPEG explains it, so that a preset imitates it.
        hours_since_last: since the last retraining ended, whatever came of it; ``None`` before the first.
        minutes: that this one will take, estimated.
        device: kind of the device: ``cpu``, or as the price table calls it.
        spent: in the last 30 days, in the table's currency.
        unusable: whether too many of the images cannot be used: nothing to train on.
    """

    alarm: bool
    trainable: bool
    hours_since_last: float | None
    minutes: float
    device: str
    spent: float
    unusable: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision.

    Attributes:
        retrain: whether to.
        cost: estimated.
        reasons: a line for each condition, those that stopped it among them.
    """

    retrain: bool
    cost: float
    reasons: tuple[str, ...]


class RetrainingPolicy:
    """When a drift is answered by a training.

    Args:
        cooldown_hours: Hours after a retraining, whatever came of it, in which there is no other.
        prices: Price of a minute of each kind of device.
        currency: Currency of the prices and limits.
        max_cost: Largest cost of one retraining.
        max_cost_30_days: Largest cost of all retrainings in 30 days, this one included.
    """

    def __init__(
        self,
        *,
        cooldown_hours: float,
        prices: Mapping[str, float],
        currency: str,
        max_cost: float,
        max_cost_30_days: float,
    ) -> None:
        numbers = {"cooldown_hours": cooldown_hours, "max_cost": max_cost, "max_cost_30_days": max_cost_30_days}
        for name, value in {**numbers, **{f"prices.{device}": price for device, price in prices.items()}}.items():
            if not value >= 0:
                raise ValueError(f"retraining.{name}={value}: must be 0 or more")
        self.cooldown_hours, self.prices, self.currency = cooldown_hours, dict(prices), currency
        self.max_cost, self.max_cost_30_days = max_cost, max_cost_30_days

    def cost(self, minutes: float, device: str) -> float:
        """Of so many minutes.

        Raises:
            ValueError: if the device has no price.
        """
        if device not in self.prices:
            raise ValueError(
                f"retraining.prices has none for {device!r} ({', '.join(self.prices)}): give retraining.prices.{device}"
            )
        return minutes * self.prices[device]


def should_retrain(situation: Situation, policy: RetrainingPolicy) -> Verdict:
    """Yes, if a preset imitates the drift, the last retraining is long enough ago, and the money is there."""
    cost = policy.cost(situation.minutes, situation.device)
    total, unit = cost + situation.spent, policy.currency
    hours = situation.hours_since_last
    conditions = [
        (situation.alarm, "there is drift", "there is no drift"),
        (
            situation.trainable and not situation.unusable,
            "a degradation imitates it",
            "too many images are unreadable, of one value or repeated: no training mends that, look at their source"
            if situation.unusable
            else "no change of noise, blur or JPEG explains it: other data are needed, not another degradation",
        ),
        (
            hours is None or hours >= policy.cooldown_hours,
            "no retraining before" if hours is None else f"the last retraining was {hours:.1f} hours ago",
            f"cool-down: the last retraining was {hours or 0:.1f} hours ago, less than {policy.cooldown_hours:g}",
        ),
        (
            cost <= policy.max_cost,
            f"{situation.minutes:.1f} minutes of {situation.device} cost {cost:.2f} {unit}",
            f"budget: {situation.minutes:.1f} minutes of {situation.device} cost {cost:.2f} {unit}, more than "
            f"max_cost={policy.max_cost:g}",
        ),
        (
            total <= policy.max_cost_30_days,
            f"{total:.2f} {unit} in 30 days with it",
            f"budget: {situation.spent:.2f} {unit} were spent in 30 days and {cost:.2f} would be added, more than "
            f"max_cost_30_days={policy.max_cost_30_days:g}",
        ),
    ]
    return Verdict(
        retrain=all(holds for holds, _, _ in conditions),
        cost=cost,
        reasons=tuple(f"{'yes' if holds else 'NO '}  {good if holds else bad}" for holds, good, bad in conditions),
    )
