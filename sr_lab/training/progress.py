"""How far a step-bounded run is: a bar on a terminal, a line a validation in a log."""

import time
from collections.abc import Callable
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


class ValidationLines(pl.Callback):
    """Says at every validation which step is reached, for what is written into a file, where a bar would be noise.

    Args:
        news: Takes the sentence.
        monitor: The logged key that it names.
    """

    def __init__(self, *, news: Callable[[str], object], monitor: str) -> None:
        super().__init__()
        self.news, self.monitor = news, monitor
        self._since = (0.0, 0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._since = (time.monotonic(), trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says it."""
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        value = trainer.callback_metrics.get(self.monitor)
        said = "" if value is None else f", {self.monitor} {float(value):.4f}"
        start, first = self._since
        rate = (trainer.global_step - first) / max(time.monotonic() - start, 1e-9)
        self.news(f"step {trainer.global_step} of {trainer.max_steps}{said}, {rate:.3g} steps/s")
