"""What release 0.1 left on disk is read: its store, audit, model card, artefact, checkpoint and run folder."""

import json
from pathlib import Path

import pytest
import torch

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.cli import main
from sr_lab.tracking.registry.aliases import aliases
from sr_lab.tracking.spool import Spool
from sr_lab.tracking.store import connect

Capture = pytest.CaptureFixture[str]


def test_its_audit_is_told_and_goes_on(release_0_1: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(release_0_1)
    assert main(["history", "name=photos"]) == 0
    told = capsys.readouterr()
    for words in (
        "ann  promote: none -> version 1  (decision 4cc688885c21, policy ",
        "ann  reject: version 2  (decision adde7610c56e, policy ",
        "ann  promote: version 1 -> version 2  (decision c09c047e313d, policy ",
        "ann  rollback: version 2 -> version 1",
        "text got worse",
        "now: champion is version 1",
    ):
        assert words in told.out
    assert not told.err
    numbers = [line.split()[0] for line in told.out.splitlines() if "  ann  " in line]
    assert numbers == ["1-2", "3", "4-5", "6-7"], "without a gap"
    assert main(["history", "name=photos", "short=true"]) == 0
    _, rejected, again, *_ = capsys.readouterr().out.splitlines()
    assert rejected.endswith("; failed: ssim, psnr_floor, psnr_worst")
    assert again.endswith("; this version was rejected before")
    connect("sqlite:///mlflow.db").delete_registered_model_alias("photos", "champion")
    assert main(["rollback", "name=photos", "reason=a slip", "settle=audit"]) == 0
    assert aliases("sqlite:///mlflow.db", "photos")["champion"] == 1
    capsys.readouterr()
    assert main(["history", "name=photos"]) == 0, "the chain goes on from the earlier records"
    assert "restore" in capsys.readouterr().out


def test_its_versions_are_loaded_and_registered_again(
    release_0_1: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(release_0_1)
    write = ["benchmark=photos/val", "scale=2", "metrics=[psnr]", "num_pictures=1", "device=cpu"]
    assert main(["evaluate", "restorer=models:/photos@champion", "report=report", *write]) == 0
    assert main(["register", "run=runs/a", "name=photos"]) == 0
    assert "photos version 1 is models:/photos@candidate" in capsys.readouterr().out


def test_its_artefact_and_its_checkpoint_hold_the_same_network(release_0_1: Path) -> None:
    best, last = (load_artefact(release_0_1 / "runs" / "a" / name) for name in ("best", "checkpoints/last.ckpt"))
    expected = best.network.state_dict()
    assert expected
    for key, value in last.network.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_its_run_folder_is_whole(release_0_1: Path) -> None:
    spool = Spool(release_0_1 / "runs" / "a" / "tracking")
    assert spool.remaining() == 0
    events = (spool.directory / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert {"model", "metrics"} <= {json.loads(event)["kind"] for event in events}
    assert spool.state.run_id == "2fa4a8000e474746940381085706cf5e"
