import inspect
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from sr_lab.base.signals import Stopped
from sr_lab.tracking.none import NoRun
from sr_lab.tracking.run import Run
from sr_lab.tracking.spool import Spool

MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Runs on the same directory that are only recorded; no store is needed."""

    def make(**options: Any) -> Run:
        options = {"uri": f"sqlite:///{tmp_path}/none.db", "experiment": "tests", "name": "n", "ship": False} | options
        return Run(**{"directory": tmp_path / "tracking", "observe": False, "system_seconds": 0} | options)

    return make


def _events(run: Run, kind: str) -> list[dict[str, Any]]:
    return [event for _, event in run.spool.read(0, max_bytes=10**9) if event["kind"] == kind]


def _steps(run: Run, key: str) -> list[int]:
    return [event["step"] for event in _events(run, "metrics") if key in event["values"]]


def test_importing_and_running_does_not_import_mlflow(tmp_path: Path) -> None:
    code = f"""
import sys
from sr_lab.tracking.run import Run
with Run(uri="sqlite:///{tmp_path}/x.db", experiment="e", name="n", directory="{tmp_path}/t", ship=False) as run:
    run.log_metrics({{"a": 1.0}}, 0)
assert "mlflow" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_metric_is_on_disk_when_the_call_returns(make_run: MakeRun) -> None:
    run = make_run()
    run.log_metrics({"train/loss": torch.tensor(0.5), "val/psnr_y": np.float32(31.25)}, 7)
    (event,) = _events(run, "metrics")
    assert event["values"] == {"train/loss": 0.5, "val/psnr_y": 31.25}
    assert event["step"] == 7
    assert event["time"] > 1_600_000_000_000


def test_a_resumed_run_does_not_repeat_the_steps_after_its_checkpoint(make_run: MakeRun) -> None:
    first = make_run()
    for step in range(10):
        first.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    first.log_metrics({"val/psnr_y": 30.0}, 5)
    first.log_image(np.zeros((4, 4, 3), np.uint8), "val/a", 5)
    first.spool.close()  # as a kill would: no status is recorded
    second = make_run()
    assert second.is_resumed
    for step in range(6, 13):
        second.log_metrics({"train/loss": 1.0 / (step + 1), "val/new": 1.0}, step)
    second.log_metrics({"val/psnr_y": 31.0}, 10)
    for step in (5, 10):
        second.log_image(np.zeros((4, 4, 3), np.uint8), "val/a", step)
    assert _steps(second, "train/loss") == list(range(13))
    assert _steps(second, "val/new") == list(range(6, 13))
    assert _steps(second, "val/psnr_y") == [5, 10]
    assert [event["step"] for event in _events(second, "image")] == [5, 10]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_no_step_is_recorded_twice_however_the_run_ended_before(make_run: MakeRun, status: Any) -> None:
    first = make_run()
    for step in range(10):
        first.log_metrics({"train/loss": float(step)}, step)
    first.finish(status)
    with make_run() as second:
        for step in range(6, 13):
            second.log_metrics({"train/loss": float(step)}, step)
    assert _steps(second, "train/loss") == list(range(13))
    assert [event["status"] for event in _events(second, "status")] == [status, "FINISHED"]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED", None])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_run_that_is_opened_again_takes_new_results_and_keeps_its_end(
    make_run: MakeRun, status: Any, error: Any
) -> None:
    run = make_run()
    run.log_metrics({"test/psnr_y": 30.0}, 100)
    run.finish(status) if status else run.spool.close()  # None: as kill -9 leaves it
    with suppress(ValueError, KeyboardInterrupt), Run.reopen(run.spool.directory, drain_seconds=0) as again:
        again.log_metrics({"test/psnr_y": 31.0}, 100)
        if error is not None:
            raise error
    values = [event["values"]["test/psnr_y"] for event in _events(again, "metrics")]
    assert values == [30.0, 31.0]
    assert [event["status"] for event in _events(again, "status")] == [status or "KILLED"]
    assert again.spool.history().status == (status or "KILLED")
    with make_run() as resumed:  # the training goes on all the same
        resumed.log_metrics({"train/loss": 1.0}, 101)
    assert resumed.spool.history().status == "FINISHED"


@pytest.mark.parametrize("key", ["name", "experiment"])
@pytest.mark.parametrize("value", [None, True, 1e3, float("nan"), "", " ", "two\nlines", "x" * 501])
def test_what_is_no_name_is_refused_before_the_run(make_run: MakeRun, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{key}="):
        make_run(**{key: value})


def test_a_whole_number_is_a_name(make_run: MakeRun) -> None:
    identity = make_run(name=7, experiment=1).spool.identity
    assert (identity.name, identity.experiment) == ("7", "1")


def test_a_tag_that_mlflow_refuses_is_refused_before_the_run(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'a,b' cannot be recorded"):
        make_run(tags={"a,b": "1"})
    assert not (tmp_path / "tracking").exists()


def test_a_changed_parameter_on_resume_is_recorded_beside_the_first(make_run: MakeRun) -> None:
    first = make_run()
    first.log_params({"optimizer": {"lr": 0.1, "betas": (0.9, 0.99)}, "seed": 1})
    first.spool.close()
    second = make_run()
    for _ in range(2):
        second.log_params({"optimizer": {"lr": 0.2, "betas": (0.9, 0.99)}, "seed": 1})
    assert [event["values"] for event in _events(second, "params")] == [
        {"optimizer.lr": "0.1", "optimizer.betas": "[0.9, 0.99]", "seed": "1"},
        {"resume.1.optimizer.lr": "0.2"},
    ]


def test_one_process_cannot_give_a_parameter_two_values(make_run: MakeRun) -> None:
    run = make_run()
    run.log_params({"lr": 0.1})
    with pytest.raises(ValueError, match=r"'lr' was already recorded as '0\.1', now it is '0\.2'"):
        run.log_params({"lr": 0.2})


def test_long_values_are_cut_visibly(make_run: MakeRun) -> None:
    run = make_run()
    run.log_params({"long": "x" * 7000, "fits": "y" * 6000, "empty": {}})
    values = _events(run, "params")[0]["values"]
    assert len(values["long"]) == 6000
    assert values["long"].endswith("[cut: 7000 characters; whole in config.yaml]")
    assert values["fits"] == "y" * 6000
    assert values["empty"] == "{}"


@pytest.mark.parametrize("key", ["a/../b", "/a", "a//b", "lo,ss", "{val/psnr}", "", ".", "x" * 251])
def test_a_name_that_mlflow_refuses_is_refused_at_once(make_run: MakeRun, key: str) -> None:
    with pytest.raises(ValueError, match="cannot be recorded"):
        make_run().log_metrics({key: 1.0}, 0)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8)]
)
def test_a_picture_has_to_be_one(make_run: MakeRun, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"give \(H, W, C\) uint8"):
        make_run().log_image(image, "val/a", 0)


def test_artefacts_are_kept_as_they_were(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    path = tmp_path / "a.txt"
    path.write_text("before")
    run.log_file(path, "folder")
    path.write_text("after")
    (event,) = _events(run, "artefact")
    assert (run.spool.directory / event["source"]).read_text() == "before"
    for missing in (run.log_file, run.log_model):
        with pytest.raises(ValueError, match="nowhere"):
            missing(tmp_path / "nowhere")


def test_finish_says_what_is_left_and_how_to_send_it(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    run.log_metrics({"a": 1.0}, 0)
    assert run.finish() == 3
    told = capsys.readouterr().err
    assert "3 events of run 'n' did not reach sqlite:" in told
    assert f"srlab sync directory={run.spool.directory.parent}" in told
    assert run.finish() == 3
    with pytest.raises(RuntimeError, match="is finished"):
        run.log_metrics({"a": 1.0}, 1)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError, "FAILED"),
        (KeyboardInterrupt, "KILLED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(2), "FAILED"),
        (SystemExit(143), "KILLED"),
        (Stopped(signal.SIGTERM), "KILLED"),
    ],
)
def test_the_way_a_block_ends_is_the_status(make_run: MakeRun, error: Any, status: str) -> None:
    run = make_run()
    try:
        with run:
            if error is not None:
                raise error
    except BaseException:
        assert error is not None
    assert [event["status"] for event in _events(run, "status")] == [status]


def test_two_processes_cannot_write_one_run(make_run: MakeRun) -> None:
    run = make_run()
    code = f"""
import sr_lab.tracking.run as module
module._LOCK_PATIENCE_SECONDS = 0.1
module.Run(uri="sqlite:///x.db", experiment="e", name="n", directory="{run.spool.directory}", ship=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process writes this run" in done.stderr


@pytest.mark.parametrize("uri", ["mlruns", "file:///x", "./mlruns", "sqlite:///", "sqlite:///:memory:", "ftp://x/y"])
def test_a_store_that_cannot_be_used_is_refused(make_run: MakeRun, uri: str) -> None:
    with pytest.raises(ValueError, match="tracking uri"):
        make_run(uri=uri)


def test_the_environment_and_the_load_are_recorded_without_secrets(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "geheim-4711")
    run = make_run(observe=True, system_seconds=0.05)
    while not _steps(run, "system/cpu_utilization_percentage"):
        assert run._watch._thread.is_alive()
    run.finish()
    assert any("env.python" in event["values"] for event in _events(run, "tags"))
    names = {event["name"] for event in _events(run, "artefact")}
    assert {"hardware.json", "packages.txt"} <= names
    for path in run.spool.directory.rglob("*"):
        assert not path.is_file() or b"geheim-4711" not in path.read_bytes()


def test_tables_replace_what_json_does_not_know(make_run: MakeRun) -> None:
    run = make_run()
    run.log_table([{"image": "a", "psnr_y": float("inf")}, {"image": "b", "ssim_y": np.float32(0.5)}])
    (event,) = _events(run, "table")
    text = (run.spool.directory / event["source"]).read_text()
    assert text == '{"columns": ["image", "psnr_y", "ssim_y"], "data": [["a", "inf", null], ["b", null, 0.5]]}'


def test_reopening_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the record of a run"):
        Run.reopen(tmp_path)


def test_none_takes_exactly_what_a_run_takes() -> None:
    for name, method in inspect.getmembers(Run, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(NoRun, name)) == inspect.signature(method), name
    with NoRun(name="n", directory="x") as run:
        run.log_metrics({"a": 1.0}, 0)
    assert run.finish() == 0


def test_a_moved_store_is_taken_over(make_run: MakeRun, tmp_path: Path) -> None:
    make_run().spool.close()
    moved = f"sqlite:///{tmp_path}/moved.db"
    assert make_run(uri=moved).spool.identity.uri == moved
    assert Spool(tmp_path / "tracking").identity.name == "n"


def test_the_users_own_source_is_kept_with_the_run(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own net (2).py"
    file.write_text("WIDTH = 3\n")
    module = ModuleType("flavour.net")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "flavour.net", module)
    run = make_run(observe=True)
    run.finish()
    (found,) = [event for event in _events(run, "artefact") if event["name"] == "own net (2).py"]
    assert found["folder"] == "code/untracked/flavour"
