"""The same done to many named things."""

import functools
import sys

import pytest

from sr_lab.base.compute import Here, spread, start_ray
from sr_lab.base.signals import Stopped
from sr_lab.sweeps.launchers import Local, Slurm


def work(mark, name):
    if name == "c":
        raise ValueError("no")
    with (mark / "log").open("a") as stream:
        stream.write(name)


def make(mark):
    return functools.partial(work, mark)


@pytest.mark.parametrize("mapper", [Here(), Local(num_workers=1), Slurm(num_workers=3, cluster="debug")])
def test_each_name_is_done_once_wherever_and_what_fails_is_told(tmp_path, monkeypatch, mapper):
    monkeypatch.chdir(tmp_path)
    assert spread(mapper, list("abcde"), functools.partial(make, tmp_path), title="t") == ("c: no",)
    assert sorted((tmp_path / "log").read_text()) == list("abde")


def test_a_stopped_call_says_what_stays():
    def stopping(name):
        if name == "c":
            raise Stopped(15)

    with pytest.raises(Stopped, match="2 of 3 clips are done and stay") as stop:
        spread(Here(), list("abc"), lambda: stopping, title="t", unit="clip")
    assert stop.value.goes_on


class SlowRay:
    """Ray on a machine so busy that its first starts take too long."""

    def __init__(self, failures: int, said: str) -> None:
        self.failures, self.said, self.calls = failures, said, []

    def is_initialized(self) -> bool:
        return False

    def init(self, **settings: object) -> None:
        self.calls.append("init")
        if self.calls.count("init") <= self.failures:
            raise Exception(self.said)

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def test_ray_that_starts_slowly_is_started_again(monkeypatch):
    late = "The current node timed out during startup."
    for failures, said, calls in ((0, late, 1), (2, late, 3), (3, late, 3), (1, "no space", 1)):
        ray = SlowRay(failures, said)
        monkeypatch.setitem(sys.modules, "ray", ray)
        if failures in (0, 2):
            assert start_ray(None) is ray
        else:
            with pytest.raises(RuntimeError, match=f"launcher=ray: Ray did not start: {said}"):
                start_ray(None)
        assert ray.calls.count("init") == calls
        assert ray.calls.count("shutdown") == calls - 1
