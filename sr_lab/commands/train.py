"""Train a network on crops of high-resolution images; go on where a killed run stopped.

    srlab train experiment=edsr_tiny_x2_photos
    srlab train name=edsr data=t91_bsds400 scale=4 model/network=edsr_baseline max_steps=100000

Writes OUTPUT/checkpoints/last.ckpt (to go on from), OUTPUT/best (the artefact: weights, config, metadata),
OUTPUT/model (the same as an MLflow model) and, at the end, OUTPUT/result.json. The same command again continues a
run that was stopped, to the same weights as if it had not been; on a finished run it does nothing. Exit code 0 only
if every step was done or an early-stopping callback ended the run; 75 if max_seconds were over before.
"""

import io
import itertools
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities import rank_zero_only

from sr_lab.artefacts.artefact import complete_config, load_artefact, save_artefact
from sr_lab.artefacts.lineage import merged_images, perceptual_backbones
from sr_lab.base.files import write_text
from sr_lab.base.provenance import git_state
from sr_lab.config.compose import build, plain
from sr_lab.data.datamodule import SRDataModule
from sr_lab.degradations.base import record
from sr_lab.losses.base import Loss
from sr_lab.networks.base import Network
from sr_lab.networks.keys import convert_state_dict, read_weights, warm_start
from sr_lab.tracking.models import save_model
from sr_lab.tracking.run import Run
from sr_lab.training.base import TrainingModule
from sr_lab.training.checkpoint import LAST, AtomicCheckpointIO, KeepBest, KeepLast, Paused, load_checkpoint
from sr_lab.training.draws import DrawRecords, Key
from sr_lab.training.early_end import EarlyEnd
from sr_lab.training.logger import RunLogger
from sr_lab.training.pictures import PictureGrid
from sr_lab.training.preflight import disk_problem, optimizer_problem, precision_problem, step_problems
from sr_lab.training.progress import StepProgressBar

TRACKING, RESULT = "tracking", "result.json"
PAUSED = 75  # sysexits.h: a temporary failure, try again
MAY_CHANGE = {"output", "fresh", "resume", "preflight", "tracking", "pictures", "trainer", "callbacks", "experiment"}
MAY_CHANGE |= {"max_seconds", "tags"}


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    output = Path(cfg.output)
    if not is_first_process():
        with redirect_stdout(io.StringIO()):
            return _train(cfg, output)
    if cfg.fresh and output.exists():
        taken = (output.with_name(f"{output.name}.{number}") for number in itertools.count(1))
        output.rename(next(path for path in taken if not path.exists()))
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / ".lock", timeout=0):
            return _train(cfg, output)
    except Timeout as error:
        raise ValueError(f"output={output} is in use by another run: wait for it, or give name=...") from error


def is_first_process() -> bool:
    """Whether this is the process that writes: of several that train together, Lightning starts the command in each."""
    node = int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))
    return getattr(rank_zero_only, "rank", 0) == 0 and node == 0


def _train(cfg: DictConfig, output: Path) -> int:
    try:
        train(cfg, output, first=is_first_process())
    except Paused as pause:
        print(pause)
        return PAUSED
    return 0


def train(cfg: DictConfig, output: Path, *, first: bool = True) -> None:
    """Trains as ``cfg`` says, into ``output``; only the ``first`` of several processes records and writes."""
    config = plain(cfg)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # inside Lightning
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")  # its sampler starts where it must
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training")  # frozen networks
    torch.set_float32_matmul_precision("high")
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    last = output / "checkpoints" / LAST
    resumed = None if cfg.fresh else _resumable(cfg, config, last)
    result = output / RESULT
    if resumed is not None and result.exists() and _read(result)["max_steps"] == cfg.max_steps:
        print(f"{output} is finished: {result.read_text(encoding='utf-8')}")
        return
    if first:
        result.unlink(missing_ok=True)
    module: TrainingModule = build(cfg.model)
    if cfg.initial is None and module.needs_initial:
        raise ValueError(
            f"initial is null: {type(module).__name__} starts from weights that were trained for PSNR. Give "
            "initial=PATH (an artefact, a checkpoint, a public .pth file), or waive it with model.warm_start=waived"
        )
    ancestors = [part.origin for part in module.modules() if isinstance(part, Network) and part.origin]
    if cfg.initial is not None:
        ancestors += _start_from(Path(cfg.initial), module.network)
    ancestors += [load_artefact(path).metadata for path in _parts(config) if str(path) != cfg.initial]
    data: SRDataModule = build(cfg.data)
    block = cfg.data.steps_per_batch
    trainer_config = {**plain(cfg.trainer), "max_steps": cfg.max_steps, "max_epochs": -1}
    trainer_config |= {"val_check_interval": max(1, cfg.val_every // block), "check_val_every_n_epoch": None}
    trainer_config |= {"num_sanity_val_steps": 0, "use_distributed_sampler": False, "enable_checkpointing": False}
    trainer_config |= {"enable_model_summary": False, "default_root_dir": str(output)}
    if cfg.preflight and first:
        _preflight(cfg, trainer_config, module, data, output)
    code = git_state()
    lineage: dict[str, Any] = {"commit": code.commit, "dirty": code.dirty, "data_version": data.data_version}
    lineage |= {"protocol": build(cfg.protocol).name, "images": _images(data, ancestors, cfg.selected_on)}
    lineage |= {
        "perceptual_backbones": perceptual_backbones(
            [part for part in module.modules() if isinstance(part, Loss)], ancestors
        )
    }
    if resumed is not None:
        _require_same_data(resumed["data_version"], data, last)
    node = complete_config(config["model"]["network"], module.network)
    stored = {**config, "model": {**config["model"], "network": node}}

    def keep(network: Network, numbers: dict[str, float]) -> None:
        save_artefact(output / "best", network, config=stored, metadata=lineage | {"metrics": numbers})

    draws = _draws(data, cfg.seed)
    tracked: Run
    with build(
        cfg.tracking if first else {"_target_": "sr_lab.tracking.none.NoRun"},
        name=cfg.name,
        directory=output / TRACKING,
        tags={"protocol": lineage["protocol"], "data.version": data.data_version, **plain(cfg.tags)},
    ) as tracked:
        tracked.log_config(config)
        for described in data.describe():
            tracked.log_dataset(**described)
        tracked.log_text(json.dumps(lineage["images"]), "data/images.json")
        callbacks = [
            *(build(node) for node in cfg.callbacks.values()),
            KeepBest(monitor=cfg.monitor, mode=cfg.monitor_mode, save=keep),
            *([PictureGrid(run=tracked, num_images=cfg.pictures)] if cfg.pictures else []),
            *([DrawRecords(run=tracked, records=draws, every=cfg.val_every)] if draws else []),
            *([StepProgressBar()] if cfg.trainer.enable_progress_bar else []),
            KeepLast(
                directory=last.parent,
                every=cfg.checkpoint_every,
                provenance={"config": config, "network": node, **lineage},
                max_seconds=cfg.max_seconds,
            ),
        ]
        trainer = build(
            trainer_config, callbacks=callbacks, logger=RunLogger(run=tracked), plugins=[AtomicCheckpointIO()]
        )
        start = time.perf_counter()
        trainer.fit(module, data, ckpt_path=None if resumed is None else last)
        if _ended(trainer, callbacks) is None and trainer.global_step != cfg.max_steps:
            raise RuntimeError(f"the run ended at step {trainer.global_step} of {cfg.max_steps}: it is not finished")
        if not first:
            return
        seconds = time.perf_counter() - start
        tracked.log_metrics({"train/seconds": seconds}, trainer.global_step)
        best = next(callback for callback in callbacks if isinstance(callback, KeepBest))
        save_model(output / "model", load_artefact(output / "best").network.for_graph(), artefact=output / "best")
        tracked.log_model(output / "model", step=best.best_step)
    numbers = {"max_steps": cfg.max_steps, "steps": trainer.global_step, "seconds": round(seconds, 1)}
    numbers |= {"monitor": cfg.monitor, "best": best.best, "best_step": best.best_step, "run_id": tracked.run_id}
    numbers["ended"] = _ended(trainer, callbacks)
    write_text(result, json.dumps(numbers, indent=2))
    if numbers["ended"]:
        print(numbers["ended"])
    print(f"best {cfg.monitor} {best.best:.4f} at step {best.best_step}: {output / 'best'}")
    print(f"evaluate it: srlab evaluate restorer={output / 'best'} benchmark=DIR scale={cfg.scale} report=OUT")


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _require_same_data(before: str, data: SRDataModule, last: Path) -> None:
    """Refuses to go on with other data than a run began with."""
    if before != data.data_version:
        raise ValueError(
            f"{last} was made on other data: version {before[:12]}, now {data.data_version[:12]}. Give name=... for a "
            "new run, or put the former files back"
        )


def _draws(data: SRDataModule, seed: int) -> Callable[[Sequence[Key]], list[dict[str, Any]]] | None:
    """Gives the records of samples by (epoch, index); None where nothing is drawn."""
    degradation = data.degradation
    if degradation is None or degradation.deterministic:
        return None
    return lambda keys: record(degradation.draw_keyed((seed, epoch, index) for epoch, index in keys))


def _start_from(path: Path, network: Network) -> list[dict[str, Any]]:
    """Loads the weights of an artefact, a checkpoint of ours, or a file of public weights; says what was left out.

    Returns:
        The metadata of ours; nothing of public weights: what their authors have used cannot be known.
    """
    parents = []
    if path.is_dir() or path.suffix == ".ckpt":
        artefact = load_artefact(path)
        state = artefact.network.state_dict()
        parents.append(artefact.metadata)
    else:
        state = convert_state_dict(read_weights(path), network)
    if left := warm_start(network, state):
        print(f"initial={path}: of another scale; these start anew: {', '.join(left)}")
    return parents


def _images(
    data: SRDataModule, ancestors: Sequence[Mapping[str, Any]], selected_on: Sequence[str]
) -> dict[str, list[str]] | None:
    """Hashes of the images that the weights have seen, those of their ``ancestors`` among them.

    Ancestors are the networks that they start from, are joined with, or learn from. The images by which a sweep chose
    the settings (``selected_on``) count as validation images.

    None, which no promotion accepts, where an ancestor is ours and has no such record. What the authors of public
    weights have used cannot be known; it is not counted.
    """
    known = [ancestor.get("images") for ancestor in ancestors if ancestor]
    return merged_images(data.images, {"train": [], "val": list(selected_on)}, *known)


def _parts(node: Any) -> list[Path]:
    """The artefacts that a configuration takes networks from: a teacher, a part of the network."""
    if not isinstance(node, dict):
        return []
    if node.get("_target_") == "sr_lab.artefacts.artefact.load_network":
        return [Path(node["path"])]
    return sorted({path for child in node.values() for path in _parts(child)})


def _resumable(cfg: DictConfig, config: dict[str, Any], last: Path) -> dict[str, Any] | None:
    """Provenance of the checkpoint to go on from, None without one; refuses one of another configuration."""
    if not last.exists():
        return None
    if not cfg.resume:
        raise ValueError(f"{last} exists: give name=... for a new run, or resume=true to go on with this one")
    content = load_checkpoint(last)
    provenance: dict[str, Any] = content["sr_lab"]
    before, now = (_leaves(node) for node in (provenance["config"], config))
    changed = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key.split(".")[0] not in MAY_CHANGE
    ]
    if changed:
        raise ValueError(
            f"{last} was made under another configuration: {'; '.join(changed[:5])}. Give name=... for a new run, or "
            "the former values to go on with this one"
        )
    print(f"going on from step {content['global_step']} of {cfg.max_steps} ({last})")
    return provenance


def _leaves(node: Any, path: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted path."""
    if not isinstance(node, dict):
        return {path: node}
    return {
        key: value for name, child in node.items() for key, value in _leaves(child, f"{path}.{name}".strip(".")).items()
    }


def _preflight(
    cfg: DictConfig,
    trainer_config: dict[str, Any],
    module: TrainingModule,
    data: SRDataModule,
    output: Path,
) -> None:
    """Raises one ValueError that lists every problem that can be known before the run."""
    problems = []
    if cfg.max_steps % cfg.val_every:
        problems.append(
            f"val_every={cfg.val_every} does not divide max_steps={cfg.max_steps}: the last weights "
            "would not be validated"
        )
    for name in ("max_steps", "val_every", "checkpoint_every"):
        if cfg[name] % cfg.data.steps_per_batch:
            problems.append(f"data.steps_per_batch={cfg.data.steps_per_batch} does not divide {name}={cfg[name]}")
    if cfg.monitor.removeprefix("val/") not in module.named_metrics():
        logged = ", ".join(f"val/{key}" for key in module.named_metrics())
        problems.append(f"monitor={cfg.monitor} is not measured: there are {logged}")
    trainer = build(trainer_config | {"enable_progress_bar": False}, logger=False)
    device = trainer.strategy.root_device
    checks = [disk_problem(output, module), precision_problem(cfg.trainer.precision, device)]
    problems += [problem for problem in [*checks, optimizer_problem(module)] if problem]
    data_problems = data.problems(num_channels=module.network.num_channels)
    problems += data_problems
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


def _ended(trainer: pl.Trainer, callbacks: list[pl.Callback]) -> str | None:
    """Why the run was told to end before its last step; None where it was not."""
    where = f"ended the run at step {trainer.global_step} of {trainer.max_steps}"
    for callback in callbacks:
        if isinstance(callback, EarlyEnd) and callback.ended_at is not None:
            return f"pruning on {callback.monitor} {where}"
        if isinstance(callback, EarlyStopping) and (callback.stopped_epoch or trainer.should_stop):
            return f"early stopping on {callback.monitor} {where}"
    return None
