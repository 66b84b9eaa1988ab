"""Synthetic camera paths with their exact motion, and clips by key."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from sr_lab.data.camera import CameraClip, camera_clip
from sr_lab.data.clips import CameraClips, FrameClips
from sr_lab.data.datamodule import SRDataModule
from sr_lab.data.sources import FolderSource
from sr_lab.data.videos import VideoSource
from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import Bicubic
from sr_lab.images import to_array, write_image
from sr_lab.images.flow import warp
from tests.clips import picture
from tests.clips import write_clip as write_video


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


def others(count: int = 3) -> list[torch.Tensor]:
    return [photo(number) for number in range(1, 1 + count)]


def test_the_flow_of_a_photo_that_bends_explains_its_frames():
    found, rigid = clip(motion="bend"), clip(motion="similarity")
    assert max(error(found, step) for step in range(5)) < 0.03
    assert np.abs(found.flow - rigid.flow).max() > 0.5
    turned = np.diff(found.flow, axis=2).reshape(-1, 2)
    assert turned.std() > 3 * np.diff(rigid.flow, axis=2).reshape(-1, 2).std()  # it is not one motion for all


@pytest.mark.parametrize("motion", ["pan", "similarity", "bend"])
@pytest.mark.parametrize("key", [(0, 0, 3), (1, 0, 8)])
def test_a_crowd_moves_by_itself_bends_and_hides_exactly(motion, key):
    found, alone = (clip(motion=motion, key=key, event=event, others=others()) for event in ("crowd", "none"))
    own = np.abs(found.flow - alone.flow).max(axis=-1) > 0.05
    assert 0.02 < own.mean() < 0.9
    assert found.covered.mean() > alone.covered.mean() + 0.01
    seen = (own & ~found.covered).sum()
    assert seen > 200, "pixels of figures that are seen in both frames"
    assert max(error(found, step) for step in range(5)) < 0.05
    blind = CameraClip(found.frames, lambda: (alone.flow, found.covered))
    assert max(error(blind, step) for step in range(5)) > 0.2


def test_what_a_crowd_hides_is_covered():
    """Pixels that the next frame does not show differ from it, and nothing but they."""
    found = clip(event="crowd", others=others(), speed=8.0)
    missed = []
    for step in range(5):
        now, then = (np.moveaxis(found.frames[step + k].numpy(), 0, -1) for k in (0, 1))
        apart = np.abs(now - warp(np.ascontiguousarray(then), found.flow[step])).max(axis=-1)
        missed.append(apart[found.covered[step]].mean() > 10 * apart[~found.covered[step]].mean())
    assert all(missed)


def test_figures_lie_in_front_of_one_another_in_their_order():
    whole = clip(event="crowd", others=others())
    swapped = clip(event="crowd", others=[photo(3), photo(2), photo(1)])
    assert not torch.equal(whole.frames, swapped.frames)
    with pytest.raises(ValueError, match="event=crowd needs a photo for each figure"):
        clip(event="crowd")


def test_paths_of_earlier_releases_keep_their_bytes():
    """Trainings of old are drawn again: motion and events that are added take no numbers of theirs."""
    digest = hashlib.sha256()
    ground = torch.arange(3 * 80 * 90, dtype=torch.float32).view(1, 3, 80, 90) * 7 % 251 / 250
    for event in ("none", "foreground", "still", "cut", "ramp", "repeat"):
        found = camera_clip(ground, key=(4, 1, 2), count=6, size=(48, 52), event=event, other=1 - ground)
        digest.update((found.frames * 255).round().to(torch.uint8).numpy().tobytes())
        digest.update(np.nan_to_num(found.flow, nan=99).astype(np.int16).tobytes())
        digest.update(found.covered.tobytes())
    assert digest.hexdigest()[:16] == "a56b8f014bcb418b"


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


def module(tmp_path: Path, *, clips, crop: int = 48, **settings) -> SRDataModule:
    """Its data module, ready; images lie in train/ and val/."""
    made = SRDataModule(
        name="clips",
        train=settings.pop("train", None) or FolderSource(roots=tmp_path / "train"),
        val=FolderSource(roots=tmp_path / "val"),
        degradation=settings.pop("degradation", Bicubic(scale=2)),
        scale=2, crop=crop, batch_size=2, cache=tmp_path / "cache", clips=clips, **{"seed": 7} | settings,
    )  # fmt: skip
    made.prepare_data()
    made.setup("fit")
    return made


def photos(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "train", "val")):
        write_image(tmp_path / part / f"{number}.png", to_array(photo(number)))


def test_samples_depend_on_their_keys_alone(tmp_path: Path):
    photos(tmp_path)
    clips = CameraClips(
        frames=4, val_frames=3, motions=["pan", "homography"], events=["none", "foreground"], val_crop=64
    )
    data = module(tmp_path, clips=clips, repeats=3)
    crops = data.train_dataset
    assert len(crops) == 6
    first = crops.__getitems__([(0, 4), (1, 1)])
    assert first["high"].shape == (2, 4, 3, 48, 48)
    assert first["high"].dtype == torch.uint8
    again = crops.__getitems__([(1, 0), (0, 4)])
    assert torch.equal(first["high"][0], again["high"][1])
    assert not torch.equal(crops[(1, 4)]["high"], first["high"][:1])
    batch = data.finish(first)
    low, _ = Bicubic(scale=2).pair(batch["high"][0], {})
    assert torch.equal(batch["low"][0], low)
    (val,) = [data.val_dataloader().dataset[index] for index in range(len(data.val_dataloader()))]
    assert (val["high"].shape, val["low"].shape) == ((1, 3, 3, 64, 64), (1, 3, 3, 32, 32))
    other = module(tmp_path, clips=clips, repeats=3, seed=8).train_dataset
    assert not torch.equal(other[(0, 4)]["high"], first["high"][:1])


def test_a_crowd_is_drawn_by_its_key(tmp_path: Path):
    photos(tmp_path)
    clips = CameraClips(frames=3, val_frames=2, motions=["bend"], events=["crowd"], figures=2, val_crop=64)
    crops = module(tmp_path, clips=clips, repeats=3).train_dataset
    first, again = (crops.__getitems__([(0, 4), (1, 1)])["high"] for _ in range(2))
    assert torch.equal(first, again)
    alone = CameraClips(frames=3, val_frames=2, motions=["bend"], val_crop=64)
    assert not torch.equal(module(tmp_path, clips=alone, repeats=3).train_dataset[(0, 4)]["high"], first[:1])
    with pytest.raises(ValueError, match="figures=1: a crowd has at least 2"):
        CameraClips(frames=3, figures=1)


def test_a_random_degradation_is_drawn_once_a_clip(tmp_path: Path):
    photos(tmp_path)
    noise = Pipeline(ops={"resize": Bicubic(scale=2), "noise": GaussianNoise(sigma=[1, 30])})
    clips = CameraClips(frames=3, val_frames=2)
    found = []
    for where in ("worker", "device"):
        data = module(tmp_path, clips=clips, degradation=noise, degrade_in=where)
        found.append(data.train_batch(torch.device("cpu"))["low"])
        first, second = (data.val_dataloader().dataset[0]["low"] for _ in range(2))
        assert torch.equal(first, second)
    assert torch.equal(*found)


def frames(folder: Path, *, count: int = 7, level: int = 0, scene: int | None = None) -> None:
    """Red tells the number; the rest is a ramp, or a photo, so that the audit finds two scenes."""
    for number in range(count):
        frame = np.full((40, 50, 3), 10 * number + level, np.uint8)
        frame[:, :, 1] = np.arange(50)
        if scene is not None:
            frame[:, :, 1:] = to_array(photo(scene))[:40, :50, 1:]
        write_image(folder / f"{number:02d}.png", frame)


def test_pieces_of_folders_are_frames_in_their_order(tmp_path: Path):
    frames(tmp_path / "train" / "a")
    frames(tmp_path / "train" / "b", count=4, level=5, scene=4)
    frames(tmp_path / "val" / "c", count=5, level=3, scene=3)
    data = module(tmp_path, clips=FrameClips(frames=3, val_frames=4, reverse=False), crop=32, augment="flips")
    starts = set()
    assert len(data.train_dataset) == 2
    assert data.train_names([0, 1]) == ["a/00.png", "b/00.png"]
    for epoch in range(12):
        sample = data.train_dataset.__getitems__([(epoch, 0), (epoch, 1)])
        for levels in sample["high"][:, :, 0, 0, 0].tolist():
            assert levels[1] - levels[0] == levels[2] - levels[1] == 10
        starts.add(levels[0])
        assert torch.equal(sample["low"][0, :, 0, 0, 0], sample["high"][0, :, 0, 0, 0])
    assert starts == {5, 15}
    val = data.val_dataloader().dataset[0]
    assert val["name"] == ["c"]
    assert val["high"][0, :, 0, 0, 0].tolist() == [3, 13, 23, 33]
    assert val["low"].shape == (1, 4, 3, 20, 25)
    backwards = module(tmp_path, clips=FrameClips(frames=3), crop=32).train_dataset
    falls = [bool((backwards[(epoch, 0)]["high"][0, :, 0, 0, 0].int().diff() < 0).all()) for epoch in range(12)]
    assert 0 < sum(falls) < 12


def test_what_no_clip_can_be_made_of_is_named(tmp_path: Path):
    frames(tmp_path / "train" / "a")
    frames(tmp_path / "val" / "c", level=3, scene=3)
    with pytest.raises(ValueError, match=r"training clip a has 7 frames: set data.clips.frames=7 or less"):
        module(tmp_path, clips=FrameClips(frames=8), crop=32)
    write_image(tmp_path / "val" / "c" / "99.png", np.zeros((40, 52, 3), np.uint8))
    with pytest.raises(ValueError, match="val clip c has frames of different sizes"):
        module(tmp_path, clips=FrameClips(frames=3), crop=32)
    with pytest.raises(ValueError, match="smaller than crop=36 and its margin of 8"):
        module(tmp_path, clips=CameraClips(frames=3), crop=36)
    for settings in ({"small": "pad"}, {"images_on": "device"}):
        with pytest.raises(ValueError, match="clips"):
            module(tmp_path, clips=CameraClips(frames=3), **settings)


def test_a_clip_that_shows_an_image_of_the_validation_is_left_out_whole(tmp_path: Path):
    pan = clip(count=4, size=(96, 96)).frames
    for name, part in (("train/leak", pan), ("val/c", pan[3:]), ("train/other", clip(key=(9,), count=4).frames)):
        for number, frame in enumerate(part):
            write_image(tmp_path / name / f"{number}.png", to_array(frame[None]))
    data = module(tmp_path, clips=FrameClips(frames=2, val_frames=1), crop=32)
    assert [item.name for item in data.parts["train"].items] == [f"other/{number}.png" for number in range(4)]
    (line,) = data.excluded
    assert line.startswith(str(tmp_path / "train" / "leak"))


def test_video_files_are_clips(tmp_path: Path):
    pytest.importorskip("av")
    (tmp_path / "videos").mkdir()
    for name in ("one", "two"):
        write_video(tmp_path / "videos" / f"{name}.mkv", frames=6, codec="ffv1", size=(64, 48), pix_fmt="yuv444p")
    frames(tmp_path / "val" / "c", level=3, scene=3)
    source = VideoSource(videos=tmp_path / "videos", frames=tmp_path / "frames", most=5)
    assert [item.path for item in source.items] == [f"{number:06d}.png" for number in range(5)] * 2
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "frames").rglob("*.png")}
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    VideoSource(videos=tmp_path / "videos", frames=tmp_path / "frames", most=5).fetch()
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "frames").rglob("*.png")} == stamps
    apart = source.read(source.items[1])[0].astype(int) - picture(1, 64, 48)
    assert np.abs(apart).max() <= 3
    with pytest.raises(ValueError, match="no video file in"):
        _ = VideoSource(videos=tmp_path / "val", frames=tmp_path / "frames").items
