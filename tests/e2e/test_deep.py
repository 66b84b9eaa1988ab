"""Images of four bands and 16 bits, from training to champion under the policy that is shipped, by the command line."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.cli import main
from sr_lab.images import resize_bicubic
from sr_lab.networks.srcnn import SRCNN

pytestmark = pytest.mark.usefixtures("forked")

BANDS = 4
SIZES = {"num_features": [4, 4], "kernels": [1, 1, 5]}


def picture(seed: int) -> np.ndarray:
    """Soft-edged blocks, (40, 48, 4), of the 12 bits of a camera."""
    random = torch.from_numpy(np.random.default_rng(seed).random((1, BANDS, 5, 6), dtype=np.float32))
    image = resize_bicubic(random.repeat_interleave(4, -1).repeat_interleave(4, -2), scale=2.0).clamp(0, 1)
    return (image[0].permute(1, 2, 0).numpy() * 4095).astype(np.uint16)


def sharpener(folder: Path) -> Path:
    """An artefact that enlarges by bicubic interpolation and sharpens."""
    network = SRCNN(scale=2, num_channels=BANDS, num_features=(4, 4), kernels=(1, 1, 5))
    with torch.no_grad():
        for layer in (layer for layer in network.layers if isinstance(layer, torch.nn.Conv2d)):
            torch.nn.init.dirac_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        for channel in range(BANDS):
            layer.weight[channel, channel, 1:4, 1:4] -= 0.5 / 9
            layer.weight[channel, channel, 2, 2] += 0.5
    node = {"_target_": "sr_lab.networks.srcnn.SRCNN", "scale": 2, "num_channels": BANDS, **SIZES}
    images = {"train": [], "val": []}
    return save_artefact(folder, network, config={"model": {"network": node}}, metadata={"images": images})


def test_unusual_images_become_a_champion_s(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for split, first, count in (("train", 0, 2), ("val", 10, 1), ("test", 20, 3)):
        Path(split).mkdir()
        for number in range(first, first + count):
            file = f"{split}/{number}.tif"
            tifffile.imwrite(file, picture(number), photometric="minisblack", planarconfig="contig")
    sharpener(Path("start"))
    line = [
        "train", "data=folder", "data.train.roots=train", "data.val.roots=val", "data.crop=24", "data.batch_size=1",
        "model/network=srcnn", *(f"model.network.{key}={value}".replace(" ", "") for key, value in SIZES.items()),
        "initial=start", "max_steps=1", "val_every=1", "checkpoint_every=1", "optimizer.lr=1e-9", "name=a",
        f"num_channels={BANDS}", "scheduler.num_warmup=0", "trainer.enable_progress_bar=false",
        "tracking.system_seconds=0",
    ]  # fmt: skip
    assert main(line) == 1
    settings = capsys.readouterr().err.partition(": add ")[2].splitlines()[0]
    assert settings == "protocol=deep monitor=val/psnr_deep"
    assert main([*line, *settings.split()]) == 0
    measure = ["evaluate", "restorer=runs/a/best", "benchmark=test", "scale=2", "report=out", "run=runs/a"]
    assert main([*measure, "missing=skip"]) == 1
    assert "give protocol=deep" in capsys.readouterr().err
    assert main([*measure, "missing=skip", "protocol=deep"]) == 0
    assert main(["sync", "directory=runs"]) == 0  # of the process beside the run, on a busy machine
    assert main(["register", "run=runs/a", "name=a"]) == 0
    gate = ["promote", "name=a", "policy.holdout.photos.benchmark=test", "num_pictures=1"]
    assert main(gate) == 1
    assert "protocol=deep" in capsys.readouterr().err
    assert main([*gate, "protocol=deep", "policy.protocol=deep"]) == 0
    assert "a version 1 is models:/a@champion" in capsys.readouterr().out
