"""All that can be known before a long run: of configuration, data, one step and the disk."""

from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl

from sr_lab.base.words import counted
from sr_lab.data.datamodule import SRDataModule
from sr_lab.training.base import TrainingModule
from sr_lab.training.preflight import disk_problem, image_problems, optimizer_problem, precision_problem, step_problems


def require_ready(
    trainer: pl.Trainer,
    module: TrainingModule,
    data: SRDataModule,
    *,
    directory: Path,
    steps: Mapping[str, int],
    monitor: str,
) -> None:
    """Checks everything at once, within seconds.

    Args:
        trainer: Gives device and precision.
        module: What is to be trained; its weights are left as they were.
        data: What it is to be trained on.
        directory: Folder of the run.
        steps: ``max_steps``, ``val_every`` and ``checkpoint_every``.
        monitor: The logged key that chooses the best weights.

    Raises:
        ValueError: One that lists every problem.
    """
    problems = []
    if steps["max_steps"] % steps["val_every"]:
        problems.append(
            f"val_every={steps['val_every']} does not divide max_steps={steps['max_steps']}: the last weights "
            "would not be validated"
        )
    problems += [
        f"data.steps_per_batch={data.steps_per_batch} does not divide {key}={count}"
        for key, count in steps.items()
        if count % data.steps_per_batch
    ]
    if monitor.removeprefix("val/") not in module.named_metrics():
        logged = ", ".join(f"val/{key}" for key in module.named_metrics())
        problems.append(f"monitor={monitor} is not measured: there are {logged}")
    device = trainer.strategy.root_device
    checks = [disk_problem(directory, module), precision_problem(str(trainer.precision), device)]
    problems += [problem for problem in [*checks, optimizer_problem(module)] if problem]
    data_problems = data.problems(num_channels=module.network.num_channels)
    problems += data_problems
    if module.named_metrics():
        channels = set().union(*(part.channels for part in data.parts.values()))
        problems += image_problems(channels, data.parts["val"].deep, module, monitor=monitor)
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
        raise ValueError(f"the preflight found {counted(len(problems), 'problem')}, nothing was trained:\n{listing}")
