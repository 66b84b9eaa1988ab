"""Work of a child process that is held at a known place until a signal comes, so that no test waits for a time."""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import forking

HERE = Path(__file__).parent
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
    return {**_importing(folder), **more}


def _importing(folder: Path) -> dict[str, str]:
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def signalled(process: "subprocess.Popen[Any]", folder: Path, *names: str, signum: int = signal.SIGTERM) -> None:
    """Sends the signal once the process is held at each of these places, then lets it go on."""
    _wait_for(process, folder, *names, said=lambda: process.communicate()[1])
    process.send_signal(signum)
    (folder / "go").touch()


def _wait_for(process: "subprocess.Popen[Any]", folder: Path, *names: str, said: Callable[[], str]) -> None:
    """Until the process is held at each of these places."""
    deadline = time.monotonic() + PATIENCE
    while not all((folder / f"{name}.there").exists() for name in names):
        assert process.poll() is None, f"it ended before it was at {names}: {said()}"
        assert time.monotonic() < deadline, f"it was not at {names}"
        time.sleep(0.02)


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


COMMAND = "import sys; from holding import command; sys.exit(command(*sys.argv[1:]))"


class Forked:
    """Runs ``srlab`` again and again as a process of its own, which is forked: see ``forking``."""

    said = ""

    def run(self, words: list[str], folder: Path, *, place: Place | None = None) -> int:
        """Runs a command in a folder to its end; or kills it by -9 at a place, which it has to come to.

        Returns:
            Its exit code; -9 where it was killed.
        """
        marks = Path(tempfile.mkdtemp(dir=folder))
        held = json.dumps(None if place is None else asdict(place))
        line, log = [sys.executable, "-c", COMMAND, str(marks), held, *words], marks / "log"
        with log.open("w") as stream:
            process = forking.Popen(line, cwd=folder, env=_importing(HERE), stdout=stream, stderr=stream)
        try:
            if place is not None:
                _wait_for(process, marks, "place", said=log.read_text)
                process.kill()
            code = process.wait(PATIENCE)
        finally:
            process.kill()
        assert place is None or code == -signal.SIGKILL
        self.said = log.read_text()
        return code


def command(marks: str, place: str, *words: str) -> int:
    """What a process of ``Forked`` does: the command, held at the place."""
    from sr_lab.cli import main

    held = json.loads(place)
    if held is not None:
        _hold_at(Place(**held), Path(marks))
    return main(list(words))


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
