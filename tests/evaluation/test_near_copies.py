"""Near copies within a hold-out are one observation."""

from pathlib import Path

import numpy as np
from skimage import data as samples

from sr_lab.evaluation.scenes import merge_copies
from sr_lab.images import write_image


def test_crops_shifted_by_two_pixels_are_one_scene_and_it_is_said(tmp_path: Path) -> None:
    photos = {"coffee": samples.coffee(), "cat": samples.chelsea()}
    files = {}
    for name, photo in photos.items():
        for index in range(5):
            top = 20 + 2 * index
            files[f"{name} {index}"] = tmp_path / f"{name} {index}.png"
            write_image(files[f"{name} {index}"], np.ascontiguousarray(photo[top : top + 160, 30:230]))
    files["rocket"] = tmp_path / "rocket.png"
    write_image(files["rocket"], samples.rocket()[:160, :200])
    scenes, said = merge_copies({name: name for name in files}, files)
    assert len(set(scenes.values())) == 3
    assert {scenes[f"cat {index}"] for index in range(5)} == {"cat 0"}
    assert said == [
        "5 images show one picture (cat 0, cat 1, cat 2, ...)",
        "5 images show one picture (coffee 0, coffee 1, coffee 2, ...)",
    ]


def test_a_clip_stays_whole_where_one_of_its_frames_is_a_copy(tmp_path: Path) -> None:
    cat, coffee = samples.chelsea()[:160, :200], samples.coffee()[:160, :200]
    files = {}
    for name, photo in {"a/0": cat, "a/1": coffee, "b": cat, "c": samples.rocket()[:160, :200]}.items():
        files[name] = tmp_path / f"{name}.png"
        write_image(files[name], photo)
    scenes, _ = merge_copies({"a/0": "a", "a/1": "a", "b": "b", "c": "c"}, files)
    assert scenes == {"a/0": "a", "a/1": "a", "b": "a", "c": "c"}
