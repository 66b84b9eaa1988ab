"""Work of a child process that is held at a known place until a signal comes, so that no test waits for a time."""

import os
import signal
import subprocess
import time
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
