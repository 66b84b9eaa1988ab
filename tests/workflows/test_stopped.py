"""A signal in the middle of a command's work: what is kept and how it goes on is said, the exit code is true."""

import os
import shlex
import signal

import numpy as np
import pytest

from sr_lab.cli import main
from sr_lab.images import write_image

WORDS = {
    "audit": ["audit", "train=photos", "test=more", "report=report.json"],
    "prepare": [
        "prepare", "data=folder", "data.train.roots=photos", "data.val.roots=more", "manifest=manifest.json",
        "decode=true", "data.cache=cache",
    ],
    "estimate": ["degrade", "estimate=photos", "output=out", "scale=2"],
    "preview": ["degrade", "preview=photos/0.png", "output=out", "degradation=bicubic", "scale=2", "side=32"],
    "restore": ["restore", "input=photos", "output=out", "restorer=bicubic", "scale=2"],
    "degrade": ["degrade", "input=photos", "output=out", "degradation=bicubic", "scale=2"],
}  # fmt: skip
SEEN = {
    "audit": ("sr_lab.workflows.audit.audit_files", "0 of 5 files were looked at, nothing is written"),
    "prepare": ("sr_lab.data.datamodule.SRDataModule.setup", "the manifest manifest.json is written; what was fetched"),
    "estimate": (
        "sr_lab.degradations.estimate.plots.plot_fit",
        "3 of 3 images were measured, the preset is",
    ),
    "preview": ("sr_lab.workflows.preview.write_sheet", "the sheet in out is not finished"),
    "restore": ("sr_lab.inference.batch.read_picture", "0 of 3 images are done and stay"),
    "degrade": ("sr_lab.data.degraded.read_image", "0 of 3 images are done and stay"),
}


@pytest.mark.parametrize("command", WORDS)
def test_a_signal_is_answered_with_what_is_kept_and_the_command_that_goes_on(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        image = np.random.default_rng(number).integers(0, 256, (48, 48, 3)).astype(np.uint8)
        write_image(("photos" if number < 3 else "more") + f"/{number}.png", image)
    place, said = SEEN[command]
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *_, signum=signum, **__: os.kill(os.getpid(), signum))
            assert main(WORDS[command]) == code
        told = capsys.readouterr().err
        assert (said if signum == signal.SIGTERM else "this goes on") in told
        assert told.strip().endswith(f"this goes on:  {shlex.join(['srlab', *WORDS[command]])}")
    assert main(WORDS[command]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err
