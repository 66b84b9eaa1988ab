"""How many of the images can be used at all: a folder of black frames has no drift, and is not what it should be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sr_lab.base.words import counted
from sr_lab.monitoring.features import feature_columns
from sr_lab.monitoring.profile import Profile

Kind = Literal["unreadable", "of one value", "too small", "not measured"]
"""Why a file is no image to measure."""

BLANK = 1.0
"""8-bit levels: an image whose 8 x 8 means vary by less (standard deviation) shows nothing but noise."""


class Unusable(ValueError):
    """A file that cannot be measured.

    Args:
        kind: What kind of reason.
        text: The reason.
    """

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(kind, text)  # both, so that it comes back from a worker as it was
        self.kind: Kind = kind

    def __str__(self) -> str:
        """The reason."""
        return str(self.args[1])


@dataclass(frozen=True, kw_only=True)
class Usability:
    """What part of the files can be used, and whether that is enough.

    Attributes:
        num_files: Number of files that were looked at.
        unusable: Names of the files that cannot be used, by kind.
        repeated: Names of the images whose every feature is that of an earlier one.
        allowed: Share of the two together up to which nothing is said: that of the policy, over the reference's own.
        judged: Whether there are enough files to speak of shares.
    """

    num_files: int
    unusable: Mapping[str, tuple[str, ...]]
    repeated: tuple[str, ...]
    allowed: float
    judged: bool = True

    @property
    def number(self) -> int:
        """Number of files that cannot be used or are repeated."""
        return sum(len(names) for names in self.unusable.values()) + len(self.repeated)

    @property
    def share(self) -> float:
        """Share of the files that cannot be used or are repeated."""
        return self.number / self.num_files if self.num_files else 0.0

    @property
    def alarm(self) -> bool:
        """Whether that is more than is allowed."""
        return self.judged and self.share > self.allowed

    @property
    def text(self) -> str:
        """The numbers in one line."""
        kinds = {**{kind: len(names) for kind, names in self.unusable.items()}, "repeated": len(self.repeated)}
        parts = ", ".join(f"{number} {kind}" for kind, number in kinds.items() if number)
        sign = "more than" if self.alarm else "up to"
        what = f"{counted(self.number, 'image', of=self.num_files)} ({self.share:.0%}) cannot be used or repeat another"
        return f"{what}, {sign} {self.allowed:.0%} may: {parts or 'none'}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        kinds = {kind: list(names) for kind, names in self.unusable.items()}
        return {
            "alarm": self.alarm, "share": self.share, "allowed": self.allowed, "num_files": self.num_files,
            "unusable": kinds, "repeated": list(self.repeated),
        }  # fmt: skip


def usability(current: Profile, reference: Profile, *, max_unusable: float, min_images: int) -> Usability:
    """What part of the current images can be used.

    Args:
        current: Profile of the current images, with the files that were skipped.
        reference: Profile of how it should be; its own share of such files is allowed as well.
        max_unusable: Share that is allowed beyond the reference's, from 0 to 1; 1 allows all.
        min_images: Number of files below which nothing is said.

    Raises:
        ValueError: If the share is no share.
    """
    if not 0 <= max_unusable <= 1:
        raise ValueError(f"max_unusable={max_unusable}: must lie between 0 and 1 (a share of the images)")
    kinds: dict[str, list[str]] = {}
    for name in current.facts["skipped"]:
        kinds.setdefault(str(current.facts.get("kinds", {}).get(name, "not measured")), []).append(name)
    before = len(reference.facts.get("skipped", {})) + len(_repeated(reference))
    own = before / max(len(reference) + len(reference.facts.get("skipped", {})), 1)
    number = len(current) + len(current.facts["skipped"])
    return Usability(
        num_files=number,
        unusable={kind: tuple(names) for kind, names in sorted(kinds.items())},
        repeated=_repeated(current),
        allowed=min(own + max_unusable, 1.0),
        judged=number >= min_images,
    )


def is_blank(levels: NDArray[Any]) -> bool:
    """Whether an image, (H, W, C) in 8-bit levels, shows nothing: noise at most, which means over 8 x 8 pixels remove.

    A lens cap, a dead sensor, a white page.
    """
    height, width = (length // 8 * 8 for length in levels.shape[:2])
    if not height or not width:
        return False
    luma = levels[:height, :width].astype(np.float32).mean(axis=2)
    means = luma.reshape(height // 8, 8, width // 8, 8).mean(axis=(1, 3))
    return bool(means.std() < BLANK)


def _repeated(profile: Profile) -> tuple[str, ...]:
    names = feature_columns(profile.table)
    if not names or not len(profile):
        return ()
    return tuple(str(name) for name in profile.table["name"][profile.table.duplicated(subset=names)])
