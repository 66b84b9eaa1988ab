"""The progress bar of a step-bounded run."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar

from sr_lab.training.base import TrainingModule


class StepProgressBar(TQDMProgressBar):
    """Counts optimizer steps of the whole run; epochs are not shown, because steps are the budget.

    Args:
        refresh_rate: batches between two looks; a batch may be a block of steps.
    """

    def __init__(self, *, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Starts the bar under the name of what it shows."""
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.total = trainer.max_steps
        self.train_progress_bar.set_description("Training")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar to the step that is reached."""
        if (batch_idx + 1) % self.refresh_rate == 0 or trainer.global_step >= trainer.max_steps:
            self.train_progress_bar.n = trainer.global_step
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Logged numbers without Lightning's version counter."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        logged = pl_module.logged if isinstance(pl_module, TrainingModule) else {}
        return {**logged, **metrics}
