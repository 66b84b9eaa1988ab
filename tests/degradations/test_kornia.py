"""Transforms of kornia by their dotted paths: keyed, recorded, replayed, each sample by itself."""

import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from sr_lab.base.randomness import digest64
from sr_lab.config.compose import build, compose
from sr_lab.degradations.base import params_from_records, record
from sr_lab.degradations.kornia import Kornia

KEYS = [(5, 2, index) for index in range(3)]
HOME = "kornia.augmentation"
TRANSFORMS: list[tuple[str, dict[str, Any]]] = [
    ("RandomMotionBlur", {"kernel_size": [3, 9], "angle": [-90.0, 90.0], "direction": [-1.0, 1.0]}),
    ("RandomSaltAndPepperNoise", {"amount": [0.05, 0.2]}),
    ("RandomGaussianNoise", {"std": 0.1}),
    ("ColorJitter", {"brightness": [0.7, 1.3], "hue": [-0.2, 0.2]}),  # of three channels only
    ("RandomElasticTransform", {}),  # draws for each pixel
    ("RandomAffine", {"degrees": 10, "translate": [0.1, 0.1]}),
]


def of(name: str, arguments: dict[str, Any] | None = None, **more: Any) -> Kornia:
    return Kornia(transform=f"{HOME}.{name}", arguments=arguments, **more)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize(("name", "arguments"), TRANSFORMS)
def test_a_record_replays_to_the_last_bit_whatever_the_neighbours(
    photos: Tensor, name: str, arguments: dict[str, Any], channels: int
) -> None:
    high = photos[:3, :channels].contiguous()
    op = of(name, arguments)
    params = op.draw_keyed(KEYS)
    outside, given = torch.get_rng_state(), high.clone()
    made = op.apply(high, params)
    assert torch.equal(torch.get_rng_state(), outside)
    assert torch.equal(high, given)
    assert made.shape == high.shape
    assert made.min() >= 0
    assert made.max() <= 1
    if (name, channels) != ("ColorJitter", 1):
        assert (made - high).abs().mean() > 1e-3
    again = of(name, arguments)
    torch.manual_seed(digest64("elsewhere"))
    assert torch.equal(again.apply(high, params_from_records(json.loads(json.dumps(record(params))))), made)
    assert torch.equal(again.apply(high[1:2], again.draw_keyed(KEYS[1:2])), made[1:2])
    assert torch.equal(again.apply_canvas(high, again.checked(params, 3)), made)
    assert again.fingerprint() == op.fingerprint()
    assert torch.equal(pickle.loads(pickle.dumps(op)).apply(high, params), made)


def test_each_sample_and_each_key_has_a_draw_of_its_own(photos: Tensor) -> None:
    op = of("RandomGaussianNoise", {"std": 0.1})
    same = photos[:1].expand(3, -1, -1, -1)
    made = op.apply(same, op.draw_keyed(KEYS))
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made, op.apply(same, op.draw_keyed([(6, 2, index) for index in range(3)])))


def test_the_gate_is_ours(photos: Tensor) -> None:
    op = of("RandomInvert", probability=0.5)
    keys = [(0, 0, index) for index in range(12)]
    params = op.draw_keyed(keys)
    made = op.apply(photos[:1].expand(12, -1, -1, -1), params)
    assert 0 < int(params["on"].sum()) < 12
    for image, on in zip(made, params["on"], strict=True):
        torch.testing.assert_close(image, 1 - photos[0] if on else photos[0], rtol=0, atol=1e-6)


def test_it_joins_a_preset_by_an_override(photos: Tensor) -> None:
    node = f"{{_target_: sr_lab.degradations.kornia.Kornia, transform: {HOME}.RandomBoxBlur}}"
    degradation = build(
        compose("degrade", ["output=x", "degradation=bd", f"+degradation.ops.shake={node}"]).degradation
    )
    params = degradation.draw_keyed(KEYS)
    assert "shake.seed" in params
    high = photos[:3, :, :72, :72]
    assert degradation.apply(high, params).shape == (3, 3, 72 // degradation.scale, 72 // degradation.scale)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transform": f"{HOME}.RandomMotionBlr"}, f"nearest: {HOME}.RandomMotionBlur"),
        ({"transform": "kornia.RandomGamma"}, f"nearest: {HOME}.RandomGamma"),
        ({"transform": "RandomGamma"}, f"nearest: {HOME}.RandomGamma"),
        ({"transform": "subprocess.Popen"}, f"they are in {HOME}"),
        ({"transform": "kornia.nowhere.Blur"}, "no transform of one image"),
        ({"transform": ""}, "no transform of one image"),
        ({"transform": f"{HOME}.RandomMixUpV2"}, "no transform of one image"),
        ({"transform": f"{HOME}.AugmentationSequential"}, "no transform of one image"),
        ({"transform": f"{HOME}.IntensityAugmentationBase2D"}, "no transform of one image"),
        ({"transform": f"{HOME}.RandomGamma", "arguments": {"gama": 2}}, "gama.*it takes gamma"),
        ({"transform": f"{HOME}.RandomMotionBlur"}, "it takes kernel_size, angle, direction"),
        ({"transform": f"{HOME}.RandomGamma", "arguments": {"p": 0.5}}, "p is not given here.*probability"),
        ({"transform": f"{HOME}.RandomGamma", "probability": 2.0}, "probability=2"),
    ],
)
def test_wrong_transforms_are_refused_when_built(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Kornia(**arguments)


def test_a_transform_that_resizes_is_refused(photos: Tensor) -> None:
    op = of("Resize", {"size": [10, 10]})
    with pytest.raises(ValueError, match="take one that keeps the size"):
        op.apply(photos, op.draw_keyed([(0, 0, index) for index in range(len(photos))]))


def test_kornia_is_imported_where_it_is_used_only() -> None:
    code = "import sys, sr_lab.degradations.kornia; sys.exit('kornia' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
