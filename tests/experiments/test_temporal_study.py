"""The lines of the GPU piece of the study on clips are words that the commands take, large and tiny."""

import runpy
from pathlib import Path

import pytest

from sr_lab.config.compose import compose

STUDY = Path(__file__).resolve().parents[2] / "experiments" / "temporal" / "gpu.py"


@pytest.mark.parametrize("tiny", [False, True])
def test_every_line_is_taken(tiny: bool, tmp_path: Path) -> None:
    lines = runpy.run_path(str(STUDY))["commands"](tmp_path, tiny=tiny)
    ours = [line[3:] for line in lines if line[1:3] == ["-m", "sr_lab.cli"]]
    assert [name for name, *_ in ours] == ["train"] * 4 + ["evaluate"] * 3
    for name, *words in ours:
        config = compose(name, words)
        if name == "train":
            assert config.max_steps == (2 if tiny else 40_000)
