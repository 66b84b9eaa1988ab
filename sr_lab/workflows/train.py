"""Train a network into a run's folder, or go on where a stopped run was; see ``sr_lab.training.run_folder``."""

import itertools
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities import rank_zero_only

from sr_lab.artefacts.artefact import complete_config, load_artefact, save_artefact
from sr_lab.artefacts.lineage import merged_images, perceptual_backbones
from sr_lab.artefacts.public import weights_for
from sr_lab.base.provenance import git_state
from sr_lab.base.signals import Asked, Stopped, deferred
from sr_lab.data.datamodule import SRDataModule
from sr_lab.degradations.base import Degradation, record
from sr_lab.degradations.trace import summary
from sr_lab.losses.base import Loss
from sr_lab.networks.base import Network
from sr_lab.networks.keys import warm_start
from sr_lab.tracking.models import save_model
from sr_lab.tracking.none import NoRun
from sr_lab.tracking.run import Run as TrackedRun
from sr_lab.training.base import TrainingModule
from sr_lab.training.checkpoint import AtomicCheckpointIO, KeepBest, KeepLast, Paused, load_checkpoint
from sr_lab.training.draws import DrawRecords, Key
from sr_lab.training.early_end import EarlyEnd
from sr_lab.training.logger import RunLogger
from sr_lab.training.pictures import PictureGrid
from sr_lab.training.preflight import band_problems, disk_problem, optimizer_problem, precision_problem, step_problems
from sr_lab.training.progress import StepProgressBar, ValidationLines
from sr_lab.training.resume import RUNNING, changes, moved, what_counts
from sr_lab.training.run_folder import PAUSED, EndedBy, RunFolder, RunResult

__all__ = ["PAUSED", "Run", "comparable", "is_first_process", "train"]

LOG = logging.getLogger(__name__)
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
    training = _Training(
        folder=folder,
        first=first,
        make_module=module,
        make_data=data,
        make_trainer=trainer,
        make_tracked=tracking if first else NoRun,
        config=dict(config),
        name=name,
        protocol=protocol,
        max_steps=max_steps,
        val_every=val_every,
        checkpoint_every=checkpoint_every,
        monitor=monitor,
        monitor_mode=monitor_mode,
        seed=seed,
        initial=None if initial is None else Path(initial),
        callbacks=list(callbacks),
        max_seconds=max_seconds,
        resume=resume,
        longer=longer,
        fresh=fresh,
        preflight=preflight,
        pictures=pictures,
        tags=dict(tags or {}),
        selected_on=list(selected_on),
        news=news,
    )
    with _held(folder, fresh=fresh, first=first):
        try:
            return training.run()
        except Paused as pause:
            return Run(directory=folder.directory, metrics={}, paused=str(pause))
        except Stopped as stop:
            raise stop if stop.text else stop.saying("no step was lost", goes_on=True) from None


def comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """What two trainings must have in common to be compared: their configuration without what changes no weight."""
    return what_counts(config, free=RUNNING)


def is_first_process() -> bool:
    """Whether this is the process that writes: of several that train together, Lightning starts the command in each."""
    node = int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))
    return getattr(rank_zero_only, "rank", 0) == 0 and node == 0


@contextmanager
def _held(folder: RunFolder, *, fresh: bool, first: bool) -> Iterator[None]:
    """The folder, made and locked by the first process; with ``fresh``, what it holds is moved aside."""
    if not first:
        yield
        return
    directory = folder.directory
    if fresh and directory.exists():
        taken = (directory.with_name(f"{directory.name}.{number}") for number in itertools.count(1))
        directory.rename(next(path for path in taken if not path.exists()))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder.lock, timeout=0).acquire()
    except Timeout as error:
        raise ValueError(f"output={directory} is in use by another run: wait for it, or give name=...") from error
    with lock:
        yield


@dataclass(kw_only=True)
class _Training:
    """One call of ``train``; the attributes are its arguments."""

    folder: RunFolder
    first: bool
    make_module: Callable[[], TrainingModule]
    make_data: Callable[[], SRDataModule]
    make_trainer: Callable[..., pl.Trainer]
    make_tracked: Callable[..., Any]
    config: dict[str, Any]
    name: str
    protocol: str
    max_steps: int
    val_every: int
    checkpoint_every: int
    monitor: str
    monitor_mode: Literal["max", "min"]
    seed: int
    initial: Path | None
    callbacks: list[pl.Callback]
    max_seconds: float | None
    resume: bool
    longer: bool
    fresh: bool
    preflight: bool
    pictures: int
    tags: dict[str, Any]
    selected_on: list[str]
    news: Callable[[str], object]

    def run(self) -> Run:
        """Does the whole."""
        _quiet()
        torch.set_float32_matmul_precision("high")
        pl.seed_everything(self.seed, workers=True, verbose=False)
        resumed = None if self.fresh else self._resumable()
        before = self.folder.result()
        if resumed is not None and before is not None and self._is_finished():
            return self._finished(before, was_finished=True)
        if self.first:
            self.folder.result_file.unlink(missing_ok=True)
        module = self.make_module()
        ancestors = self._ancestors(module)
        data = self.make_data()
        arguments = self._trainer_arguments(data)
        if self.preflight and self.first:
            self._preflight(arguments, module, data)
        lineage = self._lineage(module, data, ancestors)
        if resumed is not None:
            self._require_same_data(resumed["data_version"], data)
        return self._fit(module, data, arguments, lineage, resumed=resumed is not None)

    def _fit(
        self,
        module: TrainingModule,
        data: SRDataModule,
        arguments: dict[str, Any],
        lineage: dict[str, Any],
        *,
        resumed: bool,
    ) -> Run:
        """Trains under tracking, exports the best weights, and keeps the result."""
        folder, config = self.folder, self.config
        node = complete_config(config["model"]["network"], module.network)
        stored = {**config, "model": {**config["model"], "network": node}}

        def keep(network: Network, numbers: dict[str, float]) -> None:
            save_artefact(folder.best, network, config=stored, metadata=lineage | {"metrics": numbers})

        best = KeepBest(monitor=self.monitor, mode=self.monitor_mode, save=keep)
        tracked: TrackedRun
        with self.make_tracked(
            name=self.name, directory=folder.tracking, tags=self._tags(module, data, lineage)
        ) as tracked:
            tracked.log_config(config)
            for described in data.describe():
                tracked.log_dataset(**described)
            tracked.log_text(json.dumps(lineage["images"]), "data/images.json")
            with deferred() as asked:
                provenance = {"config": config, "network": node, **lineage}
                trainer = self.make_trainer(
                    **arguments,
                    callbacks=self._callbacks(tracked, data, best, provenance, asked, bar=arguments[BAR]),
                    logger=RunLogger(run=tracked),
                    plugins=[AtomicCheckpointIO()],
                )
                start = time.perf_counter()
                trainer.fit(module, data, ckpt_path=folder.checkpoint if resumed else None)
                seconds = time.perf_counter() - start
                asked.raise_if_asked(f"step {trainer.global_step} was the last; the export is left", goes_on=True)
            ended_by, ended = _ended(trainer, self.callbacks)
            if ended is None and trainer.global_step != self.max_steps:
                raise RuntimeError(
                    f"the run ended at step {trainer.global_step} of {self.max_steps}: it is not finished"
                )
            if not self.first:
                return Run(directory=folder.directory, metrics={})
            tracked.log_metrics({"train/seconds": seconds}, trainer.global_step)
            save_model(folder.model, load_artefact(folder.best).network.for_graph(), artefact=folder.best)
            tracked.log_model(folder.model, step=best.best_step)
        result = RunResult(
            max_steps=self.max_steps,
            steps=trainer.global_step,
            seconds=round(seconds, 1),
            monitor=self.monitor,
            best=best.best,
            best_step=best.best_step,
            run_id=tracked.run_id,
            ended=ended,
            ended_by=ended_by,
        )
        folder.write_result(result)
        return self._finished(result, benchmark=_benchmark(data))

    def _finished(self, result: RunResult, *, was_finished: bool = False, benchmark: Path | None = None) -> Run:
        file = self.folder.best / "metadata.json"
        metrics = json.loads(file.read_text(encoding="utf-8")).get("metrics", {}) if file.is_file() else {}
        return Run(
            directory=self.folder.directory,
            result=result,
            metrics=metrics,
            was_finished=was_finished,
            benchmark=benchmark,
        )

    def _callbacks(
        self,
        tracked: TrackedRun,
        data: SRDataModule,
        best: KeepBest,
        provenance: Mapping[str, Any],
        asked: Asked,
        *,
        bar: bool,
    ) -> list[pl.Callback]:
        draws = _draws(data, self.seed)
        return [
            *self.callbacks,
            best,
            *([PictureGrid(run=tracked, num_images=self.pictures)] if self.pictures else []),
            *([DrawRecords(run=tracked, records=draws, every=self.val_every)] if draws else []),
            StepProgressBar() if bar else ValidationLines(news=self.news, monitor=self.monitor),
            KeepLast(
                directory=self.folder.checkpoint.parent,
                every=self.checkpoint_every,
                provenance=provenance,
                max_seconds=self.max_seconds,
                asked=asked,
            ),
        ]

    def _trainer_arguments(self, data: SRDataModule) -> dict[str, Any]:
        """What the trainer is made with here; a maker that brings something else is refused."""
        given = dict(getattr(self.make_trainer, "keywords", {}))
        for key, value in (TRAINER | {"max_steps": self.max_steps}).items():
            if given.get(key, value) != value:
                raise ValueError(
                    f"trainer.{key}={given[key]}: must be {value}. Steps are the budget (max_steps, val_every), and "
                    "checkpoints and data are shared out by srlab itself"
                )
        bar = bool(given.get(BAR, True)) and sys.stdout.isatty()
        return {
            **TRAINER,
            BAR: bar,
            "max_steps": self.max_steps,
            "val_check_interval": max(1, self.val_every // data.steps_per_batch),  # Lightning counts its batches
            "default_root_dir": str(self.folder.directory),
        }

    def _ancestors(self, module: TrainingModule) -> list[Mapping[str, Any]]:
        """Metadata of what the weights come from: what they start from, are joined with, or learn from."""
        if self.initial is None and module.needs_initial:
            raise ValueError(
                f"initial is null: {type(module).__name__} starts from weights that were trained for PSNR. Give "
                "initial=PATH (an artefact, a checkpoint, a public .pth file), or waive it with "
                "model.warm_start=waived"
            )
        ancestors = [part.origin for part in module.modules() if isinstance(part, Network) and part.origin]
        if self.initial is not None:
            ancestors += self._start_from(self.initial, module.network)
        parts = _parts(moved(self.config))
        return ancestors + [load_artefact(path).metadata for path in parts if path != self.initial]

    def _start_from(self, path: Path, network: Network) -> list[dict[str, Any]]:
        """Loads the weights of an artefact, a checkpoint of ours, or a file of public weights; says what was left out.

        Returns:
            The metadata of ours; nothing of public weights: what their authors have used cannot be known.
        """
        parents = []
        if path.is_dir() or path.suffix.lower() == ".ckpt":
            artefact = load_artefact(path)
            state = artefact.network.state_dict()
            parents.append(artefact.metadata)
        else:
            state = weights_for(path, network, self.config["model"]["network"])
        if left := warm_start(network, state):
            self.news(f"initial={path}: of another scale; these start anew: {', '.join(left)}")
        return parents

    def _lineage(
        self, module: TrainingModule, data: SRDataModule, ancestors: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """What the artefact keeps of its making.

        ``images`` are the hashes of what the weights have seen, those of their ancestors among them; the images by
        which a sweep chose the settings count as validation images. It is None, which no promotion accepts, where an
        ancestor is ours and has no such record. What the authors of public weights have used cannot be known.
        """
        code = git_state()
        known = [ancestor.get("images") for ancestor in ancestors if ancestor]
        return {
            "commit": code.commit,
            "dirty": code.dirty,
            "data_version": data.data_version,
            "protocol": self.protocol,
            "images": merged_images(data.images, {"train": [], "val": self.selected_on}, *known),
            "perceptual_backbones": perceptual_backbones(
                [part for part in module.modules() if isinstance(part, Loss)], ancestors
            ),
        }

    def _tags(self, module: TrainingModule, data: SRDataModule, lineage: Mapping[str, Any]) -> dict[str, Any]:
        """Tags of the tracked run: what one wants to see of it in a list."""
        losses = getattr(module, "losses", {})
        return {
            "network": type(module.network).__name__,
            "algorithm": type(module).__name__,
            "losses": ", ".join(losses.keys()),
            "degradation": "paired" if data.degradation is None else _label(data.degradation),
            "data": data.name,
            "scale": str(module.network.scale),
            "protocol": lineage["protocol"],
            "data.version": lineage["data_version"],
            **self.tags,
        }

    def _resumable(self) -> dict[str, Any] | None:
        """Provenance of the checkpoint to go on from, None without one; refuses one of another configuration."""
        last = self.folder.checkpoint
        if not last.exists():
            return None
        if not self.resume:
            raise ValueError(f"{last} exists: give name=... for a new run, or resume=true to go on with this one")
        content = load_checkpoint(last)
        provenance: dict[str, Any] = content["sr_lab"]
        step = int(content["global_step"])
        if changed := changes(provenance["config"], self.config, longer=self.longer):
            if not self.longer and not changes(provenance["config"], self.config, longer=True):
                remedy = f"longer=true goes on from step {step} under the schedule of max_steps={self.max_steps}"
            else:
                remedy = "the former values go on with this one"
            raise ValueError(
                f"{last} was made under another configuration: {'; '.join(changed[:5])}. Give name=... for a new run; "
                f"{remedy}"
            )
        if step > self.max_steps:
            raise ValueError(f"{last} is of step {step}, max_steps={self.max_steps} are fewer: give at least {step}")
        if not self._is_finished():
            self.news(f"going on from step {step} of {self.max_steps} ({last})")
        return provenance

    def _is_finished(self) -> bool:
        before = self.folder.result()
        return before is not None and before.max_steps == self.max_steps

    def _require_same_data(self, before: str, data: SRDataModule) -> None:
        """Refuses to go on with other data than a run began with."""
        if before != data.data_version:
            raise ValueError(
                f"{self.folder.checkpoint} was made on other data: version {before[:12]}, now "
                f"{data.data_version[:12]}. Give name=... for a new run, or put the former files back"
            )

    def _preflight(self, arguments: Mapping[str, Any], module: TrainingModule, data: SRDataModule) -> None:
        """Raises one ValueError that lists every problem that can be known before the run."""
        problems = []
        if self.max_steps % self.val_every:
            problems.append(
                f"val_every={self.val_every} does not divide max_steps={self.max_steps}: the last weights "
                "would not be validated"
            )
        for key in ("max_steps", "val_every", "checkpoint_every"):
            if getattr(self, key) % data.steps_per_batch:
                problems.append(
                    f"data.steps_per_batch={data.steps_per_batch} does not divide {key}={getattr(self, key)}"
                )
        if self.monitor.removeprefix("val/") not in module.named_metrics():
            logged = ", ".join(f"val/{key}" for key in module.named_metrics())
            problems.append(f"monitor={self.monitor} is not measured: there are {logged}")
        trainer = self.make_trainer(**{**arguments, BAR: False}, logger=False)
        device = trainer.strategy.root_device
        checks = [disk_problem(self.folder.directory, module), precision_problem(str(trainer.precision), device)]
        problems += [problem for problem in [*checks, optimizer_problem(module)] if problem]
        data_problems = data.problems(num_channels=module.network.num_channels)
        problems += data_problems
        channels = set().union(*(part.channels for part in data.parts.values())) if module.named_metrics() else set()
        problems += band_problems(channels, module, monitor=self.monitor)
        if not data_problems:
            data.prepare_data()
            data.setup("fit")
        if not problems:
            problems += step_problems(
                trainer,
                module,
                train=lambda: data.train_batch(device),
                val=lambda: data.finish(next(iter(data.val_dataloader()))),
            )
        if problems:
            listing = "\n".join(f"- {problem}" for problem in problems)
            raise ValueError(f"the preflight found {len(problems)} problem(s), nothing was trained:\n{listing}")


def _benchmark(data: SRDataModule) -> Path | None:
    """A folder with originals, or with HR/ and LR/, of images that were not trained on."""
    val = data.sources["val"].roots
    pairs = len(val) == 2 and data.sources["val"].paired and val[0].parent == val[1].parent
    paired = pairs and {root.name for root in val} == {"HR", "LR"}
    folders = [*data.holdout, *([val[0].parent] if paired else val[:1])]
    return next((folder for folder in folders if folder.is_dir() and any(folder.iterdir())), None)


def _label(degradation: Degradation) -> str:
    """A degradation in a list of runs: the names of a pipeline's operations, or its class."""
    ops = getattr(degradation, "ops", None)
    return " > ".join(ops) if isinstance(ops, Mapping) and ops else type(degradation).__name__


def _quiet() -> None:
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


def _draws(data: SRDataModule, seed: int) -> Callable[[Sequence[Key]], list[dict[str, Any]]] | None:
    """Gives file and draw, in words and in numbers, of samples by (epoch, index); None where nothing is drawn."""
    degradation = data.degradation
    if degradation is None or degradation.deterministic:
        return None

    def rows(keys: Sequence[Key]) -> list[dict[str, Any]]:
        drawn = degradation.draw_keyed((seed, epoch, index) for epoch, index in keys)
        files = data.train_names([index for _, index in keys])
        return [
            {
                "file": file,
                "words": dict(summary(degradation, {name: values[row : row + 1] for name, values in drawn.items()})),
                "draw": draw,
            }
            for row, (file, draw) in enumerate(zip(files, record(drawn), strict=True))
        ]

    return rows


def _parts(node: Any) -> list[Path]:
    """The artefacts that a configuration takes networks from: a teacher, a part of the network."""
    if not isinstance(node, Mapping):
        return []
    if node.get("_target_") == "sr_lab.artefacts.artefact.load_network":
        return [] if node.get("path") is None else [Path(node["path"])]
    return sorted({path for child in node.values() for path in _parts(child)})


def _ended(trainer: pl.Trainer, callbacks: Sequence[pl.Callback]) -> tuple[EndedBy, str | None]:
    """What ended the run, and, where that was before its last step, a sentence about it."""
    where = f"ended the run at step {trainer.global_step} of {trainer.max_steps}"
    for callback in callbacks:
        if isinstance(callback, EarlyEnd) and callback.ended_at is not None:
            return "early_end", f"early end on {callback.monitor} {where}"
        if isinstance(callback, EarlyStopping) and (callback.stopped_epoch or trainer.should_stop):
            return "early_stopping", f"early stopping on {callback.monitor} {where}"
    return "steps", None
