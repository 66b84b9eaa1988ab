"""A preview of a degradation on a clip."""

from pathlib import Path

import numpy as np
from PIL import Image

from sr_lab.config.compose import build, compose
from sr_lab.images import write_image
from sr_lab.workflows.preview import preview


def test_a_clip_is_shown_in_motion_and_as_a_line_over_time(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 255, (64, 90, 3), dtype=np.uint8)
    for number in range(4):
        write_image(tmp_path / "clip" / f"{number}.png", picture[:, 4 * number : 4 * number + 64])
    degradation = build(compose("degrade", ["output=x", "degradation=bd_duf", "scale=4"]).degradation)
    made = preview(image=tmp_path / "clip", output=tmp_path / "out", degradation=degradation, name="bd_duf", side=48)
    assert made.film is not None
    with Image.open(made.film) as film:
        assert (film.n_frames, film.size) == (4, (96, 48))
    assert "over time" in made.page.read_text()
    assert made.picture.stat().st_size > 1000
