"""What somebody or something finds in a picture: a word, a code, a face, an object, each with its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing in a picture.

    Attributes:
        text: What it is: a word or a line that was read, the content of a code, the name of a class.
        box: Left, top, right and bottom in pixels of the picture.
        confidence: How sure whoever found it is, 0 to 1; 1 of a known truth.
    """

    text: str
    box: Box
    confidence: float = 1.0

    def scaled(self, factor: float) -> "Found":
        """The same in a picture that is ``factor`` times as wide and high."""
        left, top, right, bottom = self.box
        box = (left * factor, top * factor, right * factor, bottom * factor)
        return Found(text=self.text, box=box, confidence=self.confidence)

    @property
    def area(self) -> float:
        """Square pixels."""
        left, top, right, bottom = self.box
        return max(0.0, right - left) * max(0.0, bottom - top)

    def holds(self, other: "Found") -> bool:
        """Whether the middle of another one lies in this one's box."""
        x, y = (other.box[0] + other.box[2]) / 2, (other.box[1] + other.box[3]) / 2
        return self.box[0] <= x <= self.box[2] and self.box[1] <= y <= self.box[3]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"text": self.text, "box": [round(end, 2) for end in self.box], "confidence": round(self.confidence, 4)}


Reading = tuple[Found, ...]
"""All that was found in a picture, in the order in which it was read."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What an original is known to show, in its pixels.

    Attributes:
        found: The things, by task; a task that is not named has no known truth.
        group: A group that results are told by: the size of the print, say, as ``12 px``; empty for none.
    """

    found: dict[str, Reading]
    group: str = ""

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "Truth":
        """The truth of one image in ``truth.json``: ``{"group": ..., "found": {TASK: [{"text":, "box":}]}}``."""
        found = {
            str(task): tuple(Found(text=str(one["text"]), box=_box(one["box"])) for one in things)
            for task, things in document["found"].items()
        }
        return cls(found=found, group=str(document.get("group", "")))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; what ``parse`` reads."""
        found = {
            task: [{"text": one.text, "box": list(one.box)} for one in things] for task, things in self.found.items()
        }
        return {"group": self.group, "found": found}


def _box(ends: Sequence[float]) -> Box:
    left, top, right, bottom = (float(end) for end in ends)
    return left, top, right, bottom
