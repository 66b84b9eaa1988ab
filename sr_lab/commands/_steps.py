"""What the demonstrations have in common: a folder each, and steps that are printed as what does them alone."""

from datetime import datetime
from importlib import import_module
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.config.compose import compose
from sr_lab.config.words import line


def folder_of(cfg: DictConfig, kind: str) -> Path:
    """Where a demonstration writes: ``runs/NAME``, or a folder with the time in its name."""
    return Path("runs") / (cfg.name or f"{kind}-{datetime.now():%Y%m%d-%H%M%S}")


def step(command: str, *settings: str) -> int:
    """Prints a command, runs it, and gives its exit code."""
    print(f"\n== {line(command, *settings)}", flush=True)
    return int(import_module(f"sr_lab.commands.{command}").run(compose(command, list(settings))) or 0)
