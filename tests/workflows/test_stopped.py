"""A signal in the middle of a command's work: what is kept and how it goes on is said, the exit code is true."""

import os
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.cli import main
from sr_lab.images import write_image
from sr_lab.networks.fsrcnn import FSRCNN

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


ANEW = {
    "evaluate": [
        "evaluate", "restorer=bicubic", "benchmark=photos", "scale=2", "report=out", "metrics=[psnr]", "num_pictures=0",
    ],
    "compare": [
        "compare", "a=bicubic", "b=net", "benchmark=photos", "scale=2", "report=out", "metrics=[psnr]",
        "num_pictures=0",
    ],
    "profile": ["profile", "input=photos", "output=out/p.parquet"],
    "drift": [
        "drift", "reference=p.parquet", "current=photos", "report=out", "min_images=2",
    ],
}  # fmt: skip
WHERE = {
    ("evaluate", "sr_lab.evaluation.benchmark.read_image"): "while the images were scored; nothing is written",
    ("evaluate", "sr_lab.evaluation.report.per_image_csv"): "the report in out is not whole: it has no summary.json",
    ("compare", "sr_lab.evaluation.benchmark.read_image"): "while the images were scored; nothing is written",
    ("profile", "sr_lab.monitoring.measuring.sha256"): "while the images were measured; nothing was written",
    ("drift", "sr_lab.monitoring.measuring.sha256"): "while the images were measured; nothing was written",
}


@pytest.mark.parametrize(("command", "place"), WHERE)
def test_what_begins_anew_says_what_is_written(command, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_image(f"photos/{number}.png", np.random.default_rng(number).integers(0, 256, (48, 48, 3)).astype("uint8"))
    if command == "compare":
        network = FSRCNN(scale=2, num_features=4, num_shrunk=2, num_mapping=1)
        node = {"_target_": "sr_lab.networks.fsrcnn.FSRCNN", "scale": 2, "num_features": 4, "num_shrunk": 2}
        save_artefact(Path("net"), network, config={"model": {"network": node | {"num_mapping": 1}}}, metadata={})
    if command == "drift":
        assert main([*ANEW["profile"][:2], "output=p.parquet"]) == 0
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *_, signum=signum, **__: os.kill(os.getpid(), signum))
            capsys.readouterr()
            assert main(ANEW[command]) == code
        assert WHERE[command, place] in capsys.readouterr().err
        assert not list(tmp_path.glob("out/*.json")) + list(tmp_path.glob("out/*.parquet"))
