"""Clips through whole pipelines: one draw a clip, fresh noise a frame, codecs that look at neighbours."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_lab.config.compose import build, compose
from sr_lab.config.tree import config_dir
from sr_lab.degradations.base import Degradation, params_from_records, record
from sr_lab.degradations.blur import Blur
from sr_lab.degradations.lines import DeadRows
from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.sharpen import Sharpen


def preset(name: str) -> Degradation:
    found = build(compose("degrade", ["output=x", f"degradation={name}"]).degradation)
    assert isinstance(found, Degradation)
    return found


@pytest.fixture(scope="module")
def still() -> Tensor:
    """(2, 4, 3, 64, 64): two clips in which nothing moves."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.nn.functional.interpolate(torch.rand(2, 3, 9, 9, generator=generator), (64, 64), mode="bicubic")
    return picture.clamp(0, 1)[:, None].repeat(1, 4, 1, 1, 1)


@pytest.mark.parametrize("name", ["realesrgan", "realesrgan_sharp", "bsrgan", "severity", "document", "bicubic"])
def test_a_clip_of_one_frame_is_an_image(still: Tensor, name: str) -> None:
    degradation = preset(name)
    params = degradation.draw_keyed([(0, 0, 3), (0, 0, 4)])
    low, target = degradation.pair_clip(still[:, :1], params)
    image_low, image_target = degradation.pair(still[:, 0], params)
    assert torch.equal(low[:, 0], image_low)
    assert torch.equal(target[:, 0], image_target)


def test_frames_share_the_draw_and_have_noise_of_their_own(still: Tensor) -> None:
    noise = GaussianNoise(sigma=20)
    params = noise.draw_keyed([(0, 0, 0), (0, 0, 1)])
    residual = noise.pair_clip(still * 0 + 0.5, params)[0] - 0.5
    flat = residual[0].flatten(1).numpy()
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.05
    assert np.allclose(flat.std(axis=1) * 255, 20, rtol=0.03)
    blur = Blur(kinds={"anisotropic": 1}, sizes=21, sigma=[0.5, 4])
    blurred, _ = blur.pair_clip(still, blur.draw_keyed([(0, 0, 0), (0, 0, 1)]))
    assert all(torch.equal(blurred[:, 0], blurred[:, number]) for number in range(4))
    dead = DeadRows(fraction=0.2)
    lines, _ = dead.pair_clip(still, dead.draw_keyed([(0, 0, 0), (0, 0, 1)]))
    assert torch.equal(lines[:, 0], lines[:, 3])
    assert not torch.equal(lines, still)


def test_the_target_of_a_clip_is_made_once_for_each_frame(still: Tensor) -> None:
    pipeline = Pipeline(ops={"blur": Blur(kinds={"isotropic": 1}, sizes=7)}, target=Sharpen())
    params = pipeline.draw_keyed([(0, 0, 0), (0, 0, 1)])
    low, target = pipeline.pair_clip(still, params)
    image_low, image_target = pipeline.pair(still[:, 2], params)
    assert torch.equal(target[:, 2], image_target)
    assert torch.equal(low[:, 2], image_low)
    assert not torch.equal(target, still)


def test_the_video_preset_codes_clips_and_replays(still: Tensor) -> None:
    pytest.importorskip("av")
    degradation = preset("video")
    clip = torch.stack([frame.roll(3 * number, -1) for number, frame in enumerate(still[0, :1].repeat(6, 1, 1, 1))])
    keys = [(0, 0, index) for index in range(12)]
    params = degradation.draw_keyed(keys)
    clips = clip[None].repeat(len(keys), 1, 1, 1, 1)
    low, _ = degradation.pair_clip(clips, params)
    assert low.shape == (12, 6, 3, 16, 16)
    assert torch.equal(low, degradation.pair_clip(clips, params)[0])
    single = torch.stack([degradation.pair(frame.expand(12, -1, -1, -1), params)[0] for frame in clip], dim=1)
    videos = params["codec.choice"] >= 3
    assert videos.any()
    assert not videos.all()
    later = (low[:, 1:] - single[:, 1:]).abs().flatten(1).amax(1)
    assert (later[videos] > 0).all(), "a video codec must code a clip otherwise than its frames one by one"


@pytest.mark.parametrize("name", sorted(file.stem for file in (config_dir() / "degradation").glob("*.yaml")))
def test_every_preset_takes_clips_and_is_replayed_from_its_record(still: Tensor, name: str) -> None:
    if name in ("video", "realbasicvsr"):
        pytest.importorskip("av")
    degradation = preset(name)
    params = degradation.draw_keyed([(0, 0, 5)])
    low, target = degradation.pair_clip(still[:1, :2], params)
    assert low.shape[:3] == target.shape[:3] == (1, 2, 3)
    again, _ = degradation.pair_clip(still[:1, :2], params_from_records(record(params)) if params else {})
    assert torch.equal(low, again)
