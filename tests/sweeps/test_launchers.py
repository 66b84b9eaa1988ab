"""The same sweep on submitit's local executor, on a local Ray, and as the script that SLURM would get."""

import json
import os
import signal
import stat
import time

import psutil
import pytest

from sr_lab.base.compute import on_ray
from sr_lab.sweeps.launchers import Local, Ray, Slurm, SlurmTask, worker_task
from sr_lab.sweeps.outcome import rows
from sr_lab.sweeps.session import prepare, watch
from sr_lab.sweeps.worker import Share


def test_submitit_runs_the_sweep(make_plan, tmp_path):
    pytest.importorskip("submitit")
    plan = make_plan()
    study = prepare(plan, num_trials=4, settings={})
    launcher = Slurm(num_workers=2, cores=1, gpus=0, cluster="local")
    found = watch(plan, study, launcher, tmp_path / "launcher", progress=lambda rows: None)
    assert [row.state for row in found] == ["complete"] * 4


def test_the_slurm_script_asks_for_what_the_configuration_says(make_plan, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    tools, sent = tmp_path / "bin", tmp_path / "sent"
    tools.mkdir()
    (tools / "sbatch").write_text(f'#!/bin/sh\ncp "$1" {sent}\necho "Submitted batch job 71"\n')
    (tools / "srun").write_text("#!/bin/sh\n")
    (tools / "sacct").write_text(
        '#!/bin/sh\necho "JobID|State|NodeList"\necho "71_0|RUNNING|n1"\necho "71_1|RUNNING|n2"\n'
    )
    for tool in tools.iterdir():
        tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    settings = {"partition": "gpu", "time_minutes": 90, "cores": 6, "gpus": 1, "memory_gb": 32}
    more = {"setup": ["source env.sh"], "extra": {"account": "lab"}}
    task = worker_task(make_plan())
    first = Slurm(num_workers=2, **settings, **more)
    first.start(task, tmp_path / "launcher")
    script = sent.read_text()
    for line in (
        "--partition=gpu",
        "--time=90",
        "--cpus-per-task=6",
        "--gpus-per-node=1",
        "--mem=32GB",
        "--account=lab",
    ):
        assert f"#SBATCH {line}" in script
    assert "#SBATCH --array=0-1%2" in script
    assert script.index("source env.sh") < script.index("srun ")
    assert "submitit.core._submit" in script
    assert len(json.loads((tmp_path / "launcher" / "jobs.json").read_text())) == 2
    sent.unlink()
    again = Slurm(num_workers=2, **settings, **more)
    again.start(task, tmp_path / "launcher")
    assert not sent.exists(), "the jobs of the earlier call are still at work: none is sent"
    assert again.num_alive() == 2


def test_a_slurm_job_whose_time_is_up_is_submitted_again():
    submitit = pytest.importorskip("submitit")
    task = SlurmTask(lambda index, share: (index, share), Share(threads=2))
    again = task.checkpoint(3)
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function(*again.args) == (3, Share(threads=2))


@pytest.fixture(scope="module")
def ray():
    """Its workers are not nice, so that they get their share where other tests run beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        module = pytest.importorskip("ray")
        yield module
        module.shutdown()


def test_a_worker_that_never_fits_into_this_machine_is_refused(make_plan, ray, tmp_path):
    task = worker_task(make_plan())
    for size in ({"cores": 4096}, {"gpus": 64}):
        with pytest.raises(ValueError, match="does not fit into this machine's"):
            Ray(num_workers=1, **size).start(task, tmp_path / "launcher")
        with pytest.raises(ValueError, match="does not fit into this machine's"):
            list(on_ray(["a"], dict, address=None, num_workers=1, **{"cores": 1, "gpus": 0, **size}))


@pytest.mark.parametrize("launcher", [Local, Slurm, Ray])
@pytest.mark.parametrize("count", [0, -1, 1.5, "all"])
def test_a_count_of_workers_that_is_none_is_named(launcher, count):
    with pytest.raises(ValueError, match=f"launcher.num_workers={count}: a whole number of at least 1"):
        launcher(num_workers=count)


def test_ray_runs_the_sweep_and_replaces_a_killed_worker(make_plan, ray, tmp_path):
    plan = make_plan("steps=6", "hang=0000", grace=5)
    study = prepare(plan, num_trials=3, settings={})
    killed = []

    class Killing(Ray):
        def num_alive(self) -> int:
            if not killed and (plan.trial_folder(0) / "checkpoint").exists():
                for process in _workers():
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
            return super().num_alive()

    def _workers() -> list[int]:
        processes = psutil.process_iter(["ppid", "cmdline"])
        return [p.info["ppid"] for p in processes if f"output={plan.trial_folder(0)}" in (p.info["cmdline"] or ())]

    start = time.monotonic()
    found = watch(plan, study, Killing(num_workers=1), tmp_path / "launcher", progress=lambda rows: None)
    assert killed, f"no worker was found to kill in {time.monotonic() - start:.0f} s"
    assert [row.state for row in found] == ["complete"] * 3
    assert found[0].attempts == 2
    assert rows(study, plan) == found
