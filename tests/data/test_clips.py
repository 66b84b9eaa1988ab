"""Synthetic camera paths with their exact motion, and clips by key."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sr_lab.data.camera import camera_clip
from sr_lab.data.clips import CameraClips, ClipDataset, FolderClips
from sr_lab.degradations.resize import Bicubic
from sr_lab.images import to_array, write_image
from sr_lab.images.clips import find_clips
from sr_lab.images.flow import warp


def photo(seed: int = 0) -> torch.Tensor:
    """Smooth, (1, 3, 120, 160)."""
    low = torch.rand(1, 3, 15, 20, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(low, (120, 160), mode="bicubic", align_corners=False).clamp(0, 1)


def clip(**settings):
    return camera_clip(photo(), **({"key": (0, 0, 3), "count": 6, "size": (64, 64), "speed": 4.0} | settings))


def error(found, step: int) -> float:
    """Largest difference between a frame and the next one brought back, where both show the same."""
    now, then = (np.ascontiguousarray(np.moveaxis(found.frames[step + k].numpy(), 0, -1)) for k in (0, 1))
    apart = np.abs(now - warp(then, found.flow[step])).max(axis=-1)
    return float(apart[~found.covered[step]].max())


def test_a_pan_consists_of_plain_crops_and_its_flow_is_exact():
    found = clip()
    assert found.frames.shape == (6, 3, 64, 64)
    assert found.flow.shape == (5, 64, 64, 2)
    assert (found.flow == np.round(found.flow)).all()
    assert np.abs(found.flow).max() > 0
    assert max(error(found, step) for step in range(5)) == 0


@pytest.mark.parametrize("motion", ["similarity", "homography"])
def test_the_flow_of_a_turning_camera_explains_its_frames(motion):
    found = clip(motion=motion)
    assert len(np.unique(found.flow[0, ..., 0].round(4))) > 10
    assert max(error(found, step) for step in range(5)) < 0.03


def test_a_foreground_hides_and_moves_by_itself():
    found = clip(event="foreground", other=photo(1))
    assert found.covered.mean() > clip().covered.mean()
    assert len(np.unique(found.flow[0].reshape(-1, 2), axis=0)) == 2
    assert max(error(found, step) for step in range(5)) < 1e-6


def test_events():
    still = clip(event="still")
    assert torch.equal(still.frames[3], still.frames[5])
    assert not torch.equal(still.frames[0], still.frames[1])
    repeated = clip(event="repeat")
    assert torch.equal(repeated.frames[1], repeated.frames[2])
    assert torch.equal(repeated.frames[4], repeated.frames[5])
    cut = clip(event="cut", other=photo(1))
    assert np.isnan(cut.flow[2]).all()
    assert cut.covered[2].all()
    ramp = clip(event="ramp")
    assert not torch.equal(ramp.frames[5], clip().frames[5])
    assert torch.equal(ramp.frames[0], clip().frames[0])
    with pytest.raises(ValueError, match="needs another photo"):
        clip(event="cut")
    with pytest.raises(ValueError, match="too small for frames of 200x200"):
        clip(size=(200, 200))


def test_samples_depend_on_their_keys_alone():
    source = CameraClips(
        photos=[photo(0), photo(1)], count=4, crop=48, motions=["pan", "homography"], events=["none", "foreground"]
    )
    data = ClipDataset(source=source, degradation=Bicubic(scale=2), seed=7, repeats=3)
    assert len(data) == 6
    first = data[(0, 4)]
    assert first["low"].shape == (4, 3, 24, 24)
    data[(1, 0)]
    again = data[(0, 4)]
    assert torch.equal(first["high"], again["high"])
    assert torch.equal(first["low"], again["low"])
    assert not torch.equal(data[(1, 4)]["high"], first["high"])
    other = ClipDataset(source=source, degradation=Bicubic(scale=2), seed=8, repeats=3)
    assert not torch.equal(other[(0, 4)]["high"], first["high"])


def test_pieces_of_folders_are_frames_in_their_order(tmp_path: Path):
    for number in range(7):
        frame = np.full((40, 50, 3), 10 * number, np.uint8)
        frame[:, :, 1] = np.arange(50)
        write_image(tmp_path / "a" / f"{number:02d}.png", frame)
    data = ClipDataset(
        source=FolderClips(clips=find_clips(tmp_path), count=3, crop=32),
        degradation=Bicubic(scale=2), seed=0, reverse=False,
    )  # fmt: skip
    starts = set()
    for epoch in range(12):
        levels = [int(to_array(frame[None])[0, 0, 0]) for frame in data[(epoch, 0)]["high"]]
        assert levels[1] - levels[0] == levels[2] - levels[1] == 10
        starts.add(levels[0])
    assert len(starts) > 2
    with pytest.raises(ValueError, match="has 7 frames: give count=7 or less"):
        FolderClips(clips=find_clips(tmp_path), count=8, crop=32)
