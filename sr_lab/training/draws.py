"""What was drawn for a batch, kept beside the run, so that any picture of the training can be made again."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl

from sr_lab.training.base import Batch
from sr_lab.training.logger import TrackingRun

Key = tuple[int, int]


class DrawRecords(pl.Callback):
    """Records every drawn parameter of one batch in ``every`` optimizer steps, as ``draws/step_N.json``.

    Args:
        run: where the records go.
        records: Gives a JSON-able row of each sample that is named by (epoch, index): its file, and what was drawn.
        every: optimizer steps between two recorded batches.
    """

    def __init__(
        self, *, run: TrackingRun, records: Callable[[Sequence[Key]], list[dict[str, Any]]], every: int
    ) -> None:
        super().__init__()
        self.run, self.records, self.every = run, records, every
        self._recorded = -1

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch | Iterable[Sequence[Batch]],
        batch_idx: int,
    ) -> None:
        """Records the first batch of a step that is due; of a block, its first step."""
        step = trainer.global_step
        if step % self.every or step == self._recorded or not trainer.is_global_zero:
            return
        self._recorded = step
        if not isinstance(batch, Mapping):
            batch = next(iter(batch))[0]
        keys = list(zip(batch["epoch"].tolist(), batch["index"].tolist(), strict=True))
        rows = [
            {"epoch": epoch, "index": index, **row}
            for (epoch, index), row in zip(keys, self.records(keys), strict=True)
        ]
        self.run.log_text(json.dumps(rows, indent=1), f"draws/step_{step:07d}.json")
