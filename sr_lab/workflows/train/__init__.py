"""Train a network into a run's folder, or go on where a stopped run was; see ``sr_lab.training.run_folder``."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from sr_lab.artefacts.artefact import complete_config, load_artefact, save_artefact
from sr_lab.base.signals import Stopped, deferred
from sr_lab.base.words import counted
from sr_lab.data.datamodule import SRDataModule
from sr_lab.networks.base import Network
from sr_lab.tracking.models import save_model
from sr_lab.tracking.none import NoRun
from sr_lab.tracking.run import Run as TrackedRun
from sr_lab.training.base import TrainingModule
from sr_lab.training.checkpoint import AtomicCheckpointIO, KeepBest, KeepLast, Paused
from sr_lab.training.draws import DrawRecords
from sr_lab.training.logger import RunLogger
from sr_lab.training.pictures import PictureGrid
from sr_lab.training.progress import StepProgressBar, ValidationLines
from sr_lab.training.resume import RUNNING, resumable, what_counts
from sr_lab.training.run_folder import PAUSED, EndedBy, RunFolder, RunResult
from sr_lab.training.trainer import BAR, is_first_process, quiet, trainer_arguments, what_ended
from sr_lab.workflows.train.lineage import ancestors_of, draws_of, lineage_of, tags_of
from sr_lab.workflows.train.preflight import require_ready

__all__ = ["PAUSED", "Run", "comparable", "is_first_process", "train"]

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training that came to its end, or to a pause.

    Attributes:
        directory: Folder of the run.
        result: How it ended; None where it is paused, and in all but the first of several processes.
        metrics: What was measured at the validation of the best weights, by logged key.
        paused: Where it was paused, in words; None where it came to its end.
        was_finished: Whether the run had ended before, and nothing was done.
        benchmark: A folder of the run's data that ``evaluate`` takes: held-out images, or those of the validation;
            None where there is none.
    """

    directory: Path
    result: RunResult | None = None
    metrics: Mapping[str, float]
    paused: str | None = None
    was_finished: bool = False
    benchmark: Path | None = None

    @property
    def best(self) -> Path:
        """The artefact of the best weights: give it to ``load`` or ``srlab evaluate``."""
        return RunFolder(self.directory).best

    @property
    def ended(self) -> EndedBy | None:
        """What ended the run; None where it is paused."""
        return None if self.result is None else self.result.ended_by

    @property
    def text(self) -> str:
        """How it ended: where it was paused, or the best weights, and what ended it; empty in all but one process."""
        if self.paused is not None or self.result is None:
            return self.paused or ""
        done = self.result
        best = f"best {done.monitor} {done.best:.4f} at step {done.best_step}"
        if self.was_finished:
            finished = f"{self.directory} is finished: {counted(done.steps, 'step')}"
            return f"{finished}, {best}; max_steps=... longer=true trains on"
        return "\n".join([*([done.ended] if done.ended else []), f"{best}: {self.best}"])

    @property
    def run_id(self) -> str | None:
        """Id of the tracked run."""
        return None if self.result is None else self.result.run_id


def train(
    *,
    module: Callable[[], TrainingModule],
    data: Callable[[], SRDataModule],
    trainer: Callable[..., pl.Trainer],
    tracking: Callable[..., Any],
    output: Path | str,
    config: Mapping[str, Any],
    name: str,
    protocol: str,
    max_steps: int,
    val_every: int,
    checkpoint_every: int,
    monitor: str,
    monitor_mode: Literal["max", "min"] = "max",
    seed: int = 0,
    initial: Path | str | None = None,
    callbacks: Sequence[pl.Callback] = (),
    max_seconds: float | None = None,
    resume: bool = True,
    longer: bool = False,
    fresh: bool = False,
    preflight: bool = True,
    pictures: int = 4,
    tags: Mapping[str, Any] | None = None,
    selected_on: Sequence[str] = (),
    news: Callable[[str], object] = LOG.info,
) -> Run:
    """Trains a network for ``max_steps`` optimizer steps, or goes on where a stopped run was, to the same weights.

    Called again on the same folder it continues a run that was stopped, killed or paused; on a finished run it does
    nothing. SIGTERM and Ctrl-C write a checkpoint after the step that is under way.

    Args:
        module: Makes the training module; called once the seed is set, so that the weights are the seed's.
        data: Makes the data.
        trainer: Makes Lightning's trainer: ``functools.partial(Trainer, accelerator="cpu")``. Budget, validation
            interval, logger, callbacks and checkpoints are set here.
        tracking: Makes the tracked run of ``name``, ``directory`` and ``tags``: a partial of ``tracking.run.Run``.
        output: Folder of the run.
        config: Resolved configuration as plain values; ``config["model"]["network"]`` has to build the network again.
        name: The run's name.
        protocol: Name of the protocol under which validation measures.
        max_steps: Optimizer steps: the budget.
        val_every: Optimizer steps between two validations; divides ``max_steps``.
        checkpoint_every: Optimizer steps between two checkpoints.
        monitor: The logged key that chooses the best weights: ``val/psnr_y``.
        monitor_mode: Whether a larger or a smaller value of it is better.
        seed: Seed of the weights.
        initial: Weights to start from: an artefact, a checkpoint, or a file of public weights.
        callbacks: Further callbacks of Lightning.
        max_seconds: Time after which the run pauses at a checkpoint; None for no pause.
        resume: Whether a checkpoint in ``output`` is gone on from; False refuses one.
        longer: Whether a run may go on to more steps than it began with, under the schedule of the longer run.
        fresh: Whether what ``output`` holds is moved aside first.
        preflight: Whether configuration, data, one step and the disk are checked first.
        pictures: Validation images shown in the tracker; 0 shows none.
        tags: Further tags of the tracked run.
        selected_on: SHA-256 of the images by which these settings were chosen.
        news: Is told, in a sentence, what a person at a terminal wants to know.

    Returns:
        The run: where its weights are, what they measured, and how it ended.

    Raises:
        ValueError: If something is wrong that can be known before the run; or another run holds the folder, or it
            was begun under another configuration or on other data.
        RuntimeError: If a loss is not finite, or the run ended before its last step.
        Stopped: If a signal asked for the end; the text says where, and the same call goes on.
    """
    folder, first = RunFolder(Path(output)), is_first_process()
    start_from = None if initial is None else Path(initial)
    with folder.held(fresh=fresh) if first else nullcontext(), _lossless():
        quiet()
        torch.set_float32_matmul_precision("high")
        pl.seed_everything(seed, workers=True, verbose=False)
        resumed = None
        if not fresh:
            resumed = resumable(folder, config, max_steps=max_steps, allowed=resume, longer=longer)
        before = folder.result()
        if resumed is not None and before is not None and before.max_steps == max_steps:
            return _finished(folder, before, was_finished=True)
        if resumed is not None:
            news(f"going on from step {resumed.step} of {max_steps} ({folder.checkpoint})")
        if first:
            folder.result_file.unlink(missing_ok=True)
        learner = module()
        ancestors = ancestors_of(learner, initial=start_from, config=config, news=news)
        images = data()
        arguments = trainer_arguments(
            trainer,
            max_steps=max_steps,
            val_every=val_every,
            steps_per_batch=images.steps_per_batch,
            directory=folder.directory,
        )
        if preflight and first:
            require_ready(
                trainer(**{**arguments, BAR: False}, logger=False),
                learner,
                images,
                directory=folder.directory,
                steps={"max_steps": max_steps, "val_every": val_every, "checkpoint_every": checkpoint_every},
                monitor=monitor,
            )
        lineage = lineage_of(learner, images, ancestors, protocol=protocol, selected_on=selected_on)
        if resumed is not None:
            resumed.require_same_data(images.data_version)
        node = complete_config(config["model"]["network"], learner.network)
        stored = {**config, "model": {**config["model"], "network": node}}

        def keep(network: Network, numbers: dict[str, float]) -> None:
            save_artefact(folder.best, network, config=stored, metadata=lineage | {"metrics": numbers})

        best = KeepBest(monitor=monitor, mode=monitor_mode, save=keep)
        draws = draws_of(images, seed)
        marks = {**tags_of(learner, images, protocol=protocol), **(tags or {})}
        record: Callable[..., Any] = tracking if first else NoRun
        tracked: TrackedRun
        with _paused() as pause, record(name=name, directory=folder.tracking, tags=marks) as tracked:
            tracked.log_config(dict(config))
            for described in images.describe():
                tracked.log_dataset(**described)
            tracked.log_text(json.dumps(lineage["images"]), "data/images.json")
            with deferred() as asked:
                fitting = trainer(
                    **arguments,
                    callbacks=[
                        *callbacks,
                        best,
                        *([PictureGrid(run=tracked, num_images=pictures)] if pictures else []),
                        *([DrawRecords(run=tracked, records=draws, every=val_every)] if draws else []),
                        StepProgressBar() if arguments[BAR] else ValidationLines(news=news, monitor=monitor),
                        KeepLast(
                            directory=folder.checkpoint.parent,
                            every=checkpoint_every,
                            provenance={"config": dict(config), "network": node, **lineage},
                            max_seconds=max_seconds,
                            asked=asked,
                        ),
                    ],
                    logger=RunLogger(run=tracked),
                    plugins=[AtomicCheckpointIO()],
                )
                start = time.perf_counter()
                fitting.fit(learner, images, ckpt_path=None if resumed is None else folder.checkpoint)
                seconds = time.perf_counter() - start
                asked.raise_if_asked(f"step {fitting.global_step} was the last; the export is left", goes_on=True)
            ended_by, ended = what_ended(fitting, callbacks)
            if ended is None and fitting.global_step != max_steps:
                raise RuntimeError(f"the run ended at step {fitting.global_step} of {max_steps}: it is not finished")
            if not first:
                return Run(directory=folder.directory, metrics={})
            tracked.log_metrics({"train/seconds": seconds}, fitting.global_step)
            save_model(folder.model, load_artefact(folder.best).network.for_graph(), artefact=folder.best)
            tracked.log_model(folder.model, step=best.best_step)
        if pause:
            return Run(directory=folder.directory, metrics={}, paused=pause[0])
        result = RunResult(
            max_steps=max_steps,
            steps=fitting.global_step,
            seconds=round(seconds, 1),
            monitor=monitor,
            best=best.best,
            best_step=best.best_step,
            run_id=tracked.run_id,
            ended=ended,
            ended_by=ended_by,
        )
        folder.write_result(result)
        return _finished(folder, result, benchmark=_benchmark(images))


def comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """What two trainings must have in common to be compared: their configuration without what changes no weight."""
    return what_counts(config, free=RUNNING)


def _finished(
    folder: RunFolder, result: RunResult, *, was_finished: bool = False, benchmark: Path | None = None
) -> Run:
    file = folder.best / "metadata.json"
    metrics = json.loads(file.read_text(encoding="utf-8")).get("metrics", {}) if file.is_file() else {}
    return Run(
        directory=folder.directory, result=result, metrics=metrics, was_finished=was_finished, benchmark=benchmark
    )


@contextmanager
def _lossless() -> Iterator[None]:
    """Says after a signal, wherever it came, that the run goes on."""
    try:
        yield
    except Stopped as stop:
        raise stop if stop.text else stop.saying("no step was lost", goes_on=True) from None


@contextmanager
def _paused() -> Iterator[list[str]]:
    """Takes a pause for an end that is no failure: gives where it was, in words, once it has come."""
    where: list[str] = []
    try:
        yield where
    except Paused as pause:
        where.append(str(pause))


def _benchmark(data: SRDataModule) -> Path | None:
    """A folder with originals, or with HR/ and LR/, of images that were not trained on."""
    val = data.sources["val"].roots
    pairs = len(val) == 2 and data.sources["val"].paired and val[0].parent == val[1].parent
    paired = pairs and {root.name for root in val} == {"HR", "LR"}
    folders = [*data.holdout, *([val[0].parent] if paired else val[:1])]
    return next((folder for folder in folders if folder.is_dir() and any(folder.iterdir())), None)
