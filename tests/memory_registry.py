"""A model registry in memory: what a rollout asks of MLflow's client, in microseconds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sr_lab.tracking.registry import aliases, decisions
from sr_lab.workflows import rollout_steps


class Registry:
    """What a rollout asks of MLflow's client, in memory; it can be killed before any of its writes."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.versions = 0
        self.writes, self.fatal = 0, 0

    def take_over(self, folder: Path, patch: pytest.MonkeyPatch) -> str:
        """Stands in for the store at a uri, which it gives; no evidence is kept, and no page drawn with it."""
        (folder / "mlflow.db").touch()
        patch.setattr(aliases, "connect", lambda uri: self)
        patch.setattr(decisions, "keep", lambda *given, **more: None)
        patch.setattr(rollout_steps, "render", lambda *given, **more: "<html></html>")
        return f"sqlite:///{folder}/mlflow.db"

    def get_registered_model(self, name: str) -> Any:
        return SimpleNamespace(tags=dict(self.tags), aliases=dict(self.aliases))

    def get_model_version(self, name: str, version: str) -> Any:
        return SimpleNamespace(status="READY")

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self._write()
        self.tags[key] = value

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._write()
        self.aliases[alias] = version

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._write()
        self.aliases.pop(alias, None)

    def _write(self) -> None:
        self.writes += 1
        if self.writes == self.fatal:
            raise Killed


class Killed(BaseException):
    """The controller's process is gone."""
