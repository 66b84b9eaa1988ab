"""A degradation of ``draw`` and ``apply`` alone, as CONTRIBUTING tells to write one, wherever presets are used."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_lab.cli import main
from sr_lab.config.compose import build, compose
from sr_lab.degradations.base import Degradation, Params, params_from_records, record
from sr_lab.degradations.operation import as_operation
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.trace import summary, trace
from sr_lab.images import write_image

KEYS = [(1, 0, index) for index in range(3)]


class Fog(Degradation):
    def __init__(self, *, scale: int, most: float = 0.5) -> None:
        super().__init__(scale=scale)
        self.most = most

    def draw(self, batch_size: int, generator: torch.Generator) -> Params:
        share = self.most * torch.rand(batch_size, generator=generator, dtype=torch.float64)
        return {"fog.share": share, "upside": share > self.most / 2}

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        assert params["fog.share"].dtype == torch.float64
        assert params["upside"].dtype == torch.bool
        low = image[..., :: self.scale, :: self.scale]
        share = params["fog.share"].to(low.device).view(-1, 1, 1, 1)
        made = (low * (1 - share) + share).float()
        return torch.where(params["upside"].to(low.device).view(-1, 1, 1, 1), made.flip(2), made)


class Forgetful(Degradation):
    def __init__(self, *, scale: int, most: float) -> None:
        super().__init__(scale=scale)

    def draw(self, batch_size: int, generator: torch.Generator) -> Params:
        return {}

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        return image


@pytest.fixture
def fog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Degradation:
    """Composed from a tree of the user's own, by its dotted path."""
    (tmp_path / "conf" / "degradation").mkdir(parents=True)
    (tmp_path / "conf" / "degradation" / "fog.yaml").write_text("_target_: foggy.Fog\nscale: ${scale}\n")
    monkeypatch.setenv("SRLAB_CONF", str(tmp_path / "conf"))
    monkeypatch.setenv("SRLAB_TRUSTED", "foggy")
    monkeypatch.setitem(sys.modules, "foggy", sys.modules[__name__])
    found = build(compose("degrade", ["output=x", "degradation=fog", "scale=2"]).degradation)
    assert isinstance(found, Fog)
    return found


def test_every_use_of_a_preset_takes_it(photos: Tensor, fog: Degradation) -> None:
    high, params = photos[:3], fog.draw_keyed(KEYS)
    low, target = fog.pair(high, params)
    assert low.shape == (3, 3, 48, 40)
    assert torch.equal(target, high)
    assert torch.equal(fog.apply(high, params_from_records(record(params))), low)
    clips, _ = fog.pair_clip(high[:, None].expand(-1, 2, -1, -1, -1), params)
    assert torch.equal(clips[:, 1], low)
    one = {name: values[:1] for name, values in params.items()}
    assert torch.equal(trace(fog, high[:1], one)[-1].image, low[:1])
    assert summary(fog, one)[0][0] == "Fog"


def test_it_is_a_part_of_pipelines(photos: Tensor, fog: Degradation) -> None:
    high = photos[:3]
    operation, pipeline = as_operation(fog), Pipeline(ops={"fog": fog})
    params = operation.draw_keyed(KEYS)
    low = fog.apply(high, params)
    assert torch.equal(operation.apply(high, params), low)
    assert torch.equal(operation.apply_canvas(high, operation.checked(params, 3)), low)
    params = pipeline.draw_keyed(KEYS)
    assert set(params) == {"fog.fog.share", "fog.upside"}
    low = pipeline.apply(high, params)
    assert torch.equal(pipeline.apply_canvas(high, pipeline.checked(params, 3)), low)
    one = {name: values[:1] for name, values in params.items()}
    assert torch.equal(trace(pipeline, high[:1], one)[-1].image, low[:1])
    assert torch.equal(pipeline.pair_clip(high[:, None], params)[0][:, 0], low)


def test_srlab_degrade_makes_previews_and_replays_it(fog: Degradation, tmp_path: Path) -> None:
    write_image(tmp_path / "photos" / "a.png", np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8))
    images, made, again = (f"{tmp_path / name}" for name in ("photos", "made", "again"))
    assert main(["degrade", f"input={images}", f"output={made}", "degradation=fog", "scale=2"]) == 0
    assert main(["degrade", f"replay={made}/manifest.parquet", f"input={images}", f"output={again}"]) == 0
    files = [sorted(Path(folder).glob("LR/**/*.png")) for folder in (made, again)]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    look = ["degrade", f"preview={images}/a.png", f"output={tmp_path / 'look'}", "degradation=fog", "scale=2"]
    assert main(look) == 0


def test_an_argument_that_is_not_kept_is_named() -> None:
    with pytest.raises(ValueError, match=r"does not keep its argument most: set self.most = most"):
        Forgetful(scale=2, most=1.0).fingerprint()
