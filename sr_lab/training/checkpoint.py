"""Checkpoints: written whole or not at all, and enough to go on from to the last bit."""

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from sr_lab.base.files import replacing
from sr_lab.base.signals import Asked, Stopped, take_back
from sr_lab.networks.base import Network
from sr_lab.training.base import TrainingModule

LAST = "last.ckpt"


class CheckpointError(OSError):
    """A checkpoint could not be written; the message names step, file and cause."""


class Paused(BaseException):
    """The time of a run is up: its checkpoint is written, and the same command goes on.

    No ``Exception``, as ``KeyboardInterrupt`` is none: nobody should take it for a failure.
    """


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file, flushes it to the disk, then renames it over the old one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Saves ``checkpoint``; the file at ``path`` is at every moment a whole one.

        Raises:
            CheckpointError: if the disk refuses; the former file is left as it was.
        """
        final = Path(path)
        try:
            with replacing(final) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:
            kept = f"; the one before it is whole: {final}" if final.exists() else ""
            raise CheckpointError(
                f"step {checkpoint.get('global_step')}: cannot write checkpoint {final}: {error}. Free some disk, or "
                f"write elsewhere with output=DIR{kept}"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Reads a checkpoint without unpickling code.

        Raises:
            ValueError: if the file is torn or not one of ours.
        """
        return load_checkpoint(Path(path), map_location=map_location)


def load_checkpoint(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint file; nothing in it is executed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is torn or not one of ours.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} is not a whole checkpoint: it was torn, is another program's, or holds code, which is not run. "
            "Delete it, or put a whole copy there"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"{path} is not a training checkpoint: it has no 'state_dict'")
    return content


class KeepLast(pl.Callback):
    """Keeps ``last.ckpt``, from which a killed run goes on.

    It is written every ``every`` optimizer steps and at the last one: after the validation where one is due
    at that step, so that a resumed run does not repeat it, else after the step. It also carries
    ``provenance`` (resolved config, code commit, data version) and the state of torch's random generators.

    Where ``max_seconds`` are over before the last step, or a signal asks for the end, the checkpoint is written after
    the step that is under way (or its validation), and :class:`Paused` or :class:`Stopped` ends the run.

    Args:
        directory: Folder in which ``last.ckpt`` is kept.
        every: Optimizer steps between two checkpoints.
        provenance: Plain values stored under the key ``sr_lab``.
        max_seconds: Time from the start of the training to the pause; None for no pause.
        asked: Whether a signal came (``signals.deferred``); None does not look. Of several processes, each looks as
            often as numbers are logged, so that all end at the same step.
    """

    def __init__(
        self,
        *,
        directory: Path,
        every: int,
        provenance: Mapping[str, Any],
        max_seconds: float | None = None,
        asked: Asked | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"checkpoint every={every}: must be at least 1 step")
        if max_seconds is not None and max_seconds <= 0:
            raise ValueError(f"max_seconds={max_seconds}: must be positive, or null for no pause")
        self.max_seconds, self._start = max_seconds, 0.0
        self.asked = asked
        self.path = directory / LAST
        self.every = every
        self.provenance = dict(provenance)
        self._saved_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock, and takes the signals back from Lightning, which would end the run as a success."""
        self._start = time.monotonic()
        if self.asked is not None:
            take_back()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Saves where no validation follows this step."""
        if not _validation_due(trainer):
            self._save(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves after a validation inside the training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer, pl_module)

    def _save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        step = trainer.global_step
        over = self.max_seconds is not None and time.monotonic() - self._start >= self.max_seconds
        if self.max_seconds is not None:
            over = trainer.strategy.broadcast(over)  # one clock for all processes
        stop = self._stop(trainer)
        due = step % self.every == 0 or step == trainer.max_steps or over or stop is not None
        if step == self._saved_step or not due:
            return
        assert isinstance(module, TrainingModule)
        module.raise_if_not_finite()
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_step = step
        module.saved_step = step
        if stop is not None and step < trainer.max_steps:
            raise Stopped(stop, f"the checkpoint of step {step} of {trainer.max_steps} is written", goes_on=True)
        if over and step < trainer.max_steps:
            raise Paused(f"paused at step {step} of {trainer.max_steps}; the same command goes on from there")

    def _stop(self, trainer: pl.Trainer) -> int | None:
        """The signal that asked any of the processes for the end."""
        if self.asked is None:
            return None
        if trainer.world_size > 1:
            if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
                return None
            if not trainer.strategy.reduce_boolean_decision(self.asked.signum is not None, all=False):
                return None
            return self.asked.signum or signal.SIGTERM
        return self.asked.signum

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds provenance and random states."""
        checkpoint["sr_lab"] = self.provenance
        checkpoint["random"] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            checkpoint["random"]["cuda"] = torch.cuda.get_rng_state_all()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restores random states."""
        random = checkpoint.get("random", {})
        if "cpu" in random:
            torch.set_rng_state(random["cpu"].cpu())
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([state.cpu() for state in random["cuda"]])
        self._saved_step = int(checkpoint.get("global_step", -1))
        assert isinstance(pl_module, TrainingModule)
        pl_module.saved_step = self._saved_step


class KeepBest(pl.Callback):
    """Hands over the final weights whenever the monitored metric is the best so far.

    Args:
        monitor: a logged key, as ``val/psnr_y``.
        mode: whether a larger or a smaller value is better.
        save: called with the network and the logged numbers of that validation; writes the artefact.
    """

    def __init__(
        self, *, monitor: str, mode: Literal["max", "min"], save: Callable[[Network, dict[str, float]], object]
    ) -> None:
        super().__init__()
        self.monitor, self.mode, self.save = monitor, mode, save
        self.best: float | None = None
        self.best_step = -1

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compares, and saves where the value is better.

        Raises:
            ValueError: if the monitored key was not logged.
        """
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        numbers = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        if self.monitor not in numbers:
            raise ValueError(
                f"monitor={self.monitor} was not logged; logged: {', '.join(sorted(numbers)) or 'nothing'}"
            )
        value = numbers[self.monitor]
        better = self.best is None or (value > self.best if self.mode == "max" else value < self.best)
        if better and value == value:
            self.best, self.best_step = value, trainer.global_step
            assert isinstance(pl_module, TrainingModule)
            if trainer.is_global_zero:
                self.save(pl_module.final_network, numbers | {"step": float(trainer.global_step)})

    def state_dict(self) -> dict[str, Any]:
        """Best value and its step, so that a resumed run keeps comparing with it."""
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]


def _validation_due(trainer: pl.Trainer) -> bool:
    loop = trainer.fit_loop.epoch_loop
    return loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
