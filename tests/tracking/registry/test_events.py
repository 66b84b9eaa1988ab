import json
import subprocess
import time
from pathlib import Path

import pytest

from sr_lab.tracking.registry.events import HOOK_FAILED, Hook, HookError, fire, subscribe
from sr_lab.tracking.registry.ledger import Record

RECORD = Record(
    number=4, time="2030-01-01T00:00:00+00:00", who="ann", action="promote", phase="done", source=1, target=2,
    decision="d" * 64, policy="p" * 64, reason='gain "0.1"\n$(touch no)',
)  # fmt: skip


def test_a_hook_gets_the_facts_on_its_input_and_as_variables(tmp_path: Path) -> None:
    command = f'cat > {tmp_path}/facts.json; env > {tmp_path}/env; printf %s "$SRLAB_REASON" > {tmp_path}/reason'
    assert fire(Hook(command=command), RECORD, name="m", uri=f"sqlite:///{tmp_path}/x.db") == 0
    assert json.loads((tmp_path / "facts.json").read_text()) == {
        "event": "promote", "name": "m", "alias": "champion", "version": 2, "former": 1, "model": "models:/m/2",
        "tracking_uri": f"sqlite:///{tmp_path}/x.db", "record": 4, "time": "2030-01-01T00:00:00+00:00", "who": "ann",
        "reason": RECORD.reason, "decision": "d" * 64, "policy": "p" * 64,
    }  # fmt: skip
    assert {"SRLAB_EVENT=promote", "SRLAB_VERSION=2", "SRLAB_FORMER=1", "SRLAB_MODEL=models:/m/2"} <= set(
        (tmp_path / "env").read_text().splitlines()
    )
    assert (tmp_path / "reason").read_text() == RECORD.reason
    assert not Path("no").exists()


def test_a_hook_need_not_read_and_none_is_no_hook() -> None:
    assert fire(Hook(command="true"), RECORD, name="m", uri="sqlite:///x.db") == 0
    assert fire(None, RECORD, name="m", uri="sqlite:///x.db") == 0


def test_a_hook_that_fails_is_told_and_does_not_show_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    hook = Hook(command="TOKEN=geheim; exit 7")
    assert fire(hook, RECORD, name="m", uri="sqlite:///x.db") == HOOK_FAILED == 5
    told = capsys.readouterr().err
    assert "m version 2 is the champion, that stands; but the hook failed: it ended with exit code 7" in told
    assert "srlab notify name=m" in told
    assert "geheim" not in told


def test_a_hook_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    hook = Hook(command=f"sleep 600 & echo $! > {tmp_path}/child; wait", seconds=3)
    with pytest.raises(HookError, match=r"did not end within 3 s"):
        hook({"version": 2})
    child = int((tmp_path / "child").read_text())
    for _ in range(200):
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True).stdout.strip()
        if state in ("", "Z"):
            return
        time.sleep(0.05)
    pytest.fail(f"the child of the hook is alive: {state}")


@pytest.mark.parametrize("settings", [{"command": " "}, {"command": "true", "seconds": 0}, {"command": True}])
def test_a_hook_without_a_command_or_time_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"command|seconds"):
        Hook(**settings)  # type: ignore[arg-type]


def test_a_database_sends_no_webhooks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no server and sends nothing"):
        subscribe(f"sqlite:///{tmp_path}/mlflow.db", "https://example.org/x", label="champion")
