"""Every preset of conf/degradation: composes, keeps range and scale, replays, and is the same as canvas."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from sr_lab.degradations.base import Degradation, params_from_records, record
from sr_lab.degradations.compression import Jpeg
from sr_lab.degradations.operation import as_operation
from sr_lab.degradations.pipeline import Chain

CONF = Path(__file__).resolve().parents[2] / "conf"
PRESETS = sorted(path.stem for path in (CONF / "degradation").glob("*.yaml"))
SCALES = {"bd": 3, "dn": 3, "identity": 1}
NEEDS_AV = {"realbasicvsr", "video"}


def build(name: str, *overrides: str) -> Degradation:
    if name in NEEDS_AV and importlib.util.find_spec("av") is None:
        pytest.skip("needs PyAV: pip install 'sr-lab[video]'")
    scale = f"+scale={SCALES.get(name, 4)}"
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=[f"+degradation={name}", scale, *overrides])
    return instantiate(OmegaConf.to_container(config, resolve=True)["degradation"], _convert_="all")


@pytest.fixture(scope="module")
def high() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(4, 3, 12, 15, generator=generator), (96, 120), mode="bicubic")
    return image.clamp(0, 1).mul(255).round().div(255)


def test_the_presets_of_the_issue_are_there() -> None:
    second = {"bsrgan", "realesrgan", "severity", "video", "document", "satellite"}
    expected = {"identity", "bicubic", "blind_gaussian", "bd", "dn"} | second
    assert expected <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_states_its_source(name: str) -> None:
    first = (CONF / "degradation" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


@pytest.mark.parametrize("name", PRESETS)
def test_preset_keeps_range_scale_and_draws(name: str, high: Tensor) -> None:
    degradation = build(name)
    scale = SCALES.get(name, 4)
    assert isinstance(degradation, Degradation)
    assert degradation.scale == scale
    keys = [(1, 0, index) for index in range(len(high))]
    params = degradation.draw_keyed(keys)
    low, target = degradation.pair(high, params)
    assert low.shape == (4, 3, 96 // scale, 120 // scale)
    assert target.shape == high.shape
    assert low.dtype == target.dtype == torch.float32
    for image in (low, target):
        assert image.isfinite().all()
        assert image.min() >= 0
        assert image.max() <= 1
    assert torch.equal(degradation.apply(high, degradation.draw_keyed(keys)), low)
    assert torch.equal(degradation.apply(high[2:3], degradation.draw_keyed(keys[2:3])), low[2:3])
    replayed = params_from_records(json.loads(json.dumps(record(params))))
    assert torch.equal(degradation.apply(high, replayed), low)
    assert degradation.deterministic == (not params)
    assert build(name).fingerprint() == degradation.fingerprint()
    json.dumps(degradation.settings())


@pytest.mark.parametrize("name", PRESETS)
def test_canvas_equals_arrays_but_for_the_codec(name: str, high: Tensor) -> None:
    degradation = build(name)
    params = degradation.draw_keyed([(2, 0, index) for index in range(len(high))])
    low = degradation.apply(high, params)
    operation = as_operation(degradation)
    difference = (operation.apply_canvas(high, operation.checked(params, len(high))) - low).abs() * 255
    if codes(degradation):
        assert difference.mean() < 3
    else:
        assert difference.mean() < 0.02
        assert (difference > 1.01).float().mean() < 0.005


@pytest.mark.parametrize("name", PRESETS)
def test_preset_takes_grey_images_whatever_is_drawn(name: str, high: Tensor) -> None:
    degradation = build(name)
    keys = [(3, 0, index) for index in range(24)]
    params = degradation.draw_keyed(keys)
    grey = high[:1, 1:2].expand(24, -1, -1, -1)
    low = degradation.apply(grey, params)
    assert low.shape[1] == 1
    assert low.isfinite().all()
    operation = as_operation(degradation)
    difference = (operation.apply_canvas(grey, operation.checked(params, 24)) - low).abs() * 255
    assert difference.mean() < (3 if codes(degradation) else 0.02)


def codes(degradation: Degradation) -> bool:
    """Whether there is a JPEG, which is another codec on a canvas."""
    inside = degradation.ops.values() if isinstance(degradation, Chain) else []
    return isinstance(degradation, Jpeg) or any(codes(op) for op in inside)


def test_one_range_is_overridden_from_the_command_line() -> None:
    plain, changed = build("blind_gaussian"), build("blind_gaussian", "degradation.ops.blur.sigma=[1,1.5]")
    keys = [(0, 0, index) for index in range(50)]
    before, after = plain.draw_keyed(keys), changed.draw_keyed(keys)
    isotropic = after["blur.kind"] == 0
    assert after["blur.sigma_x"][isotropic].max() <= 1.5
    assert before["blur.sigma_x"][isotropic].max() > 1.5
    assert torch.equal(before["noise.sigma"], after["noise.sigma"])
    assert plain.fingerprint() != changed.fingerprint()
