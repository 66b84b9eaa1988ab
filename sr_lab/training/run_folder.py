"""The folder of a run: what lies where in it, and how the run ended. The one place that knows; no heavy import.

result.json            how it ended; only there once it has
best/                  the artefact: weights, config, metadata
model/                 the same as an MLflow model
checkpoints/last.ckpt  to go on from
tracking/              what was recorded, and is not yet sent
.lock                  held by the process that trains
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from sr_lab.base.files import write_text

PAUSED = 75
"""Exit code of a run whose time was up: sysexits.h's temporary failure, the same command goes on."""

EndedBy = Literal["steps", "early_stopping", "early_end"]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended, as ``result.json`` keeps it.

    Attributes:
        max_steps: The budget of optimizer steps.
        steps: The steps that were done.
        seconds: Wall time of the last process's training.
        monitor: The logged key that chose the best weights.
        best: Its best value.
        best_step: The step of the best weights.
        run_id: The id of the tracked run; None where there is none, or the server has not given one.
        ended: Why the run was told to end before its last step, in words; None where it was not.
        ended_by: The same as a word: all ``steps`` were done, or ``early_stopping`` or, in a sweep, ``early_end``.
    """

    max_steps: int = 0
    steps: int = 0
    seconds: float = 0.0
    monitor: str = ""
    best: float | None = None
    best_step: int = -1
    run_id: str | None = None
    ended: str | None = None
    ended_by: EndedBy = "steps"

    @classmethod
    def parse(cls, content: dict[str, Any]) -> "RunResult":
        """The result that a file of this or an earlier release holds; those had the reason in words alone."""
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in content.items() if key in known}
        if "ended_by" not in values and values.get("ended"):
            values["ended_by"] = "early_end" if str(values["ended"]).startswith("pruning") else "early_stopping"
        return cls(**values)


@dataclass(frozen=True)
class RunFolder:
    """The places in a run's folder."""

    directory: Path

    @property
    def best(self) -> Path:
        """The artefact of the best weights."""
        return self.directory / "best"

    @property
    def model(self) -> Path:
        """The MLflow model of the best weights."""
        return self.directory / "model"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint from which the run goes on."""
        return self.directory / "checkpoints" / "last.ckpt"

    @property
    def tracking(self) -> Path:
        """The record of the tracked run."""
        return self.directory / "tracking"

    @property
    def lock(self) -> Path:
        """Held by the process that trains."""
        return self.directory / ".lock"

    @property
    def result_file(self) -> Path:
        """Where the result is kept."""
        return self.directory / "result.json"

    def result(self) -> RunResult | None:
        """How the run ended; None as long as it has not.

        Raises:
            ValueError: If the file is damaged.
        """
        try:
            return RunResult.parse(json.loads(self.result_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{self.result_file} is damaged: {error}. Delete it: the run goes on from there"
            ) from error

    def write_result(self, result: RunResult) -> None:
        """Keeps the result, whole or not at all."""
        write_text(self.result_file, json.dumps(asdict(result), indent=2))

    @contextmanager
    def held(self, *, fresh: bool = False) -> Iterator[None]:
        """The folder, made and locked.

        Args:
            fresh: Whether what it holds is moved aside first.

        Raises:
            ValueError: If another run holds it.
        """
        directory = self.directory
        if fresh and directory.exists():
            taken = (directory.with_name(f"{directory.name}.{number}") for number in itertools.count(1))
            directory.rename(next(path for path in taken if not path.exists()))
        directory.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.lock, timeout=0).acquire()
        except Timeout as error:
            raise ValueError(f"output={directory} is in use by another run: wait for it, or give name=...") from error
        with lock:
            yield
