"""A small study that is made in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from sr_lab.images import write_image
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.metrics.protocol import YCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.study.ballots import Ballot
from sr_lab.study.plan import Plan
from sr_lab.study.rules import Rules
from sr_lab.workflows import study


class Sharpened:
    """Bicubic, with so much of the difference to its mean of neighbours added."""

    metadata = {"sha256": {"weights.safetensors": "ab" * 32}}

    def __init__(self, strength: float) -> None:
        self.scale, self.strength = 2, strength
        self.bicubic = BicubicRestorer(scale=2)

    def __call__(self, low: Tensor) -> Tensor:
        image = self.bicubic(low)
        soft = torch.nn.functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
        return (image + self.strength * (image - soft)).clamp(0, 1)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in {
        **{f"cat{k}": data.chelsea()[40 * k : 40 * k + 80, 100:200] for k in range(4)},
        **{f"cup{k}": data.coffee()[60 * k : 60 * k + 80, 200:300] for k in range(4)},
    }.items():
        write_image(folder / f"{name}.png", np.ascontiguousarray(pixels))
    return folder


@pytest.fixture(scope="session")
def make_study(photos: Path) -> Callable[..., study.Made]:
    def make(output: Path, *, names: tuple[str, ...] = ("secret-net", "bicubic"), **settings: Any) -> study.Made:
        restorers = {name: BicubicRestorer(scale=2) if name == "bicubic" else Sharpened(4.0 + k)
                     for k, name in enumerate(names)}  # fmt: skip
        given = {"raters": 3, "votes": 6, "checks": 0.4, "side": 64, "rules": Rules(min_votes=3, least_seconds=0.2)}
        return study.create(
            restorers, photos, output=output, scale=2, protocol=YCrop(),
            metrics={"psnr": PSNR(protocol=YCrop(), scale=2)}, progress=False, **{**given, **settings},
        )  # fmt: skip

    return make


@pytest.fixture
def answer() -> Callable[..., list[Ballot]]:
    """Ballots of a code, by a function of what is shown on the left and right."""

    def answer(plan: Plan, code: str, choose: Callable[[str, str], str], **more: Any) -> list[Ballot]:
        made = []
        for trial in plan.order(code):
            left, right = trial.sides(plan.seed, code)
            said = choose(plan.pictures[left].shows, plan.pictures[right].shows)
            made.append(
                Ballot(rater=code, trial=trial.id, left=left, right=right, answer=said, **{"seconds": 2.0, **more})
            )
        return made

    return answer
