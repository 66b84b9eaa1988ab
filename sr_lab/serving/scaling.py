"""How many replicas a service on Ray Serve has: as many as its queue asks for, and never more than a hard cap.

Images differ in size a thousandfold, so that neither their number nor how busy a processor is says how long a client
waits; the seconds of computing that wait do. It is the rule by which KEDA scales on Kubernetes
(``conf/deploy/kubernetes/base/scaling.yaml``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WAITING = "queue_seconds"
"""What a replica tells Ray of itself."""


def num_replicas(waiting: Sequence[float], *, seconds: float, least: int, most: int) -> int:
    """How many replicas a queue asks for.

    Args:
        waiting: Seconds of computing that wait, of each replica.
        seconds: How many of them one replica may have.
        least: Replicas that there are in any case.
        most: The hard cap, at any load.

    Example:
        >>> num_replicas([12.0, 2.0], seconds=5.0, least=1, most=8)
        3
        >>> num_replicas([600.0], seconds=5.0, least=1, most=8)
        8
    """
    return min(most, max(least, math.ceil(sum(waiting) / seconds)))


@dataclass(frozen=True, kw_only=True)
class QueueScaling:
    """Replicas that follow the queue.

    Attributes:
        seconds: Seconds of computing that may wait for each replica, before one more is started.
        least: Replicas that there are in any case.
        most: Most replicas: the hard cap of what it may cost, at any load.
        up_after: Seconds for which the queue has to ask for more replicas.
        down_after: Seconds for which it has to ask for fewer.
        over: Seconds over which the queue is averaged.
        every: Seconds between two looks at the replicas' queues.

    Raises:
        ValueError: If a number is out of its range.
    """

    seconds: float = 5.0
    least: int = 1
    most: int = 4
    up_after: float = 10.0
    down_after: float = 300.0
    over: float = 15.0
    every: float = 5.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"scaling.least={self.least}, scaling.most={self.most}: at least 1, and in this order")
        if self.seconds <= 0 or self.every <= 0 or self.over < self.every:
            raise ValueError(
                f"scaling.seconds={self.seconds:g}, scaling.every={self.every:g}, scaling.over={self.over:g}: "
                "above 0, and over= at least every="
            )
        if self.up_after < 0 or self.down_after < 0:
            raise ValueError(f"scaling.up_after={self.up_after:g}, scaling.down_after={self.down_after:g}: at least 0")


class QueuePolicy:
    """What Ray asks how many replicas there should be.

    Args:
        seconds: Of ``QueueScaling``.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number, and what is kept for the next call; where no replica has told anything, it stays as it is.

        Args:
            context: Ray's ``AutoscalingContext``.
        """
        waiting = list(context.aggregated_metrics.get(WAITING, {}).values())
        if not waiting:
            return context.target_num_replicas, {}
        least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
        return num_replicas(waiting, seconds=self.seconds, least=least, most=most), {}
