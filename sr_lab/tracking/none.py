"""The run that records nothing: ``tracking=none``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sr_lab.tracking.run import Status


class NoRun:
    """Takes what a ``Run`` takes and forgets it, for trying things out. Args as for ``Run``; none is used."""

    uid: str | None = None
    run_id: str | None = None
    url: str | None = None
    page_commands = ["nothing was recorded (tracking=none)"]
    is_resumed = False

    def __init__(self, *, name: str, directory: Path | str, tags: Mapping[str, str] | None = None) -> None:
        self.name = name

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Nothing."""

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Nothing."""

    def log_text(self, text: str, path: str) -> None:
        """Nothing."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Nothing."""

    def log_model(self, path: Path, *, name: str = "model", step: int = 0) -> None:
        """Nothing."""

    def log_image(self, image: np.ndarray, key: str, step: int) -> None:
        """Nothing."""

    def log_table(self, rows: Sequence[Mapping[str, Any]], path: str = "tables/per_image.json") -> None:
        """Nothing."""

    def log_dataset(
        self, name: str, digest: str, source: str, context: str, profile: Mapping[str, Any] | None = None
    ) -> None:
        """Nothing."""

    def flush(self, timeout: float) -> int:
        """Nothing is ever unsent."""
        return 0

    def finish(self, status: Status = "FINISHED") -> int:
        """Nothing is ever unsent."""
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()
