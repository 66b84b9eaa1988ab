"""Ending a run that does worse than others have done at the same point."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl


class EarlyEnd(pl.Callback):
    """Reports the monitored metric after every validation, and ends the run where it is told to.

    Args:
        monitor: Logged key, as ``val/psnr_y``.
        judge: Takes the value and the number of validations so far, and says whether the run should end.
    """

    state_key = "Pruning"
    """The name of its state in a checkpoint, that of earlier releases."""

    def __init__(self, *, monitor: str, judge: Callable[[float, int], bool]) -> None:
        super().__init__()
        self.monitor, self.judge = monitor, judge
        self.ended_at: int | None = None
        self.validations = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports and asks; the first process alone, and the others follow it.

        Raises:
            ValueError: if the monitored key was not logged.
        """
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise ValueError(f"monitor={self.monitor} was not logged; logged: {logged}")
        self.validations += 1
        value = float(trainer.callback_metrics[self.monitor])
        end = trainer.is_global_zero and self.judge(value, self.validations)
        if trainer.strategy.broadcast(end) and trainer.global_step < trainer.max_steps:
            self.ended_at = trainer.global_step
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """How many validations there were, so that a resumed run goes on counting."""
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        self.validations = state_dict["validations"]


Pruning = EarlyEnd
"""The name that configurations of earlier releases have."""
