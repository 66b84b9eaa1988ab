"""The pod's own command as a process: which probe succeeds when, how it ends, and that it writes where it may."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from manifests import built, container
from serving.conftest import encoded, picture

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.networks.fsrcnn import FSRCNN
from sr_lab.serving.keys import new_key

READ_ONLY = 'mount -o remount,ro,bind / && mount -t tmpfs none "$1" && shift && exec "$@"'
"""As the pod has it: the root cannot be written, and what can be is new."""
CONFINED = ["unshare", "--mount", "--propagation", "private", "sh", "-c", READ_ONLY, "sh"]


def confine(folder: Path) -> list[str]:
    """What runs a command with a root that is only read, but for ``folder``; empty where that is not allowed."""
    if shutil.which("unshare") is None:
        return []
    allowed = subprocess.run([*CONFINED, str(folder), "true"], capture_output=True, check=False)
    return [*CONFINED, str(folder)] if allowed.returncode == 0 else []


def status(address: str, path: str) -> int | None:
    """Of an answer; None where nothing listens."""
    try:
        with urllib.request.urlopen(address + path, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    settings = {"scale": 2, "num_channels": 3, "num_features": 8, "num_shrunk": 4, "num_mapping": 1}
    torch.manual_seed(0)
    node = {"_target_": "sr_lab.networks.fsrcnn.FSRCNN", **settings}
    return save_artefact(tmp_path / "best", FSRCNN(**settings), config={"model": {"network": node}}, metadata={})


def test_the_pods_command_becomes_ready_and_ends_as_its_probes_expect(tmp_path, artefact):
    (server,) = (m for m in built("overlays/cpu") if (m["kind"], m["metadata"]["name"]) == ("Deployment", "srlab"))
    one = container(server["spec"]["template"])
    probes = {name: one[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    key, digest = new_key()
    (tmp_path / "keys.yaml").write_text(f"test: {{sha256: {digest}, scopes: [restore]}}\n")
    writable = tmp_path / "writable"
    writable.mkdir()
    wrapped = confine(writable)
    here = {"port": "0", "admin_port": "0", "api_keys": tmp_path / "keys.yaml", "notice_seconds": "10"}
    args = [
        word if word.split("=")[0] not in here else f"{word.split('=')[0]}={here[word.split('=')[0]]}"
        for word in one["args"]
    ]
    args += [f"restorer={artefact}", "engine=torch"]  # in the place of a registry's champion

    def ask(answers: list[object]) -> None:
        data = encoded(picture(700, 700))
        request = urllib.request.Request(
            f"{address}/v1/restore?deadline=60", data, {"Authorization": f"Bearer {key}", "Accept": "image/png"}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                answers.append((answer.status, len(answer.read())))
        except OSError as error:
            answers.append(error)

    environment = {
        **os.environ, "HOME": str(writable), "TMPDIR": str(writable), "SRLAB_CACHE": str(writable / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [*wrapped, sys.executable, "-m", "sr_lab.cli", *args]
    with subprocess.Popen(
        command, cwd=writable, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        try:
            said = process.stdout.readline()
            assert said.startswith("answering at http://0.0.0.0:"), said + process.stderr.read()
            address = said.split()[-1].replace("0.0.0.0", "127.0.0.1")
            for name in ("startup", "readiness", "liveness"):  # nothing listens before the model has computed a tile
                assert status(address, probes[name]) == 200, name
            answers: list[object] = []
            ask(answers)
            seen = [200]
            process.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            taken: list[threading.Thread] = []
            while seen[-1] is not None:
                seen.append(status(address, probes["readiness"]))
                if seen[-1] == 503 and not taken:
                    assert status(address, probes["liveness"]) == 200, "one that ends is not killed for it"
                    taken.append(threading.Thread(target=ask, args=(answers,)))
                    taken[0].start()  # whoever has not noticed yet is still answered
                time.sleep(0.05)
            assert [code for code, before in zip(seen[1:], seen, strict=False) if code != before] == [503, None]
            taken[0].join()
            assert process.wait(300) == 143
            assert time.monotonic() - asked >= 10
            assert [answer[0] for answer in answers] == [200, 200], answers
            assert "what was accepted is answered" in process.stderr.read()
        finally:
            process.kill()
    if not wrapped:
        pytest.skip("all but the read-only root: this machine does not allow unshare --mount")
    assert list(writable.iterdir()) == [], "the process wrote into what it had mounted, and nowhere else"
