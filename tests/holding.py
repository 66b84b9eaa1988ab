"""Work of a child process that is held at a known place until a signal comes, so that no test waits for a time."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 500.0  # seconds; reached only where something is broken
MODULE = '''
"""Holds a process at a place: says that it is there, and waits for leave to go on."""

import time
from pathlib import Path

import pytorch_lightning as pl

from sr_lab.metrics.psnr import PSNR


def hold(folder, name):
    Path(folder, f"{name}.there").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.02)


class Hold(pl.Callback):
    """Holds every process of a training before a step."""

    def __init__(self, *, folder: str, step: int) -> None:
        self.folder, self.step = folder, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            hold(self.folder, trainer.global_rank)


class HeldPSNR(PSNR):
    """Holds the process at its first image."""

    def __init__(self, *, folder: str, protocol, scale: int) -> None:
        super().__init__(protocol=protocol, scale=scale)
        self.folder = folder

    def per_image(self, *arguments, **more):
        hold(self.folder, "metric")
        return super().per_image(*arguments, **more)
'''


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a child process that imports ``held``; its module is written into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "held.py").write_text(MODULE)
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **more}


def signalled(process: "subprocess.Popen[Any]", folder: Path, *names: str, signum: int = signal.SIGTERM) -> None:
    """Sends the signal once the process is held at each of these places, then lets it go on."""
    deadline = time.monotonic() + PATIENCE
    while not all((folder / f"{name}.there").exists() for name in names):
        assert process.poll() is None, f"it ended before it was there: {process.communicate()[1]}"
        assert time.monotonic() < deadline, f"it was not at {names}"
        time.sleep(0.02)
    process.send_signal(signum)
    (folder / "go").touch()


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in the work of ``srlab``: before one call of one function.

    Attributes:
        module: Module that looks the function up.
        name: Its name there; of a method ``Class.method``.
        call: Which call of it, from 1.
    """

    module: str
    name: str
    call: int = 1


class Forked:
    """Starts ``srlab`` again and again as a process of its own, whose imports a parent has done once and for all."""

    def __init__(self, *preloaded: str) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(list(preloaded))

    def run(self, words: list[str], folder: Path, *, place: Place | None = None) -> int:
        """Runs a command in a folder to its end; or kills it by -9 at a place, which it has to come to.

        Returns:
            Its exit code; -9 where it was killed.
        """
        marks = Path(tempfile.mkdtemp(dir=folder))
        log = marks / "log"
        process = self.context.Process(target=_command, args=(words, folder, marks, log, place))
        process.start()
        try:
            if place is not None:
                deadline = time.monotonic() + PATIENCE
                while not (marks / "place.there").exists():
                    assert process.is_alive(), f"it ended before {place}: {log.read_text()}"
                    assert time.monotonic() < deadline, f"it did not come to {place}: {log.read_text()}"
                    time.sleep(0.02)
                process.kill()
            process.join(PATIENCE)
        finally:
            process.kill()
        assert process.exitcode is not None
        assert place is None or process.exitcode == -signal.SIGKILL
        self.said = log.read_text()
        return process.exitcode


def _command(words: list[str], folder: Path, marks: Path, log: Path, place: Place | None) -> None:
    from sr_lab.cli import main

    os.chdir(folder)
    with log.open("w") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    if place is not None:
        _hold_at(place, marks)
    sys.exit(main(words))


def _hold_at(place: Place, marks: Path) -> None:
    holder: Any = importlib.import_module(place.module)
    *within, name = place.name.split(".")
    for part in within:
        holder = getattr(holder, part)
    real, calls = getattr(holder, name), []

    def held(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == place.call:
            (marks / "place.there").touch()
            signal.pause()
        return real(*given, **more)

    setattr(holder, name, held)
