"""Which classes a manifest of anybody's may have built."""

import sys

import pytest

from sr_lab.data.replayed import build_recorded

MINE = """
from sr_lab.degradations.resize import Bicubic

class Mine(Bicubic):
    pass

class Warp(Mine):
    def __init__(self, *, scale, transform):
        super().__init__(scale=scale)
        self.transform = transform

def run(**arguments):
    raise SystemExit("executed")
"""


def test_a_degradation_of_another_package_is_replayed_where_the_package_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "its_own").mkdir()
    (tmp_path / "its_own" / "blurs.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SRLAB_TRUSTED", raising=False)
    node = {"_target_": "its_own.blurs.Mine", "scale": 3}
    with pytest.raises(ValueError, match="if you trust the package its_own, set SRLAB_TRUSTED=its_own"):
        build_recorded(node)
    monkeypatch.setenv("SRLAB_TRUSTED", "its_own_too, its")
    with pytest.raises(ValueError, match="set SRLAB_TRUSTED=its_own"):
        build_recorded(node)
    assert "its_own.blurs" not in sys.modules, "nothing of it was imported"
    monkeypatch.setenv("SRLAB_TRUSTED", "other, its_own")
    built = build_recorded(node)
    assert (type(built).__name__, built.scale) == ("Mine", 3)
    assert build_recorded({"_target_": "its_own.blurs.Warp", "scale": 2, "transform": "tilt"}).transform == "tilt"
    for wrapper in ("albumentation.Albumentation", "kornia.Kornia"):
        with pytest.raises(ValueError, match=r"transform='os\.system': only transforms of"):
            build_recorded({"_target_": f"sr_lab.degradations.{wrapper}", "transform": "os.system"})
    with pytest.raises(ValueError, match="only degradations"):
        build_recorded({"_target_": "its_own.blurs.run"})
    with pytest.raises(ValueError, match="only degradations"):
        build_recorded({"_target_": "os.system", "command": "true"})
