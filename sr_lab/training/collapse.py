"""A GAN that collapses is stopped by its instruments, not found on the last day by its pictures."""

from collections.abc import Mapping
from typing import Any

from sr_lab.base.words import counted

REMEDIES = {
    "critic_gap": "the critic tells all images apart and teaches no more: lower model.critic_optimizer.lr, add R1 "
    "(model.r1), or lower model.gan.weight",
    "colour_bias": "the colours drift: raise the weight of a pixel loss, or lower model.gan.weight",
    "top_octave": "too much is noise and invented texture, too little is blur: lower or raise model.gan.weight, or "
    "start from better weights (initial=PATH)",
    "checkerboard": "a pattern on the pixels' lattice: lower model.gan.weight and optimizer.lr, or use a critic of "
    "pixels (critic@model.critic=unet)",
}
"""By instrument: what a value out of bounds says, and what to do."""


class Collapsed(RuntimeError):
    """An instrument left its bounds for too long; the message names it and the remedy."""


class Limit:
    """Bounds of an instrument.

    Args:
        least: Smallest value that is still sound; None where there is none.
        most: Largest value that is still sound; None where there is none.
    """

    def __init__(self, *, least: float | None = None, most: float | None = None) -> None:
        if least is most is None or (least is not None and most is not None and least >= most):
            raise ValueError(f"least={least}, most={most}: give one of them, or both with least below most")
        self.least, self.most = least, most

    def broken_by(self, value: float) -> bool:
        """Whether ``value`` is out of bounds, or no number."""
        inside = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        return not inside or value != value

    def __str__(self) -> str:
        bounds = {"least": self.least, "most": self.most}
        return ", ".join(f"{name} {bound:g}" for name, bound in bounds.items() if bound is not None)


class CollapseWatch:
    """Stops the run where an instrument is out of bounds at ``patience`` looks in a row.

    Args:
        limits: Limits by instrument; null limits of a configuration are left out.
        patience: Number of looks in a row that have to be beyond a limit.
    """

    def __init__(self, *, limits: Mapping[str, Limit | None], patience: int = 5) -> None:
        if patience < 1:
            raise ValueError(f"patience={patience}: must be at least 1 look")
        self.limits = {name: limit for name, limit in limits.items() if limit is not None}
        if unknown := sorted(self.limits.keys() - REMEDIES.keys()):
            raise ValueError(f"limits names {unknown[0]!r}: the instruments are {', '.join(REMEDIES)}")
        self.patience = patience
        self._in_a_row = dict.fromkeys(self.limits, 0)

    def look(self, step: int, values: Mapping[str, float]) -> None:
        """Counts the looks in a row at which an instrument is out of bounds.

        Raises:
            Collapsed: at the ``patience``-th of one instrument.
        """
        for name, limit in self.limits.items():
            self._in_a_row[name] = self._in_a_row[name] + 1 if limit.broken_by(values[name]) else 0
            if self._in_a_row[name] == self.patience:
                raise Collapsed(
                    f"step {step}: the GAN has collapsed: train/{name}={values[name]:.4g} (allowed: {limit}) at "
                    f"{counted(self.patience, 'look')} in a row; {REMEDIES[name]}. Bounds: "
                    f"model.collapse.limits.{name}; the best "
                    "weights so far are kept"
                )

    def state_dict(self) -> dict[str, Any]:
        """The counts, so that a resumed run stops where the uninterrupted one would."""
        return dict(self._in_a_row)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``; instruments that it does not know start at 0."""
        self._in_a_row = {name: int(state.get(name, 0)) for name in self.limits}
