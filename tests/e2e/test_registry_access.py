"""Register, load, promote, roll back on every kind of store; who may do what on a server with accounts; webhooks."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from services import USERS, Server, accounts, login

from sr_lab.cli import main
from sr_lab.tracking.registry.aliases import aliases, history, label, promote
from sr_lab.tracking.run import Run
from sr_lab.tracking.shipping import Shipper
from sr_lab.tracking.store import connect

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.usefixtures("forked")]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    coarse = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((42, 36), Image.Resampling.BICUBIC).save(folder / "one.png")
    return folder


@pytest.fixture
def make_run(fsrcnn_model: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A finished run on a store; its folder."""

    def make(uri: str) -> Path:
        directory = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        run = Run(
            uri=uri, experiment=f"runs of {tmp_path.parent.name}-{tmp_path.name}", name=directory.name, ship=False,
            directory=directory / "tracking", system_seconds=0,
        )  # fmt: skip
        run.log_config({"seed": 1})
        run.log_metrics({"test/psnr_y": 30.0}, 1)
        run.log_model(fsrcnn_model)
        run.finish()
        Shipper(run.spool).ship()
        return directory

    return make


def crown(uri: str, name: str, version: int, champion: int | None) -> None:
    decision = {
        "outcome": "promote", "candidate": label(name, version), "sha256": "d" * 64, "policy_sha256": "p" * 64,
        "champion": None if champion is None else label(name, champion), "reasons": [{"line": "pass  psnr"}],
    }  # fmt: skip
    promote(uri, name, version, decision=decision, who="ann")


def evaluate(uri: str, name: str, photos: Path, report: Path) -> int:
    place = [f"restorer=models:/{name}@champion", f"benchmark={photos}", f"report={report}", f"tracking_uri={uri}"]
    return main(["evaluate", *place, "scale=2", "metrics=[psnr]", "num_pictures=1", "device=cpu"])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["sqlite", "accounts_server", "postgres", "postgres_server"])
def test_from_run_to_champion_and_back(
    request: pytest.FixtureRequest, kind: str, make_run: Callable[[str], Path], photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    login(monkeypatch, "owner")
    monkeypatch.chdir(tmp_path)
    service = f"sqlite:///{tmp_path}/mlflow.db" if kind == "sqlite" else request.getfixturevalue(kind)
    uri = service.uri if isinstance(service, Server) else service
    name = f"everywhere-{kind}"
    for version, champion in ((1, None), (2, 1)):
        run = make_run(uri)
        assert main(["register", f"run={run}", f"name={name}"]) == 0
        assert aliases(uri, name)["candidate"] == version
        crown(uri, name, version, champion)
    assert aliases(uri, name) == {"champion": 2, "previous": 1}
    assert main(["register", f"run={run}", f"name={name}-again"]) == 0
    assert evaluate(uri, name, photos, tmp_path / "report") == 0
    metadata = json.loads((tmp_path / "report" / "summary.json").read_text())["restorer_metadata"]
    assert metadata["commit"] == "c"
    command = f"events.command='cat > {tmp_path}/told.json'"
    assert main(["rollback", f"name={name}", "reason=bad", f"tracking_uri={uri}", "events=hook", command]) == 0
    assert json.loads((tmp_path / "told.json").read_text())["version"] == 1
    assert aliases(uri, name) == {"champion": 1}
    assert main(["history", f"name={name}", f"tracking_uri={uri}"]) == 0
    assert "rollback: version 2 -> version 1" in capsys.readouterr().out
    tampered = _stored_files(service, connect(uri), name)
    (tampered / "config.yaml").write_bytes((tampered / "config.yaml").read_bytes() + b"\n")
    assert evaluate(uri, name, photos, tmp_path / "report") == 1
    told = capsys.readouterr().err
    assert f"models:/{name}@champion: config.yaml is not the file that was registered" in told


def _stored_files(service: Any, client: Any, name: str) -> Path:
    """Where the store keeps the files of the first version."""
    source = client.get_model_version_download_uri(name, "1")
    if isinstance(service, Server):
        return service.folder / "artifacts" / source.removeprefix("mlflow-artifacts:/")
    return Path(source.removeprefix("file://"))


@pytest.mark.timeout(900)
def test_a_reader_loads_and_evaluates_and_changes_nothing(
    accounts_server: Server, make_run: Callable[[str], Path], photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    uri, name = accounts_server.uri, "guarded"
    place = [f"name={name}", f"tracking_uri={uri}"]
    login(monkeypatch, "owner")
    runs = [make_run(uri) for _ in range(3)]
    for version, champion in ((1, None), (2, 1)):
        assert main(["register", f"run={runs[version - 1]}", f"name={name}"]) == 0
        crown(uri, name, version, champion)
    client = accounts(accounts_server)
    client.grant_user_permission("editor", "registered_model", name, "EDIT")
    experiment = connect(uri).get_run(connect(uri).get_model_version(name, "1").run_id).info.experiment_id
    client.grant_user_permission("editor", "experiment", experiment, "EDIT")
    tags = connect(uri).get_registered_model(name).tags
    capfd.readouterr()

    def refused(*line: str) -> str:
        assert main(list(line)) == 1
        assert aliases(uri, name)["champion"] == 2
        assert connect(uri).get_registered_model(name).tags == tags
        return capfd.readouterr().err

    manage = (
        f"permission denied: the user of MLFLOW_TRACKING_USERNAME needs MANAGE on the registered model '{name}'; an "
        "administrator or holder of MANAGE gives it: mlflow.server.get_app_client('basic-auth', URI)"
        f".grant_user_permission(USER, 'registered_model', '{name}', 'MANAGE')"
    )
    login(monkeypatch, "reader")
    assert evaluate(uri, name, photos, tmp_path / "report") == 0
    assert main(["history", *place]) == 0
    assert manage in refused("rollback", *place, "reason=mine")
    told = refused("promote", *place, "version=1", f"policy.holdout.photos.benchmark={photos}")
    assert manage in told
    assert f"needs EDIT on the registered model '{name}'" in refused("register", f"run={runs[2]}", f"name={name}")
    with pytest.raises(PermissionError) as error:
        crown(uri, name, 1, 2)
    assert manage in str(error.value)
    assert "needs the rights of an administrator" in refused("webhook", f"tracking_uri={uri}", "url=https://x.example")

    # Who may edit registers candidates; the change of the champion is refused before it begins.
    login(monkeypatch, "editor")
    assert main(["register", f"run={runs[2]}", f"name={name}"]) == 0
    assert aliases(uri, name) == {"champion": 2, "previous": 1, "candidate": 3}
    assert manage in refused("rollback", *place, "reason=mine")

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    assert main(["history", *place]) == 1
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in capfd.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    assert evaluate(uri, name, photos, tmp_path / "report") == 1
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in capfd.readouterr().err

    # The remedy that the error names is the right one.
    login(monkeypatch, "owner")
    accounts(accounts_server).grant_user_permission("reader", "registered_model", name, "MANAGE")
    login(monkeypatch, "reader")
    assert main(["rollback", *place, "reason=now I may"]) == 0
    assert aliases(uri, name)["champion"] == 1


@pytest.mark.timeout(900)
def test_credentials_appear_nowhere(
    accounts_server: Server, make_run: Callable[[str], Path], photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    uri, name, secret = accounts_server.uri, "silent", USERS["owner"]
    login(monkeypatch, "owner")
    monkeypatch.setenv("SRLAB_DEBUG", "")
    for version, champion in ((1, None), (2, 1)):
        run = make_run(uri)
        assert main(["register", f"run={run}", f"name={name}"]) == 0
        crown(uri, name, version, champion)
    assert evaluate(uri, name, photos, tmp_path / "report") == 0
    command = f"events.command='cat > {tmp_path}/told.json; exit 1'"
    assert main(["rollback", f"name={name}", "reason=bad", f"tracking_uri={uri}", "events=hook", command]) == 5
    assert main(["history", f"name={name}", f"tracking_uri={uri}"]) == 0
    assert main(["history", f"name={name}", f"tracking_uri={uri}", "--cfg"]) == 0
    client = connect(uri)
    version = client.get_model_version(name, "1")
    kept = [client.get_registered_model(name), version, client.get_run(version.run_id), *history(uri, name)]
    shown = capfd.readouterr()
    texts = [shown.out, shown.err, *map(str, kept)]
    files = [file for root in (tmp_path, accounts_server.folder) for file in root.rglob("*") if file.is_file()]
    assert len(files) > 30
    encoded = base64.b64encode(f"owner:{secret}".encode()).decode()
    for needle in (secret, encoded):
        assert not [text for text in texts if needle in text]
        assert not [file for file in files if needle.encode() in file.read_bytes()]


@pytest.mark.parametrize("uri", ["http://ada:geheim@127.0.0.1:9", "postgresql://ada:geheim@127.0.0.1:9/mlflow"])
def test_a_uri_with_a_password_is_refused_and_not_shown(
    uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for line in (["history", "name=m"], ["rollback", "name=m", "reason=x"]):
        assert main([*line, f"tracking_uri={uri}"]) == 1
        told = capfd.readouterr()
        assert "***@127.0.0.1:9" in told.err
        assert "MLFLOW_TRACKING_PASSWORD, or for a database PGPASSWORD" in told.err
        assert "geheim" not in told.out + told.err
    with pytest.raises(ValueError, match="holds a password, which would be recorded"):
        Run(uri=uri, experiment="e", name="n", directory=tmp_path / "tracking", ship=False)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_away_or_refuses_is_an_error_at_once(
    postgres: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "name=m", "tracking_uri=postgresql://mlflow@127.0.0.1:9/mlflow"]) == 1
    assert "does not answer: connection to server" in capfd.readouterr().err
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert main(["history", "name=m", f"tracking_uri={postgres}"]) == 1
    assert "password authentication failed" in capfd.readouterr().err


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """An HTTP server on loopback and the messages that it got."""
    messages: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/model", messages
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_tells_of_the_champion(
    accounts_server: Server, receiver: tuple[str, list[tuple[dict[str, str], bytes]]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    # Loopback without TLS is allowed by settings of this server that are meant for tests.
    url, messages = receiver
    monkeypatch.setenv("SRLAB_WEBHOOK_SECRET", "of-the-webhook")
    login(monkeypatch, "admin")
    for _ in range(2):
        assert main(["webhook", f"tracking_uri={accounts_server.uri}", f"url={url}"]) == 0
    assert "a trial message was answered with 204" in capsys.readouterr().out
    client = connect(accounts_server.uri)
    assert [webhook.url for webhook in client.list_webhooks()] == [url]
    assert main(["webhook", f"tracking_uri={accounts_server.uri}", "url=ftp://x.example", "label=other"]) == 1
    assert "Invalid webhook URL scheme" in capsys.readouterr().err
    client.create_registered_model("told")
    client.create_model_version("told", "s3://nowhere/nothing")
    messages.clear()
    crown(accounts_server.uri, "told", 1, None)
    deadline = time.monotonic() + 240
    while not (found := [json.loads(body)["data"] for _, body in messages if b'"champion"' in body]):
        assert time.monotonic() < deadline, messages
        time.sleep(0.05)
    assert found == [{"name": "told", "alias": "champion", "version": "1"}]
    headers, body = next(message for message in messages if b'"champion"' in message[1])
    signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.{body.decode()}".encode()
    digest = base64.b64encode(hmac.new(b"of-the-webhook", signed, hashlib.sha256).digest()).decode()
    assert headers["X-MLflow-Signature"] == f"v1,{digest}"
    client.delete_webhook(client.list_webhooks()[0].webhook_id)
