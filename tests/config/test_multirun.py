"""``-m``: every combination is run, every error is told with its job, and nothing of one is lost to another."""

import sys
from types import SimpleNamespace

import pytest

from sr_lab.base.errors import ConfigError
from sr_lab.cli import main
from sr_lab.config.multirun import jobs

GIVEN = ["benchmark=B", "scale=2"]


def labels(*overrides: str) -> list[str]:
    return [job.label for job in jobs("train", overrides)]


def test_every_combination_is_a_job_of_its_own():
    assert labels("seed=1,2", "max_steps=5", "scale=range(2,4)") == [
        "seed=1,scale=2",
        "seed=1,scale=3",
        "seed=2,scale=2",
        "seed=2,scale=3",
    ]
    assert labels("model/network=glob(srcnn*)", "losses=[l1],[l1,frequency]") == [
        "losses=[l1]",
        "losses=[l1,frequency]",
    ]
    assert [job.compose().name for job in jobs("train", ["name=a", "seed=1,2"])] == ["a/seed=1", "a/seed=2"]
    assert labels("name='a,b'") == [""], "a comma in quotes separates nothing"


@pytest.mark.parametrize(
    ("line", "key", "places"),
    [
        (["history", "name=a,b"], "name", ["a", "b"]),
        (["promote", "name=a", "policy.alpha=0.05,0.1"], "name", ["a", "a"]),
        (["promote", "name=a,b"], "report", ["runs/promotion/a", "runs/promotion/b"]),
        (["evaluate", *GIVEN, "restorer=runs/a,b", "report=R"], "report", ["R/restorer=runs_a", "R/restorer=b"]),
        (["evaluate", *GIVEN, "restorer=a", "report=R,S"], "report", ["R", "S"]),
        (["gallery", "images=I", "side=1,2", "output=in/a.html"], "output", ["in/side=1/a.html", "in/side=2/a.html"]),
        (["restore", "scale=2,3", "input=a", "output=s3://b/c/"], "output", ["s3://b/c/scale=2", "s3://b/c/scale=3"]),
        (["train", "seed=1,2", "output=R"], "output", ["R/seed=1", "R/seed=2"]),
        (["train", "seed=1,2"], "output", ["runs/train/seed=1", "runs/train/seed=2"]),
        (["slo", "alertmanager=a,b"], "output", ["runs/slo/alertmanager=a", "runs/slo/alertmanager=b"]),
    ],
)
def test_no_job_writes_where_another_one_does(line, key, places):
    command, *overrides = line
    assert [job.compose()[key] for job in jobs(command, overrides)] == places


@pytest.mark.parametrize(
    ("text", "said"), [("optimizer.lr=interval(0,1)", "srlab sweep"), ("model/network=glob(nothing*)", "no such value")]
)
def test_what_cannot_be_run_one_after_the_other_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        jobs("train", [text])


def test_every_job_runs_and_each_error_is_told_with_its_job(monkeypatch, capsys):
    ran = []

    def run(cfg) -> int:
        ran.append(cfg.restorer)
        if cfg.restorer == "b":
            raise ValueError("b is broken")
        return {"a": 4, "c": 0}[cfg.restorer]

    monkeypatch.setitem(sys.modules, "sr_lab.commands.evaluate", SimpleNamespace(run=run))
    given = ["benchmark=B", "scale=2", "report=R", "missing=fail,no_such_word", "protocol=y_crop,oops"]
    assert main(["evaluate", "-m", "restorer=a,b,c", *given[:3]]) == 4
    said = capsys.readouterr()
    assert ran == ["a", "b", "c"]
    assert "srlab evaluate: job 2 of 3 (restorer=b): error: b is broken" in said.err
    assert "2 of 3 jobs did not end with 0:\njob 1 of 3 (restorer=a): exit code 4\njob 2 of 3" in said.err
    assert main(["evaluate", "-m", "restorer=c", *given[:3], given[4]]) == 2
    said = capsys.readouterr()
    assert "job 2 of 2 (protocol=oops): no option 'oops' in protocol" in said.err
    assert "Traceback" not in said.err


def test_the_configurations_of_all_jobs_are_shown_and_nothing_is_run(capsys):
    assert main(["train", "-m", "seed=1,2", "--cfg"]) == 0
    said = capsys.readouterr().out
    assert "seed: 1" in said
    assert "seed: 2" in said
