"""Ending a run that does worse than others have done at the same point."""

from collections.abc import Callable

import pytorch_lightning as pl


class Pruning(pl.Callback):
    """Reports the monitored metric after every validation, and ends the run where it is told to.

    Args:
        monitor: a logged key, as ``val/psnr_y``.
        judge: takes the value and the number of validations so far; whether the run should end.
    """

    def __init__(self, *, monitor: str, judge: Callable[[float, int], bool]) -> None:
        super().__init__()
        self.monitor, self.judge = monitor, judge
        self.ended_at: int | None = None

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
        accumulate = int(trainer.accumulate_grad_batches)
        validations = round(trainer.global_step * accumulate / int(trainer.val_check_interval))
        value = float(trainer.callback_metrics[self.monitor])
        end = trainer.is_global_zero and self.judge(value, validations)
        if trainer.strategy.broadcast(end) and trainer.global_step < trainer.max_steps:
            self.ended_at = trainer.global_step
            trainer.should_stop = True
