"""A package outside of the repository: its network, loss, metric, degradation from training to the restored image."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from sr_lab.cli import main
from sr_lab.config.tree import find_option, options
from sr_lab.images import read_image, write_image

CODE = {
    "net.py": """
import torch
from sr_lab.images import resize_bicubic
from sr_lab.networks.base import Network

class Residual(Network):
    def __init__(self, *, scale: int, num_channels: int = 3, width: int = 4) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        self.first = torch.nn.Conv2d(num_channels, width, 3, padding=1)
        self.last = torch.nn.Conv2d(width, num_channels, 3, padding=1)
        torch.nn.init.zeros_(self.last.weight)

    def forward(self, low):
        return resize_bicubic(low + self.last(self.first(low).relu()), scale=float(self.scale))
""",
    "losses.py": """
from sr_lab.losses.base import Loss

class Edges(Loss):
    def forward(self, restored, target):
        return (restored.diff(dim=-1) - target.diff(dim=-1)).abs().mean()
""",
    "metrics.py": """
from sr_lab.metrics.base import PerImageMetric

class Largest(PerImageMetric):
    higher_is_better = False
    key = "largest"

    def per_image(self, restored, target):
        return (restored - target).abs().amax(dim=(1, 2, 3))
""",
    "degradations.py": """
import torch
from sr_lab.degradations.base import Degradation
from sr_lab.images import resize_bicubic

class Darker(Degradation):
    def __init__(self, *, scale: int, most: float = 0.05) -> None:
        super().__init__(scale=scale)
        self.most = most

    def draw(self, batch_size, generator):
        return {"by": self.most * torch.rand(batch_size, generator=generator, dtype=torch.float64)}

    def apply(self, image, params):
        low = resize_bicubic(image, scale=1 / self.scale)
        return (low - params["by"].to(low).view(-1, 1, 1, 1)).clamp(0, 1)
""",
    "__init__.py": "",
    "conf/model/network/residual.yaml": """
_target_: flavour.net.Residual
scale: ${scale}
num_channels: ${num_channels}
""",
    "conf/losses/edges.yaml": "edges: {_target_: flavour.losses.Edges, weight: 0.5}",
    "conf/metrics/largest.yaml": "largest: {_target_: flavour.metrics.Largest}",
    "conf/degradation/darker.yaml": "_target_: flavour.degradations.Darker\nscale: ${scale}",
    "conf/policy/easy.yaml": """
_target_: sr_lab.promotion.policy.Policy
name: easy
protocol: y_crop
first_champion: passes_floors
holdout: {own: {_target_: sr_lab.promotion.policy.Holdout, benchmark: holdout}}
checks:
  largest: {_target_: sr_lab.promotion.quality.Floor, metric: largest, better: lower, value: 0.9, min_scenes: 2}
""",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in CODE.items():
        file = tmp_path / "lib" / "flavour" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    random = np.random.default_rng(0)
    for split, count in (("train", 2), ("val", 1), ("holdout", 2)):
        for index in range(count):
            coarse = random.integers(0, 255, (8, 9, 3), dtype=np.uint8)
            write_image(tmp_path / split / f"{split}{index}.png", np.kron(coarse, np.ones((6, 6, 1), np.uint8)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.setenv("SRLAB_CONF", "lib/flavour/conf")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"), prepend=":")
    yield tmp_path / "lib" / "flavour"
    for name in [name for name in sys.modules if name.partition(".")[0] == "flavour"]:
        del sys.modules[name]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    return shown.out + shown.err


TRAIN = ["data=folder", "data.train.roots=train", "data.val.roots=val", "data.crop=24", "data.batch_size=2"]
TRAIN += ["max_steps=4", "val_every=2", "checkpoint_every=4", "trainer.enable_progress_bar=false", "pictures=0"]
TRAIN += ["model/network=residual", "losses=[l1,edges]", "metrics=[psnr,ssim,largest]", "degradation=darker", "name=a"]
TRAIN += ["tracking.ship=false", "tracking.system_seconds=0", "data.cache=cache"]


def test_from_training_to_the_restored_image(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TRAIN]) == 1
    text = said(capsys)
    assert "'flavour.net.Residual' is not a network of sr_lab.networks" in text
    assert "set SRLAB_TRUSTED=flavour" in text
    assert not Path("runs/a/checkpoints").exists(), "it is told before the first step"

    monkeypatch.setenv("SRLAB_TRUSTED", "other, flavour")
    assert main(["train", *TRAIN]) == 0, said(capsys)
    assert main(["evaluate", "restorer=runs/a/best", "benchmark=holdout", "scale=2", "report=r", "device=cpu",
                 "metrics=[largest,psnr]", "degradation=darker"]) == 0, said(capsys)  # fmt: skip
    assert 0 < json.loads(Path("r/summary.json").read_text())["largest"] <= 1
    assert main(["sync"]) == 0, said(capsys)
    assert main(["register", "run=runs/a", "name=own"]) == 0, said(capsys)
    assert main(["promote", "name=own", "policy=easy", "metrics=[psnr,ssim,largest]", "device=cpu", "runs=1",
                 "num_pictures=1"]) == 0, said(capsys)  # fmt: skip
    assert "largest" in said(capsys)
    place = ["input=holdout", "output=restored", "device=cpu"]
    assert main(["restore", "restorer=models:/own@champion", *place]) == 0, said(capsys)
    assert read_image(Path("restored/holdout0.png")).shape == (96, 108, 3)

    monkeypatch.setenv("SRLAB_TRUSTED", "flavoured")
    assert main(["restore", "restorer=models:/own/1", "output=again", "input=holdout"]) == 1
    assert "set SRLAB_TRUSTED=flavour" in said(capsys)


def test_own_options_are_found_listed_and_told_apart(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "residual" in options("model/network")
    assert find_option("policy", "easy") == package / "conf" / "policy" / "easy.yaml"
    assert main(["train", *TRAIN, "losses=[egdes]"]) == 2
    assert "no option 'egdes' in losses. Did you mean 'edges'?" in said(capsys)
    assert main(["train", *TRAIN, "model/network=residul", "--cfg"]) == 2
    assert "Did you mean 'residual' or" in said(capsys)
    assert main(["--help"]) == 0
    assert str(package / "conf") in said(capsys)

    (package / "conf" / "losses" / "l1.yaml").write_text("l1: {}")
    assert main(["train", *TRAIN, "--cfg"]) == 2
    assert "has the name of sr_lab's own losses/l1.yaml" in said(capsys)


def test_the_folder_may_be_an_option(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SRLAB_CONF", "")
    assert main(["train", *TRAIN, "--cfg", "--config-dir", "lib/flavour/conf"]) == 0
    assert "flavour.net.Residual" in said(capsys)
    assert main(["train", *TRAIN, "--cfg", "--config-dir=nowhere"]) == 2
    assert "there is no such folder" in said(capsys)
    assert main(["train", "--config-dir"]) == 2
    assert "name a folder" in said(capsys)


def test_a_package_that_is_not_there_or_does_not_import(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / "net.py").write_text("import nothing_of_this_name")
    assert main(["train", *TRAIN, "--cfg"]) == 2
    assert "no module 'nothing_of_this_name'" in said(capsys)
    (package / "net.py").write_text("1 / 0")
    assert main(["train", *TRAIN, "--cfg"]) == 2
    assert "flavour.net cannot be imported: ZeroDivisionError" in said(capsys)
    (package / "conf" / "model" / "network" / "residual.yaml").write_text("_target_: gone.Net")
    assert main(["train", *TRAIN, "--cfg"]) == 2
    assert "no module 'gone'. A package of your own has to be installed, or its folder named by PYTHONPATH" in said(
        capsys
    )
