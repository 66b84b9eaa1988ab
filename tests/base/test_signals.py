"""A signal in this very process: what is raised, what is remembered, what is put back."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from sr_lab import cli
from sr_lab.base.signals import Stopped, deferred, handled, saying


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_raises_and_the_handlers_are_put_back(signum, code):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Stopped) as stop, handled():
        os.kill(os.getpid(), signum)
    assert stop.value.exit_code == code
    assert not isinstance(stop.value, Exception)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_deferred_signal_waits_for_a_good_moment():
    def work() -> None:
        with handled(), deferred() as asked:
            for step in range(9):
                if step == 2:
                    os.kill(os.getpid(), signal.SIGTERM)
                seen.append(step)
                asked.raise_if_asked(f"step {step + 1} of 9", goes_on=True)

    seen: list[int] = []
    with pytest.raises(Stopped, match="stopped by SIGTERM: step 3 of 9") as stop:
        work()
    assert seen == [0, 1, 2]
    assert stop.value.goes_on


def test_a_deferred_signal_that_nobody_asked_for_is_raised_at_the_end():
    with pytest.raises(Stopped), deferred():  # installs the handlers itself
        os.kill(os.getpid(), signal.SIGINT)


def test_what_was_done_is_said_by_the_innermost():
    def work() -> None:
        with handled(), saying("nothing is written"), saying("two are done", goes_on=True):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="stopped by SIGTERM: two are done") as stop:
        work()
    assert stop.value.goes_on


def test_an_error_on_the_way_is_not_hidden_by_the_signal():
    def work() -> None:
        with deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        work()


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with handled():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_changed():
    import threading

    def work() -> None:
        with handled(), deferred() as asked:
            found.append(asked.signum)

    found: list = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        # A second signal ends the process at once, as if nobody handled it.
        ("with deferred(): [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)]", -signal.SIGTERM),
        # A forked process leaves Ctrl-C to its parent, and dies of SIGTERM.
        (
            """
            with handled():
                child = os.fork()
                if not child:
                    os.kill(os.getpid(), signal.SIGINT)
                    os.kill(os.getpid(), signal.SIGTERM)
                    os._exit(1)
                os._exit(7 if os.waitpid(child, 0)[1] == signal.SIGTERM else 1)
            """,
            7,
        ),
    ],
)
def test_the_end_of_a_process(body, code):
    head = "import os, signal\nfrom sr_lab.base.signals import deferred, handled\n"
    line = [sys.executable, "-c", head + textwrap.dedent(body)]
    assert subprocess.run(line, timeout=300).returncode == code


@pytest.mark.parametrize(
    ("stop", "code", "said"),
    [
        (Stopped(signal.SIGTERM), 143, "srlab train: stopped by SIGTERM\n"),
        (KeyboardInterrupt(), 130, "srlab train: interrupted\n"),
        (
            Stopped(signal.SIGTERM).saying("2 of 3 are done", goes_on=True),
            143,
            "srlab train: stopped by SIGTERM: 2 of 3 are done; this goes on:  srlab train 'name=a b'\n",
        ),
    ],
)
def test_the_command_line_says_what_was_stopped_and_how_it_goes_on(stop, code, said, capsys, monkeypatch):
    def stopped(name: str, overrides: list[str]) -> list[object]:
        raise stop

    monkeypatch.setattr("sr_lab.config.multirun.jobs", stopped)
    assert cli.main(["train", "name=a b", "fresh=true", "-m"]) == code
    assert capsys.readouterr().err.replace(" -m", "") == said
