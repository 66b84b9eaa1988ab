"""Each runbook is followed: its fault is planted in a service, and the commands of docs/runbooks.md are executed."""

import os
import re
import shlex
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn
from serving.conftest import encoded, picture

from sr_lab import cli
from sr_lab.config.compose import build, compose
from sr_lab.images.files import write_image
from sr_lab.metrics.protocol import YCrop
from sr_lab.objectives.rules import alerts
from sr_lab.serving.app import make_app
from sr_lab.serving.cost import CostSettings
from sr_lab.serving.golden import GoldenSettings
from sr_lab.serving.guard import Guard
from sr_lab.serving.records import KEY, RecordSettings
from sr_lab.serving.rehearsal import make_version
from sr_lab.serving.server import Models, make_parts
from sr_lab.serving.watch_faults import NAME, promote_by_hand
from sr_lab.workflows.golden import make_golden

PAGE = Path(__file__).parents[2] / "docs" / "runbooks.md"
WAIT = 120
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def runbook(failure: str) -> tuple[str, list[str]]:
    """The alerts' line of a runbook, and its commands."""
    text = PAGE.read_text(encoding="utf-8").partition(f"{{#{failure.lower()}}}")[2].partition("\n## ")[0]
    told = re.search(r"^Alerts?: (.*)$", text, re.MULTILINE)
    commands = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert told is not None
    assert commands is not None
    return told[1], commands[1].strip().splitlines()


def follow(failure: str, capsys) -> list[tuple[int, str]]:
    """Exit code and output of each command of a runbook."""
    done = []
    for command in runbook(failure)[1]:
        if command.startswith("srlab "):
            capsys.readouterr()
            code = cli.main([os.path.expandvars(word) for word in shlex.split(command)[1:]])
            done.append((code, capsys.readouterr().out))
        else:
            ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=WAIT, check=False)
            done.append((ran.returncode, ran.stdout))
    assert len(done) == 3
    return done


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service whose champion, version 2, was never trained; its former one interpolates."""
    folder = tmp_path_factory.mktemp("runbooks")
    still = picture(64, 64)
    write_image(folder / "photos" / "still.png", still)
    for frame in range(3):
        write_image(folder / "photos" / "clip" / f"{frame}.png", np.roll(still, 5 * frame, axis=1))
    golden = make_golden(folder / "photos", folder / "golden", side=64)
    (folder / "sent.png").write_bytes(encoded(picture()))
    store = f"sqlite:///{folder / 'mlflow.db'}"
    versions = [make_version(store, NAME, folder=folder / name, untrained=name == "bad") for name in ("good", "bad")]
    promote_by_hand(store, versions[0])
    promote_by_hand(store, versions[1])
    with pytest.MonkeyPatch.context() as patch:
        fernet = pytest.importorskip("cryptography.fernet")
        patch.setenv(KEY, fernet.Fernet.generate_key().decode())
        models = Models(name=NAME, tracking_uri=store, device=torch.device("cpu"), more={}, conservative="bicubic")
        parts = make_parts(
            models, records=RecordSettings(folder=str(folder / "records"), share=1.0),
            cost=CostSettings(per_hour={"cpu": 1.0}, daily=1000.0),
            golden=GoldenSettings(folder=str(golden.folder), protocol=YCrop(), seconds=1e6),
        )  # fmt: skip
        server = uvicorn.Server(uvicorn.Config(make_app(parts), port=0, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        end = time.monotonic() + WAIT
        while not server.started and time.monotonic() < end:
            time.sleep(0.05)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        for name, value in {
            "URL": url, "NAME": NAME, "ID": "one", "SENT": str(folder / "sent.png"),
            "RECORDS": str(folder / "records"), "MLFLOW_TRACKING_URI": store,
        }.items():  # fmt: skip
            patch.setenv(name, value)
        patch.chdir(folder)
        yield parts, store, versions
        server.should_exit = True
        thread.join(WAIT)


def send(id: str = "one") -> int:
    data = Path(os.environ["SENT"]).read_bytes()
    request = urllib.request.Request(f"{os.environ['URL']}/v1/restore", data, {"X-Request-ID": id})
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def number(text: str, series: str) -> float:
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series))


def test_every_alert_stands_in_its_runbook():
    given = build(compose("slo", []).deploy)
    for alert in alerts(given):
        named = [re.sub(r"\.\.\.", ".*", name) for name in re.findall(r"`([\w.]+)`", runbook(alert.failure)[0])]
        assert any(re.fullmatch(name, alert.name) for name in named), f"{alert.name}: {alert.failure}"


@needs_curl
def test_f1_a_slow_network_shows_in_its_stage(service, capsys):
    from sr_lab.serving.watched import post_slowly

    assert post_slowly(os.environ["URL"].removeprefix("http://"), Path(os.environ["SENT"]).read_bytes(), 1.5) == 200
    ready, numbers, models = follow("F1", capsys)
    assert '"ready":true' in ready[1]
    assert number(numbers[1], 'srlab_stage_seconds_sum{stage="body"}') > 1
    assert f'"version":"{service[2][1]}"' in models[1]


@needs_curl
@pytest.mark.parametrize("failure", ["F2", "F5"])
def test_f2_f5_a_bad_version_is_rolled_back(service, capsys, failure):
    parts, store, versions = service
    if parts.service.shelf.at_hand(NAME).version != str(versions[1]):
        promote_by_hand(store, versions[1])
        parts.service.shelf.follow()
    bad = parts.golden.restore()
    assert bad.label == f"{NAME}/{versions[1]}"
    told = dict(zip(("numbers", "history", "rollback"), follow(failure, capsys), strict=True))
    kind, worse = ("psnr_decibels", -1) if failure == "F2" else ("flicker_levels", 1)
    now = number(told["numbers"][1], f"srlab_golden_{kind}")
    assert worse * (now - number(told["numbers"][1], f"srlab_golden_floor_{kind}")) > 0
    assert told["rollback"][0] == 0, told["rollback"][1]
    parts.service.shelf.follow()
    good = parts.golden.restore()
    assert good.label == f"{NAME}/{versions[0]}"
    metric = kind.partition("_")[0]
    assert good.values[metric] == pytest.approx(good.floor[metric], abs=0.5)


@needs_curl
def test_f3_what_the_guard_replaced_is_done_again(service, capsys):
    guarded = service[0].service.guarded
    guarded.guard = Guard(decibels=99.0)
    try:
        assert send() == 200
    finally:
        guarded.guard = None
    send()  # as it is without the guard
    deadline = time.monotonic() + WAIT
    while not _recorded("one") and time.monotonic() < deadline:
        time.sleep(0.05)
    replaced, incident, history = follow("F3", capsys)
    assert number(replaced[1], 'srlab_guard_replaced_total{reason="consistency"}') == 1
    assert incident[0] == 0, incident[1]
    assert "same: the restored pixels" in incident[1]
    assert Path("again.png").is_file()
    assert history[0] in (0, 1)  # 1: what was done by hand is shown


def _recorded(id: str) -> bool:
    from sr_lab.serving.records import Records

    records = Records(RecordSettings(folder=os.environ["RECORDS"]))
    try:
        return records.find(id)["replaced"] == ""
    except ValueError:
        return False


@needs_curl
def test_f4_images_that_fill_their_memory(service, capsys):
    inner = service[0].service
    with inner.memory.keep(inner.memory.most):
        assert send("full") == 429
        memory, shed, _ = follow("F4", capsys)
    assert number(memory[1], "srlab_images_bytes") == number(memory[1], "srlab_images_limit_bytes")
    assert 0 < number(memory[1], "process_resident_memory_bytes") < number(memory[1], "srlab_machine_memory_bytes")
    assert number(shed[1], 'srlab_shed_total{reason="memory"}') == 1


@needs_curl
def test_f6_the_budget_is_spent(service, capsys):
    costs = service[0].service.costs
    costs.add(0, 1001.0 / costs.rate)
    try:
        money, _, status = follow("F6", capsys)
    finally:
        costs._spent = 0.0
    assert number(money[1], "srlab_budget_spent_ratio") > 1
    assert number(money[1], 'srlab_cost_total{currency="EUR",use="request"}') > 1000
    assert status[1].strip() == "429"
    assert send("later") == 200


@needs_curl
def test_f7_what_is_no_image_is_refused_and_counted(service, capsys):
    follow("F7", capsys)
    numbers, status, ready = follow("F7", capsys)
    assert status[1].strip() == "415"
    assert number(numbers[1], 'srlab_requests_total{route="/v1/restore",status="415"') >= 1
    assert '"ready":true' in ready[1]


def test_f8_a_kept_picture_that_was_read_is_seen_and_deleted(service, capsys):
    records = service[0].service.records
    records.keep("one", {"masked": []}, picture())
    assert cli.main(["incident", "picture", "request=one", f"folder={os.environ['RECORDS']}", "output=seen.png"]) == 0
    accesses, deleted, cleaned = follow("F8", capsys)
    assert "read  one" in accesses[1]
    assert (deleted[0], cleaned[0]) == (0, 0)
    assert records.picture("one") is None
    assert records.accesses[-1][2:] == ("delete", "one")
