"""A sweep as its workers get it: where the queue is, what a trial runs, and what is read from its folder."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna

from sr_lab.sweeps.queue import requeue
from sr_lab.sweeps.space import Parameter
from sr_lab.sweeps.storage import open_storage
from sr_lab.training.run_folder import RunFolder

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a worker needs; it is sent to other processes and machines.

    Attributes:
        name: of the sweep, and of its study in the storage.
        storage: database of the queue.
        folder: of the trials, absolute; ``folder/0007`` is the eighth one's.
        directory: where the trials run, so that relative paths of the configuration hold.
        command: words that start a trial's process, before its overrides.
        train: overrides of every trial.
        space: what is searched, by label.
        objectives: logged keys that are judged, and which way is better.
        sampler: makes Optuna's sampler from a seed.
        pruner: decides which trials end early.
        early_end: The callback by which a trial's process reports and ends early, as a ``_target_`` node whose
            ``judge`` gets the storage, the study and the trial; None where no trial ends early.
        seed: of the draws.
        max_retries: how often a trial that was killed is started again.
        heartbeat: seconds between two signs of life of a running trial.
        grace: seconds without one after which a trial's worker counts as dead.
        give_up: after how many failed trials a call ends that has seen none that did not fail; None: never.
    """

    name: str
    storage: str
    folder: Path
    directory: Path
    command: tuple[str, ...]
    train: tuple[str, ...]
    space: Mapping[str, Parameter]
    objectives: Mapping[str, Direction]
    sampler: Callable[..., optuna.samplers.BaseSampler]
    pruner: optuna.pruners.BasePruner = field(default_factory=optuna.pruners.NopPruner)
    early_end: Mapping[str, Any] | None = None
    seed: int = 0
    max_retries: int = 3
    heartbeat: int = 15
    grace: int = 60
    give_up: int | None = None

    def __post_init__(self) -> None:
        if not self.space:
            raise ValueError("space is empty: choose what is searched, as sweep=learning_rate or +space.NAME={...}")
        if not 1 <= len(self.objectives) <= 3:
            raise ValueError(f"objectives={list(self.objectives)}: give one, two or three logged keys")
        for key, direction in self.objectives.items():
            if direction not in ("maximize", "minimize"):
                raise ValueError(f"objectives.{key}={direction}: must be maximize or minimize")
        keys = [parameter.key for parameter in self.space.values()]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f"space searches {', '.join(sorted(twice))} twice")
        if len(self.objectives) > 1 and self.ends_early:
            raise ValueError("trials with several objectives cannot be ended early: give pruner=none, or one objective")
        if not 1 <= self.heartbeat < self.grace or self.max_retries < 0:
            raise ValueError(
                f"heartbeat={self.heartbeat}, grace={self.grace}, max_retries={self.max_retries}: the grace must be "
                "longer than the heartbeat, of at least 1 second, and retries not negative"
            )
        if self.give_up is not None and self.give_up < 1:
            raise ValueError(f"give_up={self.give_up}: at least 1; null never gives up")

    @property
    def ends_early(self) -> bool:
        """Whether trials that do badly are ended before their last step."""
        return not isinstance(self.pruner, optuna.pruners.NopPruner)

    @property
    def searched(self) -> list[str]:
        """Labels of what is chosen by the search: every parameter that is no replicate."""
        return [label for label, parameter in self.space.items() if not parameter.replicate]

    def open(self, *, seed: int = 0) -> optuna.Study:
        """The study in the storage, with a sampler whose draws are ``seed``'s."""
        storage = open_storage(
            self.storage, heartbeat=self.heartbeat, grace=self.grace, requeue=lambda *found: self.requeue(*found)
        )
        sampler = self.sampler(seed=seed)
        return optuna.load_study(study_name=self.name, storage=storage, sampler=sampler, pruner=self.pruner)

    def requeue(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, *, counted: bool = True) -> None:
        """Puts a trial that was killed back into the queue, unless it was too often; see ``queue.requeue``."""
        requeue(study, trial, max_retries=self.max_retries, counted=counted)

    def trial_folder(self, original: int) -> Path:
        """Folder of a trial, the same for every attempt at it."""
        return self.folder / f"{original:04d}"

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The words that set the parameters of a trial."""
        return [parameter.override(values[label]) for label, parameter in self.space.items()]

    def read_values(self, folder: Path) -> list[float]:
        """The objectives of a trial that came to its end.

        Raises:
            ValueError: if one was not measured, or is not a number.
        """
        file = RunFolder(folder).best / "metadata.json"
        try:
            metrics = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"{file} holds no metrics of the trial ({error})") from error
        if missing := [key for key in self.objectives if key not in metrics]:
            raise ValueError(f"{missing[0]} was not measured; there are {', '.join(sorted(metrics))}")
        values = {key: float(metrics[key]) for key in self.objectives}
        if unknown := [key for key, value in values.items() if math.isnan(value)]:
            raise ValueError(f"{unknown[0]} is not a number")
        return list(values.values())
