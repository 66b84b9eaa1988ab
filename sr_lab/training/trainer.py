"""Lightning's trainer as a run here needs it: what it is made with, what it keeps quiet about, what ended it."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities import rank_zero_only

from sr_lab.training.early_end import EarlyEnd
from sr_lab.training.run_folder import EndedBy

TRAINER = {
    "max_epochs": -1,
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
}
"""What a trainer must have here: steps are the budget, the data share themselves out, checkpoints are ours."""
BAR = "enable_progress_bar"


def is_first_process() -> bool:
    """Whether this is the process that writes: of several that train together, Lightning starts the command in each."""
    node = int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))
    return getattr(rank_zero_only, "rank", 0) == 0 and node == 0


def trainer_arguments(
    make: Callable[..., pl.Trainer], *, max_steps: int, val_every: int, steps_per_batch: int, directory: Path
) -> dict[str, Any]:
    """What ``make`` is called with.

    Args:
        make: Makes the trainer: a partial, whose own arguments stand unless they contradict these.
        max_steps: Optimizer steps: the budget.
        val_every: Optimizer steps between two validations.
        steps_per_batch: Optimizer steps in what Lightning counts as one batch.
        directory: Folder of the run.

    Raises:
        ValueError: If the partial brings an argument that must be another one here.
    """
    given = dict(getattr(make, "keywords", {}))
    for key, value in (TRAINER | {"max_steps": max_steps}).items():
        if given.get(key, value) != value:
            raise ValueError(
                f"trainer.{key}={given[key]}: must be {value}. Steps are the budget (max_steps, val_every), and "
                "checkpoints and data are shared out by srlab itself"
            )
    bar = bool(given.get(BAR, True)) and sys.stdout.isatty()
    return {
        **TRAINER,
        BAR: bar,
        "max_steps": max_steps,
        "val_check_interval": max(1, val_every // steps_per_batch),  # Lightning counts its batches
        "default_root_dir": str(directory),
    }


def quiet() -> None:
    """Silences what Lightning says before, or instead of, what we say."""
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",  # inside Lightning
        ".*your dataloader is not resumable",  # its sampler starts where it must
        ".*in eval mode at the start of training",  # frozen networks
        ".*smaller than the logging interval",  # a short run
        ".*does not have many workers",  # data.num_workers is said in the configuration
        ".*Trainer.fit` stopped",
        ".*was not able to be detected|.*GPU available but not used",
        "You.re resuming from a checkpoint that ended before the epoch",
        ".*isn't overridden|.*`train_dataloader` returned",
    ):
        warnings.filterwarnings("ignore", message=message)


def what_ended(trainer: pl.Trainer, callbacks: Sequence[pl.Callback]) -> tuple[EndedBy, str | None]:
    """What ended the run, and, where that was before its last step, a sentence about it."""
    where = f"ended the run at step {trainer.global_step} of {trainer.max_steps}"
    for callback in callbacks:
        if isinstance(callback, EarlyEnd) and callback.ended_at is not None:
            return "early_end", f"early end on {callback.monitor} {where}"
        if isinstance(callback, EarlyStopping) and (callback.stopped_epoch or trainer.should_stop):
            return "early_stopping", f"early stopping on {callback.monitor} {where}"
    return "steps", None
