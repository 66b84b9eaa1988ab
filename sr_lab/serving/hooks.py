"""What decides between the champion and a candidate, and is shown what both make of a request."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy.typing as npt

Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class Choice:
    """Who answers a request.

    Attributes:
        answers: Whose image the client gets.
        shadow: Whether the other one restores it too, on spare capacity, for ``observe``.
        token: What the router wants to have back with the pair.
    """

    answers: Literal["champion", "candidate"] = "champion"
    shadow: bool = False
    token: object = None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A request that the candidate has restored, or tried to, and the champion too where both were asked.

    Attributes:
        request_id: Of the request.
        key: What its client is known by: the name of the API key, or a hash of the address.
        low: The image that was sent, (h, w, C), uint8 or uint16.
        champion: Its image, (h * scale, w * scale, C); None if it failed.
        candidate: The same of the candidate.
        seconds: Computing time of the champion and of the candidate.
        scale: Enlargement factor.
        answered: Whose image the client got.
        token: What the router gave.
        both: Whether both were asked; without, only the one that answered was.
    """

    request_id: str
    key: str
    low: Pixels
    champion: Pixels | None
    candidate: Pixels | None
    seconds: tuple[float, float]
    scale: int
    answered: Literal["champion", "candidate"]
    token: object = None
    both: bool = True


class Inputs(Protocol):
    """A sample of the images that come in; see ``incoming.Incoming``."""

    def offer(self, request: str, data: bytes) -> None:
        """Tells of the file that a request brings; returns at once, and never fails."""

    def close(self) -> None:
        """Ends."""


class Traffic(Protocol):
    """Shadow and canary traffic of one registered model. Both methods are called in a thread, never at once."""

    @property
    def candidate(self) -> int | None:
        """Version of the candidate that should be loaded; None: nothing is rolled out."""

    def choose(self, request_id: str, key: str) -> Choice:
        """Who answers a request; only called while the candidate is loaded."""

    def observe(self, pair: Pair) -> None:
        """Takes in a pair, or what the candidate answered alone. What it raises is logged, and no client notices."""
