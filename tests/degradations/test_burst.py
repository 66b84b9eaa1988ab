"""The sensor of a burst: each frame's own shift, by key."""

import numpy as np
import pytest
import torch

from sr_lab.degradations.base import params_from_records, record
from sr_lab.degradations.burst import BurstSensor
from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.images.burst import Sampling


def clips(count: int = 4) -> torch.Tensor:
    """Two still clips, (2, count, 3, 32, 40)."""
    low = torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    scene = torch.nn.functional.interpolate(low, (32, 40), mode="bicubic", align_corners=False).clamp(0, 1)
    return scene[:, None].expand(-1, count, -1, -1, -1).contiguous()


def test_each_frame_but_the_first_has_its_own_shift():
    sensor, clip = BurstSensor(scale=4, reach=0.8), clips()
    params = sensor.draw_keyed([(0, 0, 0), (0, 0, 1)])
    low, target = sensor.pair_clip(clip, params)
    assert torch.equal(target, clip)
    assert low.shape == (2, 4, 3, 8, 10)
    torch.testing.assert_close(low[:, 0], torch.nn.functional.avg_pool2d(clip[:, 0], 4))
    shifts = sensor.shifts(int(params["seed"][1]), 4)
    assert len(set(shifts)) == 4
    assert np.abs(shifts).max() <= 0.8
    seen = Sampling.of(shifts[3], (32, 40), 4).see(clip[1, 3, 2].numpy())
    np.testing.assert_allclose(low[1, 3, 2].numpy(), np.clip(seen, 0, 1), atol=1e-6)
    torch.testing.assert_close(sensor.apply(clip[:, 0], params), low[:, 0])


def test_a_burst_is_replayed_bit_by_bit():
    burst = Pipeline(ops={"sensor": BurstSensor(scale=4), "noise": GaussianNoise(sigma=2.55)})
    params = burst.draw_keyed([(7, 0, 3), (7, 0, 4)])
    low, _ = burst.pair_clip(clips(), params)
    again, _ = burst.pair_clip(clips(), params_from_records(record(params)))
    assert torch.equal(low, again)
    other, _ = burst.pair_clip(clips(), burst.draw_keyed([(7, 1, 3), (7, 1, 4)]))
    assert not torch.equal(low[:, 1:], other[:, 1:])
    assert burst.scale == 4


def test_a_wrong_reach_is_refused():
    with pytest.raises(ValueError, match="reach=-1"):
        BurstSensor(scale=2, reach=-1)
