"""Parameters that wander over a clip, codecs across frames, and the two BD's."""

import itertools
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_lab.config.compose import build, compose
from sr_lab.degradations.base import params_from_records, record
from sr_lab.degradations.blur import Blur
from sr_lab.degradations.compression import Jpeg
from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.video import VideoCodec, code_clip, mirrored
from sr_lab.degradations.walk import Walk


@pytest.fixture(scope="module")
def still() -> Tensor:
    """(1, 6, 3, 64, 64): a clip in which nothing moves."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 9, generator=generator), (64, 64), mode="bicubic")
    return picture.clamp(0, 1)[:, None].repeat(1, 6, 1, 1, 1)


def test_steps_are_kept_and_so_are_ranges_and_kinds():
    walk = Walk(op=Jpeg(quality=[30, 95]), steps={"quality": [3, 30, 95]})
    sample = {"op": {"quality": 31}, "walk": 5}
    qualities = [own["quality"] for own in walk.walked(sample, 200)]
    assert qualities[0] == 31
    assert all(isinstance(quality, int) and 30 <= quality <= 95 for quality in qualities)
    assert max(abs(a - b) for a, b in itertools.pairwise(qualities)) == 3
    assert len(set(qualities)) > 10
    assert walk.walked(sample, 20) == walk.walked(sample, 200)[:20]


def test_a_round_kernel_stays_round():
    step = [0.02, 0.2, 3.0]
    walk = Walk(op=Blur(kinds={"isotropic": 1}, sizes=9, sigma=[0.5, 2.0]), steps={"sigma_x": step, "sigma_y": step})
    params = walk.draw_keyed([(0, 0, 0)])
    own = {name.removeprefix("op."): values[0].item() for name, values in params.items() if name != "walk"}
    found = walk.walked({"op": own, "walk": int(params["walk"][0])}, 30)
    assert all(each["sigma_x"] == each["sigma_y"] for each in found)
    assert found[0]["sigma_x"] != found[-1]["sigma_x"]


def test_noise_is_new_on_every_frame_and_a_record_replays(still):
    walk = Walk(op=GaussianNoise(sigma=[5, 10], colours={"colour": 1}), steps={"sigma": [2, 5, 10]})
    params = walk.draw_keyed([(0, 0, 0)])
    low, _ = walk.pair_clip(still, params)
    assert not torch.equal(low[0, 0] - still[0, 0], low[0, 1] - still[0, 1])
    again = params_from_records(json.loads(json.dumps(record(params))))
    assert torch.equal(walk.pair_clip(still, again)[0], low)
    assert torch.equal(walk.pair_clip(still[:, :1], params)[0][:, 0], walk.apply(still[:, 0], params))


def test_a_walk_of_what_is_not_there_is_refused(still):
    walk = Walk(op=Jpeg(quality=50), steps={"sigma": [1, 0, 2]})
    with pytest.raises(ValueError, match=r"steps\.sigma: the operation has quality"):
        walk.pair_clip(still, walk.draw_keyed([(0, 0, 0)]))
    with pytest.raises(ValueError, match=r"give \[step, lowest, highest\]"):
        Walk(op=Jpeg(quality=50), steps={"quality": [1, 2]})


def test_a_clip_may_begin_anywhere_in_its_group_of_pictures():
    pytest.importorskip("av", reason="needs PyAV")
    assert mirrored(4, 7) == [1, 0, 1, 2, 3, 2, 1]
    generator = np.random.default_rng(0)
    frames = [generator.random((64, 64, 3), np.float32) for _ in range(4)]
    codec = VideoCodec(codec="h264", quality=40, gop=[30, 30], b_frames=[0, 0], start=[5, 5])
    sample = {name: values[0].item() for name, values in codec.draw_keyed([(0, 0, 0)]).items()}
    assert sample == {"quality": 40, "gop": 30, "b_frames": 0, "start": 5}
    coded = codec.degrade_clip(frames, sample, high=(64, 64))
    plain = codec.degrade_clip(frames, {**sample, "start": 0}, high=(64, 64))
    assert len(coded) == 4
    assert not np.array_equal(coded[0], plain[0])


def test_bits_decide_over_the_strength():
    pytest.importorskip("av", reason="needs PyAV")
    generator = np.random.default_rng(0)
    frame = generator.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    frames = [np.roll(frame, number, axis=1) for number in range(8)]

    def error(bits: float) -> float:
        coded = code_clip(frames, codec="h264", bits=bits, gop=4, b_frames=0)
        return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(coded, frames, strict=True)]))

    assert error(0.05) > error(4.0) + 5


def test_realbasicvsr_wanders_and_replays(still):
    pytest.importorskip("av", reason="needs PyAV")
    preset = build(compose("degrade", ["output=x", "degradation=realbasicvsr", "scale=4"]).degradation)
    clip = torch.nn.functional.interpolate(still[0], (96, 96))[None]
    params = preset.draw_keyed([(0, 0, 1)])
    low, target = preset.pair_clip(clip, params)
    assert low.shape == (1, 6, 3, 24, 24)
    assert not torch.equal(target, clip)
    again = params_from_records(json.loads(json.dumps(record(params))))
    assert torch.equal(preset.pair_clip(clip, again)[0], low)
    assert {"first.blur.walk", "first.jpeg.op.quality", "codec.h264.bits", "codec.h264.start"} <= set(params)


def test_the_two_bds_sample_at_different_places():
    ramp = torch.arange(64, dtype=torch.float32).div(64).expand(1, 3, 64, 64)
    low = {}
    for name, phase in (("bd_duf", 0), ("bd_basicvsr", 2)):
        preset = build(compose("degrade", ["output=x", f"degradation={name}", "scale=4"]).degradation)
        assert preset.ops["stride"].phase == phase
        low[name] = preset.apply(ramp, preset.draw_keyed([(0, 0, 0)]))
    apart = (low["bd_basicvsr"] - low["bd_duf"])[..., 4:12, 4:12]
    assert apart.mean() == pytest.approx(2 / 64, abs=1 / 255)
