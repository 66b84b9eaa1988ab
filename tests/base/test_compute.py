"""The same done to many named things."""

import functools

import pytest

from sr_lab.base.compute import Here, spread
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
